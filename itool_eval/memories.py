"""The memories that v4's questions begin with, filled before these are asked (docs/bfcl.md §8.1).

A memory's conversations come one after another, so they are asked in rounds: the next one of every memory that is
wanted. Their results are committed to `predictions` like answers, so a memory is what the stored ones leave, after a
kill too. Left out: holding the conversations (`predict.py`), and what they leave (`bfcl/memory.py`).
"""

from collections.abc import Callable, Sequence

from itool_data.run import Run
from itool_data.store.sql import query
from itool_eval.benchmark import Benchmark
from itool_eval.benchmarks import open_benchmark
from itool_eval.bfcl.memory import chain_of
from itool_eval.conversation import Result
from itool_eval.predict import Asked
from itool_eval.predictions import SETS_UP, read_result


def fill(
    run: Run,
    policy: str,
    benchmark: Benchmark,
    asked: Sequence[Asked],
    ask: Callable[[Benchmark, Sequence[Asked]], object],
) -> tuple[Benchmark, list[Asked]]:
    """Fill the memories that items ask about.

    Args:
        run: open for writing.
        policy: who answers.
        benchmark: whose items.
        asked: the items.
        ask: asks items of a benchmark and commits the answers.

    Returns:
        The benchmark with the memories, and the items that can be asked: those are left out whose memory could not be
        filled, because one of its conversations was set aside.
    """
    chains = {one: chain_of(one.category, one.id) for one in asked}
    wanted = [chain for chain in dict.fromkeys(chains.values()) if chain]
    if benchmark.memory is None or not wanted:
        return benchmark, list(asked)
    tried: set[str] = set()
    while True:
        results = _results(run, policy, benchmark)
        filled = {chain: benchmark.memory.filled(chain, results) for chain in wanted}
        memories = {chain: memory for chain, (memory, _) in filled.items()}
        benchmark = open_benchmark(benchmark.source, run.config.model.tools, memories=memories)
        assert benchmark.memory
        unfilled = {chain: item for chain, (_, item) in filled.items() if item}
        waiting = {item.id: item.category for item in unfilled.values() if item.id not in tried}
        if not waiting:
            return benchmark, [one for one, chain in chains.items() if chain not in unfilled]
        tried.update(waiting)
        questions = (q for category in dict.fromkeys(waiting.values()) for q in benchmark.questions(category))
        ask(benchmark, [Asked(q.category, q.id, q.position) for q in questions if q.id in waiting])


def _results(run: Run, policy: str, benchmark: Benchmark) -> dict[str, Result]:
    """Of the conversations that were held, by their ids."""
    sql = "SELECT benchmark, category, item, output FROM predictions WHERE benchmark = ? AND policy = ? AND " + SETS_UP
    rows = query(run.store, sql, None, [benchmark.name, policy]).to_pylist()
    return {row["item"]: read_result(row) for row in rows}
