"""The rows of a store's tables: each must decode, and fit those of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, TypeVar

from cas.codec import cbor
from cas.errors import CasError, CorruptedError
from cas.hashing import HASH_BYTES
from cas.history.graph import VersionEntry
from cas.history.refs import BRANCH, RefRecord
from cas.repo.damage import TABLE, WARNING
from cas.repo.fsck_notes import Head, Notes, Staged
from cas.repo.metadata import check_row
from cas.repo.reflog import Move, decode_move
from cas.repo.repository import DatasetRecord
from cas.repo.sessions import Session, decode_session
from cas.store.contract import CACHE, DATASETS, METADATA, REFLOG, REFS, SESSIONS, STORE, VERSIONS, View
from cas.tree.read import StreamRef

_ID: Final = 16
_METADATA_KEY: Final = 48
_END_OF_TIME: Final = 1 << 62
T = TypeVar("T")


class TableCheck:
    """Checks all tables of one view, and gathers what leads to versions, trees and streams.

    ``heads`` come in the order in which they shall name a version: branches, tags, uncommitted rows, the reflog.
    """

    def __init__(self, view: View, notes: Notes) -> None:
        self._view = view
        self._notes = notes
        self._names: dict[bytes, str] = {}
        self._refs: dict[bytes, RefRecord] = {}
        self._ref_keys: set[bytes] = set()
        self.staged: list[Staged] = []
        self.streams: list[StreamRef] = []
        self.clock = self._read_clock()
        self._check_datasets()
        branches = self._check_refs()
        moved = self._check_reflog()
        self._check_sessions()
        sessions = [
            Head(each.dataset, f"uncommitted rows on {each.session.branch}", each.session.base) for each in self.staged
        ]
        self.heads = [*branches, *sessions, *moved]
        self._check_metadata()
        self._check_cache()

    def _read_clock(self) -> int:
        """The last storage timestamp; where it is not known, one that all others are before."""
        with suppress(CorruptedError):
            clock = self._view.get(STORE, b"clock") or b""
            if len(clock) == 8:
                return int.from_bytes(clock, "little")
        self._notes.table(TABLE, STORE, b"clock", "the clock of the store is missing or damaged")
        return _END_OF_TIME

    def _rows(self, table: str, decode: Callable[[bytes, bytes], T], severity: str = "error") -> list[tuple[bytes, T]]:
        """The rows of a table that decode; the others are noted."""
        found: list[tuple[bytes, T]] = []
        for key, data in self._view.scan_damaged(table):
            try:
                if isinstance(data, CorruptedError):
                    raise data
                found.append((key, decode(key, data)))
            except (CasError, UnicodeDecodeError) as error:
                self._notes.table(TABLE, table, key, f"a row of the table {table} is damaged: {error}", severity)
        return found

    def _check_datasets(self) -> None:
        def decode(key: bytes, data: bytes) -> tuple[bytes, str]:
            if key[:1] != b"/":
                raise CorruptedError("its key is not a name")
            return DatasetRecord.decode(data, key[1:].decode()).id, key[1:].decode()

        for key, (id_, name) in self._rows(DATASETS, decode):
            if id_ in self._names:
                message = f"datasets {self._names[id_]!r} and {name!r} have the same id"
                self._notes.table(TABLE, DATASETS, key, message)
            self._names[id_] = name

    def _name(self, table: str, key: bytes) -> str:
        """The name of the dataset that a row belongs to; one that is in no table is noted once."""
        id_ = key[:_ID]
        if id_ not in self._names:
            self._names[id_] = id_.hex()
            message = f"the table {table} has rows of a dataset {id_.hex()}, which is not in the table of datasets"
            self._notes.table(TABLE, DATASETS, id_, message)
        return self._names[id_]

    def _check_refs(self) -> list[Head]:
        def decode(key: bytes, data: bytes) -> RefRecord:
            name = key[_ID:].decode()
            if not name:
                raise CorruptedError("it has no name")
            return RefRecord.decode(data, f"ref {name!r}")

        named = set(self._names)
        self._refs = dict(self._rows(REFS, decode))
        self._ref_keys = {key for key, _ in self._view.scan_damaged(REFS)}
        for id_ in named - {key[:_ID] for key in self._ref_keys}:
            message = f"the dataset {self._names[id_]!r} has no branch"
            self._notes.table(TABLE, DATASETS, b"/" + self._names[id_].encode(), message)
        ordered = sorted(self._refs.items(), key=lambda item: (item[1].kind != BRANCH, item[0][_ID:] != b"main"))
        return [Head(self._name(REFS, key), f"{ref.kind} {key[_ID:].decode()}", ref.version) for key, ref in ordered]

    def _check_reflog(self) -> list[Head]:
        moves = self._rows(REFLOG, lambda key, data: decode_move(key[_ID:], data))
        last: dict[bytes, Move] = {}
        heads: list[Head] = []
        for key, move in moves:
            dataset = self._name(REFLOG, key)
            for version in (move.record.old, move.record.new):
                if version is not None and len(version) != HASH_BYTES:
                    self._notes.table(TABLE, REFLOG, key, "a row of the table reflog names no version")
                elif version is not None:
                    heads.append(Head(dataset, f"reflog of {move.name}", version))
            last[key[: -_ID // 2 - 1]] = move
        for key, move in last.items():
            self._check_last(key, move)
        return heads

    def _check_last(self, key: bytes, move: Move) -> None:
        """Checks that a branch or tag is where its last move led."""
        ref = self._refs.get(key)
        at = None if ref is None else ref.version
        damaged = ref is None and key in self._ref_keys
        if at != move.record.new and not damaged:
            where = "is gone" if at is None else f"is at {at.hex()[:12]}"
            should = "was deleted" if move.record.new is None else f"moved to {move.record.new.hex()[:12]}"
            message = f"{move.name!r} of dataset {self._name(REFLOG, key)!r} {where}, but by the reflog it {should}"
            self._notes.table(TABLE, REFS, key, message)

    def _check_sessions(self) -> None:
        def decode(key: bytes, data: bytes) -> Session:
            session = decode_session(data)
            if len(key) != 2 * _ID or {len(session.base), len(session.tree)} != {HASH_BYTES}:
                raise CorruptedError("it names no session, version or tree")
            return session

        for key, session in self._rows(SESSIONS, decode):
            self.staged.append(Staged(self._name(SESSIONS, key), key, session))

    def _check_metadata(self) -> None:
        def check(key: bytes, data: bytes) -> None:
            if len(key) != _METADATA_KEY:
                raise CorruptedError("its key has another length")
            check_row(key, data)

        for key, _ in self._rows(METADATA, check):
            self._name(METADATA, key)

    def _check_cache(self) -> None:
        def decode(_: bytes, data: bytes) -> StreamRef | None:
            match cbor.decode(data, what="cache"):
                case {"stream": record}:
                    return StreamRef.from_record(record, "cache")
            return None

        self.streams = [ref for _, ref in self._rows(CACHE, decode, WARNING) if ref is not None]

    def check_clock(self, entries: Mapping[bytes, VersionEntry]) -> None:
        """Checks that no version has landed after the last transaction."""
        version = max(entries, key=lambda version: entries[version].timestamp, default=None)
        if version is not None and entries[version].timestamp > self.clock:
            message = f"version {version.hex()} has landed after the clock of the store, or one of the two is wrong"
            self._notes.table(TABLE, STORE, b"clock", message)

    def check_unreached(self, reached: set[bytes]) -> None:
        """Checks the rows of versions that nothing leads to."""

        def decode(key: bytes, data: bytes) -> None:
            if key not in reached:
                VersionEntry.decode(data, f"version {key.hex()}")
                if len(key) != HASH_BYTES:
                    raise CorruptedError("its key is no hash")

        self._rows(VERSIONS, decode, WARNING)
