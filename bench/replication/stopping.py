"""Which pairs of a round push the policy to end a response, and which to go on, and how far their training took it.

python -m bench.replication.stopping RUN                 # RUN has pairs of round 1; no training is done
python -m bench.replication.stopping RUN --trained RUN…  # runs whose round 1 trained on these pairs

What is watched is log P(the last two tokens | prompt, the gold response up to them), over validation samples whose
gold is one call: the closing bracket and the end of turn. A pair's push is how much of it a plain gradient step on the
pair's loss alone gives, for each unit of learning rate and to first order (TracIn, Pruthi et al. 2020): minus the
product of both gradients over the adapter's weights. Left out: AdamW, which scales every weight by its own.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from itool_cli.console import make_console
from itool_data.config import PreferenceSettings
from itool_data.policy.load import Adapter, BaseModel, find_model, load_tokenizer
from itool_data.prompt import Prompter
from itool_data.run import Run, open_run, write_run
from itool_data.sample import Sample
from itool_data.store.samples import read_samples
from itool_train.collate import pair_batches, step_logprobs
from itool_train.losses import WITH_REFERENCE, StepLogprobs, hyperparameters, pair_loss
from itool_train.preference import prepare
from itool_train.qlora import load_trainable
from itool_train.step_pairs import StepPair

ROUND = 1
END = 2  # tokens: the one that closes the list of calls, and the end of turn
KINDS = {
    (False, True): "the rejected step ends the response, the chosen one goes on",
    (True, False): "the chosen step ends it, the rejected one goes on",
    (False, False): "both go on",
}

Show = Callable[[Sequence[StepPair]], Iterable[StepPair]]


def kind(pair: StepPair, end: int) -> str:
    """What the two steps of a pair say about ending, and which of two endings is the later one."""
    ends = (pair.chosen[-1] == end, pair.rejected[-1] == end)
    later = "chosen one is longer" if len(pair.chosen) > len(pair.rejected) else "rejected one is as long or longer"
    return KINDS.get(ends) or f"both end it, the {later}"


def single_calls(run: Run, limit: int) -> list[Sample]:
    """Validation samples with one gold call, evenly taken from all of them."""
    found = [s for s in read_samples(run.store, "split = 'validation'") if len(s.answers) == 1]
    return found[:: max(1, len(found) // limit)][:limit]


def endings(prompter: Prompter, samples: Sequence[Sample]) -> list[StepPair]:
    """The end of each sample's gold response, after all that comes before it; as both steps of a pair."""
    found = []
    for sample in samples:
        response = prompter.response_ids(sample.target)
        end = tuple(response[-END:])
        prompt = (*prompter.prompt_ids(sample), *response[:-END])
        found.append(StepPair(sample.sample_id, sample.sample_id, prompt, end, end))
    return found


def pushes(
    model: Any, settings: PreferenceSettings, pairs: Sequence[StepPair], ends: Sequence[StepPair], show: Show
) -> list[float]:
    """The push of each pair, in nats for each unit of learning rate.

    Args:
        model: with a trainable adapter.
        settings: of the loss, one without a reference.
        pairs: of a round.
        ends: from `endings`; the mean of their log-probabilities is watched.
        show: shows progress over an iterable.
    """
    assert settings.loss not in WITH_REFERENCE, f"{settings.loss}: no reference is computed here"
    weights = [p for p in model.parameters() if p.requires_grad]
    watched = torch.zeros(sum(p.numel() for p in weights))
    for end in show(ends):
        watched += _gradient(_logprobs(model, end).chosen.sum(), weights) / len(ends)
    own = hyperparameters(settings)
    losses = (pair_loss(settings, own, _logprobs(model, pair), None).loss.sum() for pair in show(pairs))
    return [-float(_gradient(loss, weights) @ watched) for loss in losses]


def mean_ending(run: Run, rounds: int, ends: Sequence[StepPair]) -> float:
    """Mean log-probability of the ends under a run's adapter after so many rounds, in nats."""
    base = find_model(run.config.model)
    model = _load(run, base, run.adapter(base, rounds + 1))
    with torch.no_grad():
        return float(torch.cat([_logprobs(model, end).chosen for end in ends]).mean())


def _load(run: Run, base: BaseModel, adapter: Adapter | None) -> Any:
    return load_trainable(base, adapter.path if adapter else None, run.config.preference, "cpu", run.config.seed)


def _logprobs(model: Any, pair: StepPair) -> StepLogprobs:
    return step_logprobs(model, pair_batches([pair], len(pair))[0])


def _gradient(value: Tensor, weights: list[torch.nn.Parameter]) -> Tensor:
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(value, weights)])


def show_pushes(console: Console, prompter: Prompter, found: list[tuple[StepPair, float]]) -> None:
    """The pushes by kind of pair, and the pairs that push most."""
    end = prompter.response_ids("")[-1]
    by_kind = Table("pairs", "number", "push to go on", "push to end", "all", title="Mean push over all pairs")
    for name in sorted({kind(pair, end) for pair, _ in found}):
        own = [push for pair, push in found if kind(pair, end) == name]
        sums = (sum(p for p in own if p < 0), sum(p for p in own if p > 0), sum(own))
        by_kind.add_row(name, str(len(own)), *(f"{s / len(found):+.2f}" for s in sums))
    console.print(by_kind)
    strongest = Table("push", "chosen", "rejected", title="The pairs that push most")
    for pair, push in sorted(found, key=lambda p: -abs(p[1]))[:20]:
        strongest.add_row(f"{push:+.1f}", prompter.decode(pair.chosen), prompter.decode(pair.rejected))
    console.print(strongest)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.replication.stopping", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("run", type=Path, help="a run folder with pairs of round 1")
    parser.add_argument("--trained", type=Path, nargs="*", default=[], metavar="RUN", help="runs that trained on them")
    parser.add_argument("--samples", type=int, default=24, help="validation samples to watch")
    options = parser.parse_args()
    console, run = make_console(), open_run(options.run)
    base = find_model(run.config.model)
    prompter = Prompter(load_tokenizer(base))
    ends = endings(prompter, single_calls(run, options.samples))
    if options.trained:
        table = Table("run", "mean log P of the end", title=f"{len(ends)} samples with one gold call")
        table.add_row("before", f"{mean_ending(run, 0, ends):.2f}")
        for folder in options.trained:
            table.add_row(folder.name, f"{mean_ending(open_run(folder), ROUND, ends):.2f}")
        console.print(table)
        return
    with write_run(options.run, None, []) as writable:  # pairs that are too long go to its rejects
        prepared = prepare(writable, base, ROUND)
    pairs = {p.pair_id: p for update in [*prepared.updates, prepared.validation] for p in update}
    model = _load(run, base, prepared.start)
    found = pushes(model, run.config.preference, list(pairs.values()), ends, partial(track, console=console))
    show_pushes(console, prompter, list(zip(pairs.values(), found, strict=True)))


if __name__ == "__main__":
    main()
