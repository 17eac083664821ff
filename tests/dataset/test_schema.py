"""Schema: columns are added, removed and renamed with rows present, without touching others, all versioned."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

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
    with pytest.raises(InvalidInputError, match=r"2\.5"):
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


def test_a_new_column_keeps_its_metadata_under_other_names(ds: cas.Dataset) -> None:
    ds.add_column("a", "int8", default=0)
    ds["a"].metadata["is"] = "first"
    ds.rename_column("a", "b")
    ds.add_column("a", "int8", default=1)
    assert ds["a"].metadata.to_dict() == {}
    ds["a"].metadata["is"] = "second"
    ds.commit()
    assert [ds[name].metadata["is"] for name in "ab"] == ["second", "first"]


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


class SchemaMachine(RuleBasedStateMachine):
    """Changes in any order, against a model: name to (values, metadata), in order, and what was committed last."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.url = Path(self.folder.name) / "ds"
        self.ds = cas.create(self.url)
        self.rows = 0
        self.model: dict[str, tuple[list[int], dict[str, int]]] = {}
        self.committed = (self.rows, self.copied(self.model))

    def teardown(self) -> None:
        self.ds.close()
        self.folder.cleanup()

    @rule(name=names, value=st.integers(0, 9))
    def add(self, name: str, value: int) -> None:
        if name in self.model:
            with pytest.raises(ColumnExistsError):
                self.ds.add_column(name, "int64", default=value)
        else:
            self.ds.add_column(name, "int64", default=value)
            self.model[name] = ([value] * self.rows, {})

    @rule(name=names)
    def remove(self, name: str) -> None:
        if name in self.model:
            self.ds.remove_column(name)
            del self.model[name]

    @rule(old=names, new=names)
    def rename(self, old: str, new: str) -> None:
        if old in self.model and new not in self.model:
            self.ds.rename_column(old, new)
            self.model = {new if name == old else name: column for name, column in self.model.items()}

    @rule(name=names, value=st.integers(0, 99))
    def set_metadata(self, name: str, value: int) -> None:
        if name in self.model:
            self.ds[name].metadata["k"] = value
            self.model[name][1]["k"] = value

    @rule(count=st.integers(1, 3))
    def append(self, count: int) -> None:
        if self.model:
            self.ds.append({name: [self.rows] * count for name in self.model})
            for values, _ in self.model.values():
                values += [self.rows] * count
            self.rows += count

    @rule()
    def commit(self) -> None:
        self.ds.commit()
        self.committed = self.rows, self.copied(self.model)

    @rule()
    def rollback(self) -> None:
        self.ds.rollback()
        self.rows, self.model = self.committed[0], self.copied(self.committed[1])

    @rule()
    def leave_and_recover(self) -> None:
        changed = self.ds._draft.changed
        self.ds.close()
        self.ds = cas.open(self.url)
        assert self.ds.recover() == changed

    @staticmethod
    def copied(model: dict[str, tuple[list[int], dict[str, int]]]) -> dict[str, tuple[list[int], dict[str, int]]]:
        """Values are copied; metadata is live, and outlasts a rollback where its column does."""
        return {name: (list(values), metadata) for name, (values, metadata) in model.items()}

    @invariant()
    def agrees(self) -> None:
        assert list(self.ds.schema) == list(self.model)
        assert len(self.ds) == self.rows
        for name, (values, metadata) in self.model.items():
            assert self.ds[name][:].tolist() == values
            assert self.ds[name].metadata.to_dict() == metadata


TestSchemaMachine = SchemaMachine.TestCase
TestSchemaMachine.settings = settings(max_examples=40, stateful_step_count=25)
