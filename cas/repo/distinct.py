"""Equal hashes brought together, for arrays of millions of them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cas.codec.rows import Ints
from cas.hashing import HASH_BYTES, Hashes

_WORDS: Final = HASH_BYTES // 8
_PENDING_HASHES: Final = 1 << 16

Numbers = NDArray[np.integer[Any]]


def group_hashes(hashes: Hashes) -> tuple[Ints, Ints]:
    """Returns an order that puts equal hashes side by side, and where in it each distinct hash begins.

    ``hashes`` has shape (count, 32). Equal hashes stay in the order given. Cost: one sort by the first eight bytes; all
    bytes are compared, and sorted by where two hashes differ only after the eighth.
    """
    words = np.ascontiguousarray(hashes).view(np.uint64).reshape(-1, _WORDS)
    order: Ints = np.argsort(words[:, 0], kind="stable")
    ranked = words[order]
    same = (ranked[1:] == ranked[:-1]).all(axis=1)
    if (~same & (ranked[1:, 0] == ranked[:-1, 0])).any():
        order = np.lexsort(words.T)
        ranked = words[order]
        same = (ranked[1:] == ranked[:-1]).all(axis=1)
    return order, _begins(same, len(order))


def _begins(same: NDArray[np.bool_], count: int) -> Ints:
    """The places that are not the same as the one before."""
    return np.flatnonzero(np.concatenate((np.ones(min(count, 1), np.bool_), ~same)))


class DistinctHashes:
    """Distinct hashes with numbers, gathered in memory that grows with how many there are, not how often they occur.

    For each column of numbers ``merges`` says how those of equal hashes become one, such as ``np.minimum``; the order
    of the merges must not matter.
    """

    def __init__(self, *merges: np.ufunc) -> None:
        self._merges = merges
        self._parts: list[tuple[Hashes, tuple[Numbers, ...]]] = []
        self._pending = 0
        self._limit = _PENDING_HASHES

    def add(self, hashes: Hashes, *columns: Numbers) -> None:
        """Adds hashes, shape (count, 32), with a number of each column for each; those given once may repeat."""
        self._parts.append((hashes, columns))
        self._pending += len(hashes)
        if self._pending >= self._limit:
            # Twice as many as there are distinct ones, so that each is sorted a bounded number of times.
            self._limit = _PENDING_HASHES + 2 * len(self.merged()[0])

    def merged(self) -> tuple[Hashes, tuple[Numbers, ...]]:
        """Returns each hash once, in the order of an arbitrary sort, with its merged numbers, column by column."""
        if not self._pending:
            return np.empty((0, HASH_BYTES), np.uint8), tuple(np.empty(0, np.int64) for _ in self._merges)
        hashes = np.concatenate([part for part, _ in self._parts])
        columns = [np.concatenate(parts) for parts in zip(*(columns for _, columns in self._parts), strict=True)]
        self._parts.clear()
        order, begins = group_hashes(hashes)
        merged = (merge.reduceat(column[order], begins) for merge, column in zip(self._merges, columns, strict=True))
        self._parts = [(hashes[order[begins]], tuple(merged))]
        self._pending = len(begins)
        return self._parts[0]
