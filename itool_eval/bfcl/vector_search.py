"""What memory's vector store searches with: the sentence encoder all-MiniLM-L6-v2, and exact search by inner product.

Stands in for the two packages that the official store imports, sentence-transformers and faiss, as far as it uses them:
mean pooling over the last hidden states, L2-normalised, and the nearest of at most fifty vectors. The encoder is never
downloaded in passing: it has to lie in the Hub's cache. Left out: the store itself (`memory_stores.py`).
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itool_eval.bfcl.simulators import uncounted_work

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
MAX_TOKENS = 256  # of a text, the rest is cut off: the encoder's `sentence_bert_config.json`
_FILES = ("config.json", "model.safetensors", "tokenizer.json")

Vectors = NDArray[np.float32]


def encoder_folder() -> Path | None:
    """The encoder's folder in the Hub's cache; None if it is not there as a whole."""
    from huggingface_hub import try_to_load_from_cache

    files = [try_to_load_from_cache(ENCODER, name) for name in _FILES]
    found = [Path(file) for file in files if isinstance(file, str)]
    return found[0].parent if len(found) == len(_FILES) else None


def stand_ins(folder: Path) -> dict[str, ModuleType]:
    """The two packages, by the names under which the official store imports them.

    Args:
        folder: the encoder's.
    """
    transformers, faiss = ModuleType("sentence_transformers"), ModuleType("faiss")
    transformers.SentenceTransformer = lambda _name, device: _Encoder(folder, device)  # type: ignore[attr-defined]
    faiss.IndexFlatIP, faiss.IndexIDMap = _Flat, _ById  # type: ignore[attr-defined]
    return {"sentence_transformers": transformers, "faiss": faiss}


class _Encoder:
    """The encoder; its weights are loaded when the first text comes."""

    def __init__(self, folder: Path, device: str) -> None:
        self._folder, self._device = folder, device

    def get_sentence_embedding_dimension(self) -> int:
        """How long its vectors are."""
        return int(json.loads((self._folder / "config.json").read_text("utf-8"))["hidden_size"])

    def encode(self, texts: Sequence[str], normalize_embeddings: bool) -> Vectors:
        """The texts' vectors, [texts, dimension] in float32, of length 1."""
        assert normalize_embeddings, "the official store asks for nothing else"
        with uncounted_work():
            return self._encode(list(texts))

    def _encode(self, texts: list[str]) -> Vectors:
        import torch

        tokenizer, model = _load(self._folder, self._device)
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        tokens = tokens.to(self._device)
        with torch.inference_mode():
            states = model(**tokens).last_hidden_state  # [texts, tokens, dimension]
            there = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
            means = (states * there).sum(1) / there.sum(1)
        vectors: Vectors = torch.nn.functional.normalize(means, dim=1).cpu().numpy()
        return vectors


@cache
def _load(folder: Path, device: str) -> tuple[Any, Any]:
    """Tokenizer and model, once a process: the stores are made anew whenever memories are one conversation further."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = AutoModel.from_pretrained(folder, use_safetensors=True)
    return AutoTokenizer.from_pretrained(folder), model.float().to(device).eval()


class _Flat:
    """faiss.IndexFlatIP: here no more than how long vectors are."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension


class _ById:
    """faiss.IndexIDMap over it: vectors under numbers of their own."""

    def __init__(self, index: _Flat) -> None:
        self._dimension = index.dimension
        self.reset()

    def reset(self) -> None:
        """Forget all."""
        self._ids = np.empty(0, np.int64)
        self._vectors = np.empty((0, self._dimension), np.float32)

    def add_with_ids(self, vectors: Vectors, ids: NDArray[np.int64]) -> None:
        """Add vectors under these numbers."""
        self._ids = np.concatenate([self._ids, ids])
        self._vectors = np.concatenate([self._vectors, vectors])

    def remove_ids(self, ids: NDArray[np.int64]) -> None:
        """Remove the vectors of these numbers."""
        kept = ~np.isin(self._ids, ids)
        self._ids, self._vectors = self._ids[kept], self._vectors[kept]

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, NDArray[np.int64]]:
        """The k nearest of each query, best first: their scores and numbers, both [queries, k].

        Of equals the first ones are taken, and the last of these stands first: faiss keeps them in a heap.
        """
        assert k > 0  # whose words, none, a model is shown: as in faiss
        scores = queries @ self._vectors.T
        taken = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        order = np.lexsort((-taken, -np.take_along_axis(scores, taken, 1)))
        nearest = np.take_along_axis(taken, order, 1)
        return np.take_along_axis(scores, nearest, 1), self._ids[nearest]
