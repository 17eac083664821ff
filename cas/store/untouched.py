"""Large tables of zeros that take memory only as they fill."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray


def untouched_zeros(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Returns zeros whose pages are made when they are written; in huge pages the first few would cost milliseconds."""
    memory = mmap.mmap(-1, dtype.itemsize * count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, dtype)
