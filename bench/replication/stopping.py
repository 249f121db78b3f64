"""Which pairs of a round push the policy to end a response, and which to go on, and how far their training took it.

python -m bench.replication.stopping RUN                 # RUN has pairs of round 1; no training is done
python -m bench.replication.stopping RUN --trained RUN…  # runs whose round 1 trained on these pairs

What is watched is log P(the last two tokens | prompt, the gold response up to them), over validation samples whose
gold is one call: the closing bracket and the end of turn. A pair's push is how much of it a plain gradient step on the
pair's loss alone gives, for each unit of learning rate and to first order (TracIn, Pruthi et al. 2020): minus the
product of both gradients over the adapter's weights. Left out: AdamW, which scales every weight by its own.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from itool_cli.console import make_console
from itool_data.policy.load import find_model, load_tokenizer
from itool_data.prompt import Prompter
from itool_data.run import Run, open_run
from itool_data.sample import Sample
from itool_data.store.samples import read_samples
from itool_train.collate import pair_batches, step_logprobs
from itool_train.losses import StepLogprobs, hyperparameters, pair_loss
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


def kind(pair: StepPair, end: int) -> str:
    """What the two steps of a pair say about ending, and which of two endings is the later one."""
    ends = (pair.chosen[-1] == end, pair.rejected[-1] == end)
    longer = "chosen" if len(pair.chosen) > len(pair.rejected) else "rejected"
    return KINDS.get(ends) or f"both end it, the {longer} one is longer"


def single_calls(run: Run, limit: int) -> list[Sample]:
    """Validation samples with one gold call, evenly taken from all of them."""
    found = [s for s in read_samples(run.store, "split = 'validation'") if len(s.answers) == 1]
    return found[:: max(1, len(found) // limit)][:limit]


def endings(model: Any, prompter: Prompter, samples: Sequence[Sample]) -> Iterator[Tensor]:
    """The log-probability of each sample's last END tokens, with its graph."""
    for sample in samples:
        response = prompter.response_ids(sample.target)
        end = tuple(response[-END:])
        prompt = (*prompter.prompt_ids(sample), *response[:-END])
        yield _logprobs(model, StepPair("", "", prompt, end, end)).chosen.sum()


def pushes(run: Run, samples: Sequence[Sample], show: Callable[..., Any]) -> list[tuple[StepPair, float]]:
    """All pairs of a run's round, each with its push, in nats for each unit of learning rate."""
    base = find_model(run.config.model)
    prepared = prepare(run, base, ROUND)
    start = prepared.start
    settings = run.config.preference
    assert settings.loss in ("simpo", "orpo"), f"{settings.loss} needs a reference, which is not computed here"
    model = load_trainable(base, start.path if start else None, settings, "cpu", run.config.seed)
    weights = [p for p in model.parameters() if p.requires_grad]
    watched = torch.zeros(sum(p.numel() for p in weights))
    for ending in show(endings(model, Prompter(load_tokenizer(base)), samples), len(samples), "ends"):
        watched += _gradient(ending, weights) / len(samples)
    own = hyperparameters(settings)
    pairs = list({p.pair_id: p for update in [*prepared.updates, prepared.validation] for p in update}.values())
    found = []
    for pair in show(pairs, len(pairs), "pairs"):
        loss = pair_loss(settings, own, _logprobs(model, pair), None).loss.sum()
        found.append((pair, -float(_gradient(loss, weights) @ watched)))
    return found


def mean_ending(run: Run, samples: Sequence[Sample], rounds: int) -> float:
    """Mean log P of the ends under a run's adapter after so many rounds, in nats."""
    base = find_model(run.config.model)
    adapter = run.adapter(base, rounds + 1)
    model = load_trainable(base, adapter.path if adapter else None, run.config.preference, "cpu", run.config.seed)
    with torch.no_grad():
        return float(torch.stack(list(endings(model, Prompter(load_tokenizer(base)), samples))).mean())


def _logprobs(model: Any, pair: StepPair) -> StepLogprobs:
    return step_logprobs(model, pair_batches([pair], len(pair))[0])


def _gradient(value: Tensor, weights: list[torch.nn.Parameter]) -> Tensor:
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(value, weights)])


def show_pushes(console: Console, run: Run, found: list[tuple[StepPair, float]]) -> None:
    """The pushes by kind of pair, and the pairs that push most."""
    prompter = Prompter(load_tokenizer(find_model(run.config.model)))
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="a run folder with pairs of round 1")
    parser.add_argument("--trained", type=Path, nargs="*", default=[], metavar="RUN", help="runs that trained on them")
    parser.add_argument("--samples", type=int, default=24, help="validation samples to watch")
    options = parser.parse_args()
    console, run = make_console(), open_run(options.run)
    samples = single_calls(run, options.samples)
    if options.trained:
        table = Table("run", "mean log P of the end", title=f"{len(samples)} samples with one gold call")
        table.add_row("before", f"{mean_ending(run, samples, 0):.2f}")
        for folder in options.trained:
            table.add_row(folder.name, f"{mean_ending(open_run(folder), samples, ROUND):.2f}")
        console.print(table)
        return
    found = pushes(run, samples, lambda items, n, what: track(items, what, n, console=console))
    show_pushes(console, run, found)


if __name__ == "__main__":
    main()
