"""Groups around leaders: each member is close to the one that is kept, so no chain joins what is unlike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cas.codec.rows import Ints
from cas.integrations.near.hamming import Codes, HammingIndex, Pairs

_MOST_ASKED: Final = 1 << 15
_MANY_PAIRS: Final = 1 << 21
_FEW_PAIRS: Final = 1 << 18

Alike = Callable[[Ints, Ints], NDArray[np.bool_]]
"""Says of pairs of codes, given by their numbers, whether they are alike in other respects too."""


@dataclass(frozen=True, slots=True, eq=False)
class Led:
    """For each code the number of its leader (int64), which is its own for those that lead, and the distance to it."""

    leaders: Ints
    distances: NDArray[np.uint8]


def find_leaders(codes: Codes, distance: int, alike: Alike) -> Led:
    """Gives each code (uint64, the best first) the first leader that it is within ``distance`` bits of, and alike.

    The first code leads; each other one that has no leader when its turn comes leads those after it that have none and
    are close. What the codes are decides alone, however they are looked for. Cost: a search for each leader among what
    is left (:class:`~cas.integrations.near.hamming.HammingIndex`), many at a time; where many are alike, a leader takes
    all of them out. Memory: some 100 MiB, and 30 bytes a code.
    """
    return _Search(codes, distance, alike).run()


class _Search:
    """Codes on their way to leaders: -1 where none is found yet."""

    def __init__(self, codes: Codes, distance: int, alike: Alike) -> None:
        self._codes = codes
        self._distance = distance
        self._alike = alike
        self._leaders = np.full(len(codes), -1, np.int64)
        self._distances = np.zeros(len(codes), np.uint8)

    def run(self) -> Led:
        """Returns the leaders."""
        left = np.arange(len(self._codes))
        while len(left):
            left = self._thin(left)
        return Led(self._leaders, self._distances)

    def _thin(self, left: Ints) -> Ints:
        """Goes through codes until it is time to look among fewer, and returns those that are not settled.

        It begins with one, since that may lead all others, and asks for more at a time as long as few pairs are made.
        """
        index = HammingIndex(self._codes[left], self._distance)
        at, size = 0, 1
        while 2 * at < len(left):
            asked = left[at : at + size]
            asked = asked[self._leaders[asked] < 0]
            pairs = self._pairs(asked, left, index, at_most=_MANY_PAIRS if size > 1 else len(left))
            if pairs is None:
                size = max(1, size // 8)
                continue
            self._settle(asked, pairs)
            at += size
            size = min(2 * size, _MOST_ASKED) if len(pairs) < _FEW_PAIRS else max(1, size // 2)
            # Many were taken out at once, so that the index may hold few that count.
            if len(pairs) > len(left) // 4 and 2 * np.count_nonzero(self._leaders[left] < 0) < len(left):
                break
        return left[self._leaders[left] < 0]

    def _pairs(self, asked: Ints, left: Ints, index: HammingIndex, at_most: int) -> Pairs | None:
        """The pairs of codes asked for with those after them that have no leader; None where there are too many."""
        parts: list[Pairs] = []
        count = 0
        for part in index.near(self._codes[asked]):
            first, second = asked[part.asked], left[part.found]
            kept = np.flatnonzero((second > first) & (self._leaders[second] < 0))
            kept = kept[self._alike(first[kept], second[kept])]
            parts.append(Pairs(first[kept], second[kept], part.distances[kept]))
            count += len(kept)
            if count > at_most:
                return None
        if not parts:
            return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint8))
        joined = Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in Pairs.__slots__))
        order = np.argsort(joined.asked, kind="stable")
        return Pairs(joined.asked[order], joined.found[order], joined.distances[order])

    def _settle(self, asked: Ints, pairs: Pairs) -> None:
        """Lets each code that was asked for lead what is close to it, in turn, unless one before leads it."""
        begins = np.flatnonzero(np.diff(pairs.asked, prepend=-1))
        ends = np.append(begins, len(pairs))[1:]
        for leader, begin, end in zip(pairs.asked[begins].tolist(), begins.tolist(), ends.tolist(), strict=True):
            if self._leaders[leader] >= 0:
                continue
            members = pairs.found[begin:end]
            free = self._leaders[members] < 0
            self._leaders[members[free]] = leader
            self._distances[members[free]] = pairs.distances[begin:end][free]
            self._leaders[leader] = leader
        alone = asked[self._leaders[asked] < 0]
        self._leaders[alone] = alone
