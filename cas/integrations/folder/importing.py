"""A folder of images to a version: rows in bytewise path order, and only the difference is written."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from cas import types
from cas.chunking.cut import PIECE_BYTES
from cas.codec import cbor
from cas.codec.rows import Rows
from cas.codec.values import decode_values, encode_values
from cas.dataset.dataset import Dataset
from cas.dataset.draft import Encoded, RowEdit
from cas.dataset.state import State, StreamState
from cas.errors import CasError, CorruptedError, InvalidInputError
from cas.hashing import Bytes, hash_chunk, hash_name
from cas.history.row_map import RowMap
from cas.integrations.folder.reading import ReadFile, read_in_order
from cas.integrations.folder.scan import FoundFile, Skipped, scan_folder
from cas.repo.sessions import remove_session
from cas.store.contract import CACHE, Transaction
from cas.tree.read import EMPTY_STREAM, StreamRef
from cas.tree.stream import row_key
from cas.types import DATA, Layout

PATH: Final = "path"
IMAGE: Final = "image"
LABEL: Final = "label"
COLUMNS: Final[dict[str, types.Type]] = {
    PATH: types.Text(),
    IMAGE: types.Image(),
    LABEL: types.Nullable(types.Text()),
}
_FINGERPRINTS: Final = Layout(8)
_UNKNOWN: Final = b"\0" * 8
_STAGE_BYTES: Final = 8 << 20
_STAGE_EDITS: Final = 4096
_FLUSH_BYTES: Final = 256 << 20
_FLUSH_SECONDS: Final = 30.0
_RACY_NANOSECONDS: Final = 2_000_000_000
_OLD_ROWS: Final = 4096

Report = Callable[[int, int, int, int], None]


@dataclass(slots=True)
class ImportResult:
    """What an import did: the version, counts of files against the version before, and what was left out."""

    version: str = ""
    made_version: bool = False
    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    read_bytes: int = 0
    skipped: list[Skipped] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Returns the counts of files, as they are kept in the version's details."""
        return {name: getattr(self, name) for name in ("added", "changed", "removed", "unchanged")}


def import_folder(
    folder: str | os.PathLike[str],
    dataset: Dataset,
    *,
    message: str | None = None,
    author: str | None = None,
    jobs: int | None = None,
    rehash: bool = False,
    report: Report | None = None,
) -> ImportResult:
    """Brings a dataset up to date with the images in a folder and commits the difference.

    The dataset has the columns ``path`` (below the folder), ``image`` (the file's bytes) and ``label`` (the first
    folder level, or missing), rows in bytewise path order; a dataset without columns gets them. Files that ``stat``
    shows to be those of the last import are not read again, unless ``rehash``. Files that cannot be read, are no
    images, are links, have names that are not UTF-8 or change while being read are left out and listed in
    ``skipped``; rows of files that could not be looked at are kept. An import that was killed goes on where it flushed
    last, at most 256 MiB or 30 s before.

    Memory: bounded, some 200 MiB. Raises :class:`~cas.errors.InvalidInputError` for a folder that is none, and for a
    dataset of other columns or with uncommitted changes.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise InvalidInputError(f"{path} is not a folder; expected one with images in it")
    with dataset._draft.kept_by_owner():
        return _Import(path, dataset, report, rehash, jobs or min(8, 2 * (os.cpu_count() or 2))).run(message, author)


class _Import:
    """One run: walks the folder and the rows side by side, and stages the difference in batches."""

    def __init__(self, folder: Path, dataset: Dataset, report: Report | None, rehash: bool, jobs: int) -> None:
        self._folder = folder
        self._dataset = dataset
        self._draft = dataset._draft
        self._report = report
        self._rehash = rehash
        self._jobs = jobs
        self._result = ImportResult()
        self._resumed = False
        self._totals = (0, 0)
        self._done = self._done_bytes = 0
        self._unflushed = 0
        self._flushed_at = time.monotonic()
        fingerprints = self._prepare()
        record = self._draft.state.settle(self._draft.writer)
        self._old = State(self._draft.nodes, record)
        self._prints = StreamState(self._draft.nodes, fingerprints, _FINGERPRINTS)
        self._old_prints = StreamState(self._draft.nodes, fingerprints, _FINGERPRINTS)
        self._stage = _Stage()
        self._shift = 0

    # Before

    def _prepare(self) -> StreamRef:
        """Checks the columns, takes over an interrupted import, and returns the fingerprints of the rows."""
        if self._draft.changed:
            raise InvalidInputError("the dataset has uncommitted changes; commit or roll back before an import")
        schema = self._dataset.schema
        if not schema:
            for name, type_ in COLUMNS.items():
                self._dataset.add_column(name, type_)
        for name, type_ in COLUMNS.items():
            if schema and schema.get(name) != type_:
                raise InvalidInputError(
                    f"the dataset's column {name!r} is {schema.get(name) or 'missing'}; an import needs "
                    f"{', '.join(f'{n} ({t})' for n, t in COLUMNS.items())}: import into a new dataset",
                    column=name,
                )
        for name in set(schema) - set(COLUMNS):
            if not schema[name].nullable:
                raise InvalidInputError(
                    f"column {name!r} is not nullable, and an import has no values for it: add a nullable one in its "
                    f"place, or import into another dataset",
                    column=name,
                )
        ref = self._resume() or self._cached()
        rows = len(self._dataset)
        if ref is None or ref.rows != rows:
            unknown = StreamState(self._draft.nodes, EMPTY_STREAM, _FINGERPRINTS)
            unknown.append(Rows.fixed(np.zeros(8 * rows, np.uint8), rows, 8))
            ref = unknown.settle(self._draft.writer)
        return ref

    def _resume(self) -> StreamRef | None:
        draft = self._draft
        for id_, session in self._dataset.sessions().items():
            state = session.details.get("import")
            if state is None or session.branch != self._dataset.branch_name or session.alive:
                continue
            if session.base != draft.base:
                self._drop(id_)
                continue
            try:
                draft.adopt(id_, session)
                self._resumed = True
                return StreamRef.from_record(state["fingerprints"], "session")
            except (CorruptedError, KeyError, TypeError):
                self._drop(id_)
        return None

    def _drop(self, session: bytes) -> None:
        dataset = self._dataset
        dataset._repository.store.write(lambda txn: remove_session(txn, dataset._dataset, session))

    def _cache_key(self) -> bytes:
        return self._dataset._dataset + hash_name(b"import", self._dataset.branch_name.encode())

    def _cached(self) -> StreamRef | None:
        with self._dataset._repository.store.read() as view:
            data = view.get(CACHE, self._cache_key())
        if data is None:
            return None
        with contextlib.suppress(CorruptedError):  # it is a cache, and may be lost at any time
            match cbor.decode(data, what="import cache"):
                case {"version": version, "stream": ref} if version == self._draft.base:
                    return StreamRef.from_record(ref, "import cache")
        return None

    # The walk

    def run(self, message: str | None, author: str | None) -> ImportResult:
        if self._report is not None:
            threading.Thread(target=self._count, daemon=True).start()
        try:
            self._walk()
            self._apply()
        except BaseException:
            # Interrupted: keep what was done, unless it is the store that failed.
            with contextlib.suppress(CasError):
                if self._unflushed:
                    self._flush()
            raise
        return self._commit(message, author)

    def _count(self) -> None:
        """Counts files and bytes ahead of the walk, so that the time left can be told."""
        files = size = 0
        for item in scan_folder(self._folder):
            if isinstance(item, FoundFile):
                files += 1
                size += item.size_bytes
        self._totals = (files, size)

    def _walk(self) -> None:
        # The rows are read twice: ahead, to tell which files need reading, and again where the results are used.
        spool = self._dataset._repository.path
        items = read_in_order(
            self._folder, scan_folder(self._folder), self._wanted_by(_Ahead(self._rows())), jobs=self._jobs, spool=spool
        )
        rows = _Ahead(self._rows())
        for item in items:
            if isinstance(item, Skipped):
                self._skip(item, rows)
                continue
            file = item if isinstance(item, FoundFile) else item.file
            key = file.path.encode()
            self._remove_before(key, rows)
            old = rows.take() if rows.key == key else None
            row = old.row if old is not None else rows.row(self._old.rows)
            self._meet(item, file, row + self._shift, old)
            self._done += 1
            self._done_bytes += file.size_bytes
            if self._report is not None:
                self._report(self._done, self._totals[0], self._done_bytes, self._totals[1])
        self._remove_before(None, rows)

    def _skip(self, item: Skipped, rows: _Ahead) -> None:
        """Leaves something out. Rows of what could not be looked at are kept: nobody knows that it is gone."""
        kept = 0
        if item.unknown:
            key = b"" if item.path == "." else item.path.encode()
            self._remove_before(key, rows)
            while rows.key is not None and (rows.key == key or (rows.key.startswith(key) and key[-1:] in (b"", b"/"))):
                rows.take()
                kept += 1
        what = {0: "", 1: "; its row is kept as it was"}.get(kept, f"; its {kept:,} rows are kept as they were")
        self._result.skipped.append(Skipped(item.path, item.reason + what))

    def _remove_before(self, key: bytes | None, rows: _Ahead) -> None:
        """Stages the removal of rows whose paths come before ``key``, or of all that are left."""
        while rows.key is not None and (key is None or rows.key < key):
            self._stage.remove(rows.take().row + self._shift)

    def _rows(self) -> Iterator[_OldRow]:
        last = b""
        column = self._old.columns[PATH]
        for start in range(0, self._old.rows, _OLD_ROWS):
            stop = min(start + _OLD_ROWS, self._old.rows)
            paths = decode_values(column.type, column.read(start, stop))
            prints = self._old_prints.read(start, stop)
            for row, path in enumerate(paths, start):
                key = path.encode()
                if row and key <= last:
                    raise InvalidInputError(
                        f"row {row} of the dataset has the path {path!r}, which is not after the one before: an import "
                        f"needs rows in path order; import into a new dataset",
                        column=PATH,
                        row=row,
                    )
                last = key
                yield _OldRow(row, key, prints.row(row - start).tobytes())

    def _wanted_by(self, rows: _Ahead) -> Callable[[FoundFile], bool]:
        """Returns whether a file must be read; to be asked in path order."""

        def wanted(file: FoundFile) -> bool:
            key = file.path.encode()
            while rows.key is not None and rows.key < key:
                rows.take()
            known = rows.key == key and rows.take().mark == fingerprint(file)
            return self._rehash or not known

        return wanted

    def _meet(self, item: FoundFile | ReadFile, file: FoundFile, position: int, old: _OldRow | None) -> None:
        """Stages what a file changes: a new row before ``position``, or the image of the row there."""
        if isinstance(item, FoundFile):
            return
        self._result.read_bytes += file.size_bytes
        mark = _safe_fingerprint(file, item.read_at)
        if old is None:
            self._stage.insert(position, file.path, item.content, mark)
        else:
            if self._image_key(old.row) != content_key(item.content):
                self._stage.update(position, item.content)
                self._result.changed += 1
            if mark != old.mark:
                self._stage.mark(position, mark)
        if self._stage.full:
            self._apply()

    def _image_key(self, row: int) -> bytes:
        (key,) = self._old.columns[IMAGE].streams[DATA].reader.row_keys(row, row + 1)
        return key

    # Staging

    def _apply(self) -> None:
        """Stages the batch in the draft, and flushes it from time to time."""
        stage, self._stage = self._stage, _Stage()
        if stage.updates:
            rows = np.array([position for position, _ in stage.updates], np.int64)
            contents = _rows_of([content for _, content in stage.updates])
            self._draft.assign(self._draft.state.columns[IMAGE], rows, {DATA: contents})
        self._draft.splice(list(self._row_edits(stage)))
        self._prints.splice([(start, stop, _marks_rows(marks)) for start, stop, marks in stage.marks])
        self._shift += stage.grown
        self._unflushed += stage.size_bytes
        if self._unflushed and (
            self._unflushed >= _FLUSH_BYTES or time.monotonic() - self._flushed_at > _FLUSH_SECONDS
        ):
            self._flush()

    def _row_edits(self, stage: _Stage) -> Iterator[RowEdit]:
        for start, stop, files in stage.edits:
            yield (start, stop, self._encode(files), len(files)) if files else (start, stop, None, 0)

    def _encode(self, files: list[tuple[str, Bytes]]) -> Encoded:
        paths = [path for path, _ in files]
        labels = [path.partition("/")[0] if "/" in path else None for path in paths]
        encoded: Encoded = {
            PATH: encode_values(COLUMNS[PATH], paths, PATH),
            IMAGE: {DATA: _rows_of([content for _, content in files])},
            LABEL: encode_values(COLUMNS[LABEL], labels, LABEL),
        }
        for name, column in self._draft.state.columns.items():
            if name not in encoded:
                encoded[name] = encode_values(column.type, [None] * len(files), name)
        return encoded

    def _flush(self) -> None:
        marks = self._prints.settle(self._draft.writer)
        if marks.rows != self._draft.state.rows:
            # Interrupted between the two: the session before this one still holds.
            return
        self._draft.flush({"import": {"fingerprints": marks.to_record()}})
        self._unflushed = 0
        self._flushed_at = time.monotonic()

    def _commit(self, message: str | None, author: str | None) -> ImportResult:
        result, draft = self._result, self._draft
        row_map = draft.row_map()
        result.added, result.removed = row_map.inserted, row_map.deleted
        if self._resumed:
            result.changed = self._count_changed(row_map)
        result.unchanged = draft.state.rows - result.added - result.changed
        marks = self._prints.settle(draft.writer)
        base = draft.base
        text = f"Import: {result.added} added, {result.changed} changed, {result.removed} removed"
        result.version = self._dataset.commit(message or text, author=author, details={"import": result.counts()})
        result.made_version = result.version != base.hex()
        if marks != self._old_prints.reader.ref or result.made_version:
            self._remember(bytes.fromhex(result.version), marks)
        return result

    def _count_changed(self, row_map: RowMap) -> int:
        """Counts the kept rows whose image differs from the base, from hashes alone."""
        repository, draft = self._dataset._repository, self._draft
        base = State(draft.nodes, repository.tree(repository.version(draft.base).tree))
        draft.state.settle(draft.writer)
        if IMAGE not in base.columns:
            return 0
        before = base.columns[IMAGE].streams[DATA].reader
        after = draft.state.columns[IMAGE].streams[DATA].reader
        changed = old = new = 0
        for keep, delete, insert in row_map.runs.tolist():
            pairs = zip(before.row_keys(old, old + keep), after.row_keys(new, new + keep), strict=True)
            changed += sum(left != right for left, right in pairs)
            old += keep + delete
            new += keep + insert
        return changed

    def _remember(self, version: bytes, marks: StreamRef) -> None:
        """Keeps the fingerprints that belong to a version, for the next import."""
        laid = self._draft.writer.rest()
        value = cbor.encode({"version": version, "stream": marks.to_record()})

        def change(txn: Transaction) -> None:
            txn.timestamp()  # so that a collection under way notices
            txn.put_laid(laid)
            txn.put(CACHE, self._cache_key(), value)

        self._dataset._repository.store.write(change)


@dataclass(frozen=True, slots=True)
class _OldRow:
    """A row of the dataset as it was: its number, the bytes of its path, and the fingerprint of its file."""

    row: int
    key: bytes
    mark: bytes


class _Ahead:
    """Rows in order, of which the next one can be looked at."""

    def __init__(self, rows: Iterator[_OldRow]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    @property
    def key(self) -> bytes | None:
        """The path of the next row, or None after the last."""
        return None if self._next is None else self._next.key

    def row(self, default: int) -> int:
        """Returns the number of the next row."""
        return default if self._next is None else self._next.row

    def take(self) -> _OldRow:
        """Returns the next row and goes on."""
        row = self._next
        assert row is not None
        self._next = next(self._rows, None)
        return row


class _Stage:
    """Edits of one batch, in row order; row numbers count the rows before the batch."""

    def __init__(self) -> None:
        self.edits: list[tuple[int, int, list[tuple[str, Bytes]]]] = []
        self.marks: list[tuple[int, int, list[bytes]]] = []
        self.updates: list[tuple[int, Bytes]] = []
        self.size_bytes = 0
        self.grown = 0
        self._count = 0

    @property
    def full(self) -> bool:
        """Whether it is time to apply the batch."""
        return self.size_bytes >= _STAGE_BYTES or self._count >= _STAGE_EDITS

    def insert(self, position: int, path: str, content: Bytes, mark: bytes) -> None:
        """Adds a row before ``position``."""
        last = self.edits[-1] if self.edits else None
        if last is not None and last[:2] == (position, position):
            last[2].append((path, content))
            self.marks[-1][2].append(mark)
        else:
            self.edits.append((position, position, [(path, content)]))
            self.marks.append((position, position, [mark]))
        self._grow(len(content), 1)

    def remove(self, position: int) -> None:
        """Removes the row at ``position``."""
        self.edits.append((position, position + 1, []))
        self.marks.append((position, position + 1, []))
        self._grow(0, -1)

    def update(self, position: int, content: Bytes) -> None:
        """Replaces the image at ``position``."""
        self.updates.append((position, content))
        self._grow(len(content), 0)

    def mark(self, position: int, mark: bytes) -> None:
        """Replaces the fingerprint at ``position``."""
        self.marks.append((position, position + 1, [mark]))
        self._grow(0, 0)

    def _grow(self, size: int, rows: int) -> None:
        self.size_bytes += size
        self.grown += rows
        self._count += 1


def content_key(content: Bytes) -> bytes:
    """Returns what :meth:`cas.tree.stream.StreamReader.row_keys` gives for a row of this content."""
    view = memoryview(content)
    starts = range(0, max(len(view), 1), PIECE_BYTES)
    return row_key([hash_chunk(view[start : start + PIECE_BYTES]) for start in starts])


def fingerprint(file: FoundFile) -> bytes:
    """Returns 8 bytes that change when a file is written to, replaced or moved, by what ``stat`` says of it."""
    packed = struct.pack("<5Q", *(number % 2**64 for number in file.identity))
    return hash_name(b"file", packed, file.path.encode())[:8]


def _safe_fingerprint(file: FoundFile, read_at: int) -> bytes:
    """The fingerprint, or zeros where the file is so new that another change might leave its times as they are."""
    *_, modified, changed = file.identity
    recent = max(modified, changed) > read_at - _RACY_NANOSECONDS
    return _UNKNOWN if recent else fingerprint(file)


def _rows_of(contents: list[Bytes]) -> Rows:
    if len(contents) == 1:
        # A large file is a mapping, which must not be copied into memory.
        flat = np.frombuffer(contents[0], np.uint8)
        return Rows.varying(flat, np.array([len(flat)], np.int64))
    return Rows.from_list(contents)


def _marks_rows(marks: list[bytes]) -> Rows | None:
    return Rows.fixed(np.frombuffer(b"".join(marks), np.uint8), len(marks), 8) if marks else None
