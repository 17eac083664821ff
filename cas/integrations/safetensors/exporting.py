"""Checkpoints to files of safetensors: those that were imported bit for bit."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from cas.dataset.opening import open_read_only
from cas.dataset.readable import Readable
from cas.errors import ExistsError, InvalidInputError, StoreError, StoreFullError
from cas.integrations.safetensors.header import METADATA, Header, file_dtype, make_header, parse_header
from cas.integrations.safetensors.importing import INDEX_SUFFIX, SUFFIX, index_files
from cas.integrations.tensors.loading import read_elements
from cas.integrations.tensors.table import HEADER, TORCH, VALUE, Row, read_rows
from cas.integrations.whole_file import whole_file
from cas.repo.location import Url

_BATCH_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export wrote: the files, how many tensors, how many bytes, and whether headers are those imported."""

    files: tuple[Path, ...]
    tensors: int
    written_bytes: int
    verbatim: bool


def export_safetensors(url: Url, path: str | os.PathLike[str], *, overwrite: bool = False) -> ExportResult:
    """Writes the tensors of a checkpoint, as of a version where the url names one, to a file of safetensors.

    A version that was imported from a file gives the same file, bit for bit; one whose tensors have other names,
    dtypes or shapes by now gets a new header, as the library would write it, with the metadata of the old one. A
    ``path`` that ends with ``.safetensors.index.json`` gets the index that was imported, with its files beside it.

    All that is written was checked against the version's hash. Files appear whole, and are on disk when this returns.
    Raises :class:`~cas.errors.ExistsError` for a file that is there, unless ``overwrite``, and
    :class:`~cas.errors.InvalidInputError` for rows that safetensors does not hold, such as values that are no tensors.
    """
    path = Path(path)
    if not path.name.endswith((SUFFIX, INDEX_SUFFIX)):
        raise InvalidInputError(f"{path} does not end with {SUFFIX} or {INDEX_SUFFIX}, which says what to write")
    with open_read_only(url) as dataset:
        rows = {row.name: row for row in read_rows(dataset)}
        parts, index = _parts(dataset, rows, path)
        targets = [path, *parts] if index else list(parts)
        for target in targets:
            if not overwrite and os.path.lexists(target):
                raise ExistsError(f"{target} is there already; choose another place, or overwrite it")
        for target, part in parts.items():
            with _told_file(target) as file:
                _write(file, dataset, part.header, rows)
        if index:
            with _told_file(path) as file:
                file.write(index)
    sizes = [len(index), *(len(part.header.head) + part.header.data_bytes for part in parts.values())]
    count = sum(len(part.header.tensors) for part in parts.values())
    return ExportResult(tuple(targets), count, sum(sizes), all(part.verbatim for part in parts.values()))


@dataclass(frozen=True, slots=True)
class _Part:
    """What a file is to hold, and whether its header is the one that was imported."""

    header: Header
    verbatim: bool


def _parts(dataset: Readable, rows: Mapping[str, Row], path: Path) -> tuple[dict[Path, _Part], bytes]:
    """The files to be written, and the index, which is empty for a single file."""
    if path.name.endswith(SUFFIX):
        kept = _kept_header(dataset, rows.get(METADATA))
        return {path: _part(kept, rows, [row for row in rows.values() if row.dtype != HEADER])}, b""
    found = [row for row in rows.values() if row.dtype == HEADER and row.name.endswith(INDEX_SUFFIX)]
    if len(found) != 1:
        raise InvalidInputError(f"{dataset!r} was not imported from an index; export it to a file: NAME{SUFFIX}")
    index = _text(dataset, found[0])
    parts = {}
    for name in index_files(index, found[0].name):
        kept = _kept_header(dataset, rows.get(name))
        if kept is None or not _fits(kept, rows):
            raise InvalidInputError(
                f"the tensors of {name} are not those that were imported any more; export all to one file: NAME{SUFFIX}"
            )
        parts[path.parent / name] = _Part(kept, verbatim=True)
    return parts, index


def _text(dataset: Readable, row: Row) -> bytes:
    return read_elements(dataset, [row])[row.number].tobytes()


def _kept_header(dataset: Readable, row: Row | None) -> Header | None:
    if row is None or row.dtype != HEADER:
        return None
    return parse_header(_text(dataset, row), f"the header of {row.name!r}")


def _fits(header: Header, rows: Mapping[str, Row]) -> bool:
    """Whether the rows are those that a header tells of."""
    for tensor in header.tensors:
        row = rows.get(tensor.name)
        if row is None or (file_dtype(row.dtype), row.shape) != (tensor.dtype, tensor.shape):
            return False
    return True


def _part(kept: Header | None, rows: Mapping[str, Row], tensors: Sequence[Row]) -> _Part:
    """The one file of all tensors."""
    if kept is not None and len(kept.tensors) == len(tensors) and _fits(kept, rows):
        return _Part(kept, verbatim=True)
    told = []
    for row in tensors:
        dtype = file_dtype(row.dtype)
        if dtype is None or row.size_bytes is None:
            kind = "is no tensor" if row.dtype == VALUE else f"is of dtype {row.dtype}"
            raise InvalidInputError(f"{row.name!r} {kind}, which files of safetensors do not hold")
        told.append((row.name, dtype, row.shape, row.size_bytes))
    torch = any(row.dtype.startswith(TORCH) for row in tensors)
    metadata = kept.metadata if kept is not None else {"format": "pt"} if torch else {}
    return _Part(make_header(told, metadata), verbatim=False)


def _write(file: IO[bytes], dataset: Readable, header: Header, rows: Mapping[str, Row]) -> None:
    file.write(header.head)
    batch: list[Row] = []
    size = 0
    ordered = sorted(header.tensors, key=lambda tensor: (tensor.start, tensor.stop))
    for number, tensor in enumerate(ordered, 1):
        batch.append(rows[tensor.name])
        size += tensor.stop - tensor.start
        if size >= _BATCH_BYTES or number == len(ordered):
            elements = read_elements(dataset, batch)
            for row in batch:
                file.write(elements[row.number].data)
            batch, size = [], 0
    if file.tell() != len(header.head) + header.data_bytes:
        raise StoreError(f"{file.name} would not have the bytes that its header tells of; nothing was kept")


@contextmanager
def _told_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears whole, in a folder that is made for it; what the system says of it is an error of stores."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            yield file
    except OSError as error:
        kind = StoreFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
        raise kind(f"{path} cannot be written: {error.strerror}") from error
