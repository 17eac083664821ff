"""Versions checked: records, their rows in the table of versions, trees, row maps, columns and defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final

from cas.codec import cbor
from cas.errors import CasError, CorruptedError, UnsupportedError
from cas.history.graph import VersionEntry, new_entry
from cas.history.records import Payload, TreeRecord, VersionRecord, decode_defaults, payload_streams, read_payload
from cas.history.row_map import RowMap
from cas.repo.damage import TABLE, VERSION_ROW
from cas.repo.fsck_blobs import Report
from cas.repo.fsck_notes import Notes, Staged
from cas.repo.fsck_streams import StreamCheck
from cas.repo.repository import Repository
from cas.store.contract import SESSIONS, VERSIONS, View
from cas.tree.read import StreamRef
from cas.types import Layout

_EMPTY_MAP: Final = cbor.encode({})
_Row = tuple[VersionEntry | None, str]
"""A row of the table of versions as far as it can be read, and what is wrong with it."""


class _Rebuilt:
    """The table of versions as it follows from records, for what looks entries up."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.rows.get(key)


class VersionCheck:
    """Checks versions and all that they consist of; memory: some hundreds of bytes for each version and tree.

    With ``contents`` fields that are kept in chunks are read too.
    """

    def __init__(self, repository: Repository, notes: Notes, report: Report, *, contents: bool) -> None:
        self._repository = repository
        self._notes = notes
        self._report = report
        self._contents = contents
        self._records: dict[bytes, VersionRecord | None] = {}
        self._trees: set[bytes] = set()
        self._rebuilt = _Rebuilt()
        self.streams = StreamCheck(repository.nodes, notes)
        self.entries: dict[bytes, VersionEntry] = {}
        self.parents: dict[bytes, tuple[bytes, ...]] = {}

    @property
    def records(self) -> int:
        """How many records of versions and trees were read."""
        return len(self._records) + len(self._trees)

    def check(self, heads: Iterable[bytes], clock: int, view: View) -> None:
        """Checks some versions and all that lead to them."""
        order = self._in_order(heads, view)
        rows = {version: _find_row(version, view) for version in order}
        latest = self._latest(order, rows, clock)
        for done, version in enumerate(order, 1):
            record = self._records[version]
            self._check_row(version, record, rows[version], latest.get(version, clock))
            if record is not None:
                self._check_record(version, record)
            self._report("Versions checked:", done, len(order))

    def _latest(self, order: list[bytes], rows: Mapping[bytes, _Row], clock: int) -> dict[bytes, int]:
        """For versions that others come from, the last time at which they may have landed."""
        latest: dict[bytes, int] = {}
        for version in reversed(order):
            entry, _ = rows[version]
            time = min(latest.get(version, clock), clock if entry is None else entry.timestamp)
            for parent in self.parents[version]:
                latest[parent] = min(latest.get(parent, clock), time)
        return latest

    def _in_order(self, heads: Iterable[bytes], view: View) -> list[bytes]:
        """All versions, parents first; a version is followed by its record, or where it has none by its row."""
        order: dict[bytes, None] = {}
        waiting = [(head, False) for head in heads]
        while waiting:
            version, left = waiting.pop()
            if left:
                order.setdefault(version)
            elif version not in self.parents:
                self.parents[version] = self._find_parents(version, view)
                waiting.append((version, True))
                waiting += [(parent, False) for parent in self.parents[version]]
        return list(order)

    def _find_parents(self, version: bytes, view: View) -> tuple[bytes, ...]:
        record = self._load(version)
        self._records[version] = record
        if record is not None:
            return record.parents
        entry, _ = _find_row(version, view)
        return () if entry is None else entry.parents

    def _load(self, version: bytes) -> VersionRecord | None:
        try:
            return self._repository.version(version)
        except (CorruptedError, UnsupportedError) as error:
            self._notes.unread(version, error)
            return None

    # The table of versions.

    def _check_row(self, version: bytes, record: VersionRecord | None, row: _Row, latest: int) -> None:
        entry, problem = row
        expected = self._expected(record, entry, latest)
        if entry is not None and expected is not None:
            problem = _difference(entry, expected)
        if problem:
            message = f"the row of version {version.hex()} in the table of versions {problem}"
            self._notes.table(VERSION_ROW, VERSIONS, version, message)
            if expected is not None:
                self._notes.rows[version] = expected
        known = expected or entry
        if known is not None:
            self.entries[version] = known
            self._rebuilt.rows[version] = known.encode()

    def _expected(self, record: VersionRecord | None, entry: VersionEntry | None, latest: int) -> VersionEntry | None:
        """The row that follows from a record, but for its time, which must be between that of its parents and others.

        Of a row that is not there the time is that by the writer's clock, as far as it fits.
        """
        if record is None:
            return None
        least = max((self.entries[parent].timestamp for parent in record.parents if parent in self.entries), default=0)
        time = min(record.client_timestamp, latest) if entry is None else entry.timestamp
        try:
            return new_entry(self._rebuilt, record.parents, max(least, time))
        except CorruptedError:
            return None  # a parent is not known: that is noted for it

    # Records.

    def _check_record(self, version: bytes, record: VersionRecord) -> None:
        what = f"version {version.hex()}"
        self._check_streams(payload_streams(*record.row_maps, record.defaults))
        tree = self._tree(record.tree)
        before = [self._tree_of(parent) for parent in record.parents]
        note = self._noter(version)
        for payload, parent in zip(record.row_maps, before, strict=True):
            self._try(note, partial(self._check_map, payload, parent, tree, what))
        if tree is None:
            return
        if len(record.column_maps) not in (0, len(record.parents)):
            note(CorruptedError(f"{what} has {len(record.column_maps)} column maps for {len(record.parents)} parents"))
        for column_map, parent in zip(record.column_maps, before, strict=False):
            if not _names_columns(column_map, tree, parent):
                note(CorruptedError(f"a column map of {what} names columns that are not there"))
        self._try(note, partial(self._check_defaults, record.defaults, tree, what))

    def _noter(self, hash_: bytes) -> Callable[[CasError], None]:
        return lambda error: self._notes.unread(hash_, error)

    def _try(self, note: Callable[[CasError], None], check: Callable[[], None]) -> None:
        try:
            check()
        except CorruptedError as error:
            note(error)

    def _check_streams(self, streams: Iterable[tuple[StreamRef, Layout]]) -> None:
        for ref, layout in streams:
            self.streams.check(ref, layout)

    def _read(self, payload: Payload) -> bytes | None:
        """The bytes of a field, or None where they are in chunks that are not to be read."""
        if isinstance(payload, bytes) or self._contents:
            return read_payload(payload, self._repository.nodes)
        return None

    def _check_map(self, payload: Payload, parent: TreeRecord | None, tree: TreeRecord | None, what: str) -> None:
        data = self._read(payload)
        if data is None:
            return
        row_map = RowMap.decode(data, what)
        if tree is not None and row_map.rows != tree.rows:
            raise CorruptedError(f"a row map of {what} leads to {row_map.rows} rows, of {tree.rows}")
        if parent is not None and row_map.parent_rows != parent.rows:
            raise CorruptedError(f"a row map of {what} begins at {row_map.parent_rows} rows, of {parent.rows}")

    def _check_defaults(self, payload: Payload, tree: TreeRecord, what: str) -> None:
        data = self._read(payload)
        if data is None:
            return
        for name, streams in decode_defaults(data, what).items():
            column = tree.column(name)
            layouts = {} if column is None else column.type.layouts()
            sizes = {stream: len(row) for stream, row in streams.items()}
            if set(sizes) != set(layouts) or any(
                layout.row_bytes not in (None, sizes[stream]) for stream, layout in layouts.items()
            ):
                raise CorruptedError(f"the default of column {name!r} of {what} does not fit the column")

    def _tree_of(self, version: bytes) -> TreeRecord | None:
        record = self._records.get(version)
        return None if record is None else self._tree(record.tree)

    def _tree(self, hash_: bytes) -> TreeRecord | None:
        """The tree, checked when it is first met, or None where it cannot be read."""
        try:
            tree = self._repository.tree(hash_)
        except (CorruptedError, UnsupportedError) as error:
            self._notes.unread(hash_, error)
            return None
        if hash_ not in self._trees:
            self._trees.add(hash_)
            self._check_streams(tree.stream_refs())
            for payload in (tree.metadata, *(column.metadata for column in tree.columns)):
                self._try(self._noter(hash_), partial(self._check_metadata, payload))
        return tree

    def _check_metadata(self, payload: Payload) -> None:
        data = self._read(payload)
        if data is None or data == _EMPTY_MAP:
            return
        with suppress(UnsupportedError):  # a value may take an optional package
            if not isinstance(cbor.decode_value(data, what="metadata snapshot"), dict):
                raise CorruptedError("a metadata snapshot is damaged")

    # Uncommitted rows.

    def check_staged(self, staged: Staged) -> None:
        """Checks uncommitted rows against the version that they were staged on, which was checked before."""
        session = staged.session
        self._check_streams(payload_streams(session.row_map, session.defaults))
        tree, base = self._tree(session.tree), self._tree_of(session.base)
        what = f"the uncommitted rows on {session.branch}"

        def note(error: CasError) -> None:
            name = getattr(error, "blob", None) or ""
            if len(name) == 2 * len(session.base):
                self._notes.unread(session.base, error)
            else:
                self._notes.table(TABLE, SESSIONS, staged.key, str(error))

        self._try(note, partial(self._check_map, session.row_map, base, tree, what))
        if tree is not None:
            self._try(note, partial(self._check_defaults, session.defaults, tree, what))
            origins = {name: origin if isinstance(origin, str) else None for name, origin in session.origins.items()}
            if set(origins) != {column.name for column in tree.columns} or not _names_columns(origins, tree, base):
                note(CorruptedError(f"the origins of {what} name columns that are not there"))


def _find_row(version: bytes, view: View) -> _Row:
    """The row of a version, and what is wrong with it."""
    try:
        data = view.get(VERSIONS, version)
        if data is None:
            return None, "is missing"
        return VersionEntry.decode(data, f"version {version.hex()}"), ""
    except CorruptedError as error:
        return None, f"is damaged: {error}"


def _names_columns(names: Mapping[str, str | None], tree: TreeRecord, parent: TreeRecord | None) -> bool:
    """Whether names, and where they come from in the parent, are those of columns."""
    olds = [old for old in names.values() if old is not None and parent is not None]
    return all(tree.column(name) is not None for name in names) and all(
        parent is None or parent.column(old) is not None for old in olds
    )


def _difference(entry: VersionEntry, expected: VersionEntry) -> str:
    """What of a row is not as it must be; nothing where that is empty."""
    wrong = [name for name in entry._fields if getattr(entry, name) != getattr(expected, name)]
    return f"has another {', '.join(wrong)} than its record says" if wrong else ""
