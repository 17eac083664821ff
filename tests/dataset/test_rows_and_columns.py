"""Rows and columns: read and assigned by every index form, appended from every source, inserted and deleted."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from mixed_table import SCHEMA, ten_rows
from pictures import png

import cas
from cas import types
from cas.errors import (
    ColumnNotFoundError,
    InvalidInputError,
    InvalidTypeError,
    ReadOnlyAttributeError,
    RowNotFoundError,
)


@pytest.fixture
def ds(tmp_path: Path) -> cas.Dataset:
    return ten_rows(tmp_path / "ds")


@pytest.fixture
def numbers(tmp_path: Path) -> cas.Dataset:
    dataset = cas.create(tmp_path / "numbers", schema={"x": "int64", "note": types.Nullable("text")})
    dataset.append({"x": range(10), "note": [None] * 10})
    dataset.commit()
    return dataset


def test_indexes(ds: cas.Dataset) -> None:
    x = np.arange(10)
    column = ds["x"]
    for index in (slice(None), slice(2, 7), slice(7, 2), slice(None, None, -1), slice(8, 1, -3), [3, 1, 1], [-1, 0],
                  np.array([4, 2]), np.uint8([4, 2]), x % 2 == 0, [], range(2, 5)):  # fmt: skip
        assert column[index].tolist() == x[np.asarray(index) if isinstance(index, range) else index].tolist()
    assert column[np.int64(-2)] == 8
    for index in (10, -11, [0, 10], np.array([99])):
        with pytest.raises(IndexError):
            column[index]
        with pytest.raises(RowNotFoundError, match="out of range"):
            column[index]
    for bad in ("a", 1.0, None, (1, 2), True, [0.5], np.zeros((2, 2), int)):
        with pytest.raises(InvalidTypeError):
            column[bad]
    with pytest.raises(RowNotFoundError):
        column[range(10**12)]
    assert column[range(-3, 0)].tolist() == [7, 8, 9]
    with pytest.raises(InvalidInputError, match="mask of 3"):
        column[np.array([True, False, True])]


def test_some_columns(ds: cas.Dataset, tmp_path: Path) -> None:
    some = ds[["text", "x"]]
    assert list(some[3]) == some.keys() == ["text", "x"]
    assert (len(some), len(some[3])) == (10, 2)
    assert dict(some[3]) == {"text": "row 3", "x": 3}
    assert some[2:4].to_dict() == {"text": ["row 2", "row 3"], "x": pytest.approx([2, 3])}
    assert list(some[["x"]][[5, 1]].to_dict()) == ["x"]
    assert repr(some) == "<RowRange of 10 rows: text, x>"
    assert list(ds.version.open()[["x"]].to_dict()) == ["x"]
    other = cas.create(tmp_path / "other", {"x": "int64", "text": "text"})
    other.append(some[:2])
    assert other["text"][:] == ["row 0", "row 1"]
    with pytest.raises(InvalidInputError, match="no column 'text'"):
        cas.create(tmp_path / "third", {"x": "int64"}).append(some)
    some["x"] = [-1] * 10
    some[0]["x"] = -2
    assert ds["x"][:3].tolist() == [-2, -1, -1]
    for names in (["x", "y"], ["y"]):
        with pytest.raises(ColumnNotFoundError, match="no column 'y'; the columns are: 'x'"):
            ds[names]
    for read in (lambda: some["image"], lambda: some[0]["image"], lambda: some[["image"]]):
        with pytest.raises(ColumnNotFoundError, match="the columns are: 'text', 'x'"):
            read()
    with pytest.raises(InvalidInputError, match="a name twice"):
        ds[["x", "x"]]
    with pytest.raises(InvalidTypeError):
        ds[["x", 1]]
    ds.remove_column("text")
    with pytest.raises(ColumnNotFoundError):
        other.append(some)
    other.rollback()
    ds.rollback()


def test_rows_are_mappings(ds: cas.Dataset) -> None:
    row = ds[3]
    assert row["x"] == 3
    assert list(row) == list(SCHEMA)
    assert dict(row)["text"] == "row 3"
    view = ds[2:6]
    assert view["x"].tolist() == [2, 3, 4, 5]
    assert [part["x"] for part in view] == [2, 3, 4, 5]
    assert view[1:3]["text"] == ["row 3", "row 4"]
    assert ds[::-3]["x"].tolist() == [9, 6, 3, 0]
    assert [r["x"] for r in ds] == list(range(10))
    assert [b["x"].tolist() for b in ds.batches(4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    for size in (0, -1, 2.5, True):
        with pytest.raises(InvalidInputError, match="batch size"):
            next(ds.batches(size))  # type: ignore[arg-type]


def test_columns_by_name_and_attribute(ds: cas.Dataset) -> None:
    assert ds["x"].name == ds.x.name == "x"
    assert "x" in ds
    assert "nope" not in ds
    assert ds.fixed.shape == (10, 2, 3)
    assert ds.free.shape == (10, None, 2)
    assert ds.fixed.dtype == np.float32
    assert ds.text.dtype is None
    with pytest.raises(KeyError):
        ds["nope"]
    with pytest.raises(ColumnNotFoundError, match="'nope'; the columns are: 'x'"):
        ds["nope"]
    with pytest.raises(AttributeError):
        ds.nope  # noqa: B018


def test_assignment_forms(ds: cas.Dataset) -> None:
    ds.x[2:4] = [20, 30]
    ds.x[[7, 5]] = np.array([70, 50])
    ds.x[np.arange(10) == 9] = [90]
    ds.x[-10] = -1
    ds.x[[4, 4]] = [1, 2]
    ds.maybe[0] = None
    ds.maybe[1] = "now"
    assert ds.x[:].tolist() == [-1, 1, 20, 30, 2, 50, 6, 70, 8, 90]
    ds.commit()
    assert ds.x[:].tolist() == [-1, 1, 20, 30, 2, 50, 6, 70, 8, 90]
    assert ds.maybe[:3] == [None, "now", None]
    assert ds.version.row_maps[0].runs.tolist() == [[10, 0, 0]]


def test_batches_are_like_dicts(ds: cas.Dataset) -> None:
    first, *_ = ds.batches(batch_size=4, drop_last=True)
    assert dict(first).keys() == first.to_dict().keys() == SCHEMA.keys()
    assert first.to_dict()["x"].tolist() == [0, 1, 2, 3]
    assert [len(batch) for batch in ds.batches(4, drop_last=True)] == [4, 4]


def test_messages_say_what_to_do(ds: cas.Dataset) -> None:
    for wrong, words in (
        ([{"x": 1}, {"xx": 1}], "row 1 has 'xx', which is no column"),
        (({"x": 1} for _ in range(2)), "also by a generator"),
        ({"fixed": np.random.default_rng(1).random((1, 2, 3))}, r"float64 .*astype\(np.float32\)"),
        ({"x": np.array([1.5])}, r"1\.5 of dtype float64 does not fit int64 exactly$"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            ds.append(wrong)
    with pytest.raises(AttributeError, match="did you mean 'commit'"):
        ds.comit  # noqa: B018
    with pytest.raises(AttributeError, match="the columns are"):
        ds.zzz  # noqa: B018
    with pytest.raises(TypeError):
        ds.schema["y"] = types.Int64  # type: ignore[index]
    with pytest.raises(InvalidInputError, match="one value for all rows"):
        ds.add_column("y", int, default=[1, 2])
    with pytest.raises(InvalidInputError, match="no such attribute, and no column"):
        ds.y = 1
    with pytest.raises(InvalidInputError, match=r"the names .*float64.*text"):
        ds.add_column("y", "int46", default=1)
    assert types.as_type("float") == types.Float64


def test_what_a_value_reads_as(ds: cas.Dataset) -> None:
    assert type(ds["x"][0]) is np.int64
    assert type(ds["text"][0]) is str
    assert ds["maybe"][0] == "third 0"
    assert ds["maybe"][1] is None
    assert isinstance(ds["x"][2:5], np.ndarray)
    assert ds["fixed"][2:5].shape == (3, 2, 3)
    assert isinstance(ds["free"][2:5], list)
    assert isinstance(ds["text"][2:5], list)


def test_rows_can_be_assigned(ds: cas.Dataset) -> None:
    ds[3]["x"] = 33
    ds[4:6]["text"] = ["four", "five"]
    ds[[0, 9]]["x"] = -1
    for rows in ds.batches(5):
        rows["maybe"] = None
    assert ds["x"][:].tolist() == [-1, 1, 2, 33, 4, 5, 6, 7, 8, -1]
    assert ds["text"][4:6] == ["four", "five"]
    assert ds["maybe"][:] == [None] * 10
    assert repr(ds[3]) == "<Row 3: x, text, maybe, picture, fixed, free>"
    assert repr(ds[3:5]) == "<RowRange of 2 rows: x, text, maybe, picture, fixed, free>"
    assert ds[1].to_dict()["x"] == 1


def test_one_value_for_many_rows(ds: cas.Dataset) -> None:
    ds["x"][2:5] = 7
    ds["text"][[0, 1]] = "both"
    ds["maybe"][:] = None
    ds["fixed"][::2] = np.zeros((2, 3), np.float32)
    ds["picture"][1:] = png(99)
    ds["x"][np.arange(10) > 7] = np.int8(-1)
    assert ds["x"][:].tolist() == [0, 1, 7, 7, 7, 5, 6, 7, -1, -1]
    assert ds["text"][:3] == ["both", "both", "row 2"]
    assert ds["maybe"][:] == [None] * 10
    assert ds["fixed"][:].sum(axis=(1, 2)).tolist() == [0, 51, 0, 123, 0, 195, 0, 267, 0, 339]
    assert ds["picture"].bytes(9) == png(99)
    ds["x"][[]] = 5
    for column, index, value in (("x", slice(0, 3), [1, 2]), ("x", slice(0, 3), 2**70), ("text", slice(0, 2), None)):
        with pytest.raises(InvalidInputError):
            ds[column][index] = value


def test_appending_a_dict_of_arrays_or_a_list_of_dicts(numbers: cas.Dataset) -> None:
    numbers.append({"x": np.array([10, 11], np.int8), "note": ["ten", None]})
    numbers.append({"x": (n for n in (12, 13))})
    numbers.append([{"x": 14, "note": "fourteen"}, {"x": 15}])
    numbers.append([])
    numbers.append({})
    numbers.append({"x": []})
    assert numbers["x"][10:].tolist() == [10, 11, 12, 13, 14, 15]
    assert numbers["note"][10:] == ["ten", None, None, None, "fourteen", None]


def test_appending_another_dataset(numbers: cas.Dataset, tmp_path: Path) -> None:
    other = cas.create(tmp_path / "other", schema={"x": "int16"})
    other.append({"x": [100, 101, 102]})
    numbers.append(other)  # staged rows of it included
    numbers.append(other[1:])
    numbers.append(other[[2, 0]])
    numbers.append(numbers[:2])
    numbers.append(numbers)
    expected = [*range(10), 100, 101, 102, 101, 102, 102, 100, 0, 1]
    assert numbers["x"][:].tolist() == expected * 2
    other.commit()
    numbers.append(other.version.open())
    assert numbers["x"][-3:].tolist() == [100, 101, 102]


def test_appending_a_dataset_stores_nothing_twice(ds: cas.Dataset, tmp_path: Path) -> None:
    twice = cas.create(tmp_path / "twice", schema=SCHEMA)
    twice.append(ds)
    twice.commit()
    assert twice.version.open()["picture"].bytes(7) == png(7)
    assert twice.version.tree == ds.version.tree


def test_a_dataset_of_other_columns_is_refused(numbers: cas.Dataset, ds: cas.Dataset, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="'fixed' here, which the other dataset has"):
        numbers.append(ds)
    one = cas.create(tmp_path / "one", schema={"x": int})
    one.append({"x": [1]})
    with pytest.raises(InvalidInputError, match="'text' has no values"):
        ds.append(one)
    assert (len(numbers), len(ds)) == (10, 10)


def test_appending_a_generator_of_batches(numbers: cas.Dataset) -> None:
    def batches() -> Iterator[Any]:
        yield {"x": [10, 11]}
        yield [{"x": 12}]
        yield numbers[:1]
        yield iter([{"x": [13]}])

    numbers.append(batches())
    assert numbers["x"][10:].tolist() == [10, 11, 12, 0, 13]


def test_a_generator_that_fails_leaves_nothing(numbers: cas.Dataset) -> None:
    def batches() -> Iterator[Any]:
        yield {"x": np.arange(2_000_000)}  # more than is held in memory
        yield {"x": [1.5]}

    for attempt in (numbers.append, lambda rows: numbers.insert(5, rows)):
        with pytest.raises(InvalidInputError, match=r"1\.5"):
            attempt(batches())
        assert numbers["x"][:].tolist() == list(range(10))
        assert not numbers.has_changes
    numbers.append({"x": [7]})
    with pytest.raises(InvalidInputError):
        numbers.append(batches())
    assert numbers["x"][:].tolist() == [*range(10), 7]


def test_inserting(numbers: cas.Dataset) -> None:
    numbers.insert(0, {"x": [-1]})
    numbers.insert(11, [{"x": 99}])
    numbers.insert(-1, ({"x": [n]} for n in (50, 51)))
    numbers.insert(np.int64(2), {"x": [77]})
    assert numbers["x"][:].tolist() == [-1, 0, 77, 1, 2, 3, 4, 5, 6, 7, 8, 9, 50, 51, 99]
    numbers.insert(1, numbers)
    assert numbers["x"][:4].tolist() == [-1, -1, 0, 77]
    assert len(numbers) == 30
    for index in (31, -31, None, 1.5, "1", True, [{"x": 1}]):
        with pytest.raises(InvalidInputError, match="inserted at"):
            numbers.insert(index, {"x": [1]})  # type: ignore[arg-type]


def test_deleting(numbers: cas.Dataset) -> None:
    numbers.delete(0)
    numbers.delete(-1)
    numbers.delete(slice(0, None, 4))
    numbers.delete([1, 1, -1])
    numbers.delete(np.array([True, False, False, True]))
    numbers.delete([])
    numbers.delete(slice(0, 0))
    assert numbers["x"][:].tolist() == [4, 6]
    for bad, error in (
        ([5], RowNotFoundError),
        (None, InvalidTypeError),
        ("x", InvalidTypeError),
        ([True], InvalidInputError),
    ):
        with pytest.raises(error):
            numbers.delete(bad)
    assert numbers["x"][:].tolist() == [4, 6]


def test_what_is_no_batch_is_refused(numbers: cas.Dataset) -> None:
    wrong: list[Any] = [
        None,
        5,
        "x",
        b"x",
        object(),
        [1],
        [None],
        {"x": 5},
        {"x": None},
        {"x": "5"},
        {"y": [1]},
        {1: [1]},
    ]
    wrong += [[{"x": 1}, {"y": 2}], {"x": [1], "note": []}, {"x": [[1]]}, np.arange(3), {"x": {1, 2}}]
    for rows in wrong:
        for attempt in (numbers.append, lambda rows: numbers.insert(0, rows)):
            with pytest.raises(InvalidInputError):
                attempt(rows)
    with pytest.raises(InvalidInputError, match=r"list of dicts"):
        numbers.append({"x": 5, "note": "one row"})
    assert numbers["x"][:].tolist() == list(range(10))
    assert not numbers.has_changes


def test_datasets_cannot_be_written_by_attribute(ds: cas.Dataset) -> None:
    with pytest.raises(InvalidInputError, match=r"ds\['x'\]"):
        ds.x = [1]
    with pytest.raises(ReadOnlyAttributeError, match="cannot be set"):
        ds.version = "main"  # type: ignore[misc, assignment]


COLUMNS: dict[str, Any] = {
    "i": "int64",
    "t": "text",
    "n": types.Nullable("float64"),
    "f": types.Array("int16", (2,)),
    "v": types.Array("uint8", (None,)),
}
rows_of_one = st.fixed_dictionaries(
    {
        "i": st.integers(-(2**63), 2**63 - 1),
        "t": st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        "n": st.none() | st.floats(allow_nan=False),
        "f": st.lists(st.integers(-(2**15), 2**15 - 1), min_size=2, max_size=2),
        "v": st.lists(st.integers(0, 255), max_size=4),
    }
)
some_rows = st.lists(rows_of_one, max_size=6)


def plain(value: Any) -> Any:
    """A value read from a dataset as Python's own."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return [plain(item) for item in value] if isinstance(value, list) else value


@st.composite
def indexes(draw: st.DrawFn, rows: int) -> tuple[Any, list[int]]:
    """An index of any form but a single int, and the row numbers that it means."""
    kind = draw(st.sampled_from(["slice", "list", "array", "unsigned", "mask", "bools", "range"]))
    if kind == "slice":
        bound = st.none() | st.integers(-rows - 3, rows + 3)
        index = slice(draw(bound), draw(bound), draw(st.sampled_from([None, 1, 2, 3, -1, -2, 7])))
        return index, list(range(rows))[index]
    if kind in ("mask", "bools"):
        mask = draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
        return np.array(mask, bool) if kind == "mask" or not rows else mask, [row for row, on in enumerate(mask) if on]
    if kind == "range":
        start, stop = sorted(draw(st.tuples(st.integers(0, rows), st.integers(0, rows))))
        index = range(start, stop, draw(st.integers(1, 3)))
        return index, list(index)
    lowest = 0 if kind == "unsigned" else -rows
    chosen = draw(st.lists(st.integers(lowest, rows - 1), max_size=8)) if rows else []
    dtype = draw(st.sampled_from(["uint8", "uint64"] if kind == "unsigned" else ["int8", "int64"]))
    return chosen if kind == "list" else np.array(chosen, dtype), [row % rows for row in chosen]


class RowsMachine(RuleBasedStateMachine):
    """Rows under all edits, against a list of dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.url = Path(self.folder.name) / "ds"
        self.ds = cas.create(self.url, schema=COLUMNS)
        self.rows: list[dict[str, Any]] = []
        self.committed: list[dict[str, Any]] = []

    def teardown(self) -> None:
        self.ds.close()
        self.folder.cleanup()

    def forms(self, rows: list[dict[str, Any]], form: str) -> Any:
        """The same rows in the form that a user may give them in."""
        columns = {name: [row[name] for row in rows] for name in COLUMNS}
        if form == "arrays":
            columns["i"] = np.array(columns["i"], np.int64)  # type: ignore[assignment]
            columns["f"] = np.array(columns["f"], np.int16).reshape(-1, 2)  # type: ignore[assignment]
        if form == "dicts":
            return rows
        if form == "generator":
            return ([row] for row in rows)
        if form in ("dataset", "rows"):
            other = cas.create(Path(tempfile.mkdtemp(dir=self.folder.name)) / "other", schema=COLUMNS)
            other.append(columns)
            return other if form == "dataset" else other[::-1][::-1]
        return columns

    @rule(rows=some_rows, form=st.sampled_from(["columns", "arrays", "dicts", "generator", "dataset", "rows"]))
    def append(self, rows: list[dict[str, Any]], form: str) -> None:
        self.ds.append(self.forms(rows, form))
        self.rows += [dict(row) for row in rows]

    @rule(rows=some_rows, at=st.floats(0, 1), form=st.sampled_from(["columns", "dicts", "generator", "dataset"]))
    def insert(self, rows: list[dict[str, Any]], at: float, form: str) -> None:
        index = round(at * len(self.rows))
        self.ds.insert(index, self.forms(rows, form))
        self.rows[index:index] = [dict(row) for row in rows]

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        index, chosen = data.draw(indexes(len(self.rows)))
        self.ds.delete(index)
        self.rows = [row for number, row in enumerate(self.rows) if number not in chosen]

    @rule(data=st.data(), column=st.sampled_from(list(COLUMNS)), value=rows_of_one)
    def assign(self, data: st.DataObject, column: str, value: dict[str, Any]) -> None:
        index, chosen = data.draw(indexes(len(self.rows)))
        values = [data.draw(rows_of_one)[column] for _ in chosen]
        self.ds[column][index] = values
        for row, new in zip(chosen, values, strict=True):
            self.rows[row][column] = new

    @rule(data=st.data(), column=st.sampled_from(["i", "t", "n"]), value=rows_of_one)
    def assign_one_to_many(self, data: st.DataObject, column: str, value: dict[str, Any]) -> None:
        index, chosen = data.draw(indexes(len(self.rows)))
        self.ds[column][index] = value[column]
        for row in chosen:
            self.rows[row][column] = value[column]

    @precondition(lambda self: self.rows)
    @rule(at=st.floats(0, 0.999), column=st.sampled_from(list(COLUMNS)), value=rows_of_one, negative=st.booleans())
    def assign_one(self, at: float, column: str, value: dict[str, Any], negative: bool) -> None:
        number = int(at * len(self.rows))
        self.ds[column][number - len(self.rows) if negative else np.int32(number)] = value[column]
        self.rows[number][column] = value[column]

    @rule()
    def commit(self) -> None:
        self.ds.commit()
        self.committed = [dict(row) for row in self.rows]

    @rule()
    def rollback(self) -> None:
        self.ds.rollback()
        self.rows = [dict(row) for row in self.committed]

    @rule(data=st.data(), column=st.sampled_from(list(COLUMNS)))
    def read(self, data: st.DataObject, column: str) -> None:
        index, chosen = data.draw(indexes(len(self.rows)))
        expected = [self.rows[row][column] for row in chosen]
        assert plain(self.ds[column][index]) == expected
        assert plain(self.ds[index][column]) == expected
        assert [plain(row[column]) for row in self.ds[index]] == expected

    @invariant()
    def agrees(self) -> None:
        assert len(self.ds) == len(self.rows)
        for column in COLUMNS:
            assert plain(self.ds[column][:]) == [row[column] for row in self.rows]
        with cas.open_read_only(self.url) as old:
            assert plain(old["i"][:]) == [row["i"] for row in self.committed]


TestRowsMachine = RowsMachine.TestCase
TestRowsMachine.settings = settings(max_examples=60, stateful_step_count=20)


@pytest.mark.parametrize("row_shape", [(), (3,), (40, 40, 3)])
def test_values_are_the_callers_own(tmp_path: Path, row_shape: tuple[int, ...]) -> None:
    """They may be changed, and nobody else sees that: chunks may lie in a cache, and staged rows in the draft."""
    rows = np.random.default_rng(0).integers(0, 100, (3000, *row_shape), np.uint8)
    with cas.create(tmp_path / "ds", {"x": cas.types.Array("uint8", row_shape) if row_shape else "uint8"}) as ds:
        for number in range(2):
            ds.append({"x": rows})
            if not number:
                ds.commit()
            rows = ds["x"][:]
            for index in (0, 2999, slice(10, 12), slice(0, 3000), [5, 3, 5], [2, 4], list(range(0, 3000, 7)), -1):
                found = ds["x"][index]
                if isinstance(found, np.ndarray):
                    assert found.flags.writeable
                    found[...] = 255
                assert np.array_equal(ds["x"][index], rows[index])
            assert np.array_equal(ds["x"][:], rows)
