"""Going on after memory ran out, with less at once.

Left out: what is halved, which whoever ran out knows.
"""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within_memory(work: Callable[[], T], halve: Callable[[], None]) -> T:
    """Do some work; as often as memory runs out, halve what is done at once and do it anew.

    Args:
        work: begins from what `halve` left.
        halve: raises where nothing is left to halve.
    """
    from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

    while True:
        try:
            return work()
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
        # Behind the handler: the error refers to all that was there.
        halve()
        clear_device_cache(garbage_collection=True)
