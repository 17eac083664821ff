"""Parquet files as a source."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cas.errors import InvalidInputError
from cas.integrations.arrow.library import pa
from cas.integrations.formats.arrow_source import arrow_source
from cas.integrations.formats.hub_arrays import image_paths, is_image_struct
from cas.integrations.formats.image_files import ImageFiles
from cas.integrations.formats.source import BATCH_BYTES, BATCH_ROWS, Source

_SUFFIXES: Final = (".parquet", ".pq")


def open_parquet(
    paths: Sequence[str | os.PathLike[str]],
    *,
    images: str | os.PathLike[str] | None = None,
    image: str | None = None,
) -> Source:
    """Returns the rows of parquet files, one after the other; a folder stands for the files in it, by name.

    Types come from the schema (see :mod:`cas.integrations.formats.hub_arrays`), and from Hugging Face's features and
    the types that an export left where the metadata tells of them. A column takes missing values if any is missing.
    ``image`` names a column of byte strings that are images. Images that are only a path are read from below
    ``images``, by default the folder of the first file.

    Raises :class:`~cas.errors.InvalidInputError` for files that are no parquet, or of different schemas.
    """
    files = [file for path in paths for file in _files(Path(path).expanduser())]
    if not files:
        raise InvalidInputError("there are no parquet files; expected files that end in .parquet")
    return arrow_source(_ParquetFiles(files), ImageFiles(images or files[0].parent).read, image)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    if not path.is_file():
        raise InvalidInputError(f"{path} is not a file; expected a parquet file")
    return [path]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError(f"{path} cannot be read as parquet: {str(error).splitlines()[0]}") from error


class _ParquetFiles:
    """The tables of files of one schema."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        with _opened(paths[0]) as file:
            self.schema = file.schema_arrow
        for path in paths[1:]:
            with _opened(path) as file:
                if not file.schema_arrow.equals(self.schema):
                    raise InvalidInputError(f"{path} has other columns than {paths[0]}; import them one by one")

    def tables(self) -> Iterator[Any]:
        """Yields all rows."""
        for path in self._paths:
            with _opened(path) as file:
                yield from _batches(file, None)

    def parts(self, column: str) -> Iterator[Any]:
        """Yields what shows missing values: by the statistics of the files, where these suffice without reading."""
        arrow = self.schema.field(column).type
        for path in self._paths:
            with _opened(path) as file:
                leaves = _nulls(file.metadata, column)
                if is_image_struct(arrow) and leaves.get(f"{column}.bytes") == 0:
                    for batch in _batches(file, f"{column}.path"):
                        yield _without_bytes(batch.column(column), arrow)
                elif any(count != 0 for count in leaves.values()) or _has_integers(file.metadata, column):
                    for batch in _batches(file, column):
                        yield batch.column(column)


def _batches(file: Any, column: str | None) -> Iterator[Any]:
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    largest = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)
    rows = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, largest)))
    yield from file.iter_batches(rows, columns=None if column is None else [column])


def _nulls(metadata: Any, column: str) -> dict[str, int | None]:
    """How many values are missing in each leaf below a column; None where the file does not say."""
    counts: dict[str, int | None] = {}
    for group in (metadata.row_group(i) for i in range(metadata.num_row_groups)):
        for leaf in (group.column(i) for i in range(group.num_columns)):
            if not _is_below(leaf.path_in_schema, column):
                continue
            known = leaf.statistics is not None and leaf.statistics.has_null_count
            before = counts.get(leaf.path_in_schema, 0)
            counts[leaf.path_in_schema] = before + leaf.statistics.null_count if known and before is not None else None
    return counts


def _is_below(path: str, column: str) -> bool:
    return path == column or path.startswith(f"{column}.")


def _has_integers(metadata: Any, column: str) -> bool:
    """Whether integers are below a column: classes may be missing by being -1."""
    leaves = (metadata.schema.column(i) for i in range(len(metadata.schema)))
    return any(_is_below(leaf.path, column) and leaf.physical_type.startswith("INT") for leaf in leaves)


def _without_bytes(paths: Any, arrow: Any) -> Any:
    """Images of which only the paths were read, for none is missing."""
    found = image_paths(paths)
    nothing = pa.array([b""] * len(found), arrow.field("bytes").type)
    children = {"bytes": nothing, "path": found.cast(arrow.field("path").type)}
    names = [field.name for field in arrow]
    return pa.StructArray.from_arrays([children[name] for name in names], names)
