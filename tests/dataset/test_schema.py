"""Schema: columns are added, removed and renamed with rows present, without touching others, all versioned."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cas
from cas.errors import (
    ClosedError,
    ColumnExistsError,
    ColumnNotFoundError,
    ConflictError,
    InvalidInputError,
    InvalidNameError,
)
from cas.types import Array, Nullable


@pytest.fixture
def ds(tmp_path: Path) -> cas.Dataset:
    dataset = cas.create(tmp_path / "ds", schema={"x": "int64", "name": "text"})
    dataset.append({"x": range(5), "name": list("abcde")})
    dataset["x"].metadata["unit"] = "m"
    dataset.commit("five rows")
    return dataset


def test_a_new_column_takes_a_default_or_is_nullable(ds: cas.Dataset) -> None:
    ds.add_column("weight", "float32", default=1.5)
    ds.add_column("note", Nullable("text"))
    ds.add_column("box", Array("uint8", (2,)), default=[1, 2])
    assert ds["weight"][:].tolist() == [1.5] * 5
    assert ds["note"][:] == [None] * 5
    assert ds["box"][4].tolist() == [1, 2]
    with pytest.raises(InvalidInputError, match=r"5 rows.*default.*Nullable") as refused:
        ds.add_column("count", "int64")
    assert refused.value.column == "count"
    with pytest.raises(InvalidInputError, match="2.5"):
        ds.add_column("count", "int64", default=2.5)
    with pytest.raises(InvalidInputError):
        ds.add_column("count", "int64", default=None)
    assert list(ds.schema) == ["x", "name", "weight", "note", "box"]
    old = ds.version
    ds.commit("columns")
    assert list(ds.schema) == ["x", "name", "weight", "note", "box"]
    assert list(old.open().schema) == ["x", "name"]
    ds["weight"][2] = 9.0
    ds.append([{"x": 5, "name": "f", "weight": 0.0, "box": [0, 0]}])
    assert ds["weight"][:].tolist() == [1.5, 1.5, 9.0, 1.5, 1.5, 0.0]


def test_a_default_is_checked_even_without_rows(tmp_path: Path) -> None:
    ds = cas.create(tmp_path / "ds")
    with pytest.raises(InvalidInputError):
        ds.add_column("x", "int8", default=1000)
    ds.add_column("x", "int8", default=100)
    assert len(ds) == 0


def test_a_new_column_rewrites_nothing(tmp_path: Path) -> None:
    ds = cas.create(tmp_path / "ds", schema={"x": "int64"})
    ds.append({"x": np.random.default_rng(1).integers(0, 2**62, 500_000)})
    ds.commit()
    before = (tmp_path / "ds/data.mdb").stat().st_blocks * 512
    ds.add_column("label", "int64", default=7)
    ds.add_column("note", Nullable("text"))
    ds.commit()
    grown = (tmp_path / "ds/data.mdb").stat().st_blocks * 512 - before
    assert grown < 100_000
    assert (ds["label"][:] == 7).all()
    assert ds["note"][499_999] is None


def test_adding_gives_the_same_root_as_having_had_the_column(tmp_path: Path) -> None:
    one = cas.create(tmp_path / "one", schema={"x": "int64"})
    one.append({"x": range(100_000)})
    one.commit()
    one.add_column("y", "float64", default=0.5)
    one.add_column("z", Nullable("bytes"))
    one.commit()
    other = cas.create(tmp_path / "other", schema={"x": "int64", "y": "float64", "z": Nullable("bytes")})
    other.append({"x": range(100_000), "y": [0.5] * 100_000})
    other.commit()
    assert one.version.tree == other.version.tree


def test_removing_a_column(ds: cas.Dataset) -> None:
    before = ds.version
    ds.remove_column("x")
    assert list(ds.schema) == ["name"]
    with pytest.raises(ColumnNotFoundError):
        ds["x"]
    with pytest.raises(AttributeError):
        _ = ds.x
    ds.append([{"name": "f"}])
    ds.commit("without x")
    assert list(ds.schema) == ["name"]
    assert ds["name"][:] == list("abcdef")
    assert before.open()["x"][:].tolist() == [0, 1, 2, 3, 4]
    assert before.open()["x"].metadata.to_dict() == {"unit": "m"}
    with pytest.raises(ColumnNotFoundError, match="the columns are: 'name'"):
        ds.remove_column("x")


def test_all_columns_can_go_and_the_rows_stay_countable(ds: cas.Dataset) -> None:
    ds.remove_column("x")
    ds.remove_column("name")
    ds.commit()
    assert ds.schema == {}
    assert len(ds) == 5
    ds.add_column("again", "int8", default=3)
    assert ds["again"][:].tolist() == [3] * 5


def test_renaming_keeps_place_values_and_metadata(ds: cas.Dataset) -> None:
    before = ds.version
    ds.rename_column("x", "length")
    assert list(ds.schema) == ["length", "name"]
    assert ds["length"][:].tolist() == [0, 1, 2, 3, 4]
    assert ds.length.metadata["unit"] == "m"
    ds.commit("renamed")
    assert ds["length"].metadata.to_dict() == {"unit": "m"}
    assert ds.version.open()["length"].metadata.to_dict() == {"unit": "m"}
    assert before.open()["x"].metadata.to_dict() == {"unit": "m"}
    for bad, error in (("name", ColumnExistsError), ("", InvalidNameError), (None, InvalidNameError)):
        with pytest.raises(error):
            ds.rename_column("length", bad)  # type: ignore[arg-type]
    with pytest.raises(ColumnNotFoundError):
        ds.rename_column("x", "y")
    ds.rename_column("length", "length")
    assert not ds.has_changes


def test_metadata_of_a_renamed_column_set_before_the_commit_stays(ds: cas.Dataset, tmp_path: Path) -> None:
    ds.rename_column("x", "length")
    mapping = ds["length"].metadata
    mapping["colour"] = "red"
    other = cas.open(tmp_path / "ds")
    assert other["x"].metadata.to_dict() == {"colour": "red", "unit": "m"}
    ds.commit()
    mapping["shape"] = "round"
    other.refresh()
    assert other["length"].metadata.to_dict() == {"colour": "red", "shape": "round", "unit": "m"}


def test_two_columns_can_swap_their_names(ds: cas.Dataset) -> None:
    ds.add_column("y", "int64", default=9)
    ds["y"].metadata["is"] = "y"
    ds.commit()
    ds.rename_column("x", "tmp")
    ds.rename_column("y", "x")
    ds.rename_column("tmp", "y")
    ds.commit()
    assert ds["y"][:].tolist() == [0, 1, 2, 3, 4]
    assert ds["x"][:].tolist() == [9] * 5
    assert ds["y"].metadata.to_dict() == {"unit": "m"}
    assert ds["x"].metadata.to_dict() == {"is": "y"}


def test_a_dropped_and_added_column_starts_empty(ds: cas.Dataset, tmp_path: Path) -> None:
    ds.remove_column("x")
    ds.add_column("x", "int64", default=0)
    assert ds["x"].metadata.to_dict() == {}
    ds["x"].metadata["new"] = True
    assert cas.open(tmp_path / "ds")["x"].metadata.to_dict() == {"unit": "m"}
    ds.commit()
    assert ds["x"].metadata.to_dict() == {"new": True}
    assert cas.open(tmp_path / "ds")["x"].metadata.to_dict() == {"new": True}
    ds.remove_column("x")
    ds.commit()
    ds.add_column("x", "int64", default=0)
    ds.commit()
    assert ds["x"].metadata.to_dict() == {}


def test_dropping_and_adding_the_same_values_is_no_change_but_clears_metadata(tmp_path: Path) -> None:
    ds = cas.create(tmp_path / "ds", schema={"x": "int64"})
    ds["x"].metadata["uncommitted"] = 1
    version = ds.version
    ds.remove_column("x")
    ds.add_column("x", "int64")
    assert ds.commit() == version.id
    assert ds["x"].metadata.to_dict() == {}


def test_rolling_back_a_schema_change(ds: cas.Dataset) -> None:
    ds.remove_column("x")
    ds.add_column("x", "text", default="")
    ds["x"].metadata["gone"] = 1
    ds.rename_column("name", "title")
    ds.rollback()
    assert {name: str(type_) for name, type_ in ds.schema.items()} == {"x": "int64", "name": "text"}
    assert ds["x"].metadata.to_dict() == {"unit": "m"}
    ds.remove_column("x")
    ds.add_column("x", "text", default="")
    assert ds["x"].metadata.to_dict() == {}


def test_versions_say_where_columns_come_from(ds: cas.Dataset) -> None:
    ds.rename_column("x", "length")
    ds.remove_column("name")
    ds.add_column("name", "text", default="")
    ds.add_column("other", "int8", default=0)
    ds.commit()
    assert ds._repository.version(bytes.fromhex(ds.version.id)).column_maps == ({"length": "x", "name": None},)


def test_metadata_of_a_column_that_another_writer_removed_is_refused(ds: cas.Dataset, tmp_path: Path) -> None:
    stale = cas.open(tmp_path / "ds")
    ds.rename_column("x", "length")
    ds.commit()
    with pytest.raises(ConflictError, match="refresh"):
        stale["x"].metadata["lost"] = 1
    stale["name"].metadata["kept"] = 1
    stale.metadata["kept"] = 1
    assert ds["name"].metadata["kept"] == ds.metadata["kept"] == 1


def _rename_and_die(url: Path) -> None:
    ds = cas.open(url)
    ds.rename_column("x", "length")
    ds["length"].metadata["set"] = "before the end"
    os._exit(3)


def test_metadata_of_a_renamed_column_survives_an_end_without_commit(ds: cas.Dataset, tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_rename_and_die, args=(tmp_path / "ds",))
    process.start()
    process.join()
    assert process.exitcode == 3
    ds.refresh()
    assert ds["x"].metadata.to_dict() == {"set": "before the end", "unit": "m"}


def test_flushed_schema_changes_are_recovered_whole(ds: cas.Dataset, tmp_path: Path) -> None:
    ds.rename_column("x", "length")
    ds.add_column("y", "int64", default=4)
    ds["y"].metadata["is"] = "new"
    with pytest.warns(cas.errors.UncommittedChangesWarning, match="recover"):
        ds.close()
    with pytest.raises(ClosedError):
        ds.schema  # noqa: B018
    ds = cas.open(tmp_path / "ds")
    assert ds.recover()
    assert list(ds.schema) == ["length", "name", "y"]
    assert ds["length"].metadata["unit"] == "m"
    assert ds["y"].metadata["is"] == "new"
    ds.commit()
    assert ds["y"].metadata.to_dict() == {"is": "new"}
    assert ds["length"].metadata.to_dict() == {"unit": "m"}


def test_hostile_column_names_and_types(ds: cas.Dataset) -> None:
    for name in ("", " x", "a\nb", "\ud800", None, 3, b"x", "x" * 300):
        with pytest.raises(InvalidNameError):
            ds.add_column(name, "int64", default=0)  # type: ignore[arg-type]
    for dtype in (None, "nope", 7, object, np.dtype("U3"), Array):
        with pytest.raises(InvalidInputError):
            ds.add_column("y", dtype, default=0)
    with pytest.raises(ColumnExistsError):
        ds.add_column("x", "int64", default=0)
    assert not ds.has_changes


names = st.sampled_from("abc")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), names, st.integers(0, 9)),
        st.tuples(st.just("remove"), names),
        st.tuples(st.just("rename"), names, names),
        st.tuples(st.just("set"), names, st.integers(0, 99)),
        st.tuples(st.just("append"), st.integers(1, 3)),
        st.just(("commit",)),
        st.just(("rollback",)),
        st.just(("leave",)),
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(steps=steps)
def test_any_order_of_changes_agrees_with_a_plain_model(
    steps: list[tuple[Any, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The model: an ordered dict of name to [values, metadata]. Metadata of columns that stay survives rollback."""
    url = tmp_path_factory.mktemp("model") / "ds"
    ds = cas.create(url)
    rows = 0
    model: dict[str, tuple[list[int], dict[str, int]]] = {}
    committed: tuple[int, dict[str, tuple[list[int], dict[str, int]]]] = (0, {})
    for step in steps:
        match step:
            case ("add", name, value) if name not in model:
                ds.add_column(name, "int64", default=value)
                model[name] = ([value] * rows, {})
            case ("remove", name) if name in model:
                ds.remove_column(name)
                del model[name]
            case ("rename", old, new) if old in model and new not in model:
                ds.rename_column(old, new)
                model = {new if name == old else name: column for name, column in model.items()}
            case ("set", name, value) if name in model:
                ds[name].metadata["k"] = value
                model[name][1]["k"] = value
            case ("append", count) if model:
                ds.append({name: [rows] * count for name in model})
                for values, _ in model.values():
                    values += [rows] * count
                rows += count
            case ("commit",):
                ds.commit()
                committed = (rows, {name: (list(values), metadata) for name, (values, metadata) in model.items()})
            case ("rollback",):
                ds.rollback()
                rows, model = committed[0], {n: (list(v), m) for n, (v, m) in committed[1].items()}
            case ("leave",):
                changed = ds._draft.changed
                ds.close()
                ds = cas.open(url)
                assert ds.recover() == changed
    for _ in range(2):
        assert list(ds.schema) == list(model)
        assert len(ds) == rows
        for name, (values, metadata) in model.items():
            assert ds[name][:].tolist() == values
            assert ds[name].metadata.to_dict() == metadata
        ds.commit()
