"""Methods of datasets that belong to other libraries: each is a door to a module of ``cas.integrations``.

Imports point down everywhere else. Users look for these verbs on the dataset, though, so this module knows what stands
above it, and imports it when a method is called (``tests/test_layers.py`` allows no other module that).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cas.codec.values import Streams
    from cas.types import Type


class TableBridges:
    """What a table of columns, a dataset or rows of one, gives to other libraries."""

    __slots__ = ()

    def to_arrow(self, columns: Iterable[str] | None = None, *, tensors: bool = True) -> Any:
        """Returns the values of the columns, by default all, as a :class:`pyarrow.Table`.

        Each field keeps its exact column type and the column's metadata under ``cas``, so that
        ``cas.from_arrow(url, ds.to_arrow())`` gives a dataset of the same tree hash. Numbers, times, classes and arrays
        of one shape are not copied: the memory that was read is that of the table, in one chunk. Neither are the bytes
        of text and images. With ``tensors``, arrays of one shape with several axes are of Arrow's extension type
        ``arrow.fixed_shape_tensor``; without, they are fixed-size lists in each other, which more libraries know.

        Needs pyarrow. Cost: the chunks that hold the rows, each read once; memory: the table.
        """
        from cas.integrations.arrow.tables import to_table

        return to_table(self, columns, tensors=tensors)  # type: ignore[arg-type]

    def to_arrow_batches(self, columns: Iterable[str] | None = None, *, batch_rows: int | None = None) -> Any:
        """Returns a :class:`pyarrow.RecordBatchReader` that reads batch by batch, each when it is asked for.

        A batch has ``batch_rows`` rows, or as many as take about 8 MiB. The rows are those of this moment, whatever is
        staged later. Needs pyarrow. Memory: a batch.
        """
        from cas.integrations.arrow.tables import to_reader

        return to_reader(self, columns, batch_rows=batch_rows)  # type: ignore[arg-type]

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Returns a capsule of an Arrow C stream, by which other libraries read without knowing this one."""
        from cas.integrations.arrow.tables import export_stream

        return export_stream(self, requested_schema)  # type: ignore[arg-type]

    def __arrow_c_schema__(self) -> object:
        """Returns a capsule of the Arrow C schema of :meth:`__arrow_c_stream__`."""
        from cas.integrations.arrow.tables import export_schema

        return export_schema(self)  # type: ignore[arg-type]


class Bridges(TableBridges):
    """What a dataset gives to other libraries."""


class ColumnBridges:
    """What a column gives to other libraries."""

    __slots__ = ()

    def to_arrow(self, *, tensors: bool = True) -> Any:
        """Returns the values as a :class:`pyarrow.ChunkedArray`; for ``tensors`` see :meth:`Dataset.to_arrow`."""
        from cas.integrations.arrow.tables import to_chunked

        return to_chunked(self, tensors=tensors)  # type: ignore[arg-type]

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Returns a capsule of an Arrow C stream of the values."""
        from cas.integrations.arrow.tables import export_column

        return export_column(self, requested_schema)  # type: ignore[arg-type]


def encode_foreign(types: Mapping[str, Type], rows: object) -> Iterator[tuple[dict[str, Streams], int]] | None:
    """Returns the encoded columns and the count of each batch of another library's table; None for what is none.

    Tables are what speaks Arrow's C interface, such as those of pyarrow and polars, and data frames of pandas.
    """
    if hasattr(type(rows), "__arrow_c_stream__") or hasattr(type(rows), "__arrow_c_array__"):
        from cas.integrations.arrow.appending import encode_table

        return encode_table(types, rows)
    return None
