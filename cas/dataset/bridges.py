"""Methods of datasets that belong to other libraries: each is a door to a module of ``cas.integrations``.

Imports point down everywhere else. Users look for these verbs on the dataset, though, so this module knows what stands
above it, and imports it when a method is called (``tests/test_layers.py`` allows no other module that).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cas.codec.values import Streams
    from cas.dataset.dataset import Dataset
    from cas.dataset.readable import Readable
    from cas.integrations.near.groups import NearDuplicates
    from cas.integrations.torch.datasets import MapDataset
    from cas.repo.duplicates import Duplicates
    from cas.repo.location import Url
    from cas.types import Type


class Notebook:
    """What shows as a table in a notebook."""

    __slots__ = ()

    def _repr_html_(self) -> str | None:
        """Returns HTML for a notebook, or None where it cannot be made: then it shows as text."""
        from cas.integrations.notebook import to_html

        return to_html(self)


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

    def to_pandas(self, columns: Iterable[str] | None = None, *, index: str | None = None) -> Any:
        """Returns the values of the columns, by default all, as a :class:`pandas.DataFrame`.

        Numbers have their dtype, those that may be missing the dtypes of pandas for that, such as Int64; classes are
        categories with the same codes, times are in UTC. Images and byte strings are bytes, arrays, sequences and dicts
        objects. ``index`` names a column that becomes the index. Needs pandas, not pyarrow. Memory: the frame.
        """
        from cas.integrations.pandas import to_pandas

        return to_pandas(self, columns, index)  # type: ignore[arg-type]

    def to_polars(self, columns: Iterable[str] | None = None) -> Any:
        """Returns the values of the columns, by default all, as a :class:`polars.DataFrame`.

        Classes are an ``Enum`` with the same codes, arrays of one shape an ``Array``, times are in UTC, images and byte
        strings are bytes, dicts JSON text. Needs polars and pyarrow. Memory: the frame.
        """
        from cas.integrations.polars import to_polars

        return to_polars(self, columns)  # type: ignore[arg-type]

    def to_numpy(self, columns: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
        """Returns an array for each of the columns, by default all, by name.

        Numbers and arrays of one shape are arrays of their dtype and of shape (rows, *row_shape), classes are codes,
        times datetime64. Everything else, and whatever may be missing, is an array of objects of shape (rows,): of
        text, bytes, dicts, arrays, None; images are decoded.

        >>> import cas, tempfile
        >>> ds = cas.create(tempfile.mkdtemp() + "/ds", schema={"x": "int64", "word": "text"})
        >>> ds.append({"x": [1, 2], "word": ["one", "two"]})
        >>> ds.to_numpy()
        {'x': array([1, 2]), 'word': array(['one', 'two'], dtype=object)}
        >>> ds.rollback()
        """
        from cas.integrations.numpy import to_numpy

        return to_numpy(self, columns)  # type: ignore[arg-type]

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Returns a capsule of an Arrow C stream, by which other libraries read without knowing this one."""
        from cas.integrations.arrow.tables import export_stream

        return export_stream(self, requested_schema)  # type: ignore[arg-type]

    def __arrow_c_schema__(self) -> object:
        """Returns a capsule of the Arrow C schema of :meth:`__arrow_c_stream__`."""
        from cas.integrations.arrow.tables import export_schema

        return export_schema(self)  # type: ignore[arg-type]


class Bridges(Notebook, TableBridges):
    """What a dataset gives to other libraries."""

    def pytorch(
        self,
        columns: Sequence[str] | None = None,
        transform: Callable[[Any], Any] | None = None,
        decode: bool | str = True,
        layout: str = "CHW",
    ) -> MapDataset:
        """Returns the rows as a map-style dataset of PyTorch, pinned to the version that is open.

        Each row is a dict of ``columns``, by default of all, or what ``transform`` makes of it. What others commit, and
        where the branch moves, never shows; it is pickled as the url and the version, for workers that are forked or
        spawned, and stays open when this dataset is closed. A batch is one read a column.

        Numbers, classes (int64) and arrays of one shape become tensors of their dtype, bfloat16 and float8 included;
        times become counts of their unit (int64); text, bytes and dicts stay as they are; a missing value is None.
        Images are uint8 tensors of shape (channels, height, width), as torchvision has them, and masks (height, width);
        with ``layout="HWC"`` they are arrays as Deep Lake gives them, of shape (height, width) or (height, width,
        channels). ``decode="RGB"``, ``"L"`` or ``"RGBA"`` gives all images these channels, and ``decode=False`` the
        bytes of their files.

        The result also has ``sampler`` and ``loader``, shuffled by a seed and resumed in the middle of an epoch, and
        ``iterable``, which reads in the order of the store. Raises :class:`~cas.errors.UncommittedChangesError` where
        changes are staged, and :class:`~cas.errors.UnsupportedError` where PyTorch is not installed.

            >>> loader = DataLoader(ds.pytorch(["image", "label"], decode="RGB"), batch_size=64)  # doctest: +SKIP
        """
        from cas.integrations.torch.opening import open_for_torch

        return open_for_torch(self, columns, transform, decode, layout)

    def export(
        self,
        target: str | os.PathLike[str],
        format: str | None = None,  # noqa: A002
        *,
        columns: Sequence[str] | None = None,
        image: str | None = None,
        shard_bytes: int | None = None,
        force: bool = False,
    ) -> int:
        """Writes the rows in another format and returns their number; images keep their bytes.

        ``format`` is ``imagefolder``, ``webdataset``, ``parquet``, ``jsonl`` or ``csv``; without it, the suffix of
        ``target`` says it. ``columns`` are those to write, by default all. ``image`` is the column of images for
        ``imagefolder`` where there are several; ``shard_bytes`` the size from which on a shard of ``webdataset`` is
        full, by default 512 MiB.

        The target takes its name when all of it is on disk. What is there already raises
        :class:`~cas.errors.ExistsError`; ``force`` replaces a file, and a folder that an export made. A column that the
        format cannot hold raises :class:`~cas.errors.UnsupportedError`, before anything is written. Metadata and other
        versions stay behind. Memory: some batches of 8 MiB, of parquet of 32 MiB.

        >>> import cas, pathlib, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> ds = cas.create(f"{folder}/ds", schema={"name": "text", "size": "int64"})
        >>> ds.append([{"name": "a", "size": 1}, {"name": "b", "size": 2}])
        >>> ds.export(f"{folder}/table.csv")
        2
        >>> pathlib.Path(folder, "table.csv").read_text()
        'name,size\\na,1\\nb,2\\n'
        >>> ds.rollback()
        """
        from cas.integrations.formats.exporting import export

        return export(
            cast("Readable", self),
            target,
            format,
            columns=columns,
            image=image,
            shard_bytes=shard_bytes,
            force=force,
        )

    def duplicates(self, column: str) -> Duplicates:
        """Finds the identical rows of a column by their hashes alone: nothing is decoded, and no row is read.

        The result is a sequence of groups, those that waste most first; each has ``rows`` (int64, ascending) and
        ``size_bytes``. ``wasted_bytes`` is what all but the first row of each group take together in a folder (the
        store keeps them once), and ``repeats()`` are these rows: what to delete to keep one of each. Missing values
        are no duplicates. Rows must be chunks by themselves: images, rows of 4,096 bytes or more, or columns of a type
        made with ``dedup="row"``; others raise :class:`~cas.errors.InvalidInputError`. Rows are those of
        :attr:`version`: with staged changes it raises ``UncommittedChangesError``. Cost: the nodes of the column and
        a sort, about a second and 200 MB for a million rows.

        >>> import cas, tempfile
        >>> ds = cas.create(tempfile.mkdtemp() + "/ds", schema={"file": cas.types.Bytes(dedup="row")})
        >>> ds.append({"file": [b"cat", b"dog", b"cat", b"cat"]})
        >>> version = ds.commit()
        >>> found = ds.duplicates("file")
        >>> found[0].rows.tolist(), found.wasted_bytes, found.repeats().tolist()
        ([0, 2, 3], 6, [2, 3])
        >>> ds.delete(found.repeats())
        >>> version = ds.commit("one of each")
        """
        from cas.integrations.near.entry import exact_duplicates

        return exact_duplicates(self, column)

    def near_duplicates(self, column: str, threshold: int = 8, colour: int = 32) -> NearDuplicates:
        """Finds rows whose images look alike: smaller, recompressed, slightly cropped or marked copies.

        Two images are close where their perceptual hashes of 64 bits (those of ``imagehash.phash``) differ in at most
        ``threshold`` bits, 0 to 64, and their mean red, green and blue in at most ``colour``, 0 to 255; 255 compares
        no colours. Flat images, of one colour throughout, are close to such only, whose colours differ in at most 4.

        The result is a sequence of groups, those that waste most first. The first of ``group.rows`` is the best, of
        most pixels, then of most bytes, then the first; each other row is close to this one, with its bits in
        ``group.distances``, so no chain of small steps joins what is unlike, and what stays always stands for what
        goes. ``repeats()`` are all rows but the first of each group: what to delete. Rows whose image cannot be
        decoded are in no group, and listed in ``unreadable``.

        Each image is decoded once, equal ones together, in threads; what is found is kept in the store by the image's
        hash, 32 bytes each, for all versions and datasets, so that the next version costs its new images (a store that
        is open for reading only keeps nothing). Then the search is exact, and takes seconds for 100,000 images. Rows
        are those of :attr:`version`: with staged changes it raises ``UncommittedChangesError``. Needs Pillow:
        ``pip install 'tensor-cas[near]'``.
        """
        from cas.integrations.near.entry import near_duplicates

        return near_duplicates(self, column, threshold, colour)


class ColumnBridges:
    """What a column gives to other libraries."""

    __slots__ = ()

    def to_arrow(self, *, tensors: bool = True) -> Any:
        """Returns the values as a :class:`pyarrow.ChunkedArray`; for ``tensors`` see :meth:`Dataset.to_arrow`."""
        from cas.integrations.arrow.tables import to_chunked

        return to_chunked(self, tensors=tensors)  # type: ignore[arg-type]

    def to_pandas(self) -> Any:
        """Returns the values as a :class:`pandas.Series`, as :meth:`Dataset.to_pandas` has them."""
        from cas.integrations.pandas import to_series

        return to_series(self)  # type: ignore[arg-type]

    def to_polars(self) -> Any:
        """Returns the values as a :class:`polars.Series`, as :meth:`Dataset.to_polars` has them."""
        from cas.integrations.polars import to_series

        return to_series(self)  # type: ignore[arg-type]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Returns the values as an array, for :func:`numpy.asarray` and the functions of NumPy."""
        from cas.integrations.numpy import column_array

        return column_array(self, dtype, copy)  # type: ignore[arg-type]

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Returns a capsule of an Arrow C stream of the values."""
        from cas.integrations.arrow.tables import export_column

        return export_column(self, requested_schema)  # type: ignore[arg-type]


def from_arrow(
    url: Url, table: Any, message: str | None = None, *, schema: Mapping[str, Any] | None = None, compress: bool = True
) -> Dataset:
    """Creates a dataset of an Arrow table, or of anything that speaks Arrow's C interface, and commits its rows.

    ``table`` is a table, record batch or reader of pyarrow, a relation of duckdb, another dataset, and the like. A
    stream is read batch by batch, so it may be larger than the memory. Columns that come from a dataset have their
    exact types again, and its metadata; others have the type that equals the Arrow type (a table in the README), unless
    ``schema``, a dict of names and types, gives another. A column is nullable where a value is missing; of a stream,
    which is read once, where its Arrow field allows it.

    Raises :class:`~cas.errors.InvalidInputError` for an Arrow type without an equal, naming the column, and for a value
    that does not fit exactly, naming column and row; :class:`~cas.errors.ExistsError` where something is there. Nothing
    is made then. Needs pyarrow.
    """
    from cas.integrations.arrow.making import from_arrow

    return from_arrow(url, table, message, schema=schema, compress=compress)


def from_pandas(
    url: Url,
    frame: Any,
    message: str | None = None,
    *,
    index: bool | None = None,
    schema: Mapping[str, Any] | None = None,
    compress: bool = True,
) -> Dataset:
    """Creates a dataset of a data frame of pandas and commits its rows.

    Columns have the type of their dtype: categories of text are classes, times without a zone count as UTC, objects
    what their values are; ``schema`` gives other types. A column is nullable where a value is missing; NaN in a column
    of floats is a float. An index that has a name is kept as a column; one without is dropped where it holds row
    numbers, and refused otherwise. ``index=True`` keeps it in any case, ``False`` drops it.

    Raises :class:`~cas.errors.InvalidInputError` for values that do not fit, naming column and row, and
    :class:`~cas.errors.ExistsError` where something is there. Nothing is made then. Needs pandas.
    """
    from cas.integrations.pandas import from_pandas

    return from_pandas(url, frame, message, index=index, schema=schema, compress=compress)


def from_polars(
    url: Url, frame: Any, message: str | None = None, *, schema: Mapping[str, Any] | None = None, compress: bool = True
) -> Dataset:
    """Creates a dataset of a data frame of polars and commits its rows, as :func:`from_arrow` does.

    An ``Enum`` and a ``Categorical`` are classes. Needs polars and pyarrow.
    """
    from cas.integrations.polars import from_polars

    return from_polars(url, frame, message, schema=schema, compress=compress)


def from_numpy(
    url: Url,
    arrays: Mapping[str, Any] | NDArray[Any],
    message: str | None = None,
    *,
    schema: Mapping[str, Any] | None = None,
    compress: bool = True,
) -> Dataset:
    """Creates a dataset of arrays with as many rows each, by column, and commits its rows.

    ``arrays`` is a dict, or a structured array. Columns have the type of the dtype, and of the shape of a row; arrays
    of objects that of their values, None where one is missing. ``schema``, a dict of names and types, gives others.

    >>> import cas, numpy as np, tempfile
    >>> ds = cas.from_numpy(tempfile.mkdtemp() + "/ds", {"x": np.arange(3), "image": np.zeros((3, 2, 2), np.uint8)})
    >>> {name: str(type) for name, type in ds.schema.items()}
    {'x': 'int64', 'image': 'uint8[2, 2]'}

    Raises :class:`~cas.errors.InvalidInputError` for values that do not fit, naming column and row, and
    :class:`~cas.errors.ExistsError` where something is there. Nothing is made then.
    """
    from cas.integrations.numpy import from_numpy

    return from_numpy(url, arrays, message, schema=schema, compress=compress)


def encode_foreign(types: Mapping[str, Type], rows: object) -> Iterator[tuple[dict[str, Streams], int]] | None:
    """Returns the encoded columns and the count of each piece of another library's table; None for what is none.

    Tables are data frames of pandas, and what speaks Arrow's C interface, such as those of pyarrow and polars.
    """
    if is_of("pandas", "DataFrame", rows):
        from cas.integrations.pandas import encode_frame

        return encode_frame(types, rows)
    if _speaks_arrow(rows):
        from cas.integrations.arrow.appending import encode_table

        return encode_table(types, rows)
    return None


def encode_foreign_column(type_: Type, values: object, column: str) -> Streams | None:
    """Returns the encoded values of a column of another library; None for what is none."""
    if is_of("pandas", "Series", values):
        from cas.integrations.pandas import encode_series

        return encode_series(type_, values, column)
    if _speaks_arrow(values):
        from cas.integrations.arrow.appending import encode_column

        return encode_column(type_, values, column)
    return None


def is_of(library: str, name: str, value: object) -> bool:
    """Tells an object of a class of another library without importing it."""
    kinds = type(value).__mro__
    return any(kind.__name__ == name and kind.__module__.partition(".")[0] == library for kind in kinds)


def _speaks_arrow(value: object) -> bool:
    if isinstance(value, (TableBridges, ColumnBridges)):
        return False  # of this package; their values need no other one
    return hasattr(type(value), "__arrow_c_stream__") or hasattr(type(value), "__arrow_c_array__")
