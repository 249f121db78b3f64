"""`itool train preference --pairs`: another run's published step pairs, what of them fits, and where they came from."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import HubServer
from outcomes import Itool, one_line
from pair_run import make_run, pair_row, pair_rows
from toys import toy_sample

from bench import prefork
from itool_data.policy.load import find_model
from itool_data.policy.open import open_prompter
from itool_data.publish.same_form import form_name
from itool_data.run import open_run, write_run
from itool_data.store.samples import sample_row
from itool_data.store.schema import SCHEMAS
from itool_data.store.sql import query

SHARD = pa.schema([*SCHEMAS["pairs"], ("config_hash", pa.string()), ("form_id", pa.string())])


def pairs_of(folder: Path) -> list[dict[str, Any]]:
    sql = "SELECT * FROM borrowed_pairs ORDER BY ALL"
    rows: list[dict[str, Any]] = query(open_run(folder).store, sql).to_pylist()
    return rows


def identity(folder: Path) -> tuple[str, str]:
    """A run's base model as rows name it, and its form."""
    model = open_run(folder).config.model
    base = find_model(model)
    return f"{base.name}@{base.revision}", form_name(open_prompter(model, base))


def write_shard(folder: Path, rows: list[dict[str, Any]], schema: pa.Schema = SHARD) -> Path:
    """A published data set, with a shard of its own for every ten rows."""
    (folder / "data" / "steps").mkdir(parents=True)
    n = -(-len(rows) // 10)
    for i in range(n):
        file = folder / "data" / "steps" / f"train-{i:05d}-of-{n:05d}.parquet"
        pq.write_table(pa.Table.from_pylist(rows[10 * i : 10 * i + 10], schema=schema), file)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run without pairs."""
    return make_run(tmp_path / "run", [])


@pytest.fixture
def rows(run: Path) -> list[dict[str, Any]]:
    """Published rows that fit it, 23 of them, of two policies."""
    base, form = identity(run)
    more = {"prefix_text": "", "rejected_logprob": -1.0, "config_hash": "0123", "form_id": form}
    made = [row | more for row in pair_rows(f"{base}+abc")]
    return [row | {"policy": base} if i % 2 else row for i, row in enumerate(made)]


# --- what is trained on ---------------------------------------------------------------------------------------------


def test_what_one_run_publishes_another_trains_on_and_says_where_it_is_from(
    itool: Itool, toy_run: Path, tmp_path: Path
) -> None:
    published, folder, config = tmp_path / "toys", tmp_path / "run", toy_run.parent / "toy.yaml"
    assert itool("publish", "--run", toy_run, "--to", published)[0] == 0
    code, out, err = itool("train", "preference", "--run", folder, "--config", config, "--pairs", published)
    assert (code, err) == (0, "")
    steps = pq.read_table(published / "data" / "steps").to_pylist()
    taken = pairs_of(folder)
    (revision,) = {row["revision"] for row in taken}
    assert {(row["origin"], len(row["revision"])) for row in taken} == {(str(published), 12)}
    own = {row["pair_id"]: row for row in steps}
    hashes = {row["config_hash"] for row in query(open_run(toy_run).store, "SELECT config_hash FROM trees").to_pylist()}
    for row in taken:
        same = own[row["pair_id"]]
        assert row["run"] == same["config_hash"] in hashes
        assert {name: row[name] for name in SCHEMAS["pairs"].names} == {n: same[n] for n in SCHEMAS["pairs"].names}
    assert len(taken) == len(steps) > 10
    assert f"{published}@{revision}: {len(taken)} pairs taken over, 0 set aside" in out
    for policy in {row["policy"] for row in taken}:
        assert f"policy {policy}" in out
    commit = open_run(folder).trained("preference", 1)
    assert commit is not None and commit.info["borrowed"] == {"origin": str(published), "revision": revision}

    assert itool("publish", "--run", folder, "--adapter", "--to", tmp_path / "adapter")[0] == 0
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert "step pairs that another run published" in card and str(tmp_path) not in card
    for row in taken:
        assert f"| `toys` | `{revision}` | `{row['run']}` | {row['round']} | `{row['policy']}` |" in card
    assert "| `toys` | `unknown` |" in card  # nobody knows its licence

    again = itool("train", "preference", "--run", folder, "--pairs", published)
    assert "already trained" in again[1] and "--round 2 goes on from it" in again[1]
    assert itool("train", "preference", "--run", folder, "--pairs", published, "--round", 2)[0] == 0
    assert pairs_of(folder) == taken


def test_a_data_set_on_the_hub_is_taken_by_its_commit(
    itool: Itool, run: Path, rows: list[dict[str, Any]], hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi, constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    HfApi().create_repo("me/toy", repo_type="dataset")
    folder = write_shard(tmp_path / "toy", rows)
    revision = HfApi().upload_folder(repo_id="me/toy", repo_type="dataset", folder_path=folder).oid
    code, out, err = itool("train", "preference", "--run", run, "--pairs", "hf:me/toy")
    assert (code, err) == (0, "")
    assert f"hf:me/toy@{revision}: {len(rows)} pairs taken over" in out
    assert {(row["origin"], row["revision"]) for row in pairs_of(run)} == {("hf:me/toy", revision)}
    one_line(itool("train", "preference", "--run", run, "--round", 2, "--pairs", "hf:me/no"), "--pairs hf:me/no")


def test_only_proved_pairs_are_trained_on_where_that_is_asked_for(
    itool: Itool, run: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    proof = {"parts_at": 0, "fault_first": 0, "fault_last": 0}
    half = [row | proof | {"proved": i % 2 == 0} for i, row in enumerate(rows)]
    command = "train", "preference", "--run", run, "--set", "pairs.proved=true", "--set", "preference.validation=0"
    code, out, _ = itool(*command, "--pairs", write_shard(tmp_path / "half", half))
    assert code == 0 and f"simpo on {-(-len(rows) // 2)} pairs" in out
    none = write_shard(tmp_path / "none", rows)
    one_line(itool(*command, "--again", "--pairs", none), "none of its pairs is proved")


def test_several_processes_train_on_them_together(run: Path, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    published = write_shard(tmp_path / "toy", rows)
    words = "train", "preference", "--run", run, "--pairs", published
    prefork.together(tmp_path, 2, prefork.command, *words)
    assert len(pairs_of(run)) == len(rows) and open_run(run).trained("preference", 1)


# --- what is not ----------------------------------------------------------------------------------------------------


def test_rows_that_cannot_be_trained_on_are_set_aside_each_with_its_reason(
    itool: Itool, run: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    sample = toy_sample()
    with write_run(run, None, []) as opened:
        held_out = sample_row(sample) | {"split": "test"}
        opened.store.commit("import", {"samples": [held_out]}, source="toy")
    good = rows[0] | pair_row(rows[0]["policy"], "s", "good", [5, 6], [7, 8], [9])
    spans = {"proved": True, "parts_at": 0, "fault_first": 0, "fault_last": 1}
    bad: dict[str, dict[str, Any]] = {
        "chosen_ids: missing": {"chosen_ids": []},
        "sample_id: missing": {"sample_id": None},
        "it is there twice": {"pair_id": rows[0]["pair_id"]},
        f"sample {sample.sample_id} is held out here": {"sample_id": sample.sample_id},
        "prompt_ids: 128 is no token id of a model with 128": {"prompt_ids": [5, 128]},
        "rejected_ids: -1 is no token id": {"rejected_ids": [-1]},
        "chosen_ids: None is no token id": {"chosen_ids": [7, None]},
        "chosen_ids: read as 't7 t8', but the step is 'Paris'": {"chosen_text": "Paris"},
        "prompt_ids: do not end with the response so far, 't9'": {"prefix_text": "t9"},
        "rejected_ids: the same as chosen_ids": {"rejected_ids": [7, 8], "rejected_text": "t7 t8"},
        "rejected_logprob: 3.0 is the logarithm of no probability": {"rejected_logprob": 3.0},
        "fault_last: 0 to 1 are not tokens of the rejected step": spans,
    }
    odd = [good | {"pair_id": f"bad-{i}"} | change for i, change in enumerate(bad.values())]
    published = write_shard(tmp_path / "toy", rows[:-1] + odd + rows[-1:])
    code, out, err = itool("train", "preference", "--run", run, "--pairs", published)
    assert (code, err) == (0, "")
    assert f"{len(rows)} pairs taken over, {len(odd)} set aside (table rejects)" in out and "chosen_ids: missing" in out
    assert {row["pair_id"] for row in pairs_of(run)} == {row["pair_id"] for row in rows}
    found = query(open_run(run).store, "SELECT * FROM rejects WHERE stage = 'borrow' ORDER BY file, line").to_pylist()
    assert len(found) == len(odd)
    for reject, reason, row in zip(found, bad, odd, strict=True):
        assert reason in reject["reason"] and reject["field"] == f"pair {row['pair_id']}"
    line = len(rows) - 1  # of the first one, from 0
    assert (found[0]["file"], found[0]["line"]) == (
        f"data/steps/train-{line // 10:05d}-of-00004.parquet",
        line % 10 + 1,
    )


def test_pairs_of_another_model_or_form_are_refused(
    itool: Itool, run: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    command = "train", "preference", "--run", run, "--pairs"
    odd = rows[0] | {"policy": "llama@abc+def", "pair_id": "odd"}
    other = write_shard(tmp_path / "llama", [*rows, odd])
    one_line(itool(*command, other), "its pairs are of llama@abc", "the base model is tiny@", "model.name")
    one_line(itool(*command, write_shard(tmp_path / "old", [row | {"form_id": None} for row in rows])), "in which form")
    # Another way to show functions is another form, and so is another template.
    for setting in ("model.tools=json", "model.chat_template=qwen2_5", "model.system=ours"):
        one_line(
            itool("train", "preference", "--run", tmp_path / setting, "--set", f"model.name={tmp_path / 'tiny'}",
                  "--set", setting, "--pairs", write_shard(tmp_path / f"{setting}-pairs", rows)),
            "its pairs are in the form python-", "but this run asks in ",
        )  # fmt: skip
    assert not pairs_of(run) and not open_run(run).store.log()


def test_what_holds_no_pairs_is_told_in_one_line(
    itool: Itool, run: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    command = "train", "preference", "--run", run, "--pairs"
    one_line(itool(*command, tmp_path / "nowhere"), "no step pairs (data/steps/*.parquet)", "itool publish --to")
    one_line(itool(*command, "hf:not a name"), "--pairs hf:not a name", "check the name")
    damaged = write_shard(tmp_path / "damaged", rows)
    next(damaged.rglob("*.parquet")).write_bytes(b"PAR1 no more")
    one_line(itool(*command, damaged), "no readable shard of step pairs")
    texts = write_shard(tmp_path / "texts", [row | {"chosen_ids": "[7]"} for row in rows], SHARD.set(
        SHARD.get_field_index("chosen_ids"), pa.field("chosen_ids", pa.string())))  # fmt: skip
    one_line(itool(*command, texts), "no readable shard of step pairs")
    unread = write_shard(tmp_path / "unread", [row | {"chosen_text": "Paris"} for row in rows])
    one_line(itool(*command, unread), "no pair could be used; the first: ", "but the step is 'Paris'")
    good = write_shard(tmp_path / "good", rows)
    one_line(itool(*command, good, "--loss", "nll"), "loss is nll over doubted right steps", "come without")
    assert [commit.operation for commit in open_run(run).store.log()] == ["borrow"]  # of the last
