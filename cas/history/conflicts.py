"""What two sides of a merge changed differently, with the three values, read when they are looked at."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, overload

import numpy as np

from cas.codec.rows import Ints
from cas.codec.values import decode_values, single_values
from cas.errors import InvalidInputError, UnsupportedError, shown
from cas.history.missing import MISSING
from cas.history.records import ColumnRecord
from cas.tree.node import Nodes
from cas.tree.stream import StreamReader
from cas.types import DATA

CELL: Final = "cell"
ROW: Final = "row"
COLUMN: Final = "column"
METADATA: Final = "metadata"
VALUE: Final = "value"

_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Conflict:
    """Something that both sides of a merge changed, and not to the same.

    ``kind`` is "cell": a value was changed by both; "row": a row was changed by one side, here in ``column``, and
    deleted by the other; "column": a column was renamed differently, removed by one side and changed by the other, or
    two would have one name; "metadata": the value of ``key``, of the dataset where ``column`` is None; "value": a row
    of one side has no value for a column of the other, which has no default.

    ``base``, ``ours`` and ``theirs`` are the three values, types or names; what does not exist is
    :data:`~cas.history.missing.MISSING`. ``row`` is the number of the row in ours, ``theirs_row`` in theirs.
    """

    kind: str
    column: str | None
    base: Any
    ours: Any
    theirs: Any
    row: int | None = None
    theirs_row: int | None = None
    key: str | None = None

    def __str__(self) -> str:
        where = self._place()
        # A number of an array says its type, which is that of the column.
        sides = ((name, value.item() if isinstance(value, np.generic) else value) for name, value in self._sides())
        values = (f"{name} {shown(value, 60)}" for name, value in sides)
        return f"{where}: {', '.join(values)}"

    def _place(self) -> str:
        if self.kind == METADATA:
            return f"metadata {self.key!r}" + (f" of column {self.column!r}" if self.column is not None else "")
        if self.kind == COLUMN:
            return f"column {self.column!r}"
        row = f"row {self.row}" if self.row is not None else f"row {self.theirs_row} of theirs"
        return f"{row}, column {self.column!r}"

    def _sides(self) -> list[tuple[str, Any]]:
        return [("base", self.base), ("ours", self.ours), ("theirs", self.theirs)]


@dataclass(frozen=True, slots=True, eq=False)
class CellConflicts(Sequence[Conflict]):
    """Conflicts of one kind in one column: for each the row in base, ours and theirs, -1 where it has none."""

    kind: str
    name: str
    nodes: Nodes
    columns: tuple[ColumnRecord | None, ColumnRecord | None, ColumnRecord | None]
    rows: tuple[Ints, Ints, Ints]

    def __len__(self) -> int:
        return len(self.rows[0])

    @overload
    def __getitem__(self, index: int) -> Conflict: ...
    @overload
    def __getitem__(self, index: slice) -> list[Conflict]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        rows = [int(side[index]) for side in self.rows]
        base, ours, theirs = (
            read_cell(self.nodes, column, row) for column, row in zip(self.columns, rows, strict=True)
        )
        row, theirs_row = (None if row < 0 else row for row in rows[1:])
        return Conflict(self.kind, self.name, base, ours, theirs, row, theirs_row)


class Conflicts(Sequence[Conflict]):
    """All conflicts of a merge, in groups; a conflict's values are read when it is asked for."""

    def __init__(self, groups: Sequence[Sequence[Conflict]]) -> None:
        self._groups = [group for group in groups if len(group)]
        self._ends = list(accumulate(map(len, self._groups)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Conflict: ...
    @overload
    def __getitem__(self, index: slice) -> list[Conflict]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        number = range(len(self))[index]
        group = bisect_right(self._ends, number)
        return self._groups[group][number - (self._ends[group - 1] if group else 0)]

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process may not have the store; the values travel.
        return Conflicts, ([list(self)],)

    def __str__(self) -> str:
        more = len(self) - _SHOWN
        shown = "; ".join(str(conflict) for conflict in self[:_SHOWN])
        return shown + (f"; and {more:,} more" if more > 0 else "")

    def __repr__(self) -> str:
        return f"<{len(self)} conflicts: {self}>"


def read_cell(nodes: Nodes, column: ColumnRecord | None, row: int) -> Any:
    """Returns the value of a row of a column, ``MISSING`` where there is neither.

    What does not decode, such as a broken image, or one where the package for images is missing, is its stored bytes.
    """
    if column is None or row < 0:
        return MISSING
    layouts = column.type.layouts()
    streams = {name: StreamReader(nodes, ref, layouts[name]).read(row, row + 1) for name, ref in column.streams.items()}
    try:
        return single_values(column.type, decode_values(column.type, streams))[0]
    except (InvalidInputError, UnsupportedError):
        return streams[DATA].row(0).tobytes()


OnConflict = str | Callable[[Conflict], Any]
RAISE: Final = "raise"
OURS: Final = "ours"
THEIRS: Final = "theirs"


def check_on_conflict(on_conflict: Any) -> OnConflict:
    """Returns what to do about conflicts, if it is one of what may be asked for."""
    if on_conflict in (RAISE, OURS, THEIRS) or callable(on_conflict):
        found: OnConflict = on_conflict
        return found
    raise InvalidInputError(
        f'on_conflict {shown(on_conflict, 80)} is not valid; expected "raise", "ours", "theirs", or a function of a '
        f"conflict"
    )
