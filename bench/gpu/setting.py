"""What the steps of `bench.gpu` share: the sizes for a GPU and for a CPU, the run that they work in, timing, memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from itool_data.policy.base import derive_seed
from itool_data.policy.load import Adapter, BaseModel, choose_device, find_model
from itool_data.policy.open import open_prompter
from itool_data.prompt import Prompter, Tokenised, tokenise
from itool_data.run import Run
from itool_data.sizing.device import Device, this_device
from itool_data.sizing.need import GIB, Need
from itool_data.sizing.shape import Shape, read_shape
from itool_data.store.samples import read_samples

Figures = dict[str, float | str | None]


@dataclass(frozen=True)
class Sizes:
    """How much each step does.

    Attributes:
        answers: samples that are answered greedily, and whose right responses are scored.
        tokens: of an answer at most.
        walked: samples whose walks give the pairs to train on.
        pairs: of these at most.
        compared: of these, the ones whose losses and gradients are compared.
        searched: samples that searches may take.
        seconds: of each search.
        rows: draws at once.
        minute: samples, and items, of the comparison for each minute that is left.
        warmup: settings of the warm-up before everything, beside those of the laptop's config.
    """

    answers: int
    tokens: int
    walked: int
    pairs: int
    compared: int
    searched: int
    seconds: float
    rows: tuple[int, ...]
    minute: tuple[float, float]
    warmup: tuple[str, ...]


GPU = Sizes(32, 64, 24, 160, 24, 400, 6.0, (16, 64, 256), (300, 120), ())
CPU = Sizes(2, 8, 2, 6, 3, 4, 3.0, (4,), (2, 1), ("warmup.samples=4", "warmup.batch=2"))


@dataclass(frozen=True)
class Setting:
    """A warmed-up run, and what is measured in it.

    Attributes:
        run: open for writing.
        sizes: how much.
        seconds: that the step may take.
    """

    run: Run
    sizes: Sizes
    seconds: float

    @property
    def device(self) -> str:
        """`cpu` or `cuda`."""
        return choose_device(self.run.config.model)

    @property
    def base(self) -> BaseModel:
        """The run's base model."""
        return find_model(self.run.config.model)

    @property
    def adapter(self) -> Adapter:
        """The warm-up's."""
        found = self.run.adapter(self.base, 1)
        assert found is not None
        return found

    @property
    def shape(self) -> Shape:
        """The base model's, which estimates of memory are made from."""
        return read_shape(self.base.path)

    @property
    def memory(self) -> Device:
        """What estimates are made for."""
        return this_device(self.device)

    @property
    def prompter(self) -> Prompter:
        """The run's."""
        return open_prompter(self.run.config.model, self.base)

    def samples(self, n: int) -> list[Tokenised]:
        """The first n training samples, in an order of their own."""
        ordered = sorted(
            read_samples(self.run.store, "split = 'train'"), key=lambda s: derive_seed("bench", s.sample_id)
        )
        return tokenise(self.prompter, ordered[:n])[0]


def timed(device: str, work: Callable[[], object]) -> tuple[float, float | None]:
    """Seconds of some work, and the GiB that the device held at most meanwhile; None on a CPU."""
    if device == "cpu":
        started = time.monotonic()
        work()
        return time.monotonic() - started, None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    started = time.monotonic()
    work()
    torch.cuda.synchronize()
    return time.monotonic() - started, torch.cuda.max_memory_allocated() / GIB


def beside_estimate(held: float | None, need: Need) -> Figures:
    """What a device held at most (None: not measured), what was estimated, both in GiB, and estimate / held."""
    estimated = need.total / GIB
    return {"gib": held, "gib_estimated": estimated, "gib_ratio": None if held is None else estimated / held}
