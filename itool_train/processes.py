"""Which of several processes that train together this one is, and what only one of them may decide.

Left out: starting them (`itool_cli.launch`), and adding up gradients (`pair_trainer`).
"""

import os
import time

from itool_data.config import ModelSettings
from itool_data.policy.load import choose_device


def is_first_process() -> bool:
    """Whether this is the only process, or the one of several that writes."""
    return os.environ.get("RANK", "0") == "0"


def is_one_of_several() -> bool:
    """Whether this process trains together with others."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def wait_for_all(settings: ModelSettings) -> None:
    """Wait until every process is here; at once where there is one alone."""
    if not is_one_of_several():
        return
    from accelerate import PartialState

    PartialState(cpu=choose_device(settings) == "cpu").wait_for_everyone()


def is_due(since: float, seconds: float) -> bool:
    """Whether so many seconds have passed since a `time.monotonic()`.

    The first process's clock decides for all of them: they write a checkpoint together, and one that began alone would
    wait for the others for ever.
    """
    from accelerate.utils import broadcast_object_list

    (due,) = broadcast_object_list([time.monotonic() - since >= seconds])
    return bool(due)
