"""The vLLM policy on this device: tokens a second, what its adapters cost, and sleep.

tokens             tokens a second of draws that wait for nothing, each by the warm-up's adapter (LoRA per request)
base_tokens        likewise of the base model, by the same engine
same_answers       share of greedy answers that are the transformers policy's on this device
swap_seconds       from the warm-up's adapter to the base model and back
sleep_seconds      to give its memory back; null where it cannot sleep, as on a CPU, and so are the next three
wake_seconds       to be of use again
slept_gib          memory of the device that was free meanwhile and is not otherwise
same_after_sleep   share of greedy answers that are as they were before
"""

import importlib.util
from collections.abc import Sequence

import torch

from bench.gpu.setting import Figures, Setting, timed
from itool_data.policy.base import Policy, Request, generate
from itool_data.policy.open import open_policy
from itool_data.sizing.need import GIB

Answers = list[tuple[int, ...]]


def vllm(setting: Setting) -> Figures:
    """The figures, or why there are none."""
    if importlib.util.find_spec("vllm") is None:
        return {"skipped": "vLLM is not installed"}
    sizes = setting.sizes
    samples = setting.samples(sizes.answers)
    requests = [Request(t.key, tuple(t.prompt), [0], sizes.tokens, 0.0) for t in samples]
    policy = _open(setting, "transformers")
    expected, _ = _answers(setting, policy, requests)
    policy.close()
    policy = _open(setting, "vllm")
    _answers(setting, policy, requests[:2])  # its kernels are compiled when they are first used
    answers, seconds = _answers(setting, policy, requests)
    figures: Figures = {"tokens": sum(map(len, answers)) / seconds, "same_answers": _same(answers, expected)}
    there, _ = timed(setting.device, lambda: policy.use(None))
    base, seconds = _answers(setting, policy, requests)
    figures["base_tokens"] = sum(map(len, base)) / seconds
    back, _ = timed(setting.device, lambda: policy.use(setting.adapter))
    figures["swap_seconds"] = there + back
    figures |= _slept(setting, policy, requests, answers)
    policy.close()
    return figures


def _open(setting: Setting, name: str) -> Policy:
    model = setting.run.config.model.model_copy(update={"policy": name, "rows": max(setting.sizes.rows)})
    return open_policy(model, setting.base, setting.adapter)


def _answers(setting: Setting, policy: Policy, requests: Sequence[Request]) -> tuple[Answers, float]:
    """Greedy answers with nothing known beforehand, and the seconds that they took."""
    policy.reset()
    found: Answers = []
    seconds, _ = timed(setting.device, lambda: found.extend(c.draws[0].ids for c in generate(policy, requests)))
    return found, seconds


def _same(some: Answers, others: Answers) -> float:
    return sum(a == b for a, b in zip(some, others, strict=True)) / len(some)


def _free() -> float:
    """GiB of the device that nobody holds."""
    return torch.cuda.mem_get_info()[0] / GIB if torch.cuda.is_available() else 0.0


def _slept(setting: Setting, policy: Policy, requests: Sequence[Request], answers: Answers) -> Figures:
    """What an engine does that sleeps, wakes and is asked again."""
    figures: Figures = dict.fromkeys(("sleep_seconds", "wake_seconds", "slept_gib", "same_after_sleep"))
    free, slept = _free(), []
    seconds, _ = timed(setting.device, lambda: slept.append(policy.sleep()))
    if not any(slept):
        return figures
    figures |= {"sleep_seconds": seconds, "slept_gib": _free() - free}
    figures["wake_seconds"], _ = timed(setting.device, policy.wake)
    figures["same_after_sleep"] = _same(_answers(setting, policy, requests)[0], answers)
    return figures
