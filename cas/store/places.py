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
from cas.store.slots import Numbers, Records, SlotTable

PLACE: Final = struct.Struct("<QI")
"""A row of the index: the number of a segment and an offset in it, as one number, and a length (FORMAT section 7)."""
PLACES: Final = np.dtype([("at", "<u8"), ("length", "<u4")])
"""Many places, as numbers."""
OFFSET_BITS: Final = 24
OFFSET_MASK: Final = (1 << OFFSET_BITS) - 1
_MOST_SLOTS: Final = 1 << 18
_WORD: Final = np.dtype("<u8")
_SLOT: Final = np.dtype(
    [("words", _WORD, (HASH_BYTES // 8,)), ("at", "<u8"), ("state", "<u8"), ("length", "<u8"), ("", "<u8")]
)
"""64 bytes: a line of the processor's cache."""

Places = NDArray[Any]
"""Rows of :data:`PLACES`."""


class SeenPlaces:
    """Remembers where blobs lie, at most 2^18 of them (16 MiB): a newer one takes the place of an older.

    For any threads. What is known of one blob lies together, for each part of memory that is touched costs.
    """

    def __init__(self) -> None:
        self._seen = SlotTable(_SLOT, _MOST_SLOTS, _numbers, lambda seen: seen["state"] != 0)
        self._lock = renewed_in_children(self, threading.Lock)

    def find(self, hashes: Hashes, state: int) -> tuple[Places, NDArray[np.bool_]]:
        """Returns places of blobs, and which of them are known in a state of the store, whose number is not 0."""
        words = _words(hashes)
        with self._lock:
            seen = self._seen.get(words[:, 0])
        known = seen["state"] == state
        known &= (seen["words"] == words).all(1)
        places = np.empty(len(hashes), PLACES)
        places["at"], places["length"] = seen["at"], seen["length"]
        return places, known

    def add(self, hashes: Hashes, places: Places, state: int) -> None:
        """Notes where blobs lie in a state."""
        seen = np.empty(len(hashes), _SLOT)
        seen["words"], seen["at"], seen["length"] = _words(hashes), places["at"], places["length"]
        seen["state"] = state
        with self._lock:
            self._seen.put(seen)


def index_order(hashes: Hashes) -> NDArray[np.int64]:
    """Returns the order in which looking each up, or putting it, visits each page of the index once."""
    return np.argsort(hashes.reshape(-1).view(f"S{HASH_BYTES}"))


def _words(hashes: Hashes) -> NDArray[np.uint64]:
    return np.ascontiguousarray(hashes).view(_WORD)


def _numbers(seen: Records) -> Numbers:
    return seen["words"][:, 0]
