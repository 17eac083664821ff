"""Data frames of polars: of datasets, and datasets of these. Both go by Arrow's C stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cas import types
from cas.dataset.column import ReadOnlyColumn
from cas.dataset.dataset import Dataset
from cas.dataset.readable import Readable
from cas.dataset.rows import RowRangeView
from cas.errors import InvalidTypeError, UnsupportedError
from cas.integrations.arrow.making import from_arrow
from cas.integrations.arrow.tables import to_chunked, to_table
from cas.integrations.values import plain_type
from cas.repo.location import Url
from cas.types import Type

try:
    import polars as pl
except ImportError:
    raise UnsupportedError(
        "data frames of polars need the package polars; install it with: pip install 'tensor-cas[polars]'"
    ) from None


def to_polars(rows: Readable | RowRangeView, columns: Iterable[str] | None = None) -> Any:
    """Returns a :class:`polars.DataFrame`; see :meth:`cas.Dataset.to_polars`."""
    dataset = rows.dataset if isinstance(rows, RowRangeView) else rows
    frame = pl.DataFrame(to_table(rows, columns, tensors=False))
    enums = {name: _enum(dataset.schema[name]) for name in frame.columns}
    return frame.with_columns(pl.col(name).cast(enum) for name, enum in enums.items() if enum is not None)


def to_series(column: ReadOnlyColumn) -> Any:
    """Returns a :class:`polars.Series` of the values of a column."""
    series = pl.Series(column.name, to_chunked(column, tensors=False))
    enum = _enum(column.type)
    return series if enum is None else series.cast(enum)


def _enum(type_: Type) -> Any:
    """The type for named classes, whose codes are those of the column; None for other columns."""
    of = plain_type(type_)
    return pl.Enum(of.names) if isinstance(of, types.ClassLabel) else None


def from_polars(
    url: Url, frame: Any, message: str | None, *, schema: Mapping[str, Any] | None, compress: bool
) -> Dataset:
    """Creates a dataset of a data frame and commits its rows; see :func:`cas.from_polars`."""
    if isinstance(frame, pl.LazyFrame):
        raise InvalidTypeError("a LazyFrame has no rows yet; give lazy.collect()")
    if not isinstance(frame, pl.DataFrame):
        raise InvalidTypeError(f"a {type(frame).__name__} is no data frame of polars; expected a polars.DataFrame")
    return from_arrow(url, frame, "Rows from polars" if message is None else message, schema=schema, compress=compress)
