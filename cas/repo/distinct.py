"""Equal hashes brought together, for arrays of millions of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cas.codec.rows import Ints
from cas.hashing import HASH_BYTES
from cas.store.gate import Hashes

_WORDS = HASH_BYTES // 8


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
