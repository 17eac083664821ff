"""The page Metadata: mappings of a dataset and its columns, written through at once, kept by every version."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from other_process import output, run

import cas
from cas.errors import InvalidInputError, InvalidTypeError
from cas.store.lmdb import LmdbStore
from cas.types import NUMPY_DTYPES


@pytest.fixture
def ds(tmp_path: Path) -> cas.Dataset:
    dataset = cas.create(tmp_path / "ds", schema={"images": "int64", "labels": "int64"})
    dataset.append({"images": [1], "labels": [2]})
    dataset.commit("one row")
    return dataset


def assert_same(left: object, right: object) -> None:
    """Equal and of the same type, inside too; NaN is equal to itself here."""
    assert type(left) is type(right)
    if isinstance(left, (np.ndarray, np.generic)):
        assert isinstance(right, (np.ndarray, np.generic))
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert np.array_equal(left, right, equal_nan=left.dtype.kind in "fc")
    elif isinstance(left, list):
        assert len(left) == len(right)  # type: ignore[arg-type]
        for mine, other in zip(left, right, strict=True):  # type: ignore[call-overload]
            assert_same(mine, other)
    elif isinstance(left, dict):
        assert left.keys() == right.keys()  # type: ignore[attr-defined]
        for key, value in left.items():
            assert_same(value, right[key])  # type: ignore[index]
    elif isinstance(left, dt.datetime):
        assert isinstance(right, dt.datetime)
        assert (left, left.utcoffset()) == (right, right.utcoffset())
    else:
        assert left == right or (left != left and right != right)


# --- one mapping ----------------------------------------------------------------------------------------------------


def test_three_spellings_are_one_mapping_each(ds: cas.Dataset) -> None:
    ds.metadata["of"] = "the dataset"
    ds["images"].metadata["of"] = "the images"
    ds.images.metadata["unit"] = "lux"
    ds.labels.metadata["of"] = "the labels"
    assert ds.metadata == {"of": "the dataset"}
    assert ds["images"].metadata == ds.images.metadata == {"of": "the images", "unit": "lux"}
    assert ds["labels"].metadata == ds.labels.metadata == {"of": "the labels"}
    del ds["images"].metadata["of"]
    assert ds.images.metadata == {"unit": "lux"}


def test_mapping_protocol(ds: cas.Dataset) -> None:
    assert isinstance(ds.metadata, MutableMapping)
    ds.metadata["b"] = 2
    ds.metadata.update({"a": 1}, c=3)
    assert (ds.metadata["a"], ds.metadata.get("a"), ds.metadata.get("z"), ds.metadata.get("z", 7)) == (1, 1, None, 7)
    assert "a" in ds.metadata
    assert "z" not in ds.metadata
    assert list(ds.metadata.values()) == [1, 2, 3]
    assert list(ds.metadata) == ["a", "b", "c"]
    assert list(ds.metadata.items()) == [("a", 1), ("b", 2), ("c", 3)]
    assert ds.metadata.to_dict() == {"a": 1, "b": 2, "c": 3}
    assert repr(ds.metadata) == "Metadata({'a': 1, 'b': 2, 'c': 3})"
    del ds.metadata["a"]
    assert ds.metadata.pop("b") == 2
    assert ds.metadata.setdefault("c", 9) == 3
    for missing in ("a", "", "z" * 10_000):
        with pytest.raises(KeyError):
            ds.metadata[missing]
        with pytest.raises(KeyError):
            del ds.metadata[missing]
    ds.metadata.clear()
    assert ds.metadata.to_dict() == {}
    assert len(ds.metadata) == 0


def test_to_dict_is_a_copy(ds: cas.Dataset) -> None:
    ds.metadata["list"] = [1]
    ds.metadata.to_dict()["list"].append(2)
    ds.metadata["list"].append(2)
    assert ds.metadata["list"] == [1]


# --- durable at once ------------------------------------------------------------------------------------------------


def test_another_process_sees_a_value_at_once(ds: cas.Dataset, tmp_path: Path) -> None:
    reads = "ds = cas.open(url); print(ds.metadata.to_dict(), ds.images.metadata.to_dict())"
    ds.metadata["stage"] = 1
    ds.images.metadata["unit"] = "lux"
    assert output(reads, tmp_path / "ds") == "{'stage': 1} {'unit': 'lux'}"
    ds.metadata["stage"] = 2
    del ds.images.metadata["unit"]
    assert output(reads, tmp_path / "ds") == "{'stage': 2} {}"
    output("cas.open(url).metadata['stage'] = 3", tmp_path / "ds")
    assert ds.metadata["stage"] == 3  # the handle that was open all along


def test_a_value_survives_the_end_of_the_process_on_the_next_line(ds: cas.Dataset, tmp_path: Path) -> None:
    script = """
    ds = cas.open(url)
    ds.append({"images": [9], "labels": [9]})
    ds.metadata["of"] = "the dataset"
    ds["images"].metadata["of"] = [1, 2.5]
    os._exit(9)
    """
    assert run(script, tmp_path / "ds").returncode == 9
    for handle in (ds, cas.open(tmp_path / "ds")):
        assert handle.metadata["of"] == "the dataset"
        assert handle.images.metadata["of"] == [1, 2.5]
        assert len(handle) == 1


def test_a_value_needs_no_commit_and_commits_nothing(ds: cas.Dataset) -> None:
    before = ds.version
    ds.append({"images": [9], "labels": [9]})
    ds.metadata["k"] = "v"
    assert ds.version == before
    assert len(ds.history) == 3
    ds.rollback()
    assert ds.metadata["k"] == "v"


def test_setting_metadata_alone_is_a_change_that_can_be_committed(ds: cas.Dataset) -> None:
    assert not ds.has_changes
    ds.labels.metadata["k"] = "v"
    assert ds.has_changes
    before = ds.version.id
    assert ds.commit("metadata") != before
    assert not ds.has_changes


# --- values ---------------------------------------------------------------------------------------------------------

offsets = st.integers(-23 * 3600, 23 * 3600).map(lambda seconds: dt.timezone(dt.timedelta(seconds=seconds)))
datetimes = st.one_of(
    st.datetimes(),
    st.datetimes(timezones=st.just(dt.UTC)),
    st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1), timezones=offsets),
)
dtypes = st.sampled_from(NUMPY_DTYPES).map(np.dtype)
arrays = dtypes.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)))
scalars = dtypes.flatmap(lambda dtype: hnp.from_dtype(dtype)).map(lambda value: value[()])
text = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.one_of(st.booleans(), st.integers(), st.floats(), scalars)
leaves = st.one_of(st.none(), numbers, text, st.binary(), datetimes, arrays)
values = st.recursive(
    leaves, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=4)), max_leaves=8
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> cas.Dataset:
    return cas.create(tmp_path_factory.mktemp("shared") / "ds", schema={"images": "int64"})


@settings(max_examples=200)
@given(key=text, value=values)
def test_every_kind_of_value_reads_back_equal_and_of_the_same_type(shared: cas.Dataset, key: str, value: Any) -> None:
    for mapping in (shared.metadata, shared.images.metadata):
        mapping[key] = value
        assert_same(mapping[key], value)
        assert_same(mapping.to_dict()[key], value)


@settings(max_examples=30)
@given(mapping=st.dictionaries(text, values, max_size=5))
def test_every_mapping_is_kept_by_its_version(shared: cas.Dataset, mapping: dict[str, Any]) -> None:
    shared.metadata.clear()
    shared.images.metadata.clear()
    shared.metadata.update(mapping)
    shared.images.metadata.update(mapping)
    shared.commit("metadata")
    shared.metadata["later"] = 1
    old = shared.version.open()
    assert_same(old.metadata.to_dict(), mapping)
    assert_same(old.images.metadata.to_dict(), mapping)
    assert list(old.metadata) == sorted(mapping)


@pytest.mark.parametrize(
    "value",
    [
        [1, 2.5],
        2**80,
        -(2**80),
        np.array([[1.5, np.nan], [-0.0, np.inf]], np.float16),
        np.float32(0.1),
        np.bool_(True),
        np.arange(100_000),
        np.zeros((0, 3), np.uint8),
        {"b": 1, "a": {"c": [None, b"", {}]}},
        dt.datetime(2026, 11, 22, 1, 2, 3, 456789, dt.timezone(dt.timedelta(hours=2))),
        dt.datetime(1969, 12, 31, 23, 59, 59),
        True,
        1,
        1.0,
        "",
        "grüße",
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_listed_values_read_back_in_another_process(ds: cas.Dataset, tmp_path: Path, value: Any) -> None:
    ds.metadata["k"] = value
    assert_same(cas.open(tmp_path / "ds").metadata["k"], value)


def test_all_listed_values_cross_processes(ds: cas.Dataset, tmp_path: Path) -> None:
    script = """
    ds = cas.open(url)
    value = ds.metadata["k"]
    assert type(value) is list and [type(item).__name__ for item in value] == ["list", "int", "ndarray"]
    ds.metadata["again"] = value
    """
    value = [[1, 2.5], 2**80, np.array([1.5, 2], np.float16)]
    ds.metadata["k"] = value
    output(script, tmp_path / "ds")
    assert_same(ds.metadata["again"], value)


def test_tuples_are_kept_as_lists(ds: cas.Dataset) -> None:
    ds.metadata["tuple"] = (1, (2, {"a": (3,)}))
    assert_same(ds.metadata["tuple"], [1, [2, {"a": [3]}]])


def test_arrays_come_back_whatever_their_memory_order(ds: cas.Dataset) -> None:
    array = np.arange(24, dtype=">i4").reshape(2, 3, 4)
    for view in (array, array.T, array[:, ::-2], np.asfortranarray(array)):
        ds.metadata["array"] = view
        assert np.array_equal(ds.metadata["array"], view)
        assert ds.metadata["array"].dtype == np.int32


@pytest.mark.parametrize("wrap", [lambda text: text, lambda text: [text], lambda text: {"a": text}])
def test_numpy_text_is_kept_as_text(ds: cas.Dataset, wrap: Any) -> None:
    ds.metadata["k"] = wrap(np.str_("cat"))
    assert_same(ds.metadata["k"], wrap("cat"))


# --- refusals -------------------------------------------------------------------------------------------------------


def nested(depth: int) -> list[Any]:
    return [] if depth == 0 else [nested(depth - 1)]


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        {1: 2},
        {"a": {2}},
        np.array(["a"]),
        np.array([object()]),
        np.datetime64("2026-01-01"),
        "\ud800",
        {"\ud800": 1},
        {"deep": [object()]},
        lambda: 0,
        range(3),
        1j,
        dt.date(2026, 1, 1),
        nested(100),
        iter([1]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_refused_before_anything_is_written(
    ds: cas.Dataset, monkeypatch: pytest.MonkeyPatch, value: object
) -> None:
    ds.metadata["good"] = ds.images.metadata["good"] = 0
    with monkeypatch.context() as patch:
        patch.setattr(LmdbStore, "write", lambda *_: pytest.fail("something was written"))
        for mapping in (ds.metadata, ds.images.metadata):
            with pytest.raises(InvalidInputError):
                mapping["bad"] = value
            with pytest.raises(InvalidInputError):
                mapping.update({"good": 1, "bad": value})
    assert ds.metadata.to_dict() == ds.images.metadata.to_dict() == {"good": 0}


def test_a_refusal_says_what_is_taken(ds: cas.Dataset) -> None:
    with pytest.raises(InvalidTypeError, match=r"type set cannot be stored; expected None, bool, int.*datetime"):
        ds.metadata["k"] = {1}
    with pytest.raises(InvalidTypeError, match="key 3 is not valid: expected text"):
        ds.metadata[3] = 1  # type: ignore[index]
    for key in (3, None, b"k", ("k",)):
        with pytest.raises(InvalidTypeError):
            ds.metadata[key]  # type: ignore[index]
    assert ds.metadata.to_dict() == {}


# --- versions -------------------------------------------------------------------------------------------------------


def test_a_version_opened_later_shows_the_metadata_of_its_commit(ds: cas.Dataset, tmp_path: Path) -> None:
    ds.metadata["stage"] = "first"
    first = ds.commit("metadata only")
    ds.metadata["stage"] = "second"
    ds.images.metadata["unit"] = "lux"
    second = ds.commit("again")
    ds.metadata["stage"] = "live"
    ds.metadata["more"] = 1
    del ds.images.metadata["unit"]
    for old in (ds.history[first].open(), cas.open_read_only(tmp_path / "ds", first)):
        assert old.metadata.to_dict() == {"stage": "first"}
        assert old.images.metadata.to_dict() == {}
    for old in (ds.history[second].open(), cas.open_read_only(tmp_path / "ds"), ds.version.open()):
        assert old.metadata.to_dict() == {"stage": "second"}
        assert old["images"].metadata.to_dict() == old.images.metadata.to_dict() == {"unit": "lux"}
    assert ds.metadata.to_dict() == {"more": 1, "stage": "live"}


def test_read_only_metadata_reads_like_a_dict_and_has_no_write_method(ds: cas.Dataset) -> None:
    ds.metadata.update(a=1, b=[2])
    ds.commit()
    old = ds.version.open().metadata
    assert type(old) is cas.ReadOnlyMetadata
    assert isinstance(old, Mapping)
    assert not isinstance(old, MutableMapping)
    assert (old["a"], old.get("z", 7), list(old), len(old), "a" in old) == (1, 7, ["a", "b"], 2, True)
    assert old == {"a": 1, "b": [2]}
    assert repr(old) == "ReadOnlyMetadata({'a': 1, 'b': [2]})"
    writing = set(dir(MutableMapping)) - set(dir(Mapping))
    assert {"__setitem__", "__delitem__", "update", "pop", "popitem", "clear", "setdefault"} <= writing
    assert not writing & set(dir(old))
    with pytest.raises(TypeError):
        old["a"] = 2  # type: ignore[index]
    with pytest.raises(TypeError):
        del old["a"]  # type: ignore[attr-defined]
    with pytest.raises(KeyError):
        old["z"]


def test_metadata_that_no_version_could_hold_is_refused_when_set(ds: cas.Dataset) -> None:
    ds.metadata["half"] = bytes(40 << 20)
    with pytest.raises(InvalidInputError, match="63 MiB"):
        ds.metadata["other half"] = bytes(40 << 20)
    assert list(ds.metadata) == ["half"]
    ds.commit()
    assert len(ds.version.open().metadata["half"]) == 40 << 20
