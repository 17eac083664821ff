"""Some columns of a dataset, or of rows of it, as they are at one moment: what other libraries are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from cas.codec.rows import Ints
from cas.codec.values import Streams
from cas.dataset.batch import FrozenRows, freeze
from cas.dataset.column import ReadOnlyColumn
from cas.dataset.indexing import choose_columns
from cas.dataset.readable import Readable
from cas.dataset.rows import RowRangeView
from cas.errors import CorruptedError, InvalidTypeError
from cas.types import Type

Made = TypeVar("Made")
_BATCH_BYTES: Final = 8 << 20
_BATCH_ROWS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Selected:
    """Columns and rows that later edits leave alone; the dataset is kept, for its lease keeps what is read."""

    dataset: Readable
    rows: FrozenRows
    columns: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows.numbers)

    def type(self, column: str) -> Type:
        """Returns the type of a column."""
        return self.rows.state.columns[column].type

    def read(self, column: str, make: Callable[[Type, Streams], Made], start: int = 0, stop: int | None = None) -> Made:
        """Returns what a function makes of rows of a column; damage is told with column, rows and version."""
        numbers: range | Ints = self.rows.numbers[start:stop]
        state = self.rows.state.columns[column]
        try:
            return make(state.type, state.read_numbers(numbers))
        except CorruptedError as error:
            raise ReadOnlyColumn(self.dataset, column)._told(error, state, numbers) from error

    def size_bytes(self, columns: Iterable[str]) -> int:
        """Returns how many bytes all rows of the dataset have in some columns."""
        streams = [stream for column in columns for stream in self.rows.state.columns[column].streams.values()]
        return sum(stream.size_bytes for stream in streams)

    def steps(
        self,
        columns: Iterable[str],
        batch_rows: int | None = None,
        *,
        batch_bytes: int = _BATCH_BYTES,
        most_rows: int = _BATCH_ROWS,
    ) -> Iterator[tuple[int, int]]:
        """Yields starts and stops of runs of ``batch_rows`` rows, or of as many as take about ``batch_bytes``."""
        mean = self.size_bytes(columns) // max(1, self.rows.state.rows)
        step = batch_rows or min(max(1, batch_bytes // max(1, mean)), most_rows)
        for start in range(0, len(self), step):
            yield start, min(start + step, len(self))


def select_columns(rows: Readable | RowRangeView, columns: Iterable[str] | None = None) -> Selected:
    """Returns columns of a dataset or of rows of it, by default all, in the order that is asked for.

    Raises :class:`~cas.errors.ColumnNotFoundError` for one that is not there.
    """
    dataset = rows.dataset if isinstance(rows, RowRangeView) else rows
    frozen: FrozenRows = freeze(rows)
    known = list(frozen.state.columns)
    if columns is None:
        return Selected(dataset, frozen, tuple(known))
    if isinstance(columns, str):
        raise InvalidTypeError(f"columns={columns!r} is one name; expected a list of names, such as [{columns!r}]")
    return Selected(dataset, frozen, choose_columns(known, columns))
