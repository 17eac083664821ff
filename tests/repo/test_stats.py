"""Rows, chunks and bytes of a version, against a count by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cas.dataset.dataset import Dataset
from cas.errors import CorruptedError
from cas.history.records import TreeRecord
from cas.history.refs import MAIN
from cas.repo import blobs, distinct
from cas.repo.commit import create_dataset
from cas.repo.config import ONE_DATASET, write_config
from cas.repo.repository import Repository
from cas.repo.stats import Usage, column_stats, version_stats
from cas.store.memory import MemoryStore
from cas.tree.read import TreeReader
from cas.types import Array, Bytes, Nullable


def build(columns: dict[str, tuple[Any, Any]]) -> tuple[Repository, TreeRecord]:
    """A dataset in memory with columns given as type and values, and its tree."""
    store = MemoryStore()
    store.write(lambda txn: write_config(txn, ONE_DATASET))
    repository = Repository(store, Path("memory"))
    dataset = Dataset(repository, create_dataset(repository, "", "me"), "", MAIN)
    for name, (type_, _) in columns.items():
        dataset.add_column(name, type_)
    if columns:
        dataset.append({name: values for name, (_, values) in columns.items()})
    dataset.commit()
    return repository, repository.tree(bytes.fromhex(dataset.version.tree))


def chunks_by_hand(repository: Repository, tree: TreeRecord, name: str) -> list[tuple[bytes, int]]:
    """Hash and payload size of every chunk of a column, as often as it occurs."""
    column = tree.column(name)
    assert column is not None
    return [
        (hash_.tobytes(), int(size))
        for ref in column.streams.values()
        for entries in TreeReader(repository.nodes, ref).leaves()
        for hash_, size in zip(entries.hashes, entries.sizes, strict=True)
    ]


def usage_by_hand(repository: Repository, rows: int, chunks: list[tuple[bytes, int]]) -> Usage:
    unique = dict(chunks)
    with repository.store.read() as view:
        stored = sum(size or 0 for size in view.sizes(list(unique)))
    return Usage(rows, sum(size for _, size in chunks), sum(unique.values()), stored, len(chunks), len(unique))


def rich_dataset() -> tuple[Repository, TreeRecord]:
    """Shared and single chunks, rows in pieces, empty rows, missing rows, several streams and levels of nodes."""
    rng = np.random.default_rng(5)
    pool = [rng.bytes(size) for size in (0, 1, 40, 5000, 262_080, 262_081, 700_000)] + [bytes(600_000)]
    picks = [pool[index] for index in rng.integers(0, len(pool), 40)] + [rng.bytes(30) for _ in range(860)]
    return build(
        {
            "blob": (Bytes(dedup="row"), picks),
            "again": (Nullable(Bytes(dedup="row")), [None, *picks[:-1]]),
            "number": ("int64", np.arange(900) // 3),
            "shaped": (Array("uint8", (None, 2)), [np.full((row % 4, 2), 7, np.uint8) for row in range(900)]),
            "large": (Array("float32", (1024,)), np.ones((900, 1024), np.float32)),
        }
    )


def test_counts_are_those_by_hand() -> None:
    repository, tree = rich_dataset()
    found = version_stats(repository, tree)
    assert [column.name for column in found.columns] == ["blob", "again", "number", "shaped", "large"]
    everything: list[tuple[bytes, int]] = []
    for column in found.columns:
        chunks = chunks_by_hand(repository, tree, column.name)
        assert column.usage == usage_by_hand(repository, 900, chunks), column.name
        everything += chunks
    assert found.total == usage_by_hand(repository, 900, everything)
    assert found.store_bytes == repository.store.stored_bytes()
    assert found.total.unique_bytes < sum(column.usage.unique_bytes for column in found.columns)


def test_small_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    repository, tree = rich_dataset()
    expected = version_stats(repository, tree)
    monkeypatch.setattr(distinct, "_PENDING_HASHES", 50)
    monkeypatch.setattr(blobs, "_BATCH_HASHES", 7)
    assert version_stats(repository, tree) == expected


def test_ratios_of_repeated_and_of_compressible_rows() -> None:
    one = np.random.default_rng(0).bytes(10_000)
    repository, tree = build(
        {"same": ("bytes", [one] * 8), "zeros": (Array("uint8", (8192,)), np.zeros((8, 8192), np.uint8))}
    )
    same, zeros = version_stats(repository, tree).columns
    assert (same.usage.dedup, same.usage.compression) == (8.0, 1.0)
    assert (same.usage.logical_bytes, same.usage.unique_bytes, same.usage.stored_bytes) == (80_000, 10_000, 10_000)
    assert zeros.usage.dedup == 8.0
    assert zeros.usage.compression > 100


def test_a_chunk_in_two_columns_is_unique_once_in_total() -> None:
    rows = [np.random.default_rng(seed).bytes(5000) for seed in range(3)]
    repository, tree = build({"a": ("bytes", rows), "b": ("bytes", rows[::-1])})
    found = version_stats(repository, tree)
    assert [column.usage.unique_bytes for column in found.columns] == [15_000, 15_000]
    assert (found.total.logical_bytes, found.total.unique_bytes, found.total.unique_chunks) == (30_000, 15_000, 3)
    assert (found.total.rows, found.total.dedup) == (3, 2.0)


@pytest.mark.parametrize("columns", [{}, {"x": ("int64", []), "image": ("image", [])}])
def test_nothing_has_ratios_of_one(columns: dict[str, tuple[Any, Any]]) -> None:
    repository, tree = build(columns)
    found = version_stats(repository, tree)
    for usage in (found.total, *(column.usage for column in found.columns)):
        assert usage == Usage(0, 0, 0, 0, 0, 0)
        assert (usage.dedup, usage.compression) == (1.0, 1.0)


def test_one_column_alone() -> None:
    repository, tree = rich_dataset()
    column = tree.column("shaped")
    assert column is not None
    assert column_stats(repository, column) == version_stats(repository, tree).columns[3]


def test_a_missing_chunk_is_named() -> None:
    repository, tree = build({"x": ("bytes", [b"x" * 5000])})
    ((hash_, _),) = chunks_by_hand(repository, tree, "x")
    store = repository.store
    assert isinstance(store, MemoryStore)
    del store._blobs[hash_]
    with pytest.raises(CorruptedError, match="missing from the store") as caught:
        version_stats(repository, tree)
    assert caught.value.blob == hash_.hex()


def test_to_dict_has_counts_and_ratios() -> None:
    repository, tree = build({"x": ("bytes", [b"x" * 5000] * 2)})
    found = version_stats(repository, tree)
    (column,) = found.to_dict()["columns"]
    stored = found.total.stored_bytes
    counts = {
        "rows": 2,
        "logical_bytes": 10_000,
        "unique_bytes": 5000,
        "stored_bytes": stored,
        "chunks": 2,
        "unique_chunks": 1,
        "dedup": 2.0,
        "compression": 5000 / stored,
    }
    assert column == {"name": "x", "type": "bytes", **counts}
    assert found.to_dict()["total"] == counts
    assert found.to_dict()["store_bytes"] == repository.store.stored_bytes()
