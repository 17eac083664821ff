"""Identical rows that stand on two sides which should have none in common, such as train and test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from cas.codec.rows import Ints
from cas.errors import InvalidInputError
from cas.repo.identical import ColumnContent, GroupSequence, group_equal, order_groups
from cas.types import Nullable, Type

NO_SIDE: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class LeakGroup:
    """Rows that are identical and of at least two sides: their numbers, the side of each, and the bytes of one row.

    They stand by side, then by number (int64).
    """

    rows: Ints
    sides: Ints
    size_bytes: int

    def by_side(self) -> dict[int, Ints]:
        """Returns the numbers of the rows of each side."""
        return {int(side): self.rows[self.sides == side] for side in np.unique(self.sides)}


@dataclass(frozen=True, slots=True, eq=False)
class Leaks(GroupSequence[LeakGroup]):
    """Groups of identical rows of at least two sides, in the order of their first rows.

    Held as four arrays (int64), so that millions of groups take 16 bytes a row: the row numbers of all groups one
    after the other, the side of each, where each group ends in them, and the bytes of one row of each.
    """

    rows: Ints
    sides: Ints
    ends: Ints
    sizes: Ints

    def _group(self, number: int, start: int, stop: int) -> LeakGroup:
        return LeakGroup(self.rows[start:stop], self.sides[start:stop], int(self.sizes[number]))

    def rows_of(self, side: int) -> Ints:
        """Returns the rows of a side, group by group."""
        rows: Ints = self.rows[self.sides == side]
        return rows

    def counterparts(self, side: int) -> Ints:
        """Returns for each row of :meth:`rows_of` the first row of its group that is of another side."""
        if not len(self.ends):
            return self.rows
        starts = self.ends - np.diff(self.ends, prepend=0)
        here = self.sides == side
        counts = np.add.reduceat(here.astype(np.int64), starts)
        # Rows stand by side, so those of another one come first, or follow at once.
        other = np.where(here[starts], starts + counts, starts)
        return np.repeat(self.rows[other], counts)


def leaks_between(first: ColumnContent, second: ColumnContent) -> Leaks:
    """Finds the rows of one column, side 0, that stand in another one too, side 1; no data is read.

    Raises :class:`~cas.errors.InvalidInputError` where the types of the columns differ in more than whether values may
    be missing. Cost: a sort of both; of arrays of free shape the shapes of candidates. Memory: some 200 bytes a row.
    """
    one, two = _without_null(first.column.type), _without_null(second.column.type)
    if one != two:
        raise InvalidInputError(
            f"column {first.column.name!r} is of type {one} in the first dataset and {_told_apart(one, two)} in the "
            f"second; rows of different types cannot be compared",
            column=first.column.name,
        )
    sides = np.repeat(np.arange(2), (len(first.rows), len(second.rows)))
    return _find([first, second], sides)


def leaks_within(content: ColumnContent, sides: Ints) -> Leaks:
    """Finds the identical rows of a column that are of different sides; no data is read.

    ``sides`` gives the side of each row of the dataset, from 0 on, ``NO_SIDE`` for rows that have none and are left
    out. Cost and memory: as of :func:`leaks_between`.
    """
    of_rows = sides[content.rows]
    order = np.argsort(of_rows, kind="stable")
    order = order[of_rows[order] != NO_SIDE]
    return _find([content.take(order)], of_rows[order])


def _find(contents: list[ColumnContent], sides: Ints) -> Leaks:
    """The groups of rows, of which those of lower sides come first."""
    order, ends = group_equal(contents, sides)
    rows = np.concatenate([content.rows for content in contents])[order]
    sizes = np.concatenate([content.sizes for content in contents])[order]
    starts = ends - np.diff(ends, prepend=0)
    ranking = np.lexsort((sides[order][starts], rows[starts]))
    positions, new_ends = order_groups(ends, ranking)
    return Leaks(rows[positions], sides[order][positions], new_ends, sizes[starts][ranking])


def _without_null(type_: Type) -> Type:
    return type_.of if isinstance(type_, Nullable) else type_


def _told_apart(one: Type, two: Type) -> str:
    """The second type as text, in full where the short forms of both are the same."""
    return str(two) if str(one) != str(two) else f"another {two}: {two!r}, not {one!r}"
