"""Estimates beside counts: what a card's plan says, and what that work takes when it is counted.

Left out: how they are printed (`__main__.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.memory.work import config_of, count_judge, count_policy, count_training, pairs_loss, trainable, tree
from itool_data.config import Config
from itool_data.policy.limits import usual
from itool_data.sizing.device import Device
from itool_data.sizing.need import GIB, adapter, reading, scoring, token, training, weights
from itool_data.sizing.policy import USUAL, at_once, judging, within
from itool_data.sizing.shape import shape_of

CARDS = tuple(Device(f"{gib} GiB", gib * GIB) for gib in (24, 40, 80))
PROMPT, ANSWER, DRAWS = 1500, 512, 3  # tokens of a prompt and of a draw, draws of a prompt: the paper's search
TOKENS, PAIRS, STEP = 2048, 8, 16  # of a training's pass, pairs in it, tokens of a step
RANK = Config().warmup.rank


@dataclass(frozen=True)
class Compared:
    """An estimate and its count, in bytes.

    Attributes:
        what: of the work.
        does: how much of it.
        estimate: what sizing says.
        count: what there was.
    """

    what: str
    does: str
    estimate: float
    count: float

    @property
    def ratio(self) -> float:
        """Estimate / count."""
        return self.estimate / self.count


def generating(name: str, device: Device) -> Iterator[Compared]:
    """The transformers policy on a card, as full as the card lets it be; nothing where it does not fit."""
    config = config_of(name)
    shape = shape_of(config)
    own = weights(shape)
    if own.total > device.usable:
        return
    limits = within(usual("cuda"), shape, device.usable - own.total)
    prompts, rows = at_once(limits, PROMPT, ANSWER, DRAWS)
    held = (prompts * PROMPT + rows * ANSWER) * token(shape)
    read = max(1, limits.read // PROMPT)
    scored = max(1, limits.score // PROMPT)
    passes = {
        "reading": reading(shape, read * PROMPT),
        "scoring": scoring(shape, scored, PROMPT, PROMPT // 8),
    }
    count = count_policy(config, limits, prompts, PROMPT, rows, ANSWER)
    yield Compared("weights", "", own.total, count["weights"])
    does = {"reading": f"{read} prompts", "scoring": f"{scored} sequences"}
    for what, need in passes.items():
        whole = count["weights"] + count["keys_values"] + count[what]
        yield Compared(
            what, f"{rows} draws after {prompts} prompts, {does[what]}", own.total + held + need.total, whole
        )
        yield Compared(f"{what}, the pass alone", does[what], need.total, count[what])


def judged(name: str) -> Iterator[Compared]:
    """Another model that judges, wherever it is."""
    config = config_of(name)
    yield Compared("judging", "1 prompt", judging(shape_of(config)).total, count_judge(config, USUAL))


def trained(name: str, what: str) -> Iterator[Compared]:
    """A training of a model: in bf16, in `NF4`, or in bf16 with `all kept`, no activation computed again."""
    config = config_of(name)
    shape = shape_of(config)
    nf4, kept = what == "NF4", what == "all kept"
    model = trainable(config, RANK, nf4, not kept)
    batch = tree(TOKENS - 2 * STEP * PAIRS, PAIRS, STEP)
    need = training(shape, batch.input_ids.numel(), len(batch.keep), checkpointing=not kept)
    count = count_training(model, pairs_loss(model, batch))
    held = weights(shape, nf4=nf4) + adapter(shape, RANK)
    does = f"{TOKENS} tokens"
    yield Compared(f"training, {what}", does, (held + need).total, sum(count.values()))
    yield Compared(f"training, {what}, the pass alone", does, need.total, count["pass"])
    for part in ("weights", "gradients", "optimiser"):
        yield Compared(f"training, {what}, {part}", "", getattr(held, part), count[part])
