"""Identical rows of one column, found by the hashes of their chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cas.codec.rows import Ints
from cas.history.records import TreeRecord
from cas.repo.identical import GroupSequence, group_equal, order_groups, read_content
from cas.repo.repository import Repository


@dataclass(frozen=True, slots=True, eq=False)
class DuplicateGroup:
    """Rows that are identical: their numbers (int64, ascending, at least two), and the bytes of one of them."""

    rows: Ints
    size_bytes: int

    @property
    def wasted_bytes(self) -> int:
        """The bytes of all rows but the first."""
        return self.size_bytes * (len(self.rows) - 1)

    def to_dict(self) -> dict[str, Any]:
        """Returns the row numbers and sizes."""
        return {"rows": self.rows.tolist(), "size_bytes": self.size_bytes, "wasted_bytes": self.wasted_bytes}


@dataclass(frozen=True, slots=True, eq=False)
class Duplicates(GroupSequence[DuplicateGroup]):
    """Groups of identical rows, by wasted bytes descending, then by first row.

    Held as three arrays (int64), so that millions of groups take 8 bytes a row: the row numbers of all groups one after
    the other, where each group ends in them, and the bytes of one row of each.
    """

    rows: Ints
    ends: Ints
    sizes: Ints

    def _group(self, number: int, start: int, stop: int) -> DuplicateGroup:
        return DuplicateGroup(self.rows[start:stop], int(self.sizes[number]))

    @property
    def wasted_bytes(self) -> int:
        """The bytes of all rows but the first of each group."""
        return int((self.sizes * (np.diff(self.ends, prepend=0) - 1)).sum())

    def repeats(self) -> Ints:
        """Returns all rows but the first of each group, group by group."""
        first = np.zeros(len(self.rows), np.bool_)
        first[self._starts()] = True
        return self.rows[~first]

    def firsts(self) -> Ints:
        """Returns for each row of :meth:`repeats` the first row of its group."""
        return np.repeat(self.rows[self._starts()], np.diff(self.ends, prepend=0) - 1)

    def _starts(self) -> Ints:
        return self.ends - np.diff(self.ends, prepend=0)

    def __repr__(self) -> str:
        return f"<Duplicates: {len(self):,} groups, {len(self.repeats()):,} repeated rows>"


def find_duplicates(repository: Repository, tree: TreeRecord, column: str) -> Duplicates:
    """Finds the identical rows of a column, without reading any of its data; missing rows are left out.

    Raises what :func:`~cas.repo.identical.read_content` raises, for columns whose rows are not chunks by themselves.
    Cost: the nodes of the column, and a sort; of arrays of varying shape the shapes of candidates, of nullable
    columns the mask. Memory: some 200 bytes a row.
    """
    content = read_content(repository, tree, column)
    # Each row is a side of its own, so that all groups of at least two rows are left.
    order, ends = group_equal([content], np.arange(len(content.rows)))
    return _ranked(content.rows[order], ends, content.sizes[order])


def _ranked(rows: Ints, ends: Ints, sizes: Ints) -> Duplicates:
    """The groups by wasted bytes, then by first row."""
    counts = np.diff(ends, prepend=0)
    starts = ends - counts
    sizes = sizes[starts]
    ranking = np.lexsort((rows[starts], -sizes * (counts - 1)))
    positions, ranked_ends = order_groups(ends, ranking)
    return Duplicates(rows[positions], ranked_ends, sizes[ranking])
