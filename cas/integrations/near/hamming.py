"""All codes of 64 bits within a Hamming distance of others: none is missed, and few are looked at.

Multi-index hashing (Norouzi, Punjani and Fleet, "Fast exact search in Hamming space with multi-index hashing", 2014):
64 bits are cut into m bands. With a distance of at most ``m * r + a`` (``a < m``), one of the first ``a + 1`` bands
differs in at most ``r`` bits or one of the others in at most ``r - 1``, for otherwise there were more in all. So each
band has a table from its value to the codes that have it, and is asked for all values that differ in so few bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cas.codec.rows import Ints

CODE_BITS: Final = 64
_BANDS: Final = range(3, 13)
"""With fewer bands the tables, of a place for each value of a band, would be larger than the codes."""
_MOST_LOOKUPS: Final = 20_000
_SAMPLED: Final = 2048, 256
_CANDIDATES: Final = 1 << 20
"""So many candidates are compared at a time."""

# Measured, in nanoseconds; only their proportions matter, and to the time alone.
_SCAN_COST: Final = 0.8
_LOOKUP_COST: Final = 20.0
_CANDIDATE_COST: Final = 35.0
_STEP_COST: Final = 20_000.0

Codes = NDArray[np.uint64]
Places = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of codes that are close: numbers of those asked for, numbers of those found (int64), and distances."""

    asked: Ints
    found: Ints
    distances: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.asked)


@dataclass(frozen=True, slots=True)
class _Band:
    """Some bits of a code, which may differ in ``radius`` of them."""

    shift: int
    width: int
    radius: int

    @property
    def lookups(self) -> int:
        """How many values differ in so few bits."""
        return sum(math.comb(self.width, count) for count in range(self.radius + 1))

    def values(self, codes: Codes) -> Places:
        """Returns the bits of each code."""
        found = (codes >> np.uint64(self.shift)) & np.uint64((1 << self.width) - 1)
        return found.astype(np.int32)

    def flips(self) -> list[int]:
        """Returns every change of so few bits, none among them."""
        return [
            sum(1 << bit for bit in bits)
            for count in range(self.radius + 1)
            for bits in combinations(range(self.width), count)
        ]

    def admits(self, differences: Codes) -> NDArray[np.bool_]:
        """Whether codes that differ so are found by this band."""
        mask = np.uint64(((1 << self.width) - 1) << self.shift)
        found: NDArray[np.bool_] = np.bitwise_count(differences & mask) <= self.radius
        return found


def _cut(distance: int, count: int) -> list[_Band]:
    """The bands that must be asked, of so many that 64 bits are cut into."""
    radius, rest = divmod(distance, count)
    shifts = [CODE_BITS * number // count for number in range(count + 1)]
    radii = [radius if number <= rest else radius - 1 for number in range(count)]
    return [
        _Band(shifts[number], shifts[number + 1] - shifts[number], radii[number])
        for number in range(count)
        if radii[number] >= 0
    ]


class _Table:
    """The codes by their value in a band: those of value v stand at ``order[starts[v] : starts[v + 1]]``."""

    def __init__(self, band: _Band, codes: Codes) -> None:
        values = band.values(codes)
        self.band = band
        self.flips = band.flips()
        self.order: Places = np.argsort(values, kind="stable").astype(np.int32)
        self.starts: Places = np.zeros((1 << band.width) + 1, np.int32)
        np.cumsum(np.bincount(values, minlength=1 << band.width), out=self.starts[1:])


class HammingIndex:
    """Codes (uint64) of which all within ``distance`` bits of others are found.

    Memory: 4 bytes a code and band, at most 16 MiB a band on top, and some 32 MiB at work. Cost of a code that is asked
    for: what is least, either a few hundred look-ups and its candidates, or a comparison with every code; so it is
    never much worse than the latter, 0.8 ns a code, however alike they are.
    """

    def __init__(self, codes: Codes, distance: int) -> None:
        self._codes = codes
        self._distance = distance
        self._bands, self._cost = _cheapest(codes, distance)
        self._made: list[_Table] | None = None

    def __len__(self) -> int:
        return len(self._codes)

    def near(self, asked: Codes) -> Iterator[Pairs]:
        """Yields all pairs of a code that is asked for and one of these, each once, in no order, some at a time."""
        steps = sum(band.lookups for band in self._bands) * _STEP_COST
        if not self._bands or len(asked) * len(self) * _SCAN_COST <= steps + len(asked) * self._cost:
            yield from self._scan(asked)
            return
        if self._made is None:
            self._made = [_Table(band, self._codes) for band in self._bands]
        crowded = self._candidates(asked, self._made) * _CANDIDATE_COST > len(self) * _SCAN_COST
        yield from _renumbered(self._scan(asked[crowded]), np.flatnonzero(crowded))
        rest = np.flatnonzero(~crowded)
        yield from _renumbered(self._look_up(asked[rest], self._made), rest)

    def _candidates(self, asked: Codes, tables: list[_Table]) -> Ints:
        """How many codes would be compared with each, found by the tables."""
        counts = np.zeros(len(asked), np.int64)
        for table in tables:
            values = table.band.values(asked)
            for flip in table.flips:
                counts += table.starts[(values ^ flip) + 1] - table.starts[values ^ flip]
        return counts

    def _look_up(self, asked: Codes, tables: list[_Table]) -> Iterator[Pairs]:
        for number, table in enumerate(tables):
            values = table.band.values(asked)
            for flip in table.flips:
                yield from self._compare(asked, values ^ flip, table, self._bands[:number])

    def _scan(self, asked: Codes) -> Iterator[Pairs]:
        """Compares all with all."""
        step = max(1, _CANDIDATES // max(1, len(self)))
        for start in range(0, len(asked), step):
            distances = np.bitwise_count(asked[start : start + step, None] ^ self._codes[None])
            rows, columns = np.nonzero(distances <= self._distance)
            if len(rows):
                yield Pairs(rows + start, columns, distances[rows, columns])

    def _compare(self, asked: Codes, values: Places, table: _Table, before: list[_Band]) -> Iterator[Pairs]:
        """Compares with those that have certain values in a band, leaving out what a band before has found."""
        begins = table.starts[values]
        counts = table.starts[values + 1] - begins
        ends = np.cumsum(counts, dtype=np.int64)
        start = 0
        while start < len(asked) and ends[-1] > (done := int(ends[start - 1]) if start else 0):
            stop = max(start + 1, int(np.searchsorted(ends, done + _CANDIDATES, "right")))
            rows = np.repeat(np.arange(start, stop, dtype=np.int32), counts[start:stop])
            shift = begins[start:stop] - (ends[start:stop] - counts[start:stop] - done)
            found = table.order[np.arange(len(rows)) + np.repeat(shift, counts[start:stop])]
            differences = asked[rows] ^ self._codes[found]
            distances = np.bitwise_count(differences)
            close = np.flatnonzero(distances <= self._distance)
            for band in before:
                close = close[~band.admits(differences[close])]
            if len(close):
                yield Pairs(rows[close].astype(np.int64), found[close].astype(np.int64), distances[close])
            start = stop


def _renumbered(parts: Iterator[Pairs], numbers: Ints) -> Iterator[Pairs]:
    """Pairs of some of the codes that are asked for, by their numbers among all."""
    return (Pairs(numbers[pairs.asked], pairs.found, pairs.distances) for pairs in parts)


def _cheapest(codes: Codes, distance: int) -> tuple[list[_Band], float]:
    """The bands that cost the least for a code, by a sample, and that cost; none to scan."""
    best: tuple[list[_Band], float] = ([], len(codes) * _SCAN_COST)
    many, few = (codes[:: max(1, len(codes) // count)] for count in _SAMPLED)
    differences = few[:, None] ^ many[None]
    for count in _BANDS:
        bands = _cut(distance, count)
        lookups = sum(band.lookups for band in bands)
        if lookups > _MOST_LOOKUPS or lookups * _LOOKUP_COST >= best[1]:
            continue
        shares = sum(band.admits(differences).mean(axis=1) for band in bands)
        compared = np.minimum(shares * len(codes) * _CANDIDATE_COST, len(codes) * _SCAN_COST).mean()
        if lookups * _LOOKUP_COST + compared < best[1]:
            best = bands, float(lookups * _LOOKUP_COST + compared)
    return best
