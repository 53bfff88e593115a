"""The C library's allocator, for a service that takes and frees tens of megabytes many times a second."""

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
KEPT_BYTES: Final = 512 * 1024 * 1024
"""Freed memory beyond this goes back to the system."""
BLOCK_BYTES_MAX: Final = 256 * 1024 * 1024
"""Larger blocks are asked of the system one by one."""


def keep_freed_memory() -> bool:
    """Keeps what is freed for what comes next: else the system clears the same pages for every batch (mallopt(3)).

    It was a twelfth of the risk service's time. False where the C library has no such settings.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all([mallopt(_MMAP_THRESHOLD, BLOCK_BYTES_MAX), mallopt(_TRIM_THRESHOLD, KEPT_BYTES)])
