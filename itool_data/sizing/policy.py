"""What the transformers policy may do at once in the memory that a GPU has left beside the weights.

Passes over prompts and steps of draws come one after the other, so the largest of them is set aside once; all else is
room for keys and values, where prompts and draws are taken in as long as there is some. Left out: what is done when
that was reckoned wrong (the policy halves it).
"""

from dataclasses import replace

from itool_data.errors import ItoolError
from itool_data.policy.limits import KEPT, Limits
from itool_data.sizing.device import Device
from itool_data.sizing.need import BF16, FP32, GIB, Need, decoding, reading, scoring, token, weights
from itool_data.sizing.shape import Shape

SHORT = 512  # tokens of a prompt and of an answer, with which any work has to begin
PASSES = 1 / 4  # of the memory beside the weights, that a pass may take at most
USUAL = 2048  # tokens of a sequence, where a pass is reckoned with before any is known
SCORED = 1 / 8  # of a sequence's tokens that are scored, likewise


def largest_pass(shape: Shape, limits: Limits, size: int = BF16) -> Need:
    """What the largest of a policy's passes and steps takes."""
    rows = max(1, limits.score // USUAL)
    ways = (
        reading(shape, limits.read, size),
        scoring(shape, rows, min(limits.score, USUAL), int(SCORED * USUAL), size),
        decoding(shape, limits.rows, USUAL),
    )
    return max(ways, key=lambda need: need.total)


def within(limits: Limits, shape: Shape, free: float) -> Limits:
    """As much at once as the memory allows, and no more than is worth it.

    Args:
        limits: what is worth it.
        shape: the model's, whose weights are in bf16.
        free: bytes beside them.
    """
    share = PASSES * free
    read = min(limits.read, int(share / reading(shape, 1).total))
    score = min(limits.score, int(share / scoring(shape, 1, USUAL, int(SCORED * USUAL)).total * USUAL))
    rows = min(limits.rows, int(share / decoding(shape, 1, USUAL).total))
    # What prompts leave behind waits for its place among the keys and values: not more of it than one pass gives.
    fitting = Limits(max(1, rows), max(1, read), max(1, score), max(1, min(limits.step, read)))
    # A buffer is remade a layer at a time.
    room = (free - largest_pass(shape, fitting).total) / token(shape) / (1 + 1 / shape.layers)
    return replace(fitting, room=max(0.0, room))


def leaving(limits: Limits, shape: Shape, memory: float, size: int = BF16) -> Limits:
    """As much at once beside another model as before, in less room for keys and values.

    Args:
        limits: of the policy alone.
        shape: of its model.
        memory: bytes that the other one takes.
        size: bytes of a number of its model.
    """
    return replace(limits, room=max(0.0, limits.room - memory / token(shape, size)))


def at_once(limits: Limits, prompt: int, answer: int, draws: int) -> tuple[int, int]:
    """How many prompts and how many rows fit at their longest.

    Args:
        limits: the policy's.
        prompt: tokens.
        answer: tokens of a draw.
        draws: of each prompt.
    """
    each = prompt + draws * answer
    prompts = int(min(limits.rows / draws, (1 - KEPT) * limits.room / each))
    return max(1, prompts), min(limits.rows, max(1, prompts) * draws)


def least(shape: Shape, prompt: int, answer: int, size: int = BF16) -> Need:
    """What the policy cannot do without, beside the weights: one prompt, one draw after it, and the pass over it."""
    held = Need(keys_values=(prompt + answer) * token(shape, size))
    return held + max(reading(shape, prompt, size), decoding(shape, 1, prompt + answer), key=lambda need: need.total)


def judging(shape: Shape, size: int = BF16) -> Need:
    """What another model needs that judges: its weights, and a prompt at a time after which an option is scored.

    It decodes nothing, so there are no keys and values to be held.
    """
    return weights(shape, size) + scoring(shape, 1, min(USUAL, shape.context), 1, size)


def check_weights(model: str, shape: Shape, device: Device) -> None:
    """Refuse to load a model beside which not even one short prompt fits.

    Args:
        model: its name.
        shape: its shape.
        device: where it would be.

    Raises:
        ItoolError: naming need and memory.
    """
    size = BF16 if device.cuda else FP32
    need = weights(shape, size) + least(shape, SHORT, SHORT, size)
    if need.total > device.usable:
        raise ItoolError(
            f"{model} needs {need.total / GIB:.1f} GiB to answer at all ({need.weights / GIB:.1f} of them weights), "
            f"{device.name} has {device.usable / GIB:.1f} to give; take a smaller model, or a device with more memory"
        )
