"""v4's memory back ends: the official classes, loaded by file; a memory is given and taken (docs/bfcl.md §8.1).

Officially a memory goes from conversation to conversation through files. Here it is a value: what `_load_scenario` is
given, and what `memory_of` reads. So what the classes import is stood in for: their base class, which finds those
files, and the search of keys (BM25+). Left out: the search of vectors (`vector_search.py`).
"""

import math
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itool_data.errors import ItoolError
from itool_eval.bfcl.simulators import PACKAGE, Simulator, load_module, public_methods
from itool_eval.bfcl.vector_search import encoder_folder, stand_ins

BACK_ENDS = ("memory_kv", "memory_rec_sum")  # those that need no model
VECTOR = "memory_vector"
# What a memory holds, by the attribute of its class: core_memory and archival_memory, or memory.
Memory = dict[str, Any]
_ATTRIBUTES = ("core_memory", "archival_memory", "memory")
# Of the official search, which takes the package's defaults.
_K1, _B, _DELTA = 1.5, 0.75, 1


class MemoryStores:
    """The back ends.

    Attributes:
        by_class: the back ends by the name of their class; the vector store only where its encoder is at hand.
    """

    def __init__(self, data: Path) -> None:
        """Load them.

        Args:
            data: the folder `bfcl_eval/data` of v4's official wheel.

        Raises:
            ItoolError: the modules are absent or cannot be imported.
        """
        folder = data.parent / "eval_checker" / "multi_turn_eval" / "func_source_code"
        base, search = ModuleType("base"), ModuleType("search")
        base.MemoryAPI, search.BM25Plus = _MemoryAPI, _Bm25Plus  # type: ignore[attr-defined]
        imported = {f"{PACKAGE}.memory_api_metaclass": base, "rank_bm25": search}
        encoder = encoder_folder()
        self.by_class: dict[str, Simulator] = {}
        try:
            with _modules({**imported, **(stand_ins(encoder) if encoder else {})}):
                for name in (*BACK_ENDS, *([VECTOR] if encoder else [])):
                    module = load_module(folder / f"{name}.py")
                    store = getattr(module, class_of(name))
                    self.by_class[class_of(name)] = Simulator(store, name, public_methods(store))
        except (OSError, ImportError, SyntaxError, AttributeError) as error:
            raise ItoolError(f"{folder}: cannot be loaded ({error}); fetch the wheel again") from error


def class_of(category: str) -> str:
    """The class of a category's back end."""
    return f"MemoryAPI_{category.removeprefix('memory_')}"


def memory_of(store: Any) -> Memory:
    """What a back end holds now."""
    held = {name: value for name, value in vars(store).items() if name in _ATTRIBUTES}
    return {name: value.export() if hasattr(value, "export") else value for name, value in held.items()}


class _MemoryAPI:
    """The base of the official classes, without files: what was loaded is the memory."""

    def _prepare_snapshot(self, initial_config: Memory) -> Memory:
        return initial_config


class _Bm25Plus:
    """BM25+ (Lv and Zhai 2011) with the idf log((N + 1) / df), computed in the order of rank_bm25, to the same bit."""

    def __init__(self, corpus: list[list[str]]) -> None:
        self._counts = [Counter(document) for document in corpus]
        self._lengths = np.array([len(document) for document in corpus])
        self._mean = sum(len(document) for document in corpus) / len(corpus)
        containing = Counter(word for counts in self._counts for word in counts)
        self._idf = {word: math.log((len(corpus) + 1) / n) for word, n in containing.items()}

    def get_scores(self, query: list[str]) -> NDArray[np.float64]:
        """The score of every document."""
        scores = np.zeros(len(self._counts))
        for word in query:
            found = np.array([counts[word] for counts in self._counts])
            norm = _K1 * (1 - _B + _B * self._lengths / self._mean) + found
            scores += self._idf.get(word, 0) * (_DELTA + (found * (_K1 + 1)) / norm)
        return scores


@contextmanager
def _modules(stand_ins: dict[str, ModuleType]) -> Iterator[None]:
    """Have modules found under these names inside this block."""
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
