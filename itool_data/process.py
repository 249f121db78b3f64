"""What a process tells libraries before it loads them: how their threads wait, and what not to tell every user.

Whatever the user has set in the environment stays. Left out: what only one policy needs (`policy/memory.py`).
"""

import logging
import os


def prepare() -> None:
    """Set it; has to come before torch is imported, whose OpenMP reads the environment once."""
    # By default a thread that waits for the others spins. Where another process has one of two cores, it so keeps that
    # core from the thread that it waits for, and everything takes many times longer.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # They tell of kernels that are not installed and not needed, where memory is bound, and that checkpoints follow
    # each other quickly.
    for library in ("bitsandbytes.backends.cpu.ops", "vllm", "transformers.trainer_utils"):
        logging.getLogger(library).setLevel(logging.ERROR)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
