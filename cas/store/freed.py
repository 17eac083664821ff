"""Memory that was freed, kept by the process for what it needs next."""

from __future__ import annotations

import functools
from contextlib import suppress
from typing import Final

import numpy as np

_LARGEST_BYTES: Final = (32 << 20) - (64 << 10)


@functools.cache
def keep_freed_memory() -> None:
    """Sees to it, once a process, that the allocator keeps up to some 64 MiB that are freed.

    The GNU C library gives blocks back to the system when they are freed and gets others for the next, and each page of
    these costs more to be had than to be written. The size from which it does so follows the largest block that was
    freed, up to 32 MiB (mallopt(3), M_MMAP_THRESHOLD): here one is, untouched. Other allocators take no notice.
    """
    with suppress(MemoryError):  # where the process may not have so much, it goes on as it was
        np.empty(_LARGEST_BYTES, np.uint8)
