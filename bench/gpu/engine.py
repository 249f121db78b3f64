"""The vLLM policy on this device: tokens a second, and how long another adapter takes.

    tokens         tokens a second of draws that wait for nothing, at the most rows
    same_answers   share of greedy answers that are the transformers policy's on this device
    swap_seconds   from the warm-up's adapter to the base model and back

Left out: sleep, which the policy does not do yet.
"""

import importlib.util
import time

from bench.gpu.setting import Figures, Setting
from itool_data.policy.base import Request, generate
from itool_data.policy.open import open_policy


def vllm(setting: Setting) -> Figures:
    """The figures, or why there are none."""
    if importlib.util.find_spec("vllm") is None:
        return {"skipped": "vLLM is not installed"}
    sizes, config = setting.sizes, setting.run.config
    samples = setting.samples(sizes.answers)
    requests = [Request(t.key, tuple(t.prompt), [0], sizes.tokens, 0.0) for t in samples]
    found = {}
    figures: Figures = {}
    for name in ("transformers", "vllm"):
        model = config.model.model_copy(update={"policy": name, "rows": max(sizes.rows)})
        policy = open_policy(model, setting.base, setting.adapter)
        started = time.monotonic()
        found[name] = [completion.draws[0].ids for completion in generate(policy, requests)]
        seconds = time.monotonic() - started
        if name == "vllm":
            figures["tokens"] = sum(map(len, found[name])) / seconds
            started = time.monotonic()
            swapped = policy.use(None) and policy.use(setting.adapter)
            figures["swap_seconds"] = time.monotonic() - started if swapped else None
        policy.close()
    same = sum(a == b for a, b in zip(*found.values(), strict=True))
    return figures | {"same_answers": same / len(samples)}
