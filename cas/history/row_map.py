"""Row maps: how the rows of a version line up with those of a parent (FORMAT section 5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cas.codec.rows import Ints
from cas.errors import CorruptedError


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Runs of rows that a parent and a version both have, ascending in both; int64 arrays of shape (runs,)."""

    parent_starts: Ints
    starts: Ints
    lengths: Ints

    def then(self, later: Kept) -> Kept:
        """Returns the rows that the parent of this and the version of ``later`` both have."""
        # In the rows between: cut both at all of their ends, and keep the pieces that lie in a run of each.
        ends, later_ends = self.starts + self.lengths, later.parent_starts + later.lengths
        cuts = np.unique(np.concatenate((self.starts, ends, later.parent_starts, later_ends)))
        begin, stop = cuts[:-1], cuts[1:]
        mine = np.searchsorted(self.starts, begin, "right") - 1
        theirs = np.searchsorted(later.parent_starts, begin, "right") - 1
        both = (mine >= 0) & (theirs >= 0)
        both[both] &= (begin[both] < ends[mine[both]]) & (begin[both] < later_ends[theirs[both]])
        begin, stop, mine, theirs = begin[both], stop[both], mine[both], theirs[both]
        parent_starts = begin - self.starts[mine] + self.parent_starts[mine]
        starts = begin - later.parent_starts[theirs] + later.starts[theirs]
        return Kept(parent_starts, starts, stop - begin)


@dataclass(frozen=True, slots=True, eq=False)
class RowMap:
    """Runs of ``(keep, delete, insert)`` row counts, shape (runs, 3), int64, in shortest form."""

    runs: Ints

    @classmethod
    def from_runs(cls, runs: Iterable[tuple[int, int, int]]) -> RowMap:
        """Returns the map of the given runs, merged into the shortest form."""
        merged: list[list[int]] = []
        for keep, delete, insert in runs:
            if merged and (keep == 0 or merged[-1][1] == merged[-1][2] == 0):
                last = merged[-1]
                if keep == 0:
                    last[1] += delete
                    last[2] += insert
                else:
                    merged[-1] = [last[0] + keep, delete, insert]
            elif keep or delete or insert:
                merged.append([keep, delete, insert])
        return cls(np.array(merged, np.int64).reshape(-1, 3))

    @property
    def parent_rows(self) -> int:
        """The rows of the parent."""
        return int(self.runs[:, :2].sum())

    @property
    def rows(self) -> int:
        """The rows of the version."""
        return int(self.runs[:, 0].sum() + self.runs[:, 2].sum())

    @property
    def inserted(self) -> int:
        """How many rows are new."""
        return int(self.runs[:, 2].sum())

    @property
    def deleted(self) -> int:
        """How many of the parent's rows are gone."""
        return int(self.runs[:, 1].sum())

    def kept(self) -> Kept:
        """Returns the rows that both have."""
        keep, delete, insert = self.runs.T
        parent_starts = np.cumsum(keep + delete) - keep - delete
        starts = np.cumsum(keep + insert) - keep - insert
        some = keep > 0
        return Kept(parent_starts[some], starts[some], keep[some])

    @classmethod
    def of_kept(cls, kept: Kept, parent_rows: int, rows: int) -> RowMap:
        """Returns the map of which the kept rows are known; linear in their runs."""
        parent_ends = np.append(kept.parent_starts, parent_rows)
        ends = np.append(kept.starts, rows)
        gaps = parent_ends - np.concatenate(([0], kept.parent_starts + kept.lengths))
        new = ends - np.concatenate(([0], kept.starts + kept.lengths))
        runs = np.stack([np.concatenate(([0], kept.lengths)), gaps, new], axis=1)
        return cls.from_runs(map(tuple, runs.tolist()))

    @classmethod
    def identity(cls, rows: int) -> RowMap:
        """Returns the map that keeps all rows."""
        return cls.from_runs([(rows, 0, 0)])

    def inverse(self) -> RowMap:
        """Returns the map from the version to the parent: what one inserts, the other deletes."""
        return RowMap(np.ascontiguousarray(self.runs[:, [0, 2, 1]]))

    def then(self, later: RowMap) -> RowMap:
        """Returns the map from this one's parent to the version that ``later`` leads to. Linear in the runs of both.

        Raises :class:`~cas.errors.CorruptedError` where the rows between them are not as many.
        """
        if later.parent_rows != self.rows:
            raise CorruptedError(
                f"row maps do not follow each other: one leads to {self.rows} rows, the next begins at "
                f"{later.parent_rows}"
            )
        return RowMap.of_kept(self.kept().then(later.kept()), self.parent_rows, later.rows)

    def encode(self) -> bytes:
        """Returns the stored form."""
        return self.runs.astype("<u8").tobytes()

    @classmethod
    def decode(cls, data: bytes, what: str) -> RowMap:
        """Returns the map in its stored form; ``what`` names it in the error."""
        if len(data) % 24:
            raise CorruptedError(f"the row map of {what} has {len(data)} bytes", blob=what)
        runs = np.frombuffer(data, "<u8").reshape(-1, 3)
        if (runs >> np.uint64(48)).any():
            raise CorruptedError(f"the row map of {what} has impossible counts", blob=what)
        if (runs[1:, 0] == 0).any() or ((runs[:-1, 1:] == 0).all(axis=1)).any() or (runs == 0).all(axis=1).any():
            raise CorruptedError(f"the row map of {what} is not in its shortest form", blob=what)
        return cls(runs.astype(np.int64))
