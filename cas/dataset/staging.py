"""A table under edit: its columns and rows are staged in a draft."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

from cas.codec.values import Streams, encode_values, is_one_value
from cas.dataset.batch import Batch, encode_batch, encode_batches, encode_given, freeze
from cas.dataset.column import Column
from cas.dataset.draft import Draft, RowEdit, runs_of
from cas.dataset.indexing import select
from cas.dataset.readable import Readable
from cas.dataset.rows import Row, RowRange
from cas.dataset.state import State
from cas.errors import ColumnExistsError, InvalidInputError, InvalidTypeError, shown
from cas.history.refs import check_column_name
from cas.types import Type, as_type


class _NoDefault:
    def __repr__(self) -> str:
        return "<no default>"


_NO_DEFAULT: Final = _NoDefault()


def _checked_edit(edit: object) -> tuple[int, int, Any]:
    try:
        start, stop, rows = cast("tuple[Any, Any, Any]", edit)
        return operator.index(start), operator.index(stop), rows
    except (TypeError, ValueError):
        raise InvalidTypeError(f"{shown(edit, 80)} is no edit; expected (start, stop, rows)") from None


def _encode_default(type_: Type, default: object, column: str) -> Streams:
    try:
        return encode_values(type_, [default], column)
    except InvalidInputError as error:
        raise type(error)(
            f"the default of column {column!r} does not fit: {error.reason or error}; it is one value for all rows, "
            f"values for each are assigned afterwards",
            column=column,
        ) from None


class Staging(Readable):
    """A table that can be edited: what changes it, and the draft that holds the changes until they are committed."""

    _column_class = Column
    _row_class = Row
    _rows_class = RowRange
    _being_filled = False

    @property
    def _draft(self) -> Draft:
        """The draft of the moment; refused once the dataset is closed."""
        raise NotImplementedError

    @property
    def _state(self) -> State:
        return self._draft.state

    def _plan_flush(self, at: float) -> None:
        """Sees to it that what is staged is written durably once the monotonic clock shows ``at``."""
        raise NotImplementedError

    @contextmanager
    def _editing(self) -> Iterator[Draft]:
        """Gives the draft to one thread; refused to what yields rows that are being put into it."""
        with self._lock:
            if self._being_filled:
                raise InvalidInputError("the dataset cannot be changed by what yields the rows that are put into it")
            draft = self._draft
            yield draft
            if draft.flush_at is not None:
                self._plan_flush(draft.flush_at)

    @contextmanager
    def _filling(self) -> Iterator[Draft]:
        """Gives the draft for several edits, which take effect together or not at all."""
        with self._editing() as draft, draft.whole():
            self._being_filled = True
            try:
                yield draft
            finally:
                self._being_filled = False

    # Staging columns

    def add_column(self, name: str, dtype: object, default: object = _NO_DEFAULT) -> Column:
        """Adds a column, staged; ``dtype`` is a type of :mod:`cas.types`, its name, a Python type or a NumPy dtype.

        Rows that are there get the value ``default``; without one the column must be nullable, and they have no value.
        Cost: no other column is touched, and equal rows are stored once: it takes the entries of the new chunks only.
        """
        name = check_column_name(name)
        type_ = as_type(dtype)
        with self._editing() as draft:
            self._check_column_free(name)
            if default is _NO_DEFAULT and len(self) and not type_.nullable:
                raise InvalidInputError(
                    f"column {name!r} of type {type_} has no values for the {len(self)} rows there are; give a "
                    f"default, or make it nullable with cas.types.Nullable",
                    column=name,
                )
            value = None
            if default is not _NO_DEFAULT or len(self):
                value = _encode_default(type_, None if default is _NO_DEFAULT else default, name)
            draft.add_column(name, type_, value)
        return Column(self, name)

    def remove_column(self, name: str) -> None:
        """Stages the removal of a column with its values and metadata; older versions keep them."""
        with self._editing() as draft:
            self._column_state(name)
            draft.remove_column(name)

    def rename_column(self, old: str, new: str) -> None:
        """Stages another name for a column, which keeps its place, values, metadata and history."""
        new = check_column_name(new)
        with self._editing() as draft:
            self._column_state(old)
            if new != old:
                self._check_column_free(new)
                draft.rename_column(old, new)

    def _check_column_free(self, name: str) -> None:
        if name in self._state.columns:
            raise ColumnExistsError(f"there is a column {name!r} already; choose another name", name=name)

    # Staging rows

    def append(self, rows: Batch) -> None:
        """Stages rows at the end.

        ``rows`` is a dict of columns with as many values each; a list of dicts, one a row; another dataset or rows of
        it, ``other[10:20]``; a table of pyarrow, pandas or polars, or of anything that speaks Arrow's C interface; or a
        generator of such batches. Every column needs values, except nullable ones. Raises
        :class:`~cas.errors.InvalidInputError` for values that do not fit; nothing is staged then, of no batch.

        Cost: hashing, and compressing what the store does not have. Memory: a batch, and some 100 MiB.
        """
        rows = freeze(rows)
        with self._filling() as draft:
            for values, count in encode_batches(draft.state.columns, rows):
                draft.append(values, count)

    def insert(self, index: int, rows: Batch) -> None:
        """Stages rows before row ``index``, in any form that :meth:`append` takes; ``len(ds)`` stands for the end.

        A generator must not read rows of this dataset, which move while it is asked for more.
        """
        if isinstance(index, bool) or not hasattr(index, "__index__"):
            raise InvalidTypeError(
                f"rows are inserted at a row number, not at {type(index).__name__} {shown(index, 40)}"
            )
        rows = freeze(rows)
        with self._filling() as draft:
            at = operator.index(index)
            if not -len(self) <= at <= len(self):
                raise InvalidInputError(f"rows cannot be inserted at {at}: there are {len(self)} rows")
            at += len(self) if at < 0 else 0
            for values, count in encode_batches(draft.state.columns, rows):
                draft.splice([(at, at, values, count)])
                at += count

    def delete(self, rows: Any) -> None:
        """Stages the removal of rows: an int, a slice, a list or array of row numbers, or a mask."""
        with self._editing() as draft:
            draft.splice([(start, stop, None, 0) for start, stop in runs_of(select(rows, len(self)))])

    def splice(self, edits: Sequence[tuple[int, int, Batch | None]]) -> None:
        """Stages several replacements of rows ``start`` to ``stop`` by new ones (or none), as one change.

        Edits are in ascending order and do not overlap; their numbers count the rows before the call. Nothing is staged
        where one of them does not fit.
        """
        with self._editing() as draft:
            position = 0
            encoded: list[RowEdit] = []
            for edit in edits:
                start, stop, rows = _checked_edit(edit)
                if not position <= start <= stop <= len(self):
                    raise InvalidInputError(
                        f"rows {start} to {stop} cannot be replaced: expected ascending edits within {len(self)} rows"
                    )
                position = stop
                values, count = (None, 0) if rows is None else encode_batch(draft.state.columns, rows)
                encoded.append((start, stop, values, count))
            draft.splice(encoded)

    def _assign(self, column: str, index: Any, value: Any) -> None:
        with self._editing() as draft:
            state = self._column_state(column)
            selected = select(index, len(self))
            if isinstance(selected, int):
                draft.assign(state, selected, encode_values(state.type, [value], column))
            elif is_one_value(state.type, value):
                draft.assign_all(state, selected, encode_values(state.type, [value], column))
            else:
                draft.assign(state, selected, encode_given(state.type, value, column))
