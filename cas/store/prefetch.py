"""Asking the system for pages of a map before they are touched.

LMDB maps its file without read-ahead, which makes single rows cheap: a page that is not in memory is read alone. For
much at once that is slow, a page at a time. Blobs that were put together lie together, mostly; so behind a large run
that was found more is asked for. Asking takes as long as copying a quarter of a mebibyte, so it is left where nothing
has been read from the disk for a while: then all is in memory.
"""

from __future__ import annotations

import mmap
import resource
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np

from cas.hashing import Bytes

WINDOW_BYTES: Final = 4 << 20
_LARGE_RUN_BYTES: Final = 64 << 10
"""Smaller runs are those of single rows, here and there."""


class ReadAhead:
    """Follows a read of many blobs through the map."""

    def __init__(self) -> None:
        self._asked_from = 0
        self._asked_upto = 0

    def follow(self, data: Bytes) -> None:
        """Asks for what lies behind a large run of the map, unless that was done; returns at once."""
        if len(data) < _LARGE_RUN_BYTES or not _is_cold():
            return
        end = int(np.frombuffer(data, np.uint8).__array_interface__["data"][0]) + len(data)
        if self._asked_from <= end <= self._asked_upto - WINDOW_BYTES // 2:
            return
        advise = _madvise()
        if advise is not None:
            page = end - end % mmap.PAGESIZE
            advise(page, WINDOW_BYTES, mmap.MADV_WILLNEED)
        self._asked_from, self._asked_upto = end, end + WINDOW_BYTES


_COLD_ASKS: Final = 512
"""For so many large runs after the last page that was read from the disk, more such pages are expected."""
_FIRST_ASKS: Final = 16
"""So many large runs are asked for before it can be known."""
_faults: int | None = None
_left = 0


def _is_cold() -> bool:
    """Whether this process has waited for pages from the disk lately."""
    global _faults, _left
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    if faults != _faults:
        _faults, _left = faults, _FIRST_ASKS if _faults is None else _COLD_ASKS
    _left -= 1
    return _left > 0


@cache
def _madvise() -> Callable[[int, int, int], Any] | None:
    """The call of the system, or None where there is none."""
    import ctypes  # it takes milliseconds

    if not hasattr(mmap, "MADV_WILLNEED"):
        return None
    function: Callable[[int, int, int], Any] = ctypes.CDLL(None).madvise
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)  # type: ignore[attr-defined]
    return function
