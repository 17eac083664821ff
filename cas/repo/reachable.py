"""What is reached from the roots of a store: refs, the reflog, uncommitted rows, caches, and versions in use."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cas.codec import cbor
from cas.errors import CasError, CorruptedError
from cas.hashing import Hashes
from cas.history.graph import get_entry
from cas.history.records import payload_streams
from cas.history.refs import ReflogRecord, RefRecord
from cas.repo.repository import Repository
from cas.repo.sessions import decode_session
from cas.store.contract import CACHE, REFLOG, REFS, SESSIONS, VERSIONS, View
from cas.tree.node import Node
from cas.tree.read import StreamRef

TIME_BYTES = 8


@dataclass(frozen=True, slots=True)
class Roots:
    """Where reaching begins: versions, trees and streams."""

    versions: set[bytes] = field(default_factory=set)
    trees: set[bytes] = field(default_factory=set)
    streams: list[StreamRef] = field(default_factory=list)


def find_roots(repository: Repository, view: View, reflog_since: int, dropped: Collection[bytes] = ()) -> Roots:
    """Returns what is kept: branches, tags, moves since a time, uncommitted rows, caches, and versions in use.

    ``reflog_since`` is a storage timestamp, ``dropped`` are keys of sessions that do not count. A version is in use
    while a process has it open.
    """
    roots = Roots()
    roots.versions.update(RefRecord.decode(data, "ref").version for _, data in view.scan(REFS))
    for key, data in view.scan(REFLOG):
        if reflog_time(key) >= reflog_since:
            record = ReflogRecord.decode(data)
            roots.versions.update(version for version in (record.old, record.new) if version is not None)
    for key, data in view.scan(SESSIONS):
        if key in dropped:
            continue
        session = decode_session(data)
        roots.versions.add(session.base)
        roots.trees.add(session.tree)
        roots.streams.extend(ref for ref, _ in payload_streams(session.row_map, session.defaults))
        roots.streams.extend(_streams_in(session.details))
    roots.streams.extend(_cached_streams(view))
    for version, _ in view.scan(VERSIONS):
        if version not in roots.versions and repository.store.is_read(version):
            roots.versions.add(version)
    return roots


def reflog_time(key: bytes) -> int:
    """Returns the storage timestamp in a key of the reflog."""
    return int.from_bytes(key[-TIME_BYTES:], "big")


def _streams_in(value: Any) -> Iterator[StreamRef]:
    """The stream references among the details of a session, at whatever place."""
    match value:
        case [bytes(), int(), int()]:
            with suppress(CorruptedError):
                yield StreamRef.from_record(value, "details")
        case dict():
            for inner in value.values():
                yield from _streams_in(inner)
        case list():
            for inner in value:
                yield from _streams_in(inner)


def _cached_streams(view: View) -> Iterator[StreamRef]:
    """The streams that caches refer to, in the field ``stream`` of their values."""
    for _, data in view.scan(CACHE):
        try:
            match cbor.decode(data, what="cache"):
                case {"stream": record}:
                    yield StreamRef.from_record(record, "cache")
        except CasError:
            continue  # it may be anything, and be lost at any time


class Reachable:
    """The blobs that are reached from roots, which may be added bit by bit: what was seen is not read again.

    Memory: the hashes of versions, trees and nodes, and 8 bytes for each chunk, of which only the first 8 bytes of the
    hash are kept; a blob that happens to share these is kept too.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self.versions: set[bytes] = set()
        self._records: set[bytes] = set()
        self._heads: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._new: list[NDArray[np.uint64]] = []
        self._new_count = 0

    def add(self, roots: Roots, view: View) -> None:
        """Adds all that is reached from roots. Cost: each new version, tree and node is read once; no chunk is."""
        for version in self._new_versions(roots.versions, view):
            record = self._repository.version(version)
            self._records.add(version)
            self._add_streams(ref for ref, _ in record.stream_refs())
            self._add_tree(record.tree)
        for tree in roots.trees:
            self._add_tree(tree)
        self._add_streams(roots.streams)

    def _new_versions(self, heads: Iterable[bytes], view: View) -> Iterator[bytes]:
        waiting = [head for head in heads if head not in self.versions]
        while waiting:
            version = waiting.pop()
            if version not in self.versions:
                self.versions.add(version)
                waiting += get_entry(view, version).parents
                yield version

    def _add_tree(self, hash_: bytes) -> None:
        if hash_ not in self._records:
            self._records.add(hash_)
            self._add_streams(ref for ref, _ in self._repository.tree(hash_).stream_refs())

    def _add_streams(self, refs: Iterable[StreamRef]) -> None:
        for ref in refs:
            if ref.root is not None and ref.root not in self._records:
                self._records.add(ref.root)
                self._add_below(self._repository.nodes.load(ref.root))

    def _add_below(self, top: Node) -> None:
        waiting = [top]
        while waiting:
            node = waiting.pop()
            if node.level == 0:
                self._add_chunks(node.entries.hashes)
                continue
            for at in range(len(node.entries)):
                hash_ = node.entries.hashes[at].tobytes()
                if hash_ not in self._records:
                    self._records.add(hash_)
                    waiting.append(self._repository.nodes.child(node, at))

    def _add_chunks(self, hashes: Hashes) -> None:
        self._new.append(_heads_of(hashes))
        self._new_count += len(hashes)
        if self._new_count > max(1 << 16, len(self._heads)):
            self._merge()

    def _merge(self) -> None:
        self._heads = np.unique(np.concatenate([self._heads, *self._new]))
        self._new.clear()
        self._new_count = 0

    def holds(self, hashes: list[bytes]) -> NDArray[np.bool_]:
        """Whether each blob is reached."""
        if self._new:
            self._merge()
        heads = _heads_of(np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32))
        at = np.searchsorted(self._heads, heads)
        at[at == len(self._heads)] = 0
        chunks = self._heads[at] == heads if len(self._heads) else np.zeros(len(hashes), np.bool_)
        records = np.fromiter((hash_ in self._records for hash_ in hashes), np.bool_, len(hashes))
        return np.asarray(chunks | records, np.bool_)


def _heads_of(hashes: Hashes) -> NDArray[np.uint64]:
    return np.ascontiguousarray(hashes[:, :8]).view(np.uint64).reshape(-1)
