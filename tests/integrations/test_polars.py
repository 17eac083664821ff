"""Data frames of polars: what a dataset gives, and what is made of one."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrow_tables import SCHEMA, make
from typed_values import plain

import cas
from cas import types
from cas.errors import InvalidInputError, InvalidTypeError

pl = pytest.importorskip("polars")
pytest.importorskip("pyarrow")

OPTIONAL = types.Nullable


def test_a_frame_of_a_dataset(tmp_path: Path) -> None:
    with make(tmp_path / "ds") as ds:
        frame = ds.to_polars()
        assert dict(frame.schema) == {
            "number": pl.Int64,
            "half": pl.Float16,
            "flag": pl.Boolean,
            "maybe": pl.Int32,
            "word": pl.String,
            "blob": pl.Binary,
            "label": pl.Enum(["cat", "dog", "owl"]),
            "time": pl.Datetime("us", "UTC"),
            "photo": pl.Binary,
            "matrix": pl.Array(pl.Int16, (2, 3)),
            "vector": pl.Array(pl.Float32, 4),
            "free": pl.Struct({"data": pl.List(pl.Float32), "shape": pl.List(pl.Int64)}),
            "boxes": pl.List(pl.Array(pl.Float32, 4)),
            "tags": pl.List(pl.String),
            "facts": pl.String,
        }
        assert frame["label"].to_physical().to_list() == ds["label"][:].tolist()
        assert frame["maybe"].to_list() == ds["maybe"][:]
        assert frame["boxes"].to_list() == [boxes.tolist() for boxes in ds["boxes"][:]]
        assert frame["facts"].str.json_path_match("$.id").to_list() == [str(number) for number in range(10)]
        assert ds[3:5].to_polars(["number"])["number"].to_list() == [3, 4]
        assert ds[["word", "number"]].to_polars().columns == ["word", "number"]
        assert ds["label"].to_polars().dtype == pl.Enum(["cat", "dog", "owl"])
        assert ds["word"].to_polars().name == "word"


def test_a_round_trip_keeps_the_tree(tmp_path: Path) -> None:
    """With the types of images, dicts and the like given, which polars does not know."""
    with make(tmp_path / "ds") as ds:
        with cas.from_polars(tmp_path / "b", ds.to_polars(), schema=ds.schema) as again:
            assert again.version.tree == ds.version.tree
        with cas.from_polars(tmp_path / "c", ds.to_polars()) as again:
            same = [name for name in SCHEMA if again.schema[name] == ds.schema[name]]
            assert [name for name in SCHEMA if name not in same] == ["photo", "vector", "free", "boxes", "facts"]


SERIES: dict[str, tuple[Any, object, list[Any]]] = {
    "ints": (pl.Series([1, None, 3]), OPTIONAL("int64"), [1, None, 3]),
    "text": (pl.Series(["a", None, "b" * 20]), OPTIONAL("text"), ["a", None, "b" * 20]),
    "enum": (pl.Series(["b", "a"], dtype=pl.Enum(["a", "b", "c"])), types.ClassLabel(["a", "b", "c"]), [1, 0]),
    "categories": (
        pl.Series(["y", "x"], dtype=pl.Categorical(pl.Categories.random())),
        types.ClassLabel(["y", "x"]),
        [0, 1],
    ),
    "lists": (pl.Series([[1], [], [2, None]]), types.Sequence(OPTIONAL("int64")), [[1], [], [2, None]]),
    "lists of text": (pl.Series([["a"], None]), OPTIONAL(types.Sequence("text")), [["a"], None]),
    "arrays": (
        pl.Series([[[1], [2]], [[3], [4]]], dtype=pl.Array(pl.Int8, (2, 1))),
        types.Array("int8", (2, 1)),
        list(np.array([[[1], [2]], [[3], [4]]], np.int8)),
    ),
    "times": (pl.Series([dt.datetime(2020, 1, 1)]), types.DateTime("us"), [np.datetime64("2020-01-01", "us")]),
    "zoned times": (
        pl.Series([dt.datetime(2020, 1, 1)]).dt.replace_time_zone("Europe/Berlin"),
        types.DateTime("us"),
        [np.datetime64("2019-12-31T23:00", "us")],
    ),
    "dates": (pl.Series([dt.date(2020, 1, 2)]), types.DateTime("s"), [np.datetime64("2020-01-02", "s")]),
    "structs": (pl.Series([{"a": 1, "b": "x"}]), "dict", [{"a": 1, "b": "x"}]),
    "bytes": (pl.Series([b"a", b"\xff"]), "bytes", [b"a", b"\xff"]),
}


@pytest.mark.parametrize("name", SERIES)
def test_what_a_series_becomes(name: str, tmp_path: Path) -> None:
    """Also in a frame of several chunks, and in the middle of one."""
    series, spec, expected = SERIES[name]
    frame = pl.DataFrame({"x": series})
    with cas.from_polars(tmp_path / "ds", frame, "a frame") as ds:
        assert ds.schema == {"x": types.as_type(spec)}
        assert plain(list(ds["x"][:])) == plain(expected)
        ds.append(pl.concat([frame, frame], rechunk=False)[1:])
        ds.append({"x": series})
        assert plain(list(ds["x"][:])) == plain([*expected, *expected[1:], *expected, *expected])
        ds.rollback()


@pytest.mark.parametrize(
    ("series", "words"),
    [
        (pl.Series("x", [dt.time(1)]), "time64.*since midnight"),
        (pl.Series("x", [dt.timedelta(1)]), "duration.*cast it to int64"),
        (pl.Series("x", [1], dtype=pl.Decimal(10, 2)), "decimal128.*cast it to string"),
        (pl.Series("x", [object()], dtype=pl.Object), "objects of Python"),
        (pl.Series("x", [2**70], dtype=pl.Int128), "no table of columns to Arrow"),
    ],
)
def test_series_that_are_refused(series: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidTypeError, match=words):
        cas.from_polars(tmp_path / "ds", pl.DataFrame(series))
    assert not cas.exists(tmp_path / "ds")


def test_what_is_no_frame_and_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InvalidTypeError, match=r"lazy.collect\(\)"):
        cas.from_polars(tmp_path / "ds", pl.LazyFrame({"x": [1]}))
    with pytest.raises(InvalidTypeError, match="a dict is no data frame of polars"):
        cas.from_polars(tmp_path / "ds", {"x": [1]})
    with cas.create(tmp_path / "ds", {"x": "int8"}) as ds:
        with pytest.raises(InvalidInputError, match=r"column 'x', row 1 .*300"):
            ds.append(pl.DataFrame({"x": [1, 300]}))
        with pytest.raises(InvalidTypeError, match="objects of Python"):
            ds.append(pl.DataFrame([pl.Series("x", [object()], dtype=pl.Object)]))
        assert not ds.has_changes
