"""A sentence encoder of random weights in a Hub cache, under the name of the one that BFCL's memory takes."""

import json
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizer

from itool_eval.bfcl.vector_search import ENCODER, MAX_TOKENS

WORDS = (
    "the", "boss", "is", "ann", "her", "kids", "are", "five", "in", "rome", "trip", "to", "money", "tea",
)  # fmt: skip
_MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def put_encoder(cache: Path) -> Path:
    """Make it; returns its folder."""
    home = cache / f"models--{ENCODER.replace('/', '--')}"
    folder = home / "snapshots" / "0"
    folder.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("0")
    (folder / "vocab.txt").write_text("\n".join((*_MARKS, *WORDS)))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(_MARKS) + len(WORDS), hidden_size=32, num_hidden_layers=6, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=512, initializer_range=0.4,
    )  # fmt: skip
    BertModel(shape).save_pretrained(folder)
    # What sentence-transformers reads, as the real one has it.
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": MAX_TOKENS}))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": shape.hidden_size, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    parts = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": i, "name": str(i), "path": at, "type": f"sentence_transformers.models.{kind}"}
        for i, (at, kind) in enumerate(parts)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder
