"""A version to a folder of files, bit for bit, and nobody else's file touched."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from cas import types
from cas.chunking.cut import PIECE_BYTES
from cas.codec.rows import Ints
from cas.codec.values import decode_values
from cas.dataset.read_only import ReadOnlyDataset
from cas.errors import ConflictError, InvalidInputError
from cas.hashing import Bytes, hash_chunk
from cas.integrations.folder.confined import ConfinedFolder, UnsafePathError, split_path
from cas.integrations.folder.importing import IMAGE, PATH, Report
from cas.integrations.folder.manifest import UNKNOWN, Manifest, WrittenFile
from cas.integrations.folder.scan import Skipped
from cas.tree.stream import StreamReader, row_key
from cas.types import DATA

_PLANNED: Final = 1
_MISSING: Final = 2
_BATCH_ROWS: Final = 1024
_BATCH_BYTES: Final = 8 << 20
_LARGE_BYTES: Final = 1 << 20
_SHOWN: Final = 10
_COLUMNS: Final = {PATH: types.Text(), IMAGE: types.Image()}


class CheckoutConflictError(ConflictError):
    """Files stand in the way that the checkout did not write; ``paths`` lists them. Nothing was written."""

    def __init__(self, message: str, *, paths: list[str]) -> None:
        super().__init__(message, expected=None, found=None)
        self.paths = paths


@dataclass(slots=True)
class CheckoutResult:
    """What a checkout did: counts of files, bytes written, and rows whose path is not safe to write."""

    written: int = 0
    unchanged: int = 0
    removed: int = 0
    written_bytes: int = 0
    skipped: list[Skipped] = field(default_factory=list)


def checkout(
    dataset: ReadOnlyDataset,
    folder: str | os.PathLike[str],
    *,
    force: bool = False,
    jobs: int = 4,
    report: Report | None = None,
) -> CheckoutResult:
    """Makes a folder hold exactly the images of a version, as far as the folder's files are its own.

    Writes ``image`` to ``path`` for every row; leaves files that it wrote before and that are as they should be;
    removes those it wrote and that are not in this version. Files of others stay. Before anything is written it looks
    for files in the way that it did not write, or that were changed since: without ``force`` these raise
    :class:`CheckoutConflictError`.

    Stored paths never lead out of the folder: unsafe ones are listed in ``skipped``, and links on the way are not
    followed. Each file is written whole or not at all. Cost: one ``stat`` a row, and reading what is written.
    """
    for name, type_ in _COLUMNS.items():
        if dataset.schema.get(name) != type_:
            raise InvalidInputError(f"a checkout needs a column {name!r} of type {type_}", column=name)
    return write_files(_ImageFiles(dataset), folder, force=force, jobs=jobs, report=report)


def has_images(dataset: ReadOnlyDataset) -> bool:
    """Whether a dataset has what a checkout writes: a column of paths and one of images."""
    return all(dataset.schema.get(name) == type_ for name, type_ in _COLUMNS.items())


@dataclass(frozen=True, slots=True)
class WantedFile:
    """A file to be in the folder: its number, its path, and the key of its content (:func:`row_key`)."""

    number: int
    path: str
    key: bytes


class FileSource(Protocol):
    """Files to be written, numbered from 0. What it tells of them does not change; content is read when it is asked."""

    def __len__(self) -> int: ...

    def wanted(self) -> Iterator[WantedFile]:
        """Yields all files in the order of their numbers, without reading any content."""

    def take(self, numbers: Ints) -> list[WantedFile]:
        """Returns some of the files."""

    def sizes(self) -> Ints:
        """Returns the length in bytes of each file."""

    def contents(self, numbers: Ints, sizes: Ints) -> Iterable[Iterable[Bytes]]:
        """Returns the content of some files, each in pieces, which other threads go through; ``sizes`` are of all."""


def write_files(
    files: FileSource,
    folder: str | os.PathLike[str],
    *,
    force: bool = False,
    jobs: int = 4,
    report: Report | None = None,
) -> CheckoutResult:
    """Makes a folder hold exactly these files, as far as the folder's files are its own: see :func:`checkout`."""
    target = Path(folder).expanduser()
    if target.exists() and not target.is_dir():
        raise InvalidInputError(f"{target} is not a folder; choose another path")
    target.mkdir(parents=True, exist_ok=True)
    confined = ConfinedFolder(target)
    try:
        with Manifest(target) as manifest:
            return _Checkout(files, confined, manifest, force, jobs, report).run()
    finally:
        confined.close()


class _ImageFiles:
    """The images of a dataset under their paths, a row each."""

    def __init__(self, dataset: ReadOnlyDataset) -> None:
        self._paths = dataset._column_state(PATH)
        self._images: StreamReader = dataset._column_state(IMAGE).streams[DATA].reader
        self._rows = len(dataset)

    def __len__(self) -> int:
        return self._rows

    def wanted(self) -> Iterator[WantedFile]:
        for start in range(0, self._rows, _BATCH_ROWS):
            stop = min(start + _BATCH_ROWS, self._rows)
            paths = decode_values(self._paths.type, self._paths.read(start, stop))
            keys = self._images.row_keys(start, stop)
            yield from map(WantedFile, range(start, stop), paths, keys)

    def take(self, numbers: Ints) -> list[WantedFile]:
        rows = numbers.tolist()
        paths = decode_values(self._paths.type, self._paths.take(numbers))
        keys = [next(self._images.row_keys(row, row + 1)) for row in rows]
        return list(map(WantedFile, rows, paths, keys))

    def sizes(self) -> Ints:
        return self._images.row_sizes()

    def contents(self, numbers: Ints, sizes: Ints) -> Iterable[Iterable[Bytes]]:
        if len(numbers) == 1 and sizes[numbers[0]] > _LARGE_BYTES:
            return [self._images.pieces(int(numbers[0]))]
        return [[row.tobytes()] for row in self._images.take(numbers)]


class _Checkout:
    """One run: plan, which may find conflicts; then write and remove."""

    def __init__(
        self,
        files: FileSource,
        folder: ConfinedFolder,
        manifest: Manifest,
        force: bool,
        jobs: int,
        report: Report | None,
    ) -> None:
        self._files = files
        self._folder = folder
        self._manifest = manifest
        self._force = force
        self._jobs = jobs
        self._report: Callable[[int, int, int, int], None] = report or (lambda done, total, size, size_total: None)
        self._result = CheckoutResult()
        self._conflicts: list[str] = []

    def run(self) -> CheckoutResult:
        self._folder.remove_temporaries(self._manifest.unfinished())
        missing = self._plan()
        stale = self._manifest.unwanted()
        for path, file in stale:
            self._check_stale(path, file)
        if self._conflicts and not self._force:
            self._refuse()
        for path, _ in stale:
            self._remove(path)
        for path in filter(self._manifest.is_wanted, self._conflicts):
            # One after the other, before files are written side by side. What cannot be cleared shows when written.
            with contextlib.suppress(OSError):
                self._folder.clear(path)
        self._write(missing)
        return self._result

    # Planning

    def _plan(self) -> Ints:
        """Returns the numbers of the files that must be written, and notes what is in the way."""
        states = np.zeros(len(self._files), np.uint8)
        for wanted in self._files.wanted():
            reason = self._unusable(wanted.path)
            if reason is None:
                states[wanted.number] = _PLANNED
            else:
                self._result.skipped.append(Skipped(wanted.path, reason))
        for wanted in self._files.wanted():
            if states[wanted.number] != _PLANNED:
                continue
            if self._below_a_file(wanted.path):
                self._result.skipped.append(Skipped(wanted.path, "a directory of its path is the file of another row"))
            elif self._is_missing(wanted):
                states[wanted.number] = _MISSING
            else:
                self._result.unchanged += 1
        return np.flatnonzero(states == _MISSING).astype(np.int64)

    def _unusable(self, path: str) -> str | None:
        """Why a path is not written; notes those that are."""
        try:
            split_path(path)
        except UnsafePathError as error:
            return str(error)
        return None if self._manifest.want(path) else "another row has the same path"

    def _below_a_file(self, path: str) -> bool:
        parts = path.split("/")
        return any(self._manifest.is_wanted("/".join(parts[:depth])) for depth in range(1, len(parts)))

    def _is_missing(self, wanted: WantedFile) -> bool:
        """Whether the file must be written; notes a conflict where something else is in the way."""
        status = self._folder.status(wanted.path)
        if status is None:
            return True
        known = self._manifest.get(wanted.path)
        if known is not None and stat.S_ISREG(status.st_mode) and known.fits(status):
            return known.key != wanted.key
        if self._holds(wanted.path, status, wanted.key):
            # A file of somebody else that is as it should be stays theirs.
            if known is not None:
                self._manifest.put(wanted.path, WrittenFile(wanted.key, status.st_size, status.st_mtime_ns))
            return False
        if known is None or not self._holds(wanted.path, status, known.key):
            self._conflicts.append(wanted.path)
        return True

    def _check_stale(self, path: str, file: WrittenFile) -> None:
        """Notes a conflict where a file that is to go was changed since it was written."""
        status = self._folder.status(path)
        if status is None or (stat.S_ISREG(status.st_mode) and file.fits(status)):
            return
        if not self._holds(path, status, file.key):
            self._conflicts.append(path)

    def _holds(self, path: str, status: os.stat_result, key: bytes) -> bool:
        """Whether a file has the content of a key."""
        if not stat.S_ISREG(status.st_mode):
            return False
        try:
            return row_key([hash_chunk(piece) for piece in self._folder.read(path, PIECE_BYTES)]) == key
        except OSError:
            return False

    def _refuse(self) -> None:
        shown = ", ".join(repr(path) for path in self._conflicts[:_SHOWN])
        more = f" and {len(self._conflicts) - _SHOWN} more" if len(self._conflicts) > _SHOWN else ""
        raise CheckoutConflictError(
            f"files in {self._folder.path} were not written by a checkout, or changed since: {shown}{more}; "
            f"move them away, or replace them with --force (force=True). Nothing was written",
            paths=self._conflicts,
        )

    # Writing

    def _remove(self, path: str) -> None:
        status = self._folder.status(path)
        if status is not None and stat.S_ISREG(status.st_mode):
            try:
                self._folder.remove(path)
                self._result.removed += 1
            except OSError as error:
                self._result.skipped.append(Skipped(path, f"it cannot be removed: {error.strerror}"))
        self._manifest.remove(path)

    def _write(self, numbers: Ints) -> None:
        sizes = self._files.sizes() if len(numbers) else np.zeros(len(self._files), np.int64)
        total = int(sizes[numbers].sum())
        done = 0
        with ThreadPoolExecutor(self._jobs, thread_name_prefix="cas-write") as pool:
            for batch in _batches(numbers, sizes):
                files = self._files.take(batch)
                for file in files:
                    # Noted before it is written: a file that is found after a crash is known as ours.
                    self._manifest.put(file.path, WrittenFile(file.key, UNKNOWN, UNKNOWN))
                self._manifest.save()
                paths = [file.path for file in files]
                outcomes = pool.map(self._write_one, paths, self._files.contents(batch, sizes))
                for file, outcome in zip(files, outcomes, strict=True):
                    self._note(file.path, file.key, outcome)
                self._manifest.save()
                done += len(batch)
                self._report(done, len(numbers), self._result.written_bytes, total)

    def _write_one(self, path: str, content: Iterable[Bytes]) -> os.stat_result | OSError:
        try:
            return self._folder.write(path, content)
        except OSError as error:
            return error

    def _note(self, path: str, key: bytes, outcome: os.stat_result | OSError) -> None:
        if isinstance(outcome, OSError):
            self._result.skipped.append(Skipped(path, f"it cannot be written: {outcome.strerror}"))
            self._manifest.remove(path)
            return
        self._manifest.put(path, WrittenFile(key, outcome.st_size, outcome.st_mtime_ns))
        self._result.written += 1
        self._result.written_bytes += outcome.st_size


def _batches(numbers: Ints, sizes: Ints) -> Iterator[Ints]:
    """Yields the numbers of files in batches of about 8 MiB; a large file is a batch of its own."""
    begin, size = 0, 0
    for index, number in enumerate(numbers.tolist()):
        if index > begin and (size + sizes[number] > _BATCH_BYTES or index - begin >= _BATCH_ROWS):
            yield numbers[begin:index]
            begin, size = index, 0
        size += int(sizes[number])
    if begin < len(numbers):
        yield numbers[begin:]
