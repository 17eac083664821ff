"""Every column type to Arrow and back: the same rows, the same type, the same tree hash."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typed_values import ALL, plain

import cas
from cas import types
from cas.codec.values import decode_values, encode_values

pytest.importorskip("pyarrow")

from cas.integrations.arrow.arrays import arrow_array
from cas.integrations.arrow.dicts import dict_from_json, dict_to_json
from cas.integrations.arrow.encoding import encode_array
from cas.integrations.arrow.fields import arrow_field
from cas.integrations.arrow.types import cas_type

NAMES = sorted(ALL)
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


def bytes_of(streams: Any) -> dict[str, tuple[bytes, list[int]]]:
    return {name: (rows.flat.tobytes(), rows.lengths().tolist()) for name, rows in streams.items()}


@settings(max_examples=300, suppress_health_check=SLOW)
@given(name=st.sampled_from(NAMES), tensors=st.booleans(), data=st.data())
def test_rows_come_back_as_they_were(name: str, tensors: bool, data: st.DataObject) -> None:
    """From a slice too, whose offsets begin in the middle of the buffers."""
    kind = ALL[name]
    values = data.draw(st.lists(kind.values, max_size=4))
    before = data.draw(st.lists(kind.values, max_size=2))
    whole = arrow_array(kind.type, encode_values(kind.type, before + values, name), tensors=tensors)
    whole.validate(full=True)
    field = arrow_field(name, kind.type, tensors=tensors)
    assert whole.type == field.type
    assert field.nullable == kind.type.nullable
    assert cas_type(field) == cas_type(field, [whole]) == kind.type
    back = encode_array(kind.type, whole.slice(len(before)), name)
    assert bytes_of(back) == bytes_of(encode_values(kind.type, values, name))
    assert plain(list(decode_values(kind.type, back))) == [plain(kind.reads(value)) for value in values]


@settings(max_examples=6, suppress_health_check=SLOW)
@given(data=st.data())
def test_a_dataset_comes_back_with_the_same_tree(data: st.DataObject) -> None:
    """By a table and by a stream in small batches, and through other libraries' hands where they keep the schema."""
    names = data.draw(st.lists(st.sampled_from(NAMES), min_size=15, max_size=25, unique=True))
    count = data.draw(st.integers(0, 5))
    columns = {name: data.draw(st.lists(ALL[name].values, min_size=count, max_size=count)) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        ds = cas.create(f"{folder}/a", {name: ALL[name].type for name in names})
        ds.append(columns)
        ds.metadata["made"] = {"by": "a test", "seed": np.arange(3)}
        ds[names[0]].metadata["note"] = "first"
        ds.commit()
        for number, given_ in enumerate(
            (ds.to_arrow(), ds.to_arrow(tensors=False), ds.to_arrow_batches(batch_rows=2), ds)
        ):
            again = cas.from_arrow(f"{folder}/{number}", given_)
            assert again.schema == ds.schema
            assert again.version.tree == ds.version.tree
            again.close()
        ds.close()


@given(ALL["dict"].values)
def test_dicts_as_json(value: dict[str, Any]) -> None:
    assert plain(dict_from_json(dict_to_json(value))) == plain(value)


def test_arrays_without_elements(tmp_path: Path) -> None:
    with cas.create(tmp_path / "a", {"x": types.Array("int8", (0, 3)), "y": types.Array("int8", (None, 0))}) as ds:
        ds.append({"x": np.zeros((2, 0, 3), np.int8), "y": [np.zeros((size, 0), np.int8) for size in (2, 1)]})
        ds.commit()
        for name, tensors in (("b", True), ("c", False)):
            with cas.from_arrow(tmp_path / name, ds.to_arrow(tensors=tensors)) as again:
                assert again.version.tree == ds.version.tree


def test_dicts_that_look_like_what_stands_for_others() -> None:
    for value in ({"$cbor": "Qmht"}, {"x": {"$cbor": 1}}, {"$cbor": {"$cbor": b"x"}}, {"$cbor": 1, "y": 2}):
        assert dict_from_json(dict_to_json(value)) == value


def test_pandas_and_parquet_keep_the_schema(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    ds = cas.create(tmp_path / "a", {"c": types.ClassLabel(["b", "a"]), "x": types.Array("int16", (2, 2)), "d": dict})
    ds.append(
        {"c": ["a", "b", "a"], "x": np.arange(12, dtype=np.int16).reshape(3, 2, 2), "d": [{"a": 1}, {}, {"b": b"x"}]}
    )
    ds.commit()
    parquet.write_table(ds.to_arrow(), tmp_path / "a.parquet")
    again = cas.from_arrow(tmp_path / "b", parquet.read_table(tmp_path / "a.parquet"))
    assert again.version.tree == ds.version.tree
