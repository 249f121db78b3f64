"""What mining says that it will cost, against what it costs: the judge's tokens too."""

import math
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pytest
import scripted_mine
from rich.console import Console
from toys import PROMPTER

from bench.toy_loop import tiny_model
from itool_cli.mine import mine_round
from itool_data.config_file import load_config
from itool_data.errors import ItoolError
from itool_data.run import Run, write_run
from itool_data.sample import Sample
from itool_data.sizing import stages
from itool_data.sizing.device import Device
from itool_data.sizing.policy import judging
from itool_data.sizing.shape import read_shape
from itool_data.store.samples import sample_row
from itool_data.store.sql import query
from itool_data.workers.pool import Desk, LocalPool


class Judging(scripted_mine.Slow):
    """Thinks all four options of a self-evaluation as likely."""

    def score(self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> list[list[float]]:
        if any(tuple(prompt) in self._table for prompt in prompts):
            return super().score(prompts, continuations)
        self.usage.scored += sum(map(len, prompts))
        return [[math.log(0.25)] * len(continuation) for continuation in continuations]


def said(run: Run, plan: bool) -> str:
    console = Console(width=200, record=True, file=StringIO())
    pool = LocalPool(Desk(scripted_mine.policy(Judging), PROMPTER))
    mine_round(console, run, pool, PROMPTER, 1, "mcts", plan=plan)
    return console.export_text()


def test_a_judge_that_does_not_fit_beside_the_policy_stops_mining_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_model(tmp_path / "model")
    monkeypatch.setattr(stages, "this_device", lambda kind: Device("a small card", 1 << 16, cuda=False))
    settings = [*scripted_mine.COMMON, f"model.name={folder}", f"reward.judge={folder}", "reward.weight=1"]
    with write_run(tmp_path / "run", None, settings) as run:
        run.store.commit("import", {"samples": [sample_row(scripted_mine.sample(0))]}, source="toy.jsonl")
        with pytest.raises(ItoolError, match=r"a small card has 0.0 to give; set reward\.judge to policy"):
            said(run, plan=False)
        assert [commit.operation for commit in run.store.log()] == ["import"]
        assert "beside the judge" in said(run, plan=True)


class Leaving(Judging):
    """Keeps what it has to leave to another model."""

    left = 0.0

    def leave(self, memory: float) -> None:
        self.left += memory


def test_the_policy_leaves_room_for_another_model_that_judges_and_for_that_alone(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    config = load_config(None, [f"reward.judge={folder}", "model.device=cpu", "model.format=own"])
    policy = scripted_mine.policy(Leaving)
    desk = Desk(policy, PROMPTER)
    assert desk.judge(config, "walk") is None and policy.left == 0
    judge = desk.judge(config, "mcts")
    assert judge is not None and judge is desk.judge(config, "mcts")
    assert policy.left == judging(read_shape(folder)).total  # once
    assert judge.usage is not policy.usage
    own = load_config(None, [])
    assert Desk(policy, PROMPTER).judge(own, "mcts") is not None
    assert policy.left == judging(read_shape(folder)).total


@pytest.mark.parametrize("weight", [0, 1])
def test_a_plan_counts_the_judges_tokens(tmp_path: Path, weight: int) -> None:
    with write_run(tmp_path, None, [*scripted_mine.COMMON, f"reward.weight={weight}"]) as run:
        samples: list[Sample] = [scripted_mine.sample(i) for i in range(scripted_mine.SAMPLES)]
        run.store.commit("import", {"samples": [sample_row(sample) for sample in samples]}, source="toy.jsonl")
        planned, mined = said(run, plan=True), said(run, plan=False)
        assert ("for self-evaluation" in planned) == bool(weight) == ("tokens judged" in mined)
        info = run.store.log()[-1].info
        judged = query(run.store, "SELECT sum(tokens_judged)::BIGINT AS n FROM trees").to_pylist()[0]["n"]
        assert info["fact"]["judge_tokens"] == judged
        if weight:
            assert judged > 10_000 and info["plan"]["judge_tokens"] == pytest.approx(judged, rel=0.4)
            assert info["plan"]["seconds"] > info["plan"]["judge_tokens"] / info["rates"]["prefill"]
