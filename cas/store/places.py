"""Where blobs lie, and what a process has seen of it: a table that many places are looked up in at once.

A look-up in LMDB's index costs a microsecond or two, most of it for memory that is not in the cache. Whoever reads the
same rows again, as training does epoch after epoch, finds them here for a tenth. A blob may lie elsewhere after any
write, for a collection moves it; so a place counts only in the state of the store, named by the number of its last
transaction, in which it was seen.
"""

from __future__ import annotations

import struct
import threading
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cas.hashing import HASH_BYTES, Hashes
from cas.store.forks import renewed_in_children
from cas.store.untouched import untouched_zeros

PLACE: Final = struct.Struct("<QI")
"""A row of the index: the number of a segment and an offset in it, as one number, and a length (FORMAT section 7)."""
PLACES: Final = np.dtype([("at", "<u8"), ("length", "<u4")])
"""Many places, as numbers."""
OFFSET_BITS: Final = 24
OFFSET_MASK: Final = (1 << OFFSET_BITS) - 1
_SLOTS: Final = 1 << 18
_WORD: Final = np.dtype("<u8")
_WORDS: Final = HASH_BYTES // 8

Places = NDArray[Any]
"""Rows of :data:`PLACES`."""


class SeenPlaces:
    """Remembers where blobs lie, at most 2^18 of them (14 MiB): a newer one takes the place of an older.

    For any threads.
    """

    def __init__(self) -> None:
        self._words = [untouched_zeros(_SLOTS, _WORD) for _ in range(_WORDS)]
        self._at, self._state = untouched_zeros(_SLOTS, _WORD), untouched_zeros(_SLOTS, _WORD)
        self._length = untouched_zeros(_SLOTS, PLACES["length"])
        self._lock = renewed_in_children(self, threading.Lock)

    def find(self, hashes: Hashes, state: int) -> tuple[Places, NDArray[np.bool_]]:
        """Returns places of blobs, and which of them are known in a state of the store, whose number is not 0."""
        words, slots = _words_and_slots(hashes)
        places = np.empty(len(hashes), PLACES)
        with self._lock:
            known = self._state[slots] == state
            for word, seen in zip(words, self._words, strict=True):
                known &= seen[slots] == word
            places["at"], places["length"] = self._at[slots], self._length[slots]
        return places, known

    def add(self, hashes: Hashes, places: Places, state: int) -> None:
        """Notes where blobs lie in a state."""
        words, slots = _words_and_slots(hashes)
        # Of two that share a slot one must be there wholly.
        slots, chosen = np.unique(slots, return_index=True)
        with self._lock:
            for word, seen in zip(words, self._words, strict=True):
                seen[slots] = word[chosen]
            self._at[slots], self._length[slots] = places["at"][chosen], places["length"][chosen]
            self._state[slots] = state


def _words_and_slots(hashes: Hashes) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    words = np.ascontiguousarray(np.ascontiguousarray(hashes).view("<u8").T)
    return words, words[0] & np.uint64(_SLOTS - 1)
