"""Files of safetensors into datasets: tensors as rows, headers kept as they are."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from cas.dataset.opening import exists, open_read_only
from cas.errors import InvalidInputError, StoreError, shown
from cas.integrations.safetensors.header import METADATA, MOST_HEADER_BYTES, Header, Tensor, parse_header, row_dtype
from cas.integrations.tensors.saving import save_entries
from cas.integrations.tensors.table import HEADER, Entry, InFile, no_elements
from cas.repo.location import Url

SUFFIX: Final = ".safetensors"
INDEX_SUFFIX: Final = ".safetensors.index.json"
_MOST_INDEX_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did: the version, whether it is a new one, and how many tensors of how many bytes were read."""

    version: str
    made_version: bool
    tensors: int
    read_bytes: int


@dataclass(frozen=True, slots=True)
class _Opened:
    """A file that is open, with what tells whether it was changed meanwhile."""

    path: Path
    descriptor: int
    stamp: tuple[int, ...]

    def check(self) -> None:
        """Raises :class:`~cas.errors.InvalidInputError` where the file was changed."""
        if _stamp(self.descriptor) != self.stamp:
            raise InvalidInputError(f"{self.path} was changed while it was read; import it again")


def import_safetensors(
    path: str | os.PathLike[str],
    url: Url,
    message: str | None = None,
    *,
    author: str | None = None,
    compress: bool = True,
) -> ImportResult:
    """Saves a file of safetensors as a version of a dataset, as :func:`cas.save_tensors` does.

    ``path`` is a file, or an index, ``model.safetensors.index.json``, which brings in the files that it names. Headers
    are kept as they are, so that :func:`~cas.integrations.safetensors.exporting.export_safetensors` gives the same
    bytes. The tensors load as arrays of NumPy, or of PyTorch where that is asked for.

    Memory: about 100 MiB, and the largest tensor. Raises :class:`~cas.errors.InvalidInputError` for a file that is no
    valid one, or that is changed meanwhile; nothing is written then.
    """
    path = Path(path)
    head = _head(url)
    with ExitStack() as stack:
        if path.name.endswith(INDEX_SUFFIX):
            files, entries = _read_index(path, stack)
        else:
            opened = stack.enter_context(_opened(path))
            files, entries = [opened], list(_entries(opened, METADATA))
        _check_names(entries, path)

        def check() -> None:
            for opened in files:
                opened.check()

        version = save_entries(
            url,
            entries,
            message or f"Import {path.name}",
            author=author,
            compress=compress,
            check=check,
        )
    tensors = [entry for entry in entries if entry.dtype != HEADER]
    return ImportResult(version, version != head, len(tensors), sum(entry.size_bytes for entry in entries))


def _head(url: Url) -> str | None:
    if not exists(url):
        return None
    with open_read_only(url) as dataset:
        return dataset.version.id


@contextmanager
def _opened(path: Path) -> Iterator[_Opened]:
    if not path.is_file():
        raise InvalidInputError(f"{path} is no file; expected one that ends with {SUFFIX} or {INDEX_SUFFIX}")
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    try:
        yield _Opened(path, descriptor, _stamp(descriptor))
    finally:
        os.close(descriptor)


def _stamp(descriptor: int) -> tuple[int, ...]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev


def _entries(opened: _Opened, name: str) -> Iterator[Entry]:
    """The rows of a file: its header, called ``name``, and its tensors in the order in which that tells of them."""
    header, begin = _read_header(opened)
    text = np.frombuffer(header.text, np.uint8)
    yield Entry(name, HEADER, (len(text),), elements=text)
    for tensor in header.tensors:
        yield _entry(tensor, InFile(opened.descriptor, begin + tensor.start, tensor.stop - tensor.start))


def _read_header(opened: _Opened) -> tuple[Header, int]:
    """The header of a file, and where the tensors begin."""
    what, size = str(opened.path), opened.stamp[0]
    length = int.from_bytes(os.pread(opened.descriptor, 8, 0), "little")
    if size < 8 or length > size - 8 or length > MOST_HEADER_BYTES:
        raise InvalidInputError(f"{what} is no valid file of safetensors: a header of {length} bytes does not fit")
    header = parse_header(InFile(opened.descriptor, 8, length).read().tobytes(), what)
    if 8 + length + header.data_bytes != size:
        raise InvalidInputError(
            f"{what} is no valid file of safetensors: its tensors take {header.data_bytes} bytes, and "
            f"{size - 8 - length} are there"
        )
    return header, 8 + length


def _entry(tensor: Tensor, elements: InFile) -> Entry:
    dtype = row_dtype(tensor.dtype)
    if not elements.size_bytes:
        return Entry(tensor.name, dtype, tensor.shape, elements=no_elements())
    if dtype == "bool" and elements.read().max() > 1:
        dtype = tensor.dtype  # true in some other way, which the file is to have again
    return Entry(tensor.name, dtype, tensor.shape, elements=elements)


def _read_index(path: Path, stack: ExitStack) -> tuple[list[_Opened], list[Entry]]:
    """The files that an index names, and their rows after that of the index itself."""
    opened = stack.enter_context(_opened(path))
    if opened.stamp[0] > _MOST_INDEX_BYTES:
        raise InvalidInputError(f"{path} is no index of safetensors: it has {opened.stamp[0]} bytes")
    text = InFile(opened.descriptor, 0, opened.stamp[0]).read()
    files = [opened]
    entries = [Entry(path.name, HEADER, (len(text),), elements=text)]
    for name in index_files(text.tobytes(), str(path)):
        files.append(stack.enter_context(_opened(path.parent / name)))
        entries += _entries(files[-1], name)
    return files, entries


def index_files(text: bytes, what: str) -> list[str]:
    """Returns the names of the files that an index names, each once, in order.

    Raises :class:`~cas.errors.InvalidInputError` for an index that is none, or names a file of another folder.
    """
    try:
        index = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{what} is no index of safetensors: {error}") from None
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict):
        raise InvalidInputError(f"{what} is no index of safetensors: it has no weight_map")
    for name in places.values():
        plain = isinstance(name, str) and name.endswith(SUFFIX) and name == os.path.basename(name) and "\0" not in name
        if not plain:
            raise InvalidInputError(f"{what} names {shown(name)}; expected files beside it that end with {SUFFIX}")
    return list(dict.fromkeys(places.values()))


def _check_names(entries: Sequence[Entry], path: Path) -> None:
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            raise InvalidInputError(f"{path} brings two tensors, or files, that are called {shown(entry.name)}")
        seen.add(entry.name)
