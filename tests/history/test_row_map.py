"""Row maps: shortest form, counts, and stored form."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.errors import CorruptedError
from cas.history.row_map import RowMap

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
