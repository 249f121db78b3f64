"""What mining says that it will cost, against what it costs: the judge's tokens too."""

import math
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pytest
import scripted_mine
from rich.console import Console
from toys import PROMPTER

from itool_cli.mine import mine_round
from itool_data.run import Run, write_run
from itool_data.sample import Sample
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
