"""The rows of a merge: which of either side it keeps, and in what order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cas.codec.rows import Ints
from cas.tree.alignment import Alignment, ascending


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """How the rows of two sides line up with each other and with their base, and the rows of all three."""

    base_rows: int
    ours_rows: int
    theirs_rows: int
    base_to_ours: Alignment
    base_to_theirs: Alignment
    ours_to_theirs: Alignment


@dataclass(frozen=True, slots=True, eq=False)
class Woven:
    """The rows of a merge: where those of either side stand in it; ``rows`` of them in all.

    ``brought`` are those from theirs that ours does not have.
    """

    rows: int
    from_ours: Alignment
    from_theirs: Alignment
    brought: Alignment

    @property
    def kept_of_theirs(self) -> Alignment:
        """Rows of theirs, in one order, as the row map of a version has them.

        Rows that are in another order are left out; but none that ours does not have, for nothing else would tell that
        they are the same rows.
        """
        return self.from_theirs.in_order_with(self.brought)


class Weaver:
    """Weaves the rows of two sides into one sequence.

    Ours come in their order. A row that theirs has inserted stands right before the next row of theirs that the base
    has too, and after what ours has inserted there; so appends are ours, then theirs. Where ours does not have that
    row any more, the inserted one stands right after the last row before that one in the base that ours has. Rows of
    theirs keep their order: where rows were put in another order, as crossing merges do, one that would come to stand
    before an earlier one stands right after that.
    """

    def __init__(self, sides: Sides) -> None:
        self._sides = sides

    @cached_property
    def _ours_to_base(self) -> Alignment:
        return self._sides.base_to_ours.inverse()

    @cached_property
    def _theirs_to_base(self) -> Alignment:
        return self._sides.base_to_theirs.inverse()

    @cached_property
    def _ours_only(self) -> Alignment:
        return Alignment.identity(self._sides.ours_rows).without(self._sides.ours_to_theirs)

    @cached_property
    def _theirs_only(self) -> Alignment:
        return Alignment.identity(self._sides.theirs_rows).without(self._sides.ours_to_theirs.inverse())

    @cached_property
    def deleted_by_theirs(self) -> Alignment:
        """Rows of ours that the base has and theirs has not."""
        return self._ours_only.within(self._ours_to_base)

    @cached_property
    def deleted_by_ours(self) -> Alignment:
        """Rows of theirs that the base has and ours has not."""
        return self._theirs_only.within(self._theirs_to_base)

    def weave(self, saved_ours: Ints, saved_theirs: Ints) -> Woven:
        """Returns the rows of the merge; rows that one side deleted stay away unless they are among those saved.

        Cost: a sort of all runs.
        """
        sides = self._sides
        dropped = self.deleted_by_theirs.without(Alignment.of_rows(saved_ours))
        ours = Alignment.identity(sides.ours_rows).without(dropped)
        inserted = _beside(self._theirs_only.without(self._theirs_to_base), saved_theirs)
        points = self._points(inserted)
        ours = _cut(ours, points)
        # All runs, by the row of ours that they stand at or before; those of theirs before those of ours.
        places = np.concatenate((points, ours.old))
        order = np.lexsort((np.repeat([0, 1], [len(points), len(ours)]), places))
        lengths = np.concatenate((inserted.lengths, ours.lengths))[order]
        starts = np.empty(len(order), np.int64)
        starts[order] = np.cumsum(lengths) - lengths
        from_ours = Alignment.of(ours.old, starts[len(points) :], ours.lengths)
        brought = Alignment.of(inserted.old, starts[: len(points)], inserted.lengths)
        from_theirs = sides.ours_to_theirs.inverse().then(from_ours).union(brought)
        return Woven(int(lengths.sum()), from_ours, from_theirs, brought)

    def _points(self, inserted: Alignment) -> Ints:
        """For runs of theirs the row of ours before which each stands."""
        positions = self._positions(inserted)
        ours = self._sides.base_to_ours
        ends = np.concatenate((np.zeros(1, np.int64), ours.new + ours.lengths))
        run = np.searchsorted(ours.old + ours.lengths, positions, "right")
        points = ends[run]
        inside = run < len(ours)
        begun = inside.copy()
        begun[inside] = ours.old[run[inside]] <= positions[inside]
        points[begun] = ours.new[run[begun]] + positions[begun] - ours.old[run[begun]]
        points[positions == self._sides.base_rows] = self._sides.ours_rows
        return np.maximum.accumulate(points)

    def _positions(self, runs: Alignment) -> Ints:
        """For runs of theirs the row of the base that each is, or that the next row is that is in the base."""
        theirs = self._theirs_to_base
        at = np.searchsorted(theirs.old + theirs.lengths, runs.old, "right")
        positions = np.append(theirs.new, self._sides.base_rows)[at]
        inside = at < len(theirs)
        begun = inside.copy()
        begun[inside] = theirs.old[at[inside]] <= runs.old[inside]
        positions[begun] += runs.old[begun] - theirs.old[at[begun]]
        return positions


def _beside(runs: Alignment, rows: Ints) -> Alignment:
    """The runs, and rows that are in none of them, in order; not joined, for each has its own place."""
    starts = np.concatenate((runs.old, rows))
    lengths = np.concatenate((runs.lengths, np.ones(len(rows), np.int64)))
    order = np.argsort(starts)
    return Alignment(starts[order], starts[order], lengths[order])


def _cut(runs: Alignment, points: Ints) -> Alignment:
    """The runs, cut where one of the points lies inside of them."""
    at = np.searchsorted(runs.old, points, "right") - 1
    inside = at >= 0
    inside[inside] = points[inside] < (runs.old + runs.lengths)[at[inside]]
    starts = ascending(np.concatenate((runs.old, points[inside])))
    owner = np.searchsorted(runs.old, starts, "right") - 1
    stops = np.minimum(np.append(starts[1:], np.iinfo(np.int64).max), (runs.old + runs.lengths)[owner])
    return Alignment(starts, starts - runs.old[owner] + runs.new[owner], stops - starts)
