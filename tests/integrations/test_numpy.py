"""Arrays by column: what a dataset gives, what is made of them, and what NumPy's own functions see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrow_tables import SCHEMA, make
from pictures import png
from PIL import Image
from typed_values import plain

import cas
from cas import types
from cas.errors import InvalidInputError, InvalidTypeError

OPTIONAL = types.Nullable


def test_arrays_of_a_dataset(tmp_path: Path) -> None:
    with make(tmp_path / "ds") as ds:
        arrays = ds.to_numpy()
        assert list(arrays) == list(SCHEMA)
        for name, array in arrays.items():
            assert isinstance(array, np.ndarray)
            assert plain(list(array)) == plain(list(ds[name][:]))
        assert {name: (array.dtype.str, array.shape) for name, array in arrays.items() if array.dtype != object} == {
            "number": ("<i8", (10,)),
            "half": ("<f2", (10,)),
            "flag": ("|b1", (10,)),
            "label": ("|u1", (10,)),
            "time": ("<M8[us]", (10,)),
            "matrix": ("<i2", (10, 2, 3)),
            "vector": ("<f4", (10, 4)),
        }
        assert all(array.shape == (10,) for array in arrays.values() if array.dtype == object)
        assert list(ds[2:4].to_numpy(["word"])["word"]) == ["word 2 ä", "word 3 ä"]
        assert ds[[5, 1]].to_numpy(["number"])["number"].tolist() == [5, 1]


def test_columns_are_arrays_to_numpy(tmp_path: Path) -> None:
    with make(tmp_path / "ds") as ds:
        assert np.asarray(ds["number"]).dtype == np.int64
        assert np.asarray(ds["number"], np.float32).dtype == np.float32
        assert np.mean(ds["number"]) == 4.5
        assert np.asarray(ds["word"]).dtype == object
        assert np.asarray(ds["free"]).shape == (10,)
        with pytest.raises(ValueError, match="always a copy"):
            np.asarray(ds["number"], copy=False)


def objects(*values: Any) -> Any:
    return np.fromiter(values, object, len(values))


ARRAYS: dict[str, tuple[Any, object]] = {
    "numbers": (np.array([1, 2], np.uint16), "uint16"),
    "big-endian": (np.array([1, 2], ">i4"), "int32"),
    "matrices": (np.zeros((2, 3, 4), np.float32), types.Array("float32", (3, 4))),
    "text": (np.array(["a", "bc"]), "text"),
    "bytes": (np.array([b"a", b"bc"]), "bytes"),
    "times": (np.array([1, 2], "M8[ms]"), types.DateTime("ms")),
    "missing times": (np.array([1, "NaT"], "M8[s]"), OPTIONAL(types.DateTime("s"))),
    "a list": ([1, 2], "int64"),
    "missing text": (objects("a", None), OPTIONAL("text")),
    "arrays of a shape": (objects(np.zeros(2), np.ones(2)), types.Array("float64", (2,))),
    "arrays of free shapes": (objects(np.zeros((1, 2)), np.ones((3, 2))), types.Array("float64", (None, 2))),
    "ints and floats": (objects(1, 2.5), "float64"),
    "dicts": (objects({"a": 1}, {}), "dict"),
    "lists": (objects([1], [2, None]), types.Sequence(OPTIONAL("int64"))),
    "images": (objects(Image.new("L", (1, 2)), Image.new("L", (2, 2))), "image"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_what_an_array_becomes(name: str, tmp_path: Path) -> None:
    array, spec = ARRAYS[name]
    with cas.from_numpy(tmp_path / "ds", {"x": array}, "arrays") as ds:
        assert ds.schema == {"x": types.as_type(spec)}
        assert ds.version.message == "arrays"
        assert len(ds) == 2
        with cas.create(tmp_path / "other", ds.schema) as other:
            other.append({"x": array})
            other.commit()
            assert other.version.tree == ds.version.tree


def test_a_round_trip_keeps_the_tree(tmp_path: Path) -> None:
    """But for images, which are decoded, and labels and dicts of the types that are given."""
    with make(tmp_path / "ds") as ds:
        ds.remove_column("photo")
        ds.commit()
        with cas.from_numpy(tmp_path / "b", ds.to_numpy(), schema=ds.schema) as again:
            assert again.version.tree == ds.version.tree


def test_structured_arrays_and_given_types(tmp_path: Path) -> None:
    table = np.array([(1, b"x"), (2, b"yz")], [("id", "i4"), ("key", "S2")])
    with cas.from_numpy(tmp_path / "a", table, schema={"id": "uint8"}) as ds:
        assert {name: str(type_) for name, type_ in ds.schema.items()} == {"id": "uint8", "key": "bytes"}
        assert ds["key"][:] == [b"x", b"yz"]
    with cas.from_numpy(tmp_path / "b", {"image": [png(1), png(2)]}, schema={"image": "image"}) as ds:
        assert ds["image"].bytes(1) == png(2)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (np.zeros((2, 2)), r"an array of shape \(2, 2\) has no columns; expected a dict"),
        ([1, 2], "list has no columns"),
        ({"x": np.array([1], "m8[s]")}, "column 'x': .*timedelta64"),
        ({"x": np.zeros(2), "y": np.zeros(3)}, "different numbers of values"),
        ({"x": []}, "column 'x' has no values"),
        ({"x": objects(None)}, "only missing values"),
        ({"x": objects()}, "has no values"),
        ({"x": objects(np.zeros(2), np.zeros((2, 2)))}, r"column 'x', row 1 .*its shape is \(2, 2\)"),
        ({"x": objects(None, [1], ["a", 1])}, "column 'x', row 2 .*another kind"),
        ({"x": objects(1, object())}, "column 'x', row 1 .*has no column type"),
        ({5: [1]}, "5"),
    ],
)
def test_arrays_that_are_refused(arrays: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=words):
        cas.from_numpy(tmp_path / "ds", arrays)
    assert not cas.exists(tmp_path / "ds")


def test_kinds_of_errors(tmp_path: Path) -> None:
    with pytest.raises(InvalidTypeError, match="expected a dict of column names and types"):
        cas.from_numpy(tmp_path / "ds", {"x": [1]}, schema=["int8"])  # type: ignore[arg-type]
