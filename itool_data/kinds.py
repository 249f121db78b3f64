"""The names of what can be chosen: engines, searches, losses, dialects. Settings and commands take them from here."""

from typing import Literal

Trainer = Literal["trl", "llama-factory", "axolotl", "ms-swift"]  # that a run is exported for
Engine = Literal["auto", "transformers", "vllm", "openai"]
SearchKind = Literal["mcts", "walk", "sample", "best-of-n"]
Select = Literal["perplexity", "doubt", "pass-rate"]
Contrast = Literal["simpo", "dpo", "ipo", "orpo"]  # the losses of paper Table 9
Loss = Literal[Contrast, "nll"]
Batching = Literal["tree", "pairs"]
SystemMessage = Literal["source", "ours", "none"]
DialectName = Literal[
    "python", "json", "hermes", "llama", "lfm2", "qwen-xml", "glm", "gemma", "deepseek", "mistral", "harmony", "atem"
]  # of `itool_data/dialects/`
