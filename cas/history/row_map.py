"""Row maps: how the rows of a version line up with those of a parent (FORMAT section 5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cas.codec.fields import MOST
from cas.codec.rows import Ints
from cas.errors import CorruptedError
from cas.tree.alignment import Alignment


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

    def alignment(self) -> Alignment:
        """Returns the rows that both have: old are those of the parent, new those of the version."""
        keep, delete, insert = self.runs.T
        parent_starts = np.cumsum(keep + delete) - keep - delete
        starts = np.cumsum(keep + insert) - keep - insert
        return Alignment.of(parent_starts, starts, keep)

    @classmethod
    def of_alignment(cls, alignment: Alignment, parent_rows: int, rows: int) -> RowMap:
        """Returns the map of which the kept rows are known; linear in their runs.

        Of rows that stand in another order a largest part counts as kept.
        """
        kept = alignment.in_order()
        deleted, inserted = kept.gaps(parent_rows, rows)
        runs = np.stack([np.concatenate((np.zeros(1, np.int64), kept.lengths)), deleted, inserted], axis=1)
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
        return RowMap.of_alignment(self.alignment().then(later.alignment()), self.parent_rows, later.rows)

    def encode(self) -> bytes:
        """Returns the stored form."""
        return self.runs.astype("<u8").tobytes()

    @classmethod
    def decode(cls, data: bytes, what: str) -> RowMap:
        """Returns the map in its stored form; ``what`` names it in the error."""
        if len(data) % 24:
            raise CorruptedError(f"the row map of {what} has {len(data)} bytes", blob=what)
        runs = np.frombuffer(data, "<u8").reshape(-1, 3)
        if (runs >> np.uint64(48)).any() or runs.sum(dtype=np.float64) > MOST:
            raise CorruptedError(f"the row map of {what} has impossible counts", blob=what)
        if (runs[1:, 0] == 0).any() or ((runs[:-1, 1:] == 0).all(axis=1)).any() or (runs == 0).all(axis=1).any():
            raise CorruptedError(f"the row map of {what} is not in its shortest form", blob=what)
        return cls(runs.astype(np.int64))
