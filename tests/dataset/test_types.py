"""Every type in a dataset on disk, against a plain list; what columns say of themselves; what they refuse."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typed_values import ALL, KINDS, plain

import cas
from cas import types
from cas.errors import InvalidInputError

NAMES = sorted(ALL)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_rows_of_every_type_against_a_list(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A few columns of any types: appended twice, one row replaced, some deleted, committed, opened."""
    names = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True))
    counts = data.draw(st.tuples(st.integers(0, 4), st.integers(1, 3)))
    model: dict[str, list[Any]] = {name: [] for name in names}
    path = tmp_path_factory.mktemp("types") / "ds"
    with cas.create(path, {name: ALL[name].type for name in names}) as ds:
        for count in counts:
            batch = {
                name: data.draw(st.lists(ALL[name].values, min_size=count, max_size=count), label=name)
                for name in names
            }
            ds.append(batch)
            for name in names:
                model[name] += batch[name]
        changed = data.draw(st.integers(0, sum(counts) - 1))
        for name in names:
            value = data.draw(ALL[name].values)
            ds[name][changed] = value
            model[name][changed] = value
        ds.delete([0])
        ds.commit()
    with cas.open_read_only(path) as ds:
        assert ds.schema == {name: ALL[name].type for name in names}
        for name in names:
            check_column(ds[name], [plain(ALL[name].reads(value)) for value in model[name][1:]])


def check_column(column: Any, expected: list[Any]) -> None:
    """All ways to read give what is expected."""
    assert plain(list(column[:])) == expected
    assert [plain(column[row]) for row in range(len(expected))] == expected
    assert plain(list(column)) == expected
    assert plain(list(column[1:3])) == expected[1:3]
    backwards = list(range(len(expected)))[::-1]
    assert plain(list(column[backwards])) == expected[::-1]
    if isinstance(column[:], np.ndarray):
        assert column[:].dtype == column.dtype
        assert column[:].shape == column.shape


def test_what_columns_say_of_themselves(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", {name: kind.type for name, kind in KINDS.items()}) as ds:
        shapes = {name: ds[name].shape for name in KINDS if ds[name].shape != (0,)}
        assert shapes == {"array": (0, 2, 1), "free_array": (0, None, None), "embedding": (0, 2), "boxes": (0, None, 4)}
        undefined = {name for name in KINDS if ds[name].dtype is None}
        assert undefined == {"text", "bytes", "dict", "image", "webp", "jpeg"}
        assert ds["time_ms"].dtype == "M8[ms]"
        assert ds["class"].dtype == np.uint8
        assert ds["raw_image"].dtype == np.float64
        assert ds["binary_mask"].dtype == bool
        ds.add_column("many", types.Nullable(types.Sequence(types.Embedding(3))))
        assert (ds["many"].shape, ds["many"].dtype) == ((0, None, 3), np.float32)


def test_one_time_is_aware_and_several_are_an_array(tmp_path: Path) -> None:
    moment = dt.datetime(2026, 11, 1, 9, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    schema = {
        "t": "datetime",
        "n": types.DateTime("ns"),
        "maybe": types.Nullable("datetime"),
        "all": types.Sequence("datetime"),
    }
    with cas.create(tmp_path / "ds", schema) as ds:
        ds.append(
            [
                {"t": moment, "n": moment, "maybe": None, "all": [moment]},
                {"t": moment, "n": moment, "maybe": moment, "all": []},
            ]
        )
        assert ds.t[0] == moment
        assert ds.t[0].tzinfo is dt.UTC
        assert ds[1]["t"].hour == 7
        assert ds.t[:].tolist() == [dt.datetime(2026, 11, 1, 7, 30)] * 2
        assert [time.tzinfo for time in ds.t] == [dt.UTC] * 2
        assert ds.n[0] == np.datetime64("2026-11-01T07:30", "ns")
        assert ds.maybe[:] == [None, moment]
        assert ds["all"][0].dtype == "M8[us]"
        ds.t[:] = ds.t[:]
        ds.t[0] = ds.t[1]
        assert ds.t[0] == moment


def test_each_raw_image_is_a_chunk(tmp_path: Path) -> None:
    picture = np.zeros((8, 8), np.uint8)
    with cas.create(tmp_path / "ds", {"x": types.Image("uint8", None), "y": types.SegmentMask()}) as ds:
        ds.append({"x": [picture] * 5, "y": [picture] * 5})
        ds.commit()
        assert ds.x.bytes(3) == bytes(64)
        layouts = {name: type_.layouts()["data"].alone for name, type_ in ds.schema.items()}
    assert layouts == {"x": True, "y": False}


def test_equal_rows_give_equal_versions_however_they_were_given(tmp_path: Path) -> None:
    schema = {
        "c": types.ClassLabel(["a", "b"]),
        "t": types.DateTime("s"),
        "s": types.Sequence("int16"),
        "m": types.BinaryMask(),
    }
    moment = np.datetime64("2026-11-01", "s")
    mask = np.eye(2, dtype=bool)
    with cas.create(tmp_path / "one", schema) as ds:
        ds.append({"c": ["a", "b"], "t": [moment, moment], "s": [[1, 2], []], "m": [mask, mask]})
        ds.commit()
        first = ds.version.tree
    with cas.create(tmp_path / "two", schema) as ds:
        ds.append([{"c": 0, "t": dt.datetime(2026, 11, 1, tzinfo=dt.UTC), "s": np.array([1, 2]), "m": mask.tolist()}])
        ds.append({"c": np.array([1]), "t": np.array([moment], "M8[ns]"), "s": [()], "m": np.array([mask])})
        ds.commit()
        assert ds.version.tree == first


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("int32", 2**40),
        ("int32", 1.7),
        ("array", np.zeros((1, 2), np.int16)),
        ("embedding", [1.0]),
        ("boxes", [[1.0]]),
        ("segment_mask", [1]),
        ("binary_mask", [[2]]),
        ("time_us", dt.datetime(2026, 11, 1)),
        ("time_us", np.datetime64(1, "ns")),
        ("class", "cow"),
        ("dict", {1: 2}),
        ("jpeg", np.zeros((1, 1), np.uint8)),
        ("sequence of text", ["a", 1]),
        ("sequence of class", ["cow"]),
        ("bfloat16", 257),
    ],
)
def test_refused_rows_leave_nothing_behind(tmp_path: Path, name: str, value: Any) -> None:
    with cas.create(tmp_path / "ds", {"c": types.Nullable(ALL[name].type)}) as ds:
        ds.append({"c": [None]})
        ds.commit()
        for use in (lambda: ds.append({"c": [None, value]}), lambda: ds.append([{}, {"c": value}])):
            with pytest.raises(InvalidInputError, match="column 'c', row 1 of the values") as caught:
                use()
            assert (caught.value.column, caught.value.row) == ("c", 1)
        with pytest.raises(InvalidInputError, match="column 'c'"):
            ds["c"][0] = value
        assert not ds.has_changes
        assert len(ds) == 1
