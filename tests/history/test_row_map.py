"""Row maps: shortest form, counts, and stored form."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.errors import CorruptedError
from cas.history.records import read_payload, write_payload
from cas.history.row_map import RowMap
from cas.store.gate import Gate
from cas.store.memory import MemoryStore
from cas.store.writer import BlobWriter
from cas.tree.alignment import Alignment
from cas.tree.node import Nodes

counts = st.integers(0, 4)
runs_lists = st.lists(st.tuples(counts, counts, counts), max_size=8)


def rows_after(runs: list[tuple[int, int, int]]) -> tuple[list[object], int]:
    """The rows of a version as numbers of parent rows and None for new ones, and the parent's rows."""
    rows: list[object] = []
    at = 0
    for keep, delete, insert in runs:
        rows += range(at, at + keep)
        rows += [None] * insert
        at += keep + delete
    return rows, at


@given(runs_lists)
def test_merging_keeps_the_meaning(runs: list[tuple[int, int, int]]) -> None:
    row_map = RowMap.from_runs(runs)
    rows, parent_rows = rows_after(runs)
    assert rows_after([tuple(run) for run in row_map.runs.tolist()]) == (rows, parent_rows)
    assert (row_map.rows, row_map.parent_rows) == (len(rows), parent_rows)
    assert row_map.inserted == rows.count(None)
    assert row_map.deleted == parent_rows - (len(rows) - rows.count(None))


@given(runs_lists)
def test_the_form_is_the_shortest(runs: list[tuple[int, int, int]]) -> None:
    merged = RowMap.from_runs(runs).runs.tolist()
    for place, (keep, delete, insert) in enumerate(merged):
        assert keep or delete or insert
        assert keep or place == 0, "only the first may keep nothing"
        assert delete or insert or place == len(merged) - 1, "only the last may neither delete nor insert"


@given(runs_lists)
def test_stored_form(runs: list[tuple[int, int, int]]) -> None:
    row_map = RowMap.from_runs(runs)
    data = row_map.encode()
    assert data == b"".join(struct.pack("<QQQ", *run) for run in row_map.runs.tolist())
    assert RowMap.decode(data, "map").runs.tolist() == row_map.runs.tolist()


@given(runs_lists, st.data())
def test_maps_compose_as_their_rows_do(runs: list[tuple[int, int, int]], data: st.DataObject) -> None:
    first = RowMap.from_runs(runs)
    second = RowMap.from_runs(data.draw(runs_over(first.rows)))
    middle, parent_rows = rows_after(runs)
    expected = [None if row is None else middle[row] for row in rows_after(as_tuples(second))[0]]  # type: ignore[call-overload]
    composed = first.then(second)
    assert rows_after(as_tuples(composed)) == (expected, parent_rows)
    assert RowMap.decode(composed.encode(), "composed").runs.tolist() == composed.runs.tolist()


@given(runs_lists)
def test_inverse_and_identity(runs: list[tuple[int, int, int]]) -> None:
    row_map = RowMap.from_runs(runs)
    assert row_map.inverse().inverse().runs.tolist() == row_map.runs.tolist()
    for same in (RowMap.identity(row_map.parent_rows).then(row_map), row_map.then(RowMap.identity(row_map.rows))):
        assert same.runs.tolist() == row_map.runs.tolist()
    there_and_back = row_map.then(row_map.inverse())
    kept = [row for row in rows_after(runs)[0] if row is not None]
    assert [row for row in rows_after(as_tuples(there_and_back))[0] if row is not None] == kept
    assert there_and_back.rows == row_map.parent_rows


def test_maps_that_do_not_follow_each_other_are_refused() -> None:
    with pytest.raises(CorruptedError, match="leads to 3 rows, the next begins at 4"):
        RowMap.identity(3).then(RowMap.identity(4))


def test_many_scattered_edits_compose_quickly() -> None:
    scattered = RowMap.from_runs([(99, 1, 0)] * 100_000)
    again = RowMap.from_runs([(98, 1, 1)] * 100_000)
    composed = scattered.then(again)
    assert (composed.parent_rows, composed.rows) == (10_000_000, 9_900_000)
    assert composed.deleted == 200_000


def test_many_scattered_edits_take_little_at_rest() -> None:
    """100,000 of 10,000,000 rows deleted: less than 1 MiB, and the map comes back as it was."""
    rng = np.random.default_rng(0)
    deleted = np.sort(rng.choice(10_000_000, 100_000, replace=False))
    store = MemoryStore()
    writer = BlobWriter(store)
    starts = np.append(0, deleted + 1)
    kept = Alignment.of(starts, starts - np.arange(100_001), np.diff(deleted, prepend=-1, append=10_000_000) - 1)
    row_map = RowMap.of_alignment(kept, 10_000_000, 9_900_000)
    assert (row_map.deleted, row_map.inserted) == (100_000, 0)
    nodes = Nodes(Gate(store))
    payload = write_payload(row_map.encode(), nodes, writer)
    writer.flush()
    assert store.stored_bytes() < 1 << 20
    again = RowMap.decode(read_payload(payload, nodes), "map")
    assert (again.runs == row_map.runs).all()


def as_tuples(row_map: RowMap) -> list[tuple[int, int, int]]:
    return [tuple(run) for run in row_map.runs.tolist()]


@st.composite
def runs_over(draw: st.DrawFn, rows: int) -> list[tuple[int, int, int]]:
    """Runs that account for so many rows of a parent."""
    runs = []
    while rows:
        length = draw(st.integers(1, rows))
        keep = draw(st.integers(0, length))
        runs.append((keep, length - keep, draw(counts)))
        rows -= length
    return [*runs, (0, 0, draw(counts))]


def test_examples() -> None:
    # The example of the design: keep 0..5000, insert 10, keep 5003..9000.
    assert RowMap.from_runs([(5000, 3, 10), (3997, 0, 0)]).encode() == struct.pack("<6Q", 5000, 3, 10, 3997, 0, 0)
    assert RowMap.from_runs([(5, 0, 0), (5, 0, 2), (0, 1, 1)]).runs.tolist() == [[10, 1, 3]]
    assert RowMap.from_runs([]).runs.shape == RowMap.from_runs([(0, 0, 0)]).runs.shape == (0, 3)


@pytest.mark.parametrize("data", [bytes(8), bytes(23), bytes(25), struct.pack("<3Q", 2**48, 0, 0), b"\xff" * 24])
def test_damaged_maps_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptedError, match="some version"):
        RowMap.decode(data, "some version")


@pytest.mark.parametrize("runs", [[(0, 0, 0)], [(1, 0, 0), (1, 0, 0)], [(1, 1, 0), (0, 0, 1)]])
def test_longer_forms_are_refused(runs: list[tuple[int, int, int]]) -> None:
    with pytest.raises(CorruptedError):
        RowMap.decode(b"".join(struct.pack("<QQQ", *run) for run in runs), "some version")
