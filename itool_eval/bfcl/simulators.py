"""BFCL's simulators: the official classes, loaded by file, with a limit on what one call may cost (docs/bfcl.md §8).

They and tau2's world are the only downloaded code that itool runs (docs/bfcl.md §11), from wheels whose SHA-256 is
pinned. Only their own modules are loaded, `bfcl_eval` itself is not imported, and `sys.modules` is afterwards as it was
before. The limits are not the official ones, which has none: a call that passes them fails like one that raises. They
count work, not seconds, so a verdict never depends on how busy the machine is. Left out: which calls reach a simulator
(`multi_turn_world.py`).
"""

import copy
import decimal
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import mpmath

from itool_data.errors import ItoolError

# v4's agentic back ends, which are no simulators of conversations (`memory_stores.py`).
_AGENTIC = ("memory_", "web_search")
# What the simulators import from their package; it must be found under this name while they are loaded.
PACKAGE = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
_LONG_CONTEXT = "long_context"
# Function calls inside one simulator call; the longest answer of the benchmark makes some thousands.
MAX_WORK = 200_000
# Decimal places that a result may be computed to, and digits of a power.
MAX_DIGITS = 10_000


@dataclass(frozen=True)
class Simulator:
    """One simulator.

    Attributes:
        create: makes a new instance, without a scenario.
        module: its module's file name without the ending; its function documents have the same one.
        methods: the names of its public methods.
    """

    create: Callable[[], Any]
    module: str
    methods: frozenset[str]


class WorkLimitError(Exception):
    """A call costs more than one reply is granted."""


class Simulators:
    """All simulators of a wheel's conversations.

    Attributes:
        by_class: the simulators by the name of their class.
    """

    def __init__(self, data: Path) -> None:
        """Load them.

        Args:
            data: the folder `bfcl_eval/data` of the official wheel.

        Raises:
            ItoolError: the modules are absent or cannot be imported.
        """
        folder = data.parent / "eval_checker" / "multi_turn_eval" / "func_source_code"
        files = sorted(file for file in folder.glob("*.py") if _is_simulator(file.stem))
        name = f"{PACKAGE}.{_LONG_CONTEXT}"
        before = sys.modules.get(name)
        try:
            sys.modules[name] = long_context = load_module(folder / f"{_LONG_CONTEXT}.py")
            modules = [load_module(file) for file in files]
        except (OSError, ImportError, SyntaxError) as error:
            raise ItoolError(f"{folder}: cannot be loaded ({error}); fetch the wheel again") from error
        finally:
            sys.modules.pop(name, None)
            if before is not None:
                sys.modules[name] = before
        self.by_class = {
            value.__name__: Simulator(value, module.__name__, public_methods(value))
            for module in modules
            for value in vars(module).values()
            if isinstance(value, type) and value.__module__ == module.__name__
        }
        self._shared = [v for n, v in vars(long_context).items() if isinstance(v, dict) and n.isupper()]
        self._shared_at_first = copy.deepcopy(self._shared)

    def begin_long_context(self) -> None:
        """Renew what instances with a long context share, which both sides of a conversation may have changed."""
        for shared, first in zip(self._shared, copy.deepcopy(self._shared_at_first), strict=True):
            shared.clear()
            shared.update(first)


def _is_simulator(module: str) -> bool:
    return module not in ("__init__", _LONG_CONTEXT) and not module.startswith(_AGENTIC)


def load_module(file: Path) -> ModuleType:
    """Run a module of the wheel under its own name, outside any package."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.name} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def public_methods(simulator: type) -> frozenset[str]:
    """The names of the methods that calls may reach."""
    return frozenset(n for n in dir(simulator) if not n.startswith("_") and callable(getattr(simulator, n)))


@contextmanager
def own_arithmetic() -> Iterator[None]:
    """Keep the precision that simulators set for the whole process inside this block."""
    with decimal.localcontext(), mpmath.workdps(mpmath.mp.dps):
        yield


@contextmanager
def limited_work() -> Iterator[None]:
    """End what runs in this block by a WorkLimitError once it made `MAX_WORK` function calls."""
    left = MAX_WORK

    def count(_frame: FrameType, _event: str, _argument: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise WorkLimitError("the call takes too long")

    with _profiled_by(count):
        yield


@contextmanager
def uncounted_work() -> Iterator[None]:
    """Let what runs in this block cost nothing: a model's work is bounded by its input."""
    with _profiled_by(None):
        yield


@contextmanager
def _profiled_by(count: Callable[[FrameType, str, object], None] | None) -> Iterator[None]:
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(before)


def refuse_costly(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that ask for arithmetic of millions of digits, which no work limit can interrupt.

    Raises:
        WorkLimitError: the arguments are such ones.
    """
    base, exponent = arguments.get("base"), arguments.get("exponent", 0)
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > 4 * MAX_DIGITS:
        raise WorkLimitError("the power is too large to compute")
    if _integer(arguments.get("precision")) > MAX_DIGITS or _integer(arguments.get("decimal_places")) < -MAX_DIGITS:
        raise WorkLimitError("the result has too many digits to compute")


def _integer(value: Any) -> int:
    """What a simulator would take the value for; 0 where it would refuse it too."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return 0
