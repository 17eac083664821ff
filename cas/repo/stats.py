"""What a version takes: rows, bytes as users count them, bytes once each, and bytes at rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cas.codec.rows import Ints
from cas.errors import CorruptedError
from cas.history.records import ColumnRecord, TreeRecord
from cas.repo.distinct import group_hashes
from cas.repo.repository import Repository
from cas.store.contract import Store
from cas.store.gate import Hashes, split_hashes
from cas.tree.node import Entries
from cas.tree.read import TreeReader

_BATCH_HASHES: Final = 10_000
_PENDING_CHUNKS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts of rows, chunks and bytes.

    ``logical_bytes`` are the payload bytes of all chunks, as often as they occur; ``unique_bytes`` those of distinct
    chunks; ``stored_bytes`` the length of these at rest.
    """

    rows: int
    logical_bytes: int
    unique_bytes: int
    stored_bytes: int
    chunks: int
    unique_chunks: int

    @property
    def dedup(self) -> float:
        """How many times smaller it is because nothing is kept twice; 1 where there is nothing."""
        return _ratio(self.logical_bytes, self.unique_bytes)

    @property
    def compression(self) -> float:
        """How many times smaller the distinct chunks are at rest; 1 where there is nothing."""
        return _ratio(self.unique_bytes, self.stored_bytes)

    def to_dict(self) -> dict[str, Any]:
        """Returns the counts and both ratios by name."""
        return {
            "rows": self.rows,
            "logical_bytes": self.logical_bytes,
            "unique_bytes": self.unique_bytes,
            "stored_bytes": self.stored_bytes,
            "chunks": self.chunks,
            "unique_chunks": self.unique_chunks,
            "dedup": self.dedup,
            "compression": self.compression,
        }


@dataclass(frozen=True, slots=True)
class ColumnStats:
    """What one column takes; a chunk that occurs several times in it, in whichever stream, is unique once."""

    name: str
    type: str
    usage: Usage

    def to_dict(self) -> dict[str, Any]:
        """Returns name, type and counts."""
        return {"name": self.name, "type": self.type, **self.usage.to_dict()}


@dataclass(frozen=True, slots=True)
class VersionStats:
    """What a version takes: by column, in total (a chunk that several columns hold is unique once), and the store.

    ``store_bytes`` is what the whole store takes on disk: all datasets and versions, nodes, records and free pages.
    """

    columns: tuple[ColumnStats, ...]
    total: Usage
    store_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Returns all counts."""
        return {
            "columns": [column.to_dict() for column in self.columns],
            "total": self.total.to_dict(),
            "store_bytes": self.store_bytes,
        }


def column_stats(repository: Repository, column: ColumnRecord) -> ColumnStats:
    """Counts what a column takes. Cost: its nodes, and one look-up for each distinct chunk; no chunk is read."""
    return _count_column(repository, column)[0]


def version_stats(repository: Repository, tree: TreeRecord) -> VersionStats:
    """Counts what the state of a dataset takes, by column and in total.

    Cost: all nodes, and one look-up for each distinct chunk; no chunk is read. Memory: some 100 bytes for each
    distinct chunk.
    """
    everything = _DistinctChunks()
    columns: list[ColumnStats] = []
    for column in tree.columns:
        stats, distinct = _count_column(repository, column)
        columns.append(stats)
        everything.add(*distinct)
    total = everything.usage(
        tree.rows,
        sum(column.usage.logical_bytes for column in columns),
        sum(column.usage.chunks for column in columns),
    )
    return VersionStats(tuple(columns), total, repository.store.stored_bytes())


def _count_column(repository: Repository, column: ColumnRecord) -> tuple[ColumnStats, tuple[Hashes, Ints, Ints]]:
    """The counts of a column, and its distinct chunks with their sizes as payload and at rest."""
    seen = _DistinctChunks()
    chunks = 0
    for entries in _chunks(repository, column):
        chunks += len(entries)
        seen.add(entries.hashes, entries.sizes, np.zeros(len(entries), np.int64))
    hashes, sizes, _ = seen.merged()
    distinct = _DistinctChunks()
    distinct.add(hashes, sizes, _stored_sizes(repository.store, hashes))
    rows = next(iter(column.streams.values())).rows
    usage = distinct.usage(rows, column.size_bytes, chunks)
    return ColumnStats(column.name, str(column.type), usage), distinct.merged()


def _chunks(repository: Repository, column: ColumnRecord) -> Iterator[Entries]:
    for ref in column.streams.values():
        yield from TreeReader(repository.nodes, ref).leaves()


class _DistinctChunks:
    """Distinct chunks, gathered in memory that grows with their number and not with how often they occur."""

    def __init__(self) -> None:
        self._parts: list[tuple[Hashes, Ints, Ints]] = []
        self._pending = 0
        self._limit = _PENDING_CHUNKS

    def add(self, hashes: Hashes, sizes: Ints, stored: Ints) -> None:
        """Adds chunks with their sizes as payload and at rest."""
        self._parts.append((hashes, sizes, stored))
        self._pending += len(sizes)
        if self._pending >= self._limit:
            # Twice as many as there are distinct ones, so that each is sorted a bounded number of times.
            self._limit = _PENDING_CHUNKS + 2 * len(self.merged()[0])

    def merged(self) -> tuple[Hashes, Ints, Ints]:
        """Returns each chunk once, in the order of an arbitrary sort."""
        if not self._parts:
            empty = Entries.empty()
            return empty.hashes, empty.sizes, empty.rows
        hashes, sizes, stored = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        order, begins = group_hashes(hashes)
        first = order[begins]
        self._parts = [(hashes[first], sizes[first], stored[first])]
        self._pending = len(first)
        return self._parts[0]

    def usage(self, rows: int, logical_bytes: int, chunks: int) -> Usage:
        """Returns the counts of these chunks beside those that count every occurrence."""
        _, sizes, stored = self.merged()
        return Usage(rows, logical_bytes, int(sizes.sum()), int(stored.sum()), chunks, len(sizes))


def _stored_sizes(store: Store, hashes: Hashes) -> Ints:
    """The length at rest of each chunk."""
    sizes = np.empty(len(hashes), np.int64)
    for start in range(0, len(hashes), _BATCH_HASHES):
        keys = split_hashes(hashes[start : start + _BATCH_HASHES])
        with store.read() as view:
            found = view.sizes(keys)
        for offset, (key, size) in enumerate(zip(keys, found, strict=True)):
            if size is None:
                name = key.hex()
                raise CorruptedError(f"chunk {name} is missing from the store; restore it from a copy", blob=name)
            sizes[start + offset] = size
    return sizes


def _ratio(whole: int, part: int) -> float:
    return whole / part if part else 1.0
