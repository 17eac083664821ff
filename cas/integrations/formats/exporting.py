"""A version to files of another format: streamed, complete or not there, nobody else's files replaced."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from cas.codec.values import Streams, decode_values, single_values
from cas.dataset.readable import Readable
from cas.errors import InvalidInputError
from cas.integrations.formats.source import encoded_type, is_image
from cas.integrations.selected import select_columns
from cas.repo.location import local_path
from cas.types import Type

Made = TypeVar("Made")
Report = Callable[[int, int, int, int], None]

FORMATS: Final[Mapping[str, str]] = {
    "imagefolder": "a folder LABEL/NAME of images, other columns in metadata.jsonl",
    "webdataset": "tar files of members KEY.COLUMN: a folder of shards, or one .tar",
    "parquet": "one file, for datasets of Hugging Face, pandas and others",
    "jsonl": "a JSON object a line; no images",
    "csv": "a table of single values; no images",
}
_BATCH_ROWS: Final = 1024
_BATCH_BYTES: Final = 8 << 20
_SUFFIXES: Final = {".parquet": "parquet", ".tar": "webdataset", ".jsonl": "jsonl", ".csv": "csv"}


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Some rows: the number of the first one, and the values of each column, images as the bytes of their files."""

    start: int
    columns: dict[str, Any]


class ExportTable:
    """The columns of a dataset that are to be written, as they were when it was made."""

    def __init__(self, dataset: Readable, columns: Sequence[str] | None, report: Report | None) -> None:
        self._selected = select_columns(dataset, columns)
        if not self._selected.columns:
            raise InvalidInputError("the dataset has no columns, so there is nothing to write")
        self.schema: dict[str, Type] = {name: self._selected.type(name) for name in self._selected.columns}
        self.rows = len(self._selected)
        self._report = report

    def read(
        self, make: Callable[[Type, Streams], Made], most_rows: int, most_bytes: int
    ) -> Iterator[tuple[int, dict[str, Made]]]:
        """Yields the first row of each batch and, by column, what a function makes of its rows as they are stored."""
        size = self._selected.size_bytes(self.schema)
        done = 0

        def counted(type_: Type, streams: Streams) -> Made:
            nonlocal done
            done += sum(rows.nbytes for rows in streams.values())
            return make(type_, streams)

        for start, stop in self._selected.steps(self.schema, most_rows=most_rows, batch_bytes=most_bytes):
            yield start, {name: self._selected.read(name, counted, start, stop) for name in self.schema}
            if self._report is not None:
                self._report(stop, self.rows, done, size)

    def batches(self, most_rows: int = _BATCH_ROWS, most_bytes: int = _BATCH_BYTES) -> Iterator[RowBatch]:
        """Yields all rows in order, in batches of about so many bytes."""
        for start, columns in self.read(_encoded_values, most_rows, most_bytes):
            yield RowBatch(start, columns)

    def records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields the number and the values of each row, one by one as single rows read."""
        for rows in self.batches():
            lists = {name: single_values(encoded_type(self.schema[name]), v) for name, v in rows.columns.items()}
            for row, values in enumerate(zip(*lists.values(), strict=True), rows.start):
                yield row, dict(zip(lists, values, strict=True))

    def image_column(self, wanted: str | None) -> str:
        """Returns the column of images: the one wanted, ``image``, or the only one."""
        images = [name for name, type_ in self.schema.items() if is_image(type_)]
        if wanted is not None and wanted not in images:
            raise InvalidInputError(f"{wanted!r} is no column of encoded images; these are: {images}", column=wanted)
        if wanted is None and "image" not in images and len(images) != 1:
            raise InvalidInputError(f"a folder takes the images of one column; choose one of {images} with --image")
        return wanted or ("image" if "image" in images else images[0])


def _encoded_values(type_: Type, streams: Streams) -> Any:
    return decode_values(encoded_type(type_), streams)


def export(
    dataset: Readable,
    target: str | os.PathLike[str],
    format: str | None = None,  # noqa: A002
    *,
    columns: Sequence[str] | None = None,
    image: str | None = None,
    shard_bytes: int | None = None,
    force: bool = False,
    report: Report | None = None,
) -> int:
    """Writes the rows of a dataset as :meth:`~cas.dataset.bridges.Bridges.export` tells, and returns their number.

    ``report`` is told of rows done and in all, and of bytes done and in all, after each batch.
    """
    path = local_path(target, "the target")
    chosen = format or _SUFFIXES.get(path.suffix.lower())
    if chosen not in FORMATS:
        raise InvalidInputError(f"the format {format or path.name!r} is unknown; expected one of {', '.join(FORMATS)}")
    table = ExportTable(dataset, columns, report)
    for name, value in (("image", image), ("shard_bytes", shard_bytes)):
        if value is not None and (chosen, name) not in (("imagefolder", "image"), ("webdataset", "shard_bytes")):
            raise InvalidInputError(f"the format {chosen} has no use for {name}; leave it out")
    match chosen:
        case "imagefolder":
            from cas.integrations.formats.to_imagefolder import write_imagefolder

            write_imagefolder(table, path, image=image, force=force)
        case "webdataset":
            from cas.integrations.formats.to_webdataset import SHARD_BYTES, write_webdataset

            write_webdataset(table, path, shard_bytes=shard_bytes or SHARD_BYTES, force=force)
        case "parquet":
            from cas.integrations.formats.to_parquet import write_parquet

            write_parquet(table, path, force=force)
        case "jsonl":
            from cas.integrations.formats.to_text import write_json_lines

            write_json_lines(table, path, force=force)
        case _:
            from cas.integrations.formats.to_text import write_csv

            write_csv(table, path, force=force)
    return table.rows
