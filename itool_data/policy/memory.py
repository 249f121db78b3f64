"""When glibc gives memory back to the kernel: not after every large tensor, and all of it once a model is closed.

A CPU forward pass makes and frees the same buffers of some megabytes over and over. By default glibc maps and unmaps
each of them, and the page faults take a tenth of the time. Left out: other C libraries, which have no such switch.
"""

import ctypes
import sys

# glibc's <malloc.h>.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> None:
    """Make this process reuse the memory it has freed (up to 1 GiB a block), wherever its C library is glibc."""
    if (libc := _glibc()) is not None:
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def return_freed_memory() -> None:
    """Give back what this process has freed, wherever its C library is glibc."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
