"""What a process remembers of the chunks that it has read: which were checked, and the last ones themselves."""

from __future__ import annotations

import mmap
import threading
from collections import OrderedDict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cas.hashing import Bytes, Hashes
from cas.store.forks import renewed_in_children

CACHE_BYTES: Final = 128 << 20
_SLOTS: Final = 1 << 20
_WORD: Final = np.dtype("<u8")


class Checked:
    """Remembers which chunks were compared with their hash.

    Bounded: a table of 2^20 prefixes of hashes, where a newer one takes the place of an older.
    """

    def __init__(self) -> None:
        self._marks = _no_marks()

    def lacks(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Tells of each chunk whether it is to be checked."""
        marks = _marks_of(hashes)
        unknown: NDArray[np.bool_] = self._marks[_slots_of(marks)] != marks
        return unknown

    def lacks_one(self, hash_: bytes) -> bool:
        """Tells the same of one chunk."""
        mark = int.from_bytes(hash_[: _WORD.itemsize], "little") | 1
        return bool(self._marks[mark >> 1 & (_SLOTS - 1)] != mark)

    def add(self, hashes: Hashes) -> None:
        """Notes that chunks are as their hashes say."""
        marks = _marks_of(hashes)
        self._marks[_slots_of(marks)] = marks


def _marks_of(hashes: Hashes) -> NDArray[np.uint64]:
    return np.ascontiguousarray(hashes[:, : _WORD.itemsize]).view(_WORD).reshape(-1) | np.uint64(1)


def _slots_of(marks: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return marks >> np.uint64(1) & np.uint64(_SLOTS - 1)


def _no_marks() -> NDArray[np.uint64]:
    """A table of zeros that takes memory as it fills: in huge pages the first few marks would cost milliseconds."""
    memory = mmap.mmap(-1, _WORD.itemsize * _SLOTS, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, np.uint64)


class ChunkCache:
    """Keeps the payloads of chunks that were read in part, for the next part: at most 128 MiB, the latest ones."""

    def __init__(self) -> None:
        self._payloads: OrderedDict[bytes, Bytes] = OrderedDict()
        self._size_bytes = 0
        self._lock = renewed_in_children(self, threading.Lock)

    def get(self, hash_: bytes) -> Bytes | None:
        """Returns a payload, if it is still there."""
        with self._lock:
            payload = self._payloads.get(hash_)
            if payload is not None:
                self._payloads.move_to_end(hash_)
            return payload

    def put(self, hash_: bytes, payload: Bytes) -> None:
        """Keeps a payload, in place of those that were not asked for longest."""
        with self._lock:
            if self._payloads.setdefault(hash_, payload) is payload:
                self._size_bytes += len(payload)
            while self._size_bytes > CACHE_BYTES:
                _, oldest = self._payloads.popitem(last=False)
                self._size_bytes -= len(oldest)
