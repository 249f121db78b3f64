"""Which of several processes that train together this one is, and what only one of them may decide.

Left out: starting them (`itool_cli.launch`), and adding up gradients (`pair_trainer`).
"""

import os
import time


def is_first_process() -> bool:
    """Whether this is the only process, or the one of several that writes."""
    return os.environ.get("RANK", "0") == "0"


def is_one_of_several() -> bool:
    """Whether this process trains together with others."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def is_due(since: float, seconds: float) -> bool:
    """Whether so many seconds have passed since a `time.monotonic()`.

    The first process's clock decides for all of them: they write a checkpoint together, and one that began alone would
    wait for the others for ever.
    """
    from accelerate.utils import broadcast_object_list

    (due,) = broadcast_object_list([time.monotonic() - since >= seconds])
    return bool(due)
