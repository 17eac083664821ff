"""Datasets: created, filled, edited, committed, opened again."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from mixed_table import batch, ten_rows
from pictures import png

import cas
from cas import types
from cas.errors import (
    BranchNotFoundError,
    ColumnExistsError,
    ConflictError,
    DatasetExistsError,
    DatasetNotFoundError,
    InvalidInputError,
    InvalidNameError,
    InvalidTypeError,
    StoreExistsError,
    StoreNotFoundError,
    UncommittedChangesError,
)


@pytest.fixture
def ds(tmp_path: Path) -> cas.Dataset:
    return ten_rows(tmp_path / "ds")


def test_all_columns_read_back(ds: cas.Dataset, tmp_path: Path) -> None:
    with cas.open_read_only(tmp_path / "ds") as old:
        assert old.x[:].tolist() == list(range(10))
        assert old.x[:].dtype == np.int64
        assert old.x[3] == 3
        assert old.text[2:4] == ["row 2", "row 3"]
        assert old.maybe[[0, 1, 3]] == ["third 0", None, "third 3"]
        assert old.picture.bytes(4) == png(4)
        assert old.picture[4].shape == (8, 8)
        assert old.fixed[1].tolist() == [[6, 7, 8], [9, 10, 11]]
        assert old.fixed[2:5].shape == (3, 2, 3)
        assert [array.shape for array in old.free[:5]] == [(0, 2), (1, 2), (2, 2), (3, 2), (0, 2)]
        assert old.free[5].tolist() == [[5, 5]]


def test_staged_changes_show_in_their_own_handle_only(ds: cas.Dataset, tmp_path: Path) -> None:
    ds.append(batch(10, 12))
    ds.x[0] = 100
    ds.delete([1, 2])
    ds.insert(0, batch(50, 51))
    assert ds.has_changes
    assert ds.x[:].tolist() == [50, 100, *range(3, 12)]
    assert ds.picture.bytes(0) == png(50)
    with cas.open(tmp_path / "ds") as other:
        assert other.x[:].tolist() == list(range(10))
        version = ds.commit()
        assert len(other) == 10
        other.refresh()
        assert len(other) == 11
        assert other.version.id == version
    assert not ds.has_changes


def test_commit_without_changes_makes_no_version(ds: cas.Dataset) -> None:
    before = ds.version.id
    assert ds.commit("nothing") == before
    ds.x[3] = 3
    assert ds.commit("the same") == before
    assert len(ds.history) == 3


def test_rollback(ds: cas.Dataset) -> None:
    ds.append(batch(10, 20))
    ds.add_column("more", types.Nullable(types.Int8))
    ds.rollback()
    assert len(ds) == 10
    assert "more" not in ds
    assert not ds.has_changes


def test_refused_values_leave_nothing_behind(ds: cas.Dataset) -> None:
    before = ds.version.id
    good = batch(10, 12)
    for change, match in (
        ({"x": [1, 2**63]}, "row 1.*does not fit int64"),
        ({"x": [1, 1.5]}, "does not fit int64"),
        ({"x": [1]}, "different numbers"),
        ({"text": ["a", 1]}, "column 'text', row 1.*is not text"),
        ({"picture": [png(1), b"no picture"]}, "column 'picture', row 1"),
        ({"fixed": np.zeros((2, 3, 2), np.float32)}, r"shape \(2, 3\)"),
        ({"free": [np.zeros((1, 2), np.uint8), np.zeros((1, 3), np.uint8)]}, "column 'free', row 1"),
        ({"nope": [1, 2]}, "no column 'nope'"),
    ):
        with pytest.raises(InvalidInputError, match=match):
            ds.append({**good, **change})
    missing = dict(good)
    del missing["text"]
    with pytest.raises(InvalidInputError, match="'text' has no values"):
        ds.append(missing)
    for nonsense in (None, 3, "abc", [1, 2]):
        with pytest.raises(InvalidTypeError):
            ds.append(nonsense)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        ds.x[[0, 1]] = [1, 2, 3]
    with pytest.raises(InvalidInputError):
        ds.insert(11, good)
    with pytest.raises(InvalidInputError, match="ascending"):
        ds.splice([(3, 4, None), (2, 3, None)])
    assert ds.x[:].tolist() == list(range(10))
    assert ds.commit() == before


def test_the_callers_array_may_change_after_append(tmp_path: Path) -> None:
    ds = cas.create(tmp_path / "ds", schema={"a": types.Array("uint8", (5000,))})
    for rows in (10, 3000):  # below and above what is written at once
        array = np.random.default_rng(rows).integers(0, 256, (rows, 5000), dtype=np.uint8)
        expected = array.copy()
        ds.append({"a": array})
        array[:] = 0
        assert (ds.a[-rows:] == expected).all()
        ds.a[0] = array[0]
        ds.commit()
        assert (ds.a[-rows + 1 :] == expected[1:]).all()


def test_row_maps_tell_what_was_kept(ds: cas.Dataset) -> None:
    ds.delete([5, 6])
    ds.insert(2, batch(40, 43))
    ds.append(batch(10, 11))
    ds.delete(0)
    ds.commit()
    (row_map,) = ds.version.row_maps
    assert ds.x[:].tolist() == [1, 40, 41, 42, 2, 3, 4, 7, 8, 9, 10]
    assert row_map.runs.tolist() == [[0, 1, 0], [1, 0, 3], [3, 2, 0], [3, 0, 1]]
    assert (row_map.parent_rows, row_map.rows, row_map.inserted, row_map.deleted) == (10, 11, 4, 3)


def test_two_writers_never_overwrite_each_other(ds: cas.Dataset, tmp_path: Path) -> None:
    other = cas.open(tmp_path / "ds")
    ds.append(batch(10, 11))
    ds["x"][0] = 100
    other.append(batch(20, 21))
    other["x"][0] = 200
    first = ds.commit()
    with pytest.raises(ConflictError, match="1 conflict; nothing was changed") as caught:
        other.commit()
    (conflict,) = caught.value.conflicts
    assert (conflict.row, conflict.column, conflict.base, conflict.ours, conflict.theirs) == (0, "x", 0, 100, 200)
    assert cas.open(tmp_path / "ds").version.id == first
    assert other.x[[0, -1]].tolist() == [200, 20]  # still staged
    with pytest.raises(UncommittedChangesError):
        other.refresh()
    other.rollback()
    other.refresh()
    assert other.x[[0, -1]].tolist() == [100, 10]


def test_columns_can_be_added_beside_rows_when_nullable(ds: cas.Dataset) -> None:
    with pytest.raises(InvalidInputError, match="make it nullable"):
        ds.add_column("y", "int64")
    ds.add_column("y", types.Nullable(types.Int64))
    assert ds.y[:] == [None] * 10
    ds.y[3] = 33
    ds.commit()
    assert ds.y[2:5] == [None, 33, None]
    with pytest.raises(ColumnExistsError):
        ds.add_column("y", "int64")
    for name in ("", " a", "a\nb", 3, "n" * 300):
        with pytest.raises(InvalidNameError):
            ds.add_column(name, "int64")  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="not a column type"):
        ds.add_column("z", "int65")


def test_create_open_exists(tmp_path: Path) -> None:
    assert not cas.exists(tmp_path / "a")
    with pytest.raises(StoreNotFoundError, match="no store"):
        cas.open(tmp_path / "a")
    cas.create(tmp_path / "a").close()
    assert cas.exists(str(tmp_path / "a"))
    assert not cas.exists(f"{tmp_path}/a@v1")
    with pytest.raises(DatasetExistsError):
        cas.create(tmp_path / "a")
    with pytest.raises(DatasetExistsError, match="choose a path outside"):
        cas.create(tmp_path / "a/b")
    with pytest.raises(DatasetNotFoundError, match="holds one dataset"):
        cas.open(tmp_path / "a/b")
    with pytest.raises(BranchNotFoundError):
        cas.open(tmp_path / "a", branch="nope")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_bytes(b"mine")
    with pytest.raises(StoreExistsError, match="not an empty directory"):
        cas.create(tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["file"]
    for url in ("", "a\0b", 3, None):
        with pytest.raises(InvalidInputError):
            cas.open(url)  # type: ignore[arg-type]


def test_many_datasets_in_one_store(tmp_path: Path) -> None:
    cas.init(tmp_path / "lake")
    with pytest.raises(StoreExistsError):
        cas.init(tmp_path / "lake")
    for name in ("cats", "deep/er/dogs"):
        with cas.create(tmp_path / "lake" / name, schema={"x": int}) as ds:
            ds.append({"x": [len(name)]})
            ds.commit()
    assert cas.open_read_only(tmp_path / "lake/deep/er/dogs").x[0] == 12
    with pytest.raises(DatasetNotFoundError, match="it has: 'cats', 'deep/er/dogs'"):
        cas.open(tmp_path / "lake/birds")
    with pytest.raises(DatasetNotFoundError, match="store of many datasets"):
        cas.open(tmp_path / "lake")
    with pytest.raises(DatasetExistsError):
        cas.create(tmp_path / "lake/cats")
    with pytest.raises(InvalidNameError):
        cas.create(tmp_path / "lake/-x")


def test_paths_with_an_at_sign(tmp_path: Path) -> None:
    with cas.create(tmp_path / "me@home/ds", schema={"x": int}) as ds:
        ds.tag("v1")
    assert cas.exists(tmp_path / "me@home/ds")
    assert cas.open_read_only(f"{tmp_path}/me@home/ds@v1").schema.keys() == {"x"}
    assert cas.open_read_only(f"{tmp_path}/me@home/ds@main~1").schema == {}


def _read_in_child(ds: cas.Dataset, pipe: multiprocessing.connection.Connection) -> None:
    pipe.send((ds.x[:].tolist(), ds.commit("from the child")))


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_datasets_travel_to_other_processes(ds: cas.Dataset, method: str) -> None:
    ds.append(batch(10, 12))
    ds.commit()
    context = multiprocessing.get_context(method)
    mine, theirs = context.Pipe()
    process = context.Process(target=_read_in_child, args=(ds, theirs))
    process.start()
    values, version = mine.recv()
    process.join()
    assert values == list(range(12))
    assert version == ds.version.id


def test_pickling(ds: cas.Dataset) -> None:
    version = ds.version
    again = pickle.loads(pickle.dumps(version))
    assert again == version
    assert again.open().x[3] == 3
    assert pickle.loads(pickle.dumps(version.open())).text[1] == "row 1"
    assert pickle.loads(pickle.dumps(ds)).x[2] == 2


def test_flushed_rows_survive_the_process(ds: cas.Dataset, tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        try:
            with cas.open(tmp_path / "ds") as inner:
                inner.append(batch(10, 15))
                inner.delete(0)
                inner.flush({"note": "half way"})
                os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(ds) == 10
    (id_,) = ds.sessions()
    session = ds.adopt(id_)
    assert session.details == {"note": "half way"}
    assert ds.x[:].tolist() == list(range(1, 15))
    ds.append(batch(15, 16))
    ds.commit("recovered")
    assert ds.sessions() == {}
    assert ds.version.row_maps[0].runs.tolist() == [[0, 1, 0], [9, 0, 6]]


row_edits = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(st.integers(-5, 300), max_size=8)),
        st.tuples(st.just("insert"), st.integers(0, 30), st.lists(st.integers(-5, 300), min_size=1, max_size=4)),
        st.tuples(st.just("delete"), st.lists(st.integers(0, 30), max_size=5)),
        st.tuples(st.just("assign"), st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(0, 99)),
        st.tuples(st.just("commit")),
        st.tuples(st.just("flush")),
    ),
    max_size=14,
)


def value_of(seed: int) -> bytes:
    """A row whose size depends on the seed: small, a chunk by itself, or several pieces."""
    if seed % 17 == 0:
        return bytes([seed % 256]) * (262_080 + seed)
    return bytes([seed % 256]) * (seed * 40 % 6000)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(edits=row_edits)
def test_edits_agree_with_a_list(tmp_path_factory: pytest.TempPathFactory, edits: list[tuple]) -> None:  # type: ignore[type-arg]
    url = tmp_path_factory.mktemp("edits") / "ds"
    ds = cas.create(url, schema={"x": "int16", "b": "bytes"})
    model: list[int] = []

    def rows(numbers: list[int]) -> dict[str, object]:
        return {"x": numbers, "b": [value_of(number) for number in numbers]}

    for edit in edits:
        match edit:
            case ("append", numbers):
                ds.append(rows(numbers))
                model += numbers
            case ("insert", at, numbers):
                at = min(at, len(model))
                ds.insert(at, rows(numbers))
                model[at:at] = numbers
            case ("delete", at):
                at = [index for index in at if index < len(model)]
                ds.delete(at)
                model = [number for index, number in enumerate(model) if index not in at]
            case ("assign", at, seed):
                at = sorted({index for index in at if index < len(model)})
                ds.x[at] = [seed] * len(at)
                ds.b[at] = [value_of(seed)] * len(at)
                for index in at:
                    model[index] = seed
            case ("commit",):
                ds.commit()
            case ("flush",):
                ds.flush()
        assert ds.x[:].tolist() == model
        assert len(ds) == len(model)
    assert ds.b[:] == [value_of(number) for number in model]
    backwards = list(range(len(model)))[::-2]
    assert ds.b[backwards] == [value_of(model[index]) for index in backwards]
    ds.commit()
    with cas.create(url.parent / "fresh", schema={"x": "int16", "b": "bytes"}) as fresh:
        fresh.append(rows(model))
        fresh.commit()
        assert fresh.version.tree == ds.version.tree
    (row_map,) = ds.version.row_maps
    assert row_map.rows == len(model)
    ds.close()
