"""Where nodes end: after a child whose hash falls under a threshold (FORMAT section 4)."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import numpy as np

from cas.hashing import Hashes
from cas.tree.node import MAX_CHILDREN

MIN_CHILDREN: Final = 16
MEAN_CHILDREN: Final = 48
_THRESHOLD: Final = np.uint64(2**64 // MEAN_CHILDREN)


def find_node_ends(hashes: Hashes) -> list[int]:
    """Returns the child counts after which nodes end, for children that begin at such an end.

    Children after the last one returned belong to a node that is not complete.
    """
    ends: list[int] = []
    start, count = 0, len(hashes)
    if count < MIN_CHILDREN:
        return ends
    heads = np.ascontiguousarray(hashes[:, :8]).view("<u8").reshape(-1)
    low: list[int] = (heads < _THRESHOLD).nonzero()[0].tolist()
    while count - start >= MIN_CHILDREN:
        at = bisect_left(low, start + MIN_CHILDREN - 1)
        end = low[at] + 1 if at < len(low) else count + 1
        end = min(end, start + MAX_CHILDREN)
        if end > count:
            break
        ends.append(end)
        start = end
    return ends
