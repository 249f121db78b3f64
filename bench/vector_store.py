"""Memory's vector store as it is here beside the official one over sentence-transformers and faiss.

python -m bench.vector_store    # where both are installed beside itool: pip install sentence-transformers faiss-cpu

The same random calls go to both, one after another: all that they return must be equal, similarity scores to 1e-5. The
encoder is the one in the Hub's cache, or, where there is none, one of random weights, which decides nothing here.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import huggingface_hub.constants

from bench.tiny_encoder import WORDS, put_encoder
from itool_eval.bfcl.categories import Version
from itool_eval.bfcl.items import data_folder
from itool_eval.bfcl.memory_stores import VECTOR, MemoryStores, class_of, memory_of
from itool_eval.bfcl.simulators import PACKAGE, load_module
from itool_eval.bfcl.vector_search import encoder_folder

TOLERANCE = 1e-5


class _WithoutFiles:
    """The official base class, of which only the files are left out."""

    def _prepare_snapshot(self, initial_config: Any) -> Any:
        return initial_config


def official_store(data: Path, encoder: Path) -> type:
    """The official class over the real packages, and an encoder in a folder instead of by its name."""
    import sentence_transformers

    real = sentence_transformers.SentenceTransformer
    sentence_transformers.SentenceTransformer = lambda _name, device: real(str(encoder), device=device)
    base = ModuleType("base")
    base.MemoryAPI = _WithoutFiles  # type: ignore[attr-defined]
    sys.modules[f"{PACKAGE}.memory_api_metaclass"] = base
    folder = data.parent / "eval_checker" / "multi_turn_eval" / "func_source_code"
    store: type = getattr(load_module(folder / f"{VECTOR}.py"), class_of(VECTOR))
    return store


def call(draw: random.Random) -> tuple[str, dict[str, Any]]:
    """A call and its arguments."""
    text = " ".join(draw.choices(WORDS, k=draw.choice((1, 3, 8, 300))))
    number = draw.randint(0, 8)
    calls: list[tuple[str, dict[str, Any]]] = [
        *[("add", {"text": text})] * 4, ("remove", {"vec_id": number}),
        ("update", {"vec_id": number, "new_text": text}),
        *[("retrieve", {"query": text, "top_k": draw.choice((1, 2, 5, 60))})] * 4, ("retrieve_all", {}),
    ]  # fmt: skip
    if draw.random() < 0.03:
        calls = [("clear", {}), ("retrieve", {"query": text, "top_k": 0})]
    name, arguments = draw.choice(calls)
    return f"{draw.choice(('core', 'archival'))}_memory_{name}", arguments


def outcome(store: Any, name: str, arguments: dict[str, Any]) -> Any:
    """What a call returns, or the error that it raises."""
    try:
        return getattr(store, name)(**arguments)
    except AssertionError as error:
        return repr(error)


def equal(ours: Any, official: Any) -> bool:
    """Whether two outcomes are the same; of two texts that are as near, either may come first."""
    if not isinstance(ours, dict) or not isinstance(ours.get("result"), list):
        return bool(ours == official)
    mine, others = ours["result"], official["result"]
    if any("similarity_score" not in one for one in (*mine, *others)):
        return bool(mine == others)
    scores = zip((one["similarity_score"] for one in mine), (one["similarity_score"] for one in others), strict=False)
    near = len(mine) == len(others) and all(abs(a - b) < TOLERANCE for a, b in scores)
    last = mine[-1]["similarity_score"] if mine else 0.0
    ids = [{one["id"] for one in some if one["similarity_score"] > last + TOLERANCE} for some in (mine, others)]
    return near and ids[0] == ids[1]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.vector_store", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=2_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        encoder = encoder_folder()
        if encoder is None:
            huggingface_hub.constants.HF_HUB_CACHE = cache
            encoder = put_encoder(Path(cache))
        data = data_folder(Version.V4)
        official = official_store(data, encoder)
        simulator = MemoryStores(data).by_class[class_of(VECTOR)]
        draw, agreeing, order = random.Random(0), 0, 0
        stores = simulator.create(), official()
        for i in range(options.calls):
            if i % 50 == 49:  # the next conversation begins with what this one left
                left = [memory_of(store) for store in stores]
                assert left[0] == left[1], "the memories differ"
                stores = simulator.create(), official()
                for store in stores:
                    store._load_scenario(left[0])
            name, arguments = call(draw)
            ours, theirs = (outcome(store, name, arguments) for store in stores)
            agreeing += equal(ours, theirs)
            order += _ids(ours) == _ids(theirs)
        print(f"calls {options.calls}: {agreeing} return the same, {order} in the same order")


def _ids(found: Any) -> list[int]:
    listed = found.get("result") if isinstance(found, dict) else None
    return [one["id"] for one in listed] if isinstance(listed, list) else []


if __name__ == "__main__":
    main()
