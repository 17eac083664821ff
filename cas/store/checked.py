"""What a process remembers of the chunks that it has read: which were compared with their hash."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cas.hashing import Hashes
from cas.store.slots import Numbers, Records, SlotTable

_MOST_SLOTS: Final = 1 << 20
_WORD: Final = np.dtype("<u8")


class Checked:
    """Remembers which chunks were compared with their hash.

    Bounded: a table of 2^20 prefixes of hashes, where a newer one takes the place of an older.
    """

    def __init__(self) -> None:
        self._marks = SlotTable(_WORD, _MOST_SLOTS, _numbers, lambda marks: marks != 0)

    def lacks(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Tells of each chunk whether it is to be checked."""
        marks = _marks_of(hashes)
        unknown: NDArray[np.bool_] = self._marks.get(_numbers(marks)) != marks
        return unknown

    def lacks_one(self, hash_: bytes) -> bool:
        """Tells the same of one chunk."""
        mark = _mark_of(hash_)
        return bool(self._marks.get_one(mark >> 1) != mark)

    def add(self, hashes: Hashes) -> None:
        """Notes that chunks are as their hashes say."""
        self._marks.put(_marks_of(hashes))

    def add_one(self, hash_: bytes) -> None:
        """Notes the same of one chunk."""
        mark = _mark_of(hash_)
        self._marks.put_one(mark >> 1, mark)


def _marks_of(hashes: Hashes) -> Numbers:
    return np.ascontiguousarray(hashes[:, : _WORD.itemsize]).view(_WORD).reshape(-1) | np.uint64(1)


def _mark_of(hash_: bytes) -> int:
    return int.from_bytes(hash_[: _WORD.itemsize], "little") | 1


def _numbers(marks: Records) -> Numbers:
    return marks >> np.uint64(1)
