"""What a version takes: rows, bytes as users count them, bytes once each, and bytes at rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cas.hashing import Kind
from cas.history.records import ColumnRecord, TreeRecord
from cas.repo.blobs import stored_sizes
from cas.repo.distinct import DistinctHashes
from cas.repo.repository import Repository
from cas.tree.node import Entries
from cas.tree.read import TreeReader


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
    everything = _distinct()
    columns: list[ColumnStats] = []
    for column in tree.columns:
        stats, distinct = _count_column(repository, column)
        columns.append(stats)
        hashes, numbers = distinct.merged()
        everything.add(hashes, *numbers)
    total = _usage(
        everything,
        tree.rows,
        sum(column.usage.logical_bytes for column in columns),
        sum(column.usage.chunks for column in columns),
    )
    return VersionStats(tuple(columns), total, repository.store.stored_bytes())


def _count_column(repository: Repository, column: ColumnRecord) -> tuple[ColumnStats, DistinctHashes]:
    """The counts of a column, and its distinct chunks with their sizes as payload and at rest."""
    seen = DistinctHashes(np.maximum)
    chunks = 0
    for entries in _chunks(repository, column):
        chunks += len(entries)
        seen.add(entries.hashes, entries.sizes)
    hashes, (sizes,) = seen.merged()
    distinct = _distinct()
    distinct.add(hashes, sizes, stored_sizes(repository.store, Kind.CHUNK, hashes))
    rows = next(iter(column.streams.values())).rows
    usage = _usage(distinct, rows, column.size_bytes, chunks)
    return ColumnStats(column.name, str(column.type), usage), distinct


def _chunks(repository: Repository, column: ColumnRecord) -> Iterator[Entries]:
    for ref in column.streams.values():
        yield from TreeReader(repository.nodes, ref).leaves()


def _distinct() -> DistinctHashes:
    """For chunks with their sizes as payload and at rest."""
    return DistinctHashes(np.maximum, np.maximum)


def _usage(distinct: DistinctHashes, rows: int, logical_bytes: int, chunks: int) -> Usage:
    """The counts of distinct chunks beside those that count every occurrence."""
    _, (sizes, stored) = distinct.merged()
    return Usage(rows, logical_bytes, int(sizes.sum()), int(stored.sum()), chunks, len(sizes))


def _ratio(whole: int, part: int) -> float:
    return whole / part if part else 1.0
