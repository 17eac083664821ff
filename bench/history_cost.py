"""What diffs, merges and blame cost as a dataset grows: time, and bytes, chunks and nodes read from the store.

``python bench/history_cost.py [ROWS ...]``, by default 10,000 to 10,000,000. A dataset of a label (int64) and a score
(float32) a row gets a version with ten labels changed, one with 1,000 rows inserted in the middle and ten more changed,
and a branch on which ten others are changed. Each operation runs five times on a store opened anew; times are medians.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import cas
from cas.hashing import Kind
from cas.store.contract import Run
from cas.store.gate import Gate
from cas.store.lmdb import LmdbView

ROUNDS = 5
CHANGED = 10
INSERTED = 1000


@dataclass
class Reads:
    """What was read from the store."""

    size_bytes: int = 0
    chunks: int = 0
    nodes: int = 0


@contextmanager
def counted() -> Iterator[Reads]:
    """Counts blobs as they leave the store: bytes at rest, and by kind."""
    reads = Reads()
    blobs, runs, record, chunks = LmdbView.blobs, LmdbView.runs, Gate.read_record, Gate.read_chunks

    def counting_blobs(self: LmdbView, hashes: Sequence[bytes]) -> Any:
        found = blobs(self, hashes)
        reads.size_bytes += sum(len(blob) for blob in found if blob is not None)
        return found

    def counting_runs(self: LmdbView, hashes: Any) -> Iterator[Run]:
        for run in runs(self, hashes):
            reads.size_bytes += sum(run.lengths)
            yield run

    def counting_record(self: Gate, kind: Kind, hash_: bytes) -> bytes | None:
        reads.nodes += kind is Kind.NODE
        return record(self, kind, hash_)

    def counting_chunks(self: Gate, hashes: Any, sizes: Any) -> Any:
        reads.chunks += len(hashes)
        return chunks(self, hashes, sizes)

    LmdbView.blobs, LmdbView.runs = counting_blobs, counting_runs  # type: ignore[method-assign]
    Gate.read_record, Gate.read_chunks = counting_record, counting_chunks  # type: ignore[method-assign]
    try:
        yield reads
    finally:
        LmdbView.blobs, LmdbView.runs = blobs, runs  # type: ignore[method-assign]
        Gate.read_record, Gate.read_chunks = record, chunks  # type: ignore[method-assign]


def build(url: Path, rows: int) -> None:
    """Makes the dataset; tags first, labels, and inserted name its versions, and the branch is called fixes."""
    random = np.random.default_rng(0)
    with cas.create(url, schema={"label": "int64", "score": "float32"}) as ds:
        for start in range(0, rows, 1_000_000):
            count = min(1_000_000, rows - start)
            ds.append({"label": random.integers(0, 1000, count), "score": random.random(count, dtype=np.float32)})
        ds.commit("first")
        ds.tag("first")
        fixes = ds.branch("fixes").open()
        ds["label"][np.sort(random.choice(rows, CHANGED, replace=False))] = -1
        ds.commit("labels")
        ds.tag("labels")
        ds.insert(rows // 2, {"label": np.arange(INSERTED), "score": np.zeros(INSERTED, np.float32)})
        ds["label"][np.sort(random.choice(rows, CHANGED, replace=False))] = -2
        ds.commit("inserted")
        ds.tag("inserted")
        fixes["score"][np.sort(random.choice(rows, CHANGED, replace=False))] = -3
        fixes.commit("scores")


def count_changes(ds: cas.ReadOnlyDataset, old: str, new: str) -> int:
    """Everything that a diff counts."""
    diff = ds.diff(old, new)
    return len(diff.inserted) + len(diff.deleted) + sum(map(len, diff.updated.values()))


def reading(operation: Callable[[cas.ReadOnlyDataset], object]) -> Callable[[Path, int], object]:
    """An operation on a dataset that is open for reading."""
    return lambda url, number: operation(cas.open_read_only(url))


def merge(url: Path, number: int) -> object:
    """Merges the branch into a branch of its own, so that it can be done again."""
    ds = cas.open(url)
    return ds.branch(f"merged-{number}", version="inserted").open().merge("fixes")


OPERATIONS: dict[str, Callable[[Path, int], object]] = {
    f"diff, {CHANGED} of N rows changed": reading(lambda ds: count_changes(ds, "first", "labels")),
    f"diff, and {INSERTED:,} rows inserted": reading(lambda ds: count_changes(ds, "labels", "inserted")),
    "blame of one row": reading(lambda ds: ds.blame("label", 7)[0]),
    f"merge of {CHANGED} changed rows": merge,
}


def measure(url: Path, operation: Callable[[Path, int], object]) -> tuple[float, Reads]:
    """The median time in seconds, and what one run reads."""
    times: list[float] = []
    for number in range(ROUNDS):
        cas.open_read_only(url)._repository.store.close()
        with counted() as reads:
            begin = time.perf_counter()
            operation(url, number)
            times.append(time.perf_counter() - begin)
    return statistics.median(times), reads


def main() -> None:
    """Prints a table for each number of rows."""
    sizes = [int(float(text)) for text in sys.argv[1:]] or [10**power for power in range(4, 8)]
    print("| rows | operation | ms | KiB read | chunks | nodes |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        for rows in sizes:
            url = Path(directory, str(rows))
            build(url, rows)
            for name, operation in OPERATIONS.items():
                seconds, reads = measure(url, operation)
                shown = f"{seconds * 1e3:.1f} | {reads.size_bytes / 1024:,.0f} | {reads.chunks} | {reads.nodes}"
                print(f"| {rows:,} | {name} | {shown} |")


if __name__ == "__main__":
    main()
