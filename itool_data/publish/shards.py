"""A run's data as Parquet shards in the Hub's layout: `data/<config>/train-00000-of-0000N.parquet`.

A shard holds rows of one round only (of one data set, for `sft_*`), in a fixed order, written with fixed settings and
no time stamps. So a later round adds shards and leaves the bytes of the others as they are; only the N in their names
grows. Samples of the split `test` are in none of them. Left out: how texts are written (`texts.py`), the card
(`dataset_card.py`), and where it all goes (`difference.py`, `hub.py`).
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from itool_data.difficulty import difficulty
from itool_data.errors import ItoolError
from itool_data.publish.same_form import form_of
from itool_data.publish.texts import FormName, Texts, tools_json
from itool_data.run import Run
from itool_data.sample import Sample
from itool_data.store.samples import read_samples
from itool_data.store.sql import query

# Bounds the memory that one shard takes while it is written; a shard of pairs has a few megabytes.
SHARD_ROWS = 25_000
ROW_GROUP = 1_000
DEFAULT = "pairs"
CONFIGS = ("pairs", "steps", "trees", "scores", "sft_easy", "sft_medium", "sft_hard")
SHARD = re.compile(rf"data/({'|'.join(CONFIGS)})/train-\d{{5}}-of-\d{{5}}\.parquet")

SCORES = pa.schema(
    {
        "benchmark": pa.string(),
        "policy": pa.string(),
        "round": pa.int32(),
        "category": pa.string(),
        "n": pa.int32(),
        "score": pa.float64(),
        "interval": pa.struct({"low": pa.float64(), "high": pa.float64()}),
        "formula": pa.string(),
        "era": pa.string(),
        "protocol": pa.string(),
        "missing": pa.list_(pa.string()),
        "partial": pa.list_(pa.string()),
    }
)
TRAINED_ON = "SEMI JOIN (SELECT sample_id FROM samples WHERE split = 'train') USING (sample_id)"
PAIRS = f"""
    SELECT pairs.*, trees.config_hash FROM pairs {TRAINED_ON} LEFT JOIN trees USING (tree_id)
    WHERE pairs.round = ? ORDER BY pair_id
"""
TREES = f"""
    WITH grown AS (
        SELECT tree_id, list(struct_pack(
            path, depth, step_text, step_ids, logprob, prior, visits, q, v, reward, outcome, self_eval, terminal
        ) ORDER BY CAST(string_split(nullif(path, ''), '.') AS INTEGER[]) NULLS FIRST) AS nodes
        FROM nodes WHERE tree_id IN (SELECT tree_id FROM trees WHERE round = $1) GROUP BY tree_id
    )
    SELECT trees.* RENAME (nodes AS n_nodes, pairs AS n_pairs), grown.nodes
    FROM (SELECT * FROM trees {TRAINED_ON} WHERE round = $1) trees JOIN grown USING (tree_id) ORDER BY tree_id
"""


@dataclass(frozen=True)
class Shard:
    """A Parquet file that is written.

    Attributes:
        config: whose rows it holds.
        since: the round from which it belongs to the data set; 0 for what is there from the beginning.
        file: where it lies now.
        rows: how many.
        nbytes: of the rows in memory.
        schema: of the rows.
    """

    config: str
    since: int
    file: Path
    rows: int
    nbytes: int
    schema: pa.Schema


def rounds(run: Run, as_of: int | None) -> list[int]:
    """The rounds that have pairs, oldest first.

    Raises:
        ItoolError: there are none.
    """
    found = query(run.store, f"SELECT DISTINCT round FROM pairs {TRAINED_ON} ORDER BY round", as_of).to_pylist()
    if not found:
        raise ItoolError(f"{run.folder}: no pairs to publish; `itool mine --run {run.folder}` makes them")
    return [row["round"] for row in found]


def write_shards(
    run: Run,
    as_of: int | None,
    found: Sequence[int],
    scores: Sequence[Mapping[str, Any]],
    texts: Texts,
    folder: Path,
    report: Callable[[int, str], None],
) -> list[Shard]:
    """Write all shards of a run.

    Args:
        run: the run.
        as_of: the commit whose state is read; None: the newest.
        found: the rounds, oldest first.
        scores: rows of `SCORES`; `round` is 0 for the base model and the warm-up.
        texts: how prompts and responses are written.
        folder: where to; must be empty.
        report: called with the rows written so far and the config that they are of now.

    Returns:
        The shards, of each config in the order of their rows.
    """
    form_id = form_of(run.config.model)
    written: list[Shard] = []

    def write(config: str, since: int, tables: Iterator[pa.Table] | Sequence[pa.Table]) -> None:
        for table in filter(len, tables):
            file = folder / f"{config}-{since}-{len(written)}.parquet"
            _write(table, file)
            written.append(Shard(config, since, file, table.num_rows, table.nbytes, table.schema))
            report(sum(shard.rows for shard in written), config)

    samples = read_samples(run.store, "split = 'train'")
    by_id = {sample.sample_id: sample for sample in samples}
    for round_ in found:
        steps = query(run.store, PAIRS, as_of, [round_])
        write("pairs", round_, (pairs_table(part, by_id, texts) for part in _parts(steps)))
        ids = pa.array([form_id] * steps.num_rows, pa.string())
        write("steps", round_, _parts(steps_table(steps, texts.name).append_column("form_id", ids)))
        write("trees", round_, _parts(query(run.store, TREES, as_of, [round_])))
    for since in sorted({row["round"] for row in scores}):
        rows = [row for row in scores if row["round"] == since]
        write("scores", since, _parts(pa.Table.from_pylist(rows, schema=SCORES)))
    groups: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[difficulty(sample), sample.source.partition(":")[0]].append(sample)
    for (level, _), own in sorted(groups.items()):
        slices = (own[start : start + SHARD_ROWS] for start in range(0, len(own), SHARD_ROWS))
        write(f"sft_{level}", 0, (sft_table(part, texts) for part in slices))
    return written


def named(shards: Sequence[Shard], round_: int) -> dict[str, Shard]:
    """The shards that belong to the data set after a round, by their paths in the repository."""
    paths = {}
    for config in CONFIGS:
        own = [shard for shard in shards if shard.config == config and shard.since <= round_]
        for i, shard in enumerate(own):
            paths[f"data/{config}/train-{i:05d}-of-{len(own):05d}.parquet"] = shard
    return paths


def is_shard(path: str) -> bool:
    """Whether a path in a repository can only be a shard of ours."""
    return SHARD.fullmatch(path) is not None


def pairs_table(steps: pa.Table, by_id: Mapping[str, Sample], texts: Texts) -> pa.Table:
    """Step pairs in TRL's preference form with an explicit prompt.

    `prompt` is what came before the response as the policy saw it; `chosen` and `rejected` are the response up to and
    including the step. `tools` is JSON text: Arrow would give every function the parameters of all others, and TRL
    reads text.

    Args:
        steps: rows of the table `pairs`.
        by_id: at least the samples that the pairs are of, by their ids.
        texts: how the run's texts are written.
    """
    # What pairs of one sample share is made once.
    encoded = steps["sample_id"].combine_chunks().dictionary_encode()
    samples, at = [by_id[sample_id] for sample_id in encoded.dictionary.to_pylist()], encoded.indices
    kept = ("q_chosen", "q_rejected", "chosen_terminal", "rejected_terminal", "error_class")
    return pa.table(
        {
            **texts.pairs(steps, by_id),
            "tools": pa.array([tools_json(sample) for sample in samples], pa.string()).take(at),
            "source": pa.array([sample.source for sample in samples], pa.string()).take(at),
            **{name: steps[name] for name in ("pair_id", "sample_id", "round", "policy")},
            **{name: steps[name] for name in kept},
            **texts.name.columns(steps.num_rows),
        }
    )


def steps_table(steps: pa.Table, name: FormName) -> pa.Table:
    """The table `pairs` as it is, and in which form its texts and token ids are."""
    for column, values in name.columns(steps.num_rows).items():
        steps = steps.append_column(column, values)
    return steps


def sft_table(samples: Sequence[Sample], texts: Texts) -> pa.Table:
    """Samples in TRL's prompt-completion form, as the warm-up trains on them; those that the form can say."""
    kept, columns = texts.samples(samples)
    return pa.table(
        {
            **columns,
            "tools": pa.array([tools_json(sample) for sample in kept], pa.string()),
            "source": pa.array([sample.source for sample in kept], pa.string()),
            "source_id": pa.array([sample.source_id for sample in kept], pa.string()),
            "sample_id": pa.array([sample.sample_id for sample in kept], pa.string()),
            **texts.name.columns(len(kept)),
        }
    )


def _parts(table: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, table.num_rows, SHARD_ROWS):
        yield table.slice(start, SHARD_ROWS)


def _write(table: pa.Table, file: Path) -> None:
    """Equal rows, equal bytes, as long as the version of pyarrow is the same."""
    try:
        pq.write_table(
            table,
            file,
            compression="zstd",
            row_group_size=ROW_GROUP,
            # Pages are cut by content, so that Xet storage recognises what a changed shard has in common with the old.
            use_content_defined_chunking=True,
            write_page_index=True,
        )
    except OSError as error:
        raise ItoolError(
            f"{file}: cannot write: {error.strerror or error}; TMPDIR says where scratch files go"
        ) from None
