"""Data frames of pandas: what a dataset gives, what is made of one, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrow_tables import make
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typed_values import ALL, plain

import cas
from cas import types
from cas.codec.values import decode_values, encode_values
from cas.errors import ColumnNotFoundError, InvalidInputError, InvalidTypeError

pd = pytest.importorskip("pandas")

from cas.integrations.pandas import _series, encode_series  # noqa: E402

OPTIONAL = types.Nullable


def test_a_frame_of_a_dataset(tmp_path: Path) -> None:
    with make(tmp_path / "ds") as ds:
        frame = ds.to_pandas()
        assert list(frame.columns) == list(ds.schema)
        assert {name: str(dtype) for name, dtype in frame.dtypes.items()} | {"word": "text"} == {
            "number": "int64",
            "half": "float16",
            "flag": "bool",
            "maybe": "Int32",
            "word": "text",
            "blob": "object",
            "label": "category",
            "time": "datetime64[us, UTC]",
            "photo": "object",
            "matrix": "object",
            "vector": "object",
            "free": "object",
            "boxes": "object",
            "tags": "object",
            "facts": "object",
        }
        assert frame["maybe"].isna().tolist() == [number % 4 == 1 for number in range(10)]
        assert frame["label"].cat.codes.tolist() == ds["label"][:].tolist()
        assert frame["matrix"][3].tolist() == ds["matrix"][3].tolist()
        assert frame["photo"][4] == ds["photo"].bytes(4)
        assert frame["word"].tolist() == ds["word"][:]
        assert ds[2:4].to_pandas(["number"])["number"].tolist() == [2, 3]
        assert ds[["word"]].to_pandas().columns.tolist() == ["word"]
        by_word = ds.to_pandas(["word", "number"], index="word")
        assert by_word.loc["word 3 ä", "number"] == 3
        assert ds["number"].to_pandas().name == "number"
        assert len(ds[:0].to_pandas()) == 0
        with pytest.raises(InvalidInputError, match="the index 'x' is not among the columns"):
            ds.to_pandas(index="x")
        with pytest.raises(ColumnNotFoundError):
            ds.to_pandas(["x"])


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(name=st.sampled_from(sorted(ALL)), data=st.data())
def test_values_come_back_as_they_were(name: str, data: st.DataObject) -> None:
    kind = ALL[name]
    values = data.draw(st.lists(kind.values, max_size=4))
    streams = encode_values(kind.type, values, name)
    back = encode_series(kind.type, _series(kind.type, streams), name)
    assert {stream: rows.flat.tobytes() for stream, rows in back.items()} == {
        stream: rows.flat.tobytes() for stream, rows in streams.items()
    }
    assert plain(list(decode_values(kind.type, back))) == [plain(kind.reads(value)) for value in values]


TIMES = pd.to_datetime(["2020-01-01", "2020-07-01"])
SERIES: dict[str, tuple[Any, object, list[Any]]] = {
    "ints": ([1, 2], "int64", [1, 2]),
    "floats with NaN": ([1.5, np.nan], "float64", [1.5, np.nan]),
    "float32": (np.array([1.5], np.float32), "float32", [1.5]),
    "text": (["a", None], OPTIONAL("text"), ["a", None]),
    "text with NaN": (np.array(["a", np.nan], object), OPTIONAL("text"), ["a", None]),
    "string": (pd.array(["a", None], dtype="string"), OPTIONAL("text"), ["a", None]),
    "Int64": (pd.array([1, None, 2**62 + 1], dtype="Int64"), OPTIONAL("int64"), [1, None, 2**62 + 1]),
    "UInt8 without NA": (pd.array([1, 2], dtype="UInt8"), "uint8", [1, 2]),
    "Float32": (
        pd.array(pd.arrays.FloatingArray(np.array([1.5, np.nan, 0], np.float32), np.array([False, False, True]))),
        OPTIONAL("float32"),
        [1.5, np.nan, None],
    ),
    "boolean": (pd.array([True, None], dtype="boolean"), OPTIONAL("bool"), [True, None]),
    "bools with NaN": (np.array([True, np.nan], object), OPTIONAL("bool"), [True, None]),
    "categories": (pd.Categorical(["b", "a"], categories=["b", "c", "a"]), types.ClassLabel(["b", "c", "a"]), [0, 2]),
    "missing categories": (pd.Categorical(["a", None]), OPTIONAL(types.ClassLabel(["a"])), [0, None]),
    "categories of numbers": (pd.Categorical([7, 5]), "int64", [7, 5]),
    "times": (TIMES.as_unit("us"), types.DateTime("us"), list(TIMES.as_unit("us").to_numpy())),
    "missing times": (pd.to_datetime(["2020-01-01", None]).as_unit("s"), OPTIONAL(types.DateTime("s")), [
        np.datetime64("2020-01-01T00:00:00", "s"), None]),
    "zoned times": (
        TIMES.as_unit("s").tz_localize("Europe/Berlin"),
        types.DateTime("s"),
        [np.datetime64("2019-12-31T23:00:00", "s"), np.datetime64("2020-06-30T22:00:00", "s")],
    ),
    "bytes": ([b"a", b""], "bytes", [b"a", b""]),
    "lists": ([[1], [2, 3]], types.Sequence("int64"), [[1], [2, 3]]),
    "dicts": ([{"a": 1}, {}], "dict", [{"a": 1}, {}]),
    "arrays": ([np.zeros((2, 1))] * 2, types.Array("float64", (2, 1)), [np.zeros((2, 1))] * 2),
    "sparse": (pd.arrays.SparseArray([0, 1, 0]), "int64", [0, 1, 0]),
}  # fmt: skip


@pytest.mark.parametrize("name", SERIES)
def test_what_a_series_becomes(name: str, tmp_path: Path) -> None:
    values, spec, expected = SERIES[name]
    frame = pd.DataFrame({"x": pd.Series(values)})
    with cas.from_pandas(tmp_path / "ds", frame, "a frame") as ds:
        assert ds.schema == {"x": types.as_type(spec)}
        assert plain(list(ds["x"][:])) == plain(expected)
        assert ds.version.message == "a frame"
        ds.append(frame)
        assert plain(list(ds["x"][:])) == plain([*expected, *expected])
        ds["x"][: len(expected)] = frame["x"].set_axis(range(7, 7 + len(expected)))  # rows count, not the index
        assert plain(list(ds["x"][:])) == plain([*expected, *expected])
        ds.rollback()


def test_columns_that_arrow_backs(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({
        "x": pd.array([1, None], dtype="int64[pyarrow]"),
        "word": pd.array(["a", None], dtype="string[pyarrow]"),
    })  # fmt: skip
    with cas.from_pandas(tmp_path / "ds", frame) as ds:
        assert {name: str(type_) for name, type_ in ds.schema.items()} == {"x": "int64?", "word": "text?"}
        ds.append(frame)
        assert ds["x"][:] == [1, None, 1, None]
        assert ds["word"][:] == ["a", None, "a", None]
        ds.rollback()


def test_what_becomes_of_the_index(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1, 2, 3]})

    def columns(frame: Any, **options: Any) -> dict[str, list[Any]]:
        with cas.from_pandas(tmp_path / str(len(list(tmp_path.iterdir()))), frame, **options) as ds:
            return {name: list(ds[name][:]) for name in ds.schema}

    assert columns(frame) == {"x": [1, 2, 3]}
    assert columns(frame[1:]) == {"x": [2, 3]}
    assert columns(frame.rename_axis("id")) == {"id": [0, 1, 2], "x": [1, 2, 3]}
    assert columns(frame.rename_axis("id"), index=False) == {"x": [1, 2, 3]}
    assert columns(frame, index=True) == {"index": [0, 1, 2], "x": [1, 2, 3]}
    named = frame.set_axis(["a", "b", "c"])
    assert columns(named.rename_axis("key")) == {"key": ["a", "b", "c"], "x": [1, 2, 3]}
    levels = frame.set_index(pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["k", "n"]))
    assert columns(levels) == {"k": ["a", "a", "b"], "n": [1, 2, 1], "x": [1, 2, 3]}
    with pytest.raises(InvalidInputError, match="has no name, and is more than row numbers"):
        columns(named)
    with pytest.raises(InvalidInputError, match="the index and a column are both called 'x'"):
        columns(frame.rename_axis("x"))


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame({"x": [1, "a"]}), "column 'x', row 1 .*'a' is of another kind than those before: str, not int"),
        (pd.DataFrame({"x": [None, None]}), "column 'x' has only missing values"),
        (pd.DataFrame({"x": pd.to_timedelta([1])}), "column 'x': .*timedelta64"),
        (pd.DataFrame({"x": pd.period_range("2020", periods=2, freq="M")}), "column 'x', row 0 .*Period"),
        (pd.DataFrame({"x": [[1], ["a", 2]]}), "column 'x', row 1 .*another kind"),
        (pd.DataFrame([[1]]), "a column of the table is called 0; rename it"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), "two columns of the name 'x'"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), "several levels"),
        (pd.Series([1], name="x"), "a Series is no data frame of pandas"),
    ],
)
def test_frames_that_are_refused(frame: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=words):
        cas.from_pandas(tmp_path / "ds", frame)
    assert not cas.exists(tmp_path / "ds")


def test_values_that_do_not_fit(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", {"x": "int8", "y": OPTIONAL("int8")}) as ds:
        ds.append(pd.DataFrame({"x": [1.0, 2.0], "y": [np.nan, 3.0]}))  # as pandas has ints that may be missing
        assert ds["y"][:] == [None, 3]
        for frame, words in (
            (pd.DataFrame({"x": [1, 300]}), "column 'x', row 1 .*300"),
            (pd.DataFrame({"x": [1, np.nan]}), "column 'x', row 1 .*nan"),
            (pd.DataFrame({"x": pd.array([1, None], dtype="Int64")}), "column 'x', row 1 .*is missing"),
            (pd.DataFrame({"x": [1], "z": [1]}), "no column 'z'"),
            (pd.DataFrame({"x": [1]}).rename_axis("id"), "no column 'id'"),
            (pd.DataFrame({"y": [1]}), "column 'x' has no values"),
        ):
            with pytest.raises(InvalidInputError, match=words):
                ds.append(frame)
        assert len(ds) == 2
        ds.rollback()
    with pytest.raises(InvalidInputError, match="row 1"):
        cas.from_pandas(tmp_path / "b", pd.DataFrame({"x": [1, 300]}), schema={"x": "int8"})
    assert not cas.exists(tmp_path / "b")


def test_a_large_frame_goes_piece_by_piece(tmp_path: Path) -> None:
    count = 3_000_000
    frame = pd.DataFrame({"x": np.arange(count), "y": np.zeros(count)})
    frame.loc[count - 2, "y"] = 0.1
    with cas.create(tmp_path / "ds", {"x": "int64", "y": "float32"}) as ds:
        with pytest.raises(InvalidInputError, match=f"column 'y', row {count - 2} "):
            ds.append(frame)
        frame.loc[count - 2, "y"] = 0.5
        ds.append(frame)
        assert np.array_equal(ds["x"][:], np.arange(count))
        ds.rollback()


def test_a_round_trip_keeps_the_tree(tmp_path: Path) -> None:
    with make(tmp_path / "ds") as ds, cas.from_pandas(tmp_path / "b", ds.to_pandas(), schema=ds.schema) as again:
        assert again.version.tree == ds.version.tree


def test_without_pandas(tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["pandas"] = None
import cas
ds = cas.create({str(tmp_path / "ds")!r}, {{"x": int}})
try:
    ds.to_pandas()
except cas.errors.UnsupportedError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("need the package pandas; install it with: pip install 'tensor-cas[pandas]'\n")
    assert issubclass(InvalidTypeError, InvalidInputError)
