"""Which rows two sequences have in common, as runs: what row maps compose to, and what comparisons go along."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cas.codec.rows import Ints

NOWHERE: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """Runs of rows that an old and a new sequence both have: where each begins in either, and its length.

    Three int64 arrays of shape (runs,), ascending in ``old``; in ``new`` too unless rows were put in another order.
    No row is in two runs.
    """

    old: Ints
    new: Ints
    lengths: Ints

    @classmethod
    def of(cls, old: Ints, new: Ints, lengths: Ints) -> Alignment:
        """Returns the alignment of runs in any order, of which those that follow each other in both are joined."""
        some = lengths > 0
        order = np.argsort(old[some], kind="stable")
        old, new, lengths = old[some][order], new[some][order], lengths[some][order]
        follows = (old[1:] == old[:-1] + lengths[:-1]) & (new[1:] == new[:-1] + lengths[:-1])
        first = np.flatnonzero(np.concatenate((np.ones(min(1, len(old)), np.bool_), ~follows)))
        return cls(old[first], new[first], np.add.reduceat(lengths, first) if len(first) else lengths)

    @classmethod
    def identity(cls, rows: int) -> Alignment:
        """Returns the alignment of a sequence with itself."""
        nothing = np.zeros(1, np.int64)
        return cls.of(nothing, nothing, np.array([rows], np.int64))

    @classmethod
    def of_rows(cls, numbers: Ints) -> Alignment:
        """Returns the alignment of some rows, ascending, of a sequence with themselves."""
        return cls.of(numbers, numbers, np.ones(len(numbers), np.int64))

    @classmethod
    def empty(cls) -> Alignment:
        """Returns the alignment of sequences that have no row in common."""
        return cls.identity(0)

    def __len__(self) -> int:
        """How many runs there are."""
        return len(self.lengths)

    @property
    def rows(self) -> int:
        """How many rows both have."""
        return int(self.lengths.sum())

    @property
    def ordered(self) -> bool:
        """Whether the common rows stand in the same order in both."""
        return bool((np.diff(self.new) > 0).all())

    def is_identity(self, rows: int) -> bool:
        """Whether it is that of a sequence of so many rows with itself."""
        return self.rows == rows and bool((self.old == self.new).all())

    def inverse(self) -> Alignment:
        """Returns the alignment with old and new exchanged."""
        order = np.argsort(self.new, kind="stable")
        return Alignment(self.new[order], self.old[order], self.lengths[order])

    def then(self, later: Alignment) -> Alignment:
        """Returns the rows that ``old`` of this and ``new`` of ``later`` both have by way of those between.

        Cost: a sort of the runs of both.
        """
        before = self if self.ordered else self.inverse().inverse()
        mine = before.inverse()
        begin, lengths = _pieces(mine.old, mine.lengths, later.old, later.lengths)
        at, other = _owners(mine.old, mine.lengths, begin), _owners(later.old, later.lengths, begin)
        both = (at >= 0) & (other >= 0)
        begin, lengths, at, other = begin[both], lengths[both], at[both], other[both]
        return Alignment.of(begin - mine.old[at] + mine.new[at], begin - later.old[other] + later.new[other], lengths)

    def union(self, other: Alignment) -> Alignment:
        """Returns the pairs of both; where they disagree about a row of ``old``, those of this one."""
        more = other.without(self)
        pairs = ((self.old, more.old), (self.new, more.new), (self.lengths, more.lengths))
        old, new, lengths = (np.concatenate(pair) for pair in pairs)
        return Alignment.of(old, new, lengths)

    def without(self, other: Alignment) -> Alignment:
        """Returns the pairs whose row of ``old`` the other one does not have."""
        return self._where(other, present=False)

    def within(self, other: Alignment) -> Alignment:
        """Returns the pairs whose row of ``old`` the other one has too."""
        return self._where(other, present=True)

    def _where(self, other: Alignment, *, present: bool) -> Alignment:
        begin, lengths = _pieces(self.old, self.lengths, other.old, other.lengths)
        at = _owners(self.old, self.lengths, begin)
        chosen = (at >= 0) & ((_owners(other.old, other.lengths, begin) >= 0) == present)
        begin, lengths, at = begin[chosen], lengths[chosen], at[chosen]
        return Alignment.of(begin, begin - self.old[at] + self.new[at], lengths)

    def map(self, rows: Ints) -> Ints:
        """Returns where rows of ``old`` stand in ``new``, or -1 where they do not."""
        at = _owners(self.old, self.lengths, rows)
        found: Ints = np.where(at >= 0, rows - self.old[at] + self.new[at], NOWHERE) if len(self) else at
        return found

    def holds(self, starts: Ints, stops: Ints) -> NDArray[np.bool_]:
        """Whether each range of rows of ``old`` lies in one run; an empty range does where its first row would."""
        at = _owners(self.old, self.lengths, starts)
        return (at >= 0) & (stops <= (self.old + self.lengths)[at]) if len(self) else at >= 0

    def in_order(self) -> Alignment:
        """Returns a largest part, by rows, whose rows stand in the same order in both."""
        return self.in_order_with(Alignment.empty())

    def in_order_with(self, fixed: Alignment) -> Alignment:
        """Returns a largest part, by rows, whose rows stand in the same order in both, of those with a given part.

        The given part must be in order itself.
        """
        if self.ordered:
            return self
        rest = self.without(fixed)
        fits = np.searchsorted(fixed.old, rest.old) == np.searchsorted(fixed.new, rest.new)
        return fixed.union(Alignment(rest.old[fits], rest.new[fits], rest.lengths[fits]))._heaviest()

    def _heaviest(self) -> Alignment:
        chosen = np.array(_heaviest_chain(self.new.tolist(), self.lengths.tolist()), np.int64)
        return Alignment.of(self.old[chosen], self.new[chosen], self.lengths[chosen])

    def gaps(self, old_rows: int, new_rows: int) -> tuple[Ints, Ints]:
        """Returns how many rows only ``old``, and only ``new``, has before each run and at the end.

        Two arrays of shape (runs + 1,); the alignment must be in order.
        """
        return _gaps(self.old, self.lengths, old_rows), _gaps(self.new, self.lengths, new_rows)


def complement(starts: Ints, lengths: Ints, rows: int) -> tuple[Ints, Ints]:
    """Returns the runs, as starts and lengths, of a sequence that ascending runs of it leave over."""
    begins = np.concatenate((np.zeros(1, np.int64), starts + lengths))
    gaps = _gaps(starts, lengths, rows)
    return begins[gaps > 0], gaps[gaps > 0]


def numbers_of(starts: Ints, lengths: Ints) -> Ints:
    """Returns the row numbers of runs.

    >>> numbers_of(np.array([3, 8]), np.array([2, 1])).tolist()
    [3, 4, 8]
    """
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(total, dtype=np.int64)


def runs_of_numbers(numbers: Ints) -> tuple[Ints, Ints]:
    """Returns the runs, as starts and lengths, of ascending row numbers.

    >>> [part.tolist() for part in runs_of_numbers(np.array([3, 4, 8]))]
    [[3, 8], [2, 1]]
    """
    first = np.flatnonzero(np.diff(numbers, prepend=numbers[:1] - 2) != 1)
    return numbers[first], np.diff(first, append=len(numbers))


def ascending(numbers: Ints) -> Ints:
    """Returns the numbers in ascending order, each once."""
    # np.unique does so too, but at several times the cost: it hashes, or counts inverses, and loads numpy.ma for it.
    ordered = np.sort(numbers)
    return ordered[_first_of_equals(ordered)]


def ascending_with_places(numbers: Ints) -> tuple[Ints, Ints]:
    """Returns the numbers in ascending order, each once, and for each number its place among them.

    >>> [part.tolist() for part in ascending_with_places(np.array([8, 3, 8]))]
    [[3, 8], [1, 0, 1]]
    """
    order = np.argsort(numbers)
    ordered = numbers[order]
    first = _first_of_equals(ordered)
    places = np.empty(len(numbers), np.int64)
    places[order] = np.cumsum(first) - 1
    return ordered[first], places


def _first_of_equals(ordered: Ints) -> NDArray[np.bool_]:
    first = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return first


def _gaps(starts: Ints, lengths: Ints, rows: int) -> Ints:
    ends = np.concatenate((np.zeros(1, np.int64), starts + lengths))
    return np.append(starts, rows) - ends


def _pieces(starts: Ints, lengths: Ints, other_starts: Ints, other_lengths: Ints) -> tuple[Ints, Ints]:
    """Cuts two sets of runs at all of their ends: where the pieces begin, and their lengths."""
    cuts = ascending(np.concatenate((starts, starts + lengths, other_starts, other_starts + other_lengths)))
    return cuts[:-1], np.diff(cuts)


def _owners(starts: Ints, lengths: Ints, rows: Ints) -> Ints:
    """The number of the run, of ascending ones, that each row is in, or -1."""
    at: Ints = np.searchsorted(starts, rows, "right") - 1
    inside = at >= 0
    inside[inside] = rows[inside] < (starts + lengths)[at[inside]]
    return np.where(inside, at, NOWHERE)


def _heaviest_chain(places: Sequence[int], weights: Sequence[int]) -> list[int]:
    """The numbers of items whose places ascend, of greatest total weight; n log n, and a list insertion an item."""
    # Ends of chains by place, of which one at a later place is only kept where it is heavier.
    ends: list[int] = []
    totals: list[int] = []
    items: list[int] = []
    before: list[int] = []
    for item, (place, weight) in enumerate(zip(places, weights, strict=True)):
        at = bisect_left(ends, place)
        before.append(items[at - 1] if at else NOWHERE)
        total = weight + (totals[at - 1] if at else 0)
        stop = at
        while stop < len(ends) and totals[stop] <= total:
            stop += 1
        ends[at:stop], totals[at:stop], items[at:stop] = [place], [total], [item]
    chain = [items[-1]] if items else []
    while chain and before[chain[-1]] != NOWHERE:
        chain.append(before[chain[-1]])
    return chain[::-1]
