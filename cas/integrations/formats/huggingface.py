"""Datasets of Hugging Face: objects of the library ``datasets``, and folders that it saved."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from cas import types
from cas.dataset import opening
from cas.dataset.dataset import Dataset
from cas.errors import InvalidInputError, InvalidTypeError, UnsupportedError
from cas.integrations.formats.image_files import ImageFiles
from cas.integrations.formats.landing import import_into
from cas.integrations.formats.source import BATCH_BYTES, BATCH_ROWS, ReadFile, Source, Table, Unusable
from cas.integrations.values import plain_type

SPLIT: Final = "split"


def from_huggingface(
    data: Any,
    url: str | os.PathLike[str],
    *,
    message: str | None = None,
    author: str | None = None,
    missing: str = "leave-out",
) -> Dataset:
    """Brings a ``datasets.Dataset`` or ``DatasetDict`` into the dataset at a url and opens it, with the version made.

    Images keep the bytes of their files, and their paths in a column ``NAME_path`` where there are any; ``ClassLabel``
    keeps its names, with -1 as missing; lists become sequences, dicts of features a column each (``objects.bbox``),
    and values types of the same width. A column takes missing values if any is missing. The splits of a
    ``DatasetDict`` follow each other and are told by a column ``split``. The features stand in the metadata under
    ``huggingface``.

    The dataset is made where there is none; where there is one it is made equal to ``data``, and only the difference is
    written; the same data again makes no version. Rows whose image is missing are left out or, with ``missing="null"``,
    kept without it. Memory: some batches of 8 MiB. Raises :class:`~cas.errors.InvalidTypeError` for other objects, such
    as an ``IterableDataset``.
    """
    import_into(url, huggingface_source(data, _read_own), missing=missing, message=message, author=author)
    return opening.open(url)


def open_saved(folder: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None) -> Source:
    """Returns the rows of a folder that ``save_to_disk`` wrote.

    Images that are only a path are read from below ``images``, by default the folder. Raises
    :class:`~cas.errors.InvalidInputError` where the library cannot load it.
    """
    path = Path(folder).expanduser()
    files = ImageFiles(images or path)
    try:
        data = _library().load_from_disk(os.fspath(path))
    except UnsupportedError:
        raise
    except Exception as error:
        # The library raises whatever its parts raise on a folder that is damaged.
        raise InvalidInputError(f"{path} cannot be loaded as a saved dataset of Hugging Face: {error}") from error
    return huggingface_source(data, files.read)


def huggingface_source(data: Any, read_file: ReadFile) -> Source:
    """Returns the rows of a dataset, or of the splits of one, one after the other."""
    library = _library()
    # Here, for ``cas.from_huggingface`` must be there without pyarrow, which the library needs.
    from cas.integrations.formats.arrow_source import arrow_source

    if isinstance(data, library.Dataset):
        return arrow_source(_Input(data), read_file)
    if not isinstance(data, library.DatasetDict) or not data:
        raise InvalidTypeError(
            f"{type(data).__name__} cannot be imported; expected a datasets.Dataset, or a DatasetDict with splits"
        )
    parts = {name: arrow_source(_Input(split), read_file) for name, split in data.items()}
    return _with_splits(parts)


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise UnsupportedError(
            "datasets of Hugging Face need the package datasets; install it with: pip install 'tensor-cas[hf]'"
        ) from None
    return datasets


def _with_splits(parts: dict[str, Source]) -> Source:
    first, schema = next(iter(parts.items()))[0], dict(next(iter(parts.values())).schema)
    for name, part in parts.items():
        if set(part.schema) != set(schema):
            raise InvalidInputError(f"split {name!r} has other columns than {first!r}; import them one by one")
        for column, type_ in part.schema.items():
            schema[column] = _common(schema[column], type_, column)
    if SPLIT in schema:
        raise InvalidInputError(f"the splits have a column {SPLIT!r} of their own; rename it")
    label = types.ClassLabel(tuple(parts))

    def batches() -> Iterator[Table]:
        for code, part in enumerate(parts.values()):
            for table in part.batches():
                count = len(next(iter(table.values())))
                yield {SPLIT: np.full(count, code, np.int64), **table}

    return dataclasses.replace(next(iter(parts.values())), schema={SPLIT: label, **schema}, batches=batches)


def _common(one: types.Type, other: types.Type, column: str) -> types.Type:
    """The type for values of two that differ only in whether any is missing."""
    if one == other:
        return one
    if isinstance(one, types.Nullable) or isinstance(other, types.Nullable):
        return types.Nullable(_common(plain_type(one), plain_type(other), column))
    if isinstance(one, types.Sequence) and isinstance(other, types.Sequence):
        return types.Sequence(_common(one.of, other.of, column))
    raise InvalidInputError(f"column {column!r} is {one} in one split and {other} in another", column=column)


class _Input:
    """The tables of a dataset of the library, which may be a choice of rows of its files."""

    def __init__(self, data: Any) -> None:
        self._data = data.with_format("arrow")
        self.schema = data.features.arrow_schema

    def parts(self, column: str) -> Iterator[Any]:
        """Yields the column as it is in memory or mapped; it may have more rows than were chosen."""
        yield from self._data.data.column(column).chunks

    def tables(self) -> Iterator[Any]:
        """Yields the chosen rows, images undecoded."""
        mean = self._data.data.nbytes // max(1, self._data.data.num_rows)
        yield from self._data.iter(max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, mean))))


def _read_own(path: str) -> bytes | Unusable:
    """Reads a file that an object of the user's own program names, as the library would to decode it."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        return Unusable(path, f"the file cannot be read: {error.strerror}")
