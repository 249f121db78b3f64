"""What each stage of a run needs of a device's memory, and which settings would make it fit where it does not.

Left out: how it is shown (`itool_cli.memory_table`), and stages on a server, whose memory is not ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from itool_data.config import Config, ModelSettings, TrainingSettings
from itool_data.errors import ItoolError
from itool_data.policy.limits import usual
from itool_data.policy.load import BaseModel, choose_device, find_model
from itool_data.policy.open import choose_engine, other_judge
from itool_data.sizing.device import Device, this_device
from itool_data.sizing.engine import engine
from itool_data.sizing.need import BF16, FP32, GIB, Need, adapter, token, training, weights
from itool_data.sizing.policy import SHORT, at_once, judging, largest_pass, least, leaving, within
from itool_data.sizing.shape import Shape, read_shape

PROMPT = 2048  # tokens of the longest prompt, where it is not known yet
SHORTEST = 256  # tokens, below which no setting is halved


@dataclass(frozen=True)
class Stage:
    """A stage's need.

    Attributes:
        name: of the stage.
        need: what it takes, or without room for more the least that it can do with.
        least: bytes that it cannot do without.
        does: what is done at once.
        key: the setting that makes it smaller.
        value: its value.
    """

    name: str
    need: Need
    least: float
    does: str
    key: str
    value: int

    def fits(self, device: Device) -> bool:
        """Whether the device has the memory for it."""
        return self.least <= device.usable


def stages(
    config: Config, shape: Shape, device: Device, prompt: int = PROMPT, judge: Shape | None = None
) -> list[Stage]:
    """The needs of a run's stages, in their order.

    Args:
        config: the run's settings.
        shape: of its model.
        device: where it runs.
        prompt: tokens of the longest prompt.
        judge: the shape of another model that judges there (`judge_shape`).
    """
    found = [warmup(config, shape, device)] if config.loop.warmup else []
    if config.model.policy == "openai":
        return [*found, *([preference(config, shape, device)] if config.loop.rounds else [])]
    if config.loop.rounds:
        found += [search(config, shape, device, prompt, judge), preference(config, shape, device)]
    return [*found, evaluation(config, shape, device, prompt)]


def search(config: Config, shape: Shape, device: Device, prompt: int = PROMPT, judge: Shape | None = None) -> Stage:
    """Perplexity and search: the same policy, and beside it whoever else judges."""
    walks = config.loop.search == "walk"
    key, answer = ("walk.max_step_tokens", config.walk.max_step_tokens)
    if not walks:
        key, answer = ("mcts.max_tokens", config.mcts.max_tokens)
    draws = config.walk.width if walks else config.mcts.width
    return _generating("perplexity, search", config.model, shape, device, prompt, key, answer, draws, judge)


def evaluation(config: Config, shape: Shape, device: Device, prompt: int = PROMPT) -> Stage:
    """Answers to benchmarks, as long as they may be."""
    return _generating("evaluation", config.model, shape, device, prompt, "eval.max_tokens", config.eval.max_tokens, 1)


def _generating(
    name: str,
    model: ModelSettings,
    shape: Shape,
    device: Device,
    prompt: int,
    key: str,
    answer: int,
    draws: int,
    judge: Shape | None = None,
) -> Stage:
    answer = min(answer, shape.context)
    size = BF16 if device.cuda else FP32
    own = weights(shape, size)
    other = Need() if judge is None else judging(judge, size)
    if device.cuda and choose_engine(model)[0] == "vllm":
        return _engine(name, model, own, other, shape, device, prompt, key, answer)
    barely = own + other + least(shape, prompt, answer, size)
    limits = usual("cuda" if device.cuda else "cpu", model.rows)
    if device.cuda:
        limits = leaving(within(limits, shape, device.usable - own.total), shape, other.total)
    prompts, rows = at_once(limits, prompt, answer, draws)
    held = Need(keys_values=(prompts * prompt + rows * answer) * token(shape, size))
    full = own + other + held + largest_pass(shape, limits, size)
    fits = barely.total <= device.usable
    does = f"{rows} draws of {answer} tokens after {prompts} prompts of {prompt}"
    if not fits:
        does = f"one draw of {answer} after {prompt}"
    return Stage(name, full if fits else barely, barely.total, does + _beside(other), key, answer)


def _beside(judge: Need) -> str:
    return ", beside the judge" if judge.total else ""


def _engine(
    name: str,
    model: ModelSettings,
    own: Need,
    other: Need,
    shape: Shape,
    device: Device,
    prompt: int,
    key: str,
    answer: int,
) -> Stage:
    """The figures are those of one of its GPUs, on which a judge has what the engine's share leaves."""
    sized = engine(model, own.weights, shape, device)
    beside = sized.taken + other.total if other.total else 0.0
    return Stage(
        name,
        sized.own + other + Need(keys_values=max(0.0, sized.room)),
        max(sized.least(prompt + answer), beside),
        f"vLLM: {sized.tokens:,} tokens{_beside(other)}",
        key,
        answer,
    )


def warmup(config: Config, shape: Shape, device: Device) -> Stage:
    """The warm-up."""
    return _training("warm-up", "warmup", config.warmup, shape, device)


def preference(config: Config, shape: Shape, device: Device) -> Stage:
    """The preference training."""
    return _training("preference", "preference", config.preference, shape, device)


def _training(name: str, section: str, wanted: TrainingSettings, shape: Shape, device: Device) -> Stage:
    """A training with an adapter over the base model, in NF4 if the settings say so."""
    longest, tokens = min(wanted.max_tokens, shape.context), micro_tokens(wanted, shape, device)
    full, least = _pass(wanted, shape, device, tokens), _pass(wanted, shape, device, longest)
    does = f"{tokens} tokens a pass, {_scored(tokens)} of them with logits"
    return Stage(name, full, least.total, does, f"{section}.max_tokens", longest)


def _scored(tokens: int) -> int:
    """Tokens of a pass whose logits are computed: those of steps or responses, mostly a small part."""
    return tokens // 8


def _pass(wanted: TrainingSettings, shape: Shape, device: Device, tokens: int) -> Need:
    """All that is there in a pass over so many tokens."""
    size = {"bf16": BF16, "fp32": FP32}.get(wanted.dtype, BF16 if device.cuda else FP32)
    checkpointing = device.cuda if wanted.gradient_checkpointing is None else wanted.gradient_checkpointing
    own = weights(shape, size, wanted.quantization == "nf4") + adapter(shape, wanted.rank)
    return own + training(shape, tokens, _scored(tokens), checkpointing, size)


def micro_tokens(wanted: TrainingSettings, shape: Shape, device: Device) -> int:
    """The most tokens a pass, as many as the settings say at most, that a GPU's memory allows."""
    tokens = wanted.micro_tokens
    while device.cuda and tokens > SHORTEST and _pass(wanted, shape, device, tokens).total > device.usable:
        tokens //= 2
    return tokens


Training = TypeVar("Training", bound=TrainingSettings)


def fitting(
    section: Literal["warmup", "preference"], wanted: Training, base: BaseModel, kind: str, longest: int
) -> Training:
    """A training's settings with as many tokens a pass as a GPU has memory for.

    Args:
        section: of the settings.
        wanted: the training's settings.
        base: the model.
        kind: `cuda`; on a `cpu`, and for a model that is spread over several GPUs, nothing is changed or refused.
        longest: tokens of the longest sample.

    Raises:
        ItoolError: if not even that one fits.
    """
    if kind == "cpu" or wanted.spread:
        return wanted
    shape, device = read_shape(base.path), this_device(kind)
    needed = wanted.model_copy(update={"max_tokens": min(wanted.max_tokens, longest)})
    config = Config().model_copy(update={section: needed, "model": ModelSettings(name=base.name)})
    check(warmup if section == "warmup" else preference, config, shape, device)
    return wanted.model_copy(update={"micro_tokens": micro_tokens(wanted, shape, device)})


def model_shape(model: ModelSettings, setting: str = "model.name") -> Shape:
    """The shape of the model that the settings name; of one on the Hub the config alone is fetched.

    Args:
        model: the settings.
        setting: that has its name.

    Raises:
        ItoolError: if there is no such model.
    """
    if model.name == "embedded" or Path(model.name).expanduser().is_dir():
        return read_shape(find_model(model).path)
    try:
        return read_shape(model.name, model.revision)
    except OSError as error:
        raise ItoolError(
            f"{setting}: no config of {model.name!r} here or on the Hub ({type(error).__name__}); use `embedded`, a "
            "folder, or a name such as meta-llama/Llama-3.1-8B-Instruct"
        ) from None


def judge_shape(config: Config) -> Shape | None:
    """The shape of another model that judges on the policy's device; None if there is none.

    Raises:
        ItoolError: if there is no such model.
    """
    model = other_judge(config, config.loop.search)
    return None if model is None or model.policy == "openai" else model_shape(model, "reward.judge")


def check_judge(config: Config) -> None:
    """Refuse a search if another model judges and does not fit this device beside the policy and a short prompt.

    Raises:
        ItoolError: naming both, need and memory.
    """
    judge = judge_shape(config)
    if judge is None:
        return
    device = this_device(choose_device(config.model))
    stage = search(config, model_shape(config.model), device, SHORT, judge)
    if not stage.fits(device):
        raise ItoolError(
            f"{stage.name}: {config.model.name} and {config.reward.judge}, which judges, need "
            f"{stage.least / GIB:.1f} GiB at least, {device.name} has {device.usable / GIB:.1f} to give; set "
            "reward.judge to policy or to a smaller model, or take a device with more memory"
        )


Sizing = Callable[[Config, Shape, Device], Stage]


def check(sizing: Sizing, config: Config, shape: Shape, device: Device) -> None:
    """Refuse a stage that does not fit.

    Args:
        sizing: `search`, `evaluation`, `warmup` or `preference`.
        config: the run's settings.
        shape: of its model.
        device: where it would run.

    Raises:
        ItoolError: naming need, memory, and what would fit.
    """
    stage = sizing(config, shape, device)
    if stage.fits(device):
        return
    section, _, key = stage.key.partition(".")
    way_out = "take a smaller model, or a device with more memory"
    value = stage.value // 2
    while value >= SHORTEST:
        smaller = getattr(config, section).model_copy(update={key: value})
        if sizing(config.model_copy(update={section: smaller}), shape, device).fits(device):
            way_out = f"set {stage.key} to {value}"
            break
        value //= 2
    if getattr(getattr(config, section), "quantization", "") == "none":
        smaller = getattr(config, section).model_copy(update={"quantization": "nf4"})
        if sizing(config.model_copy(update={section: smaller}), shape, device).fits(device):
            way_out = f"set {section}.quantization to nf4"
    raise ItoolError(
        f"{stage.name}: {config.model.name} needs {stage.least / GIB:.1f} GiB at least ({stage.key} {stage.value}), "
        f"{device.name} has {device.usable / GIB:.1f} to give; {way_out}"
    )
