"""What each stage of a run needs of a device's memory, and which settings would make it fit where it does not.

Left out: how it is shown (`itool_cli.memory_table`), and stages on a server, whose memory is not ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from itool_data.config import Config, ModelSettings
from itool_data.errors import ItoolError
from itool_data.policy.limits import usual
from itool_data.policy.load import find_model
from itool_data.sizing.device import Device
from itool_data.sizing.need import BF16, FP32, GIB, Need, adapter, token, training, weights
from itool_data.sizing.policy import at_once, largest_pass, least, within
from itool_data.sizing.shape import Shape, read_shape

PROMPT = 2048  # tokens of the longest prompt, where it is not known yet
VLLM_SHARE = 0.92  # of a GPU, that vLLM takes by default
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


def stages(config: Config, shape: Shape, device: Device, prompt: int = PROMPT) -> list[Stage]:
    """The needs of a run's stages, in their order.

    Args:
        config: the run's settings.
        shape: of its model.
        device: where it runs.
        prompt: tokens of the longest prompt.
    """
    found = [warmup(config, shape, device)] if config.loop.warmup else []
    if config.model.policy == "openai":
        return [*found, *([preference(config, shape, device)] if config.loop.rounds else [])]
    if config.loop.rounds:
        found += [search(config, shape, device, prompt), preference(config, shape, device)]
    return [*found, evaluation(config, shape, device, prompt)]


def search(config: Config, shape: Shape, device: Device, prompt: int = PROMPT) -> Stage:
    """Perplexity and search: the same policy."""
    walks = config.loop.search == "walk"
    key, answer = ("walk.max_step_tokens", config.walk.max_step_tokens)
    if not walks:
        key, answer = ("mcts.max_tokens", config.mcts.max_tokens)
    draws = config.walk.width if walks else config.mcts.width
    return _generating("perplexity, search", config.model, shape, device, prompt, key, answer, draws)


def evaluation(config: Config, shape: Shape, device: Device, prompt: int = PROMPT) -> Stage:
    """Answers to benchmarks, as long as they may be."""
    return _generating("evaluation", config.model, shape, device, prompt, "eval.max_tokens", config.eval.max_tokens, 1)


def _generating(
    name: str, model: ModelSettings, shape: Shape, device: Device, prompt: int, key: str, answer: int, draws: int
) -> Stage:
    answer = min(answer, shape.context)
    size = BF16 if device.cuda else FP32
    own = weights(shape, size)
    if model.policy == "vllm" and device.cuda:
        return _engine(name, own, shape, device, prompt, key, answer)
    barely = own + least(shape, prompt, answer, size)
    limits = usual("cuda" if device.cuda else "cpu", model.rows)
    if device.cuda:
        limits = within(limits, shape, device.usable - own.total)
    prompts, rows = at_once(limits, prompt, answer, draws)
    held = Need(keys_values=(prompts * prompt + rows * answer) * token(shape, size))
    full = own + held + largest_pass(shape, limits, size)
    fits = barely.total <= device.usable
    does = f"{rows} draws of {answer} tokens after {prompts} prompts of {prompt}"
    return Stage(
        name,
        full if fits else barely,
        barely.total,
        does if fits else f"one draw of {answer} after {prompt}",
        key,
        answer,
    )


def _engine(name: str, own: Need, shape: Shape, device: Device, prompt: int, key: str, answer: int) -> Stage:
    """VLLM takes its share of a GPU whatever is asked of it; what is not weights it fills with keys and values."""
    room = VLLM_SHARE * device.total - own.total
    barely = own.total + (prompt + answer) * token(shape)
    tokens = int(room / token(shape))
    return Stage(
        name,
        own + Need(keys_values=max(0.0, room)),
        barely / VLLM_SHARE,
        f"vLLM: {max(0, tokens):,} tokens",
        key,
        answer,
    )


def warmup(config: Config, shape: Shape, device: Device) -> Stage:
    """SFT with an adapter over the base model in its own precision."""
    wanted = config.warmup
    tokens = min(wanted.max_tokens, shape.context)
    rows = sft_rows(config, shape, device)
    size = BF16 if device.cuda else FP32
    own = weights(shape, size) + adapter(shape, wanted.rank)

    def pass_of(rows: int) -> Need:
        return own + training(shape, rows * tokens, 0, checkpointing=device.cuda, autocast=device.cuda, size=size)

    does = f"{rows} of {tokens} tokens a pass"
    return Stage("warm-up", pass_of(rows), pass_of(1).total, does, "warmup.max_tokens", tokens)


def sft_rows(config: Config, shape: Shape, device: Device) -> int:
    """The most samples a pass, `warmup.micro_batch` at most, that the memory allows; they divide an update."""
    wanted = config.warmup
    tokens = min(wanted.max_tokens, shape.context)
    rows = min(wanted.micro_batch, wanted.batch)
    if not device.cuda:
        return rows
    own = weights(shape) + adapter(shape, wanted.rank)
    fitting = [
        n
        for n in range(rows, 1, -1)
        if wanted.batch % n == 0 and (own + training(shape, n * tokens, 0)).total <= device.usable
    ]
    return fitting[0] if fitting else 1


def preference(config: Config, shape: Shape, device: Device) -> Stage:
    """Pairs, or right steps, with an adapter over the base model, in NF4 if the settings say so."""
    wanted = config.preference
    longest = min(wanted.max_tokens, shape.context)
    tokens = pair_tokens(config, shape, device)
    size = BF16 if (device.cuda and wanted.dtype != "fp32") or wanted.dtype == "bf16" else FP32
    own = weights(shape, size, wanted.quantization == "nf4") + adapter(shape, wanted.rank)

    def pass_of(tokens: int) -> Need:
        return own + pairs_pass(shape, tokens, device, size)

    does = f"{tokens} tokens a pass, {pair_scored(tokens)} of them with logits"
    return Stage("preference", pass_of(tokens), pass_of(longest).total, does, "preference.max_tokens", longest)


def pair_tokens(config: Config, shape: Shape, device: Device) -> int:
    """The most tokens a pass, `preference.micro_tokens` at most, that the memory allows."""
    wanted = config.preference
    tokens = wanted.micro_tokens
    if not device.cuda:
        return tokens
    own = weights(shape, BF16, wanted.quantization == "nf4") + adapter(shape, wanted.rank)
    while tokens > SHORTEST and (own + pairs_pass(shape, tokens, device, BF16)).total > device.usable:
        tokens //= 2
    return tokens


def pair_scored(tokens: int) -> int:
    """Tokens of a pass over pairs whose logits are needed: those of the steps, mostly a small part."""
    return tokens // 8


def pairs_pass(shape: Shape, tokens: int, device: Device, size: int) -> Need:
    """A pass over a tree batch."""
    scored = pair_scored(tokens)
    return training(shape, tokens, scored, checkpointing=device.cuda, autocast=False, size=size)


def model_shape(model: ModelSettings) -> Shape:
    """The shape of the model that the settings name; of one on the Hub the config alone is fetched.

    Raises:
        ItoolError: if there is no such model.
    """
    if model.name == "embedded" or Path(model.name).expanduser().is_dir():
        return read_shape(find_model(model).path)
    try:
        return read_shape(model.name, model.revision)
    except (OSError, ValueError) as error:
        raise ItoolError(
            f"model.name: no config of {model.name!r} here or on the Hub ({type(error).__name__}); use `embedded`, a "
            "folder, or a name such as meta-llama/Llama-3.1-8B-Instruct"
        ) from None


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
    if sizing is preference and config.preference.quantization == "none":
        smaller = config.preference.model_copy(update={"quantization": "nf4"})
        if sizing(config.model_copy(update={"preference": smaller}), shape, device).fits(device):
            way_out = "set preference.quantization to nf4"
    raise ItoolError(
        f"{stage.name}: {config.model.name} needs {stage.least / GIB:.1f} GiB at least ({stage.key} {stage.value}), "
        f"{device.name} has {device.usable / GIB:.1f} to give; {way_out}"
    )
