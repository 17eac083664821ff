"""Metadata, tags, versions and history, as far as they go."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest

import cas
from cas.errors import (
    AmbiguousRevisionError,
    InvalidInputError,
    InvalidNameError,
    InvalidTypeError,
    TagExistsError,
    TagNotFoundError,
    UncommittedChangesError,
    VersionNotFoundError,
)


@pytest.fixture
def ds(tmp_path: Path) -> cas.Dataset:
    dataset = cas.create(tmp_path / "ds", schema={"x": "int64"})
    for number in range(5):
        dataset.append({"x": [number]})
        dataset.commit(f"number {number}", author="me")
    return dataset


VALUES = {
    "none": None,
    "true": True,
    "int": 2**80,
    "negative": -(2**70),
    "float": 0.1,
    "text": "grüße",
    "bytes": b"\0\xff",
    "list": [1, 2.5, [None]],
    "dict": {"b": 1, "a": {"c": b""}},
    "aware": dt.datetime(2026, 11, 22, 1, 2, 3, 456789, dt.timezone(dt.timedelta(hours=2))),
    "naive": dt.datetime(1969, 12, 31, 23, 59, 59),
    "float16": np.array([[1.5, np.nan]], np.float16),
    "scalar": np.float32(0.1),
    "bool scalar": np.bool_(True),
    "large": np.arange(100_000),
}


def assert_same(left: object, right: object) -> None:
    assert type(left) is type(right)
    if isinstance(left, np.ndarray):
        assert isinstance(right, np.ndarray)
        assert left.dtype == right.dtype
        assert np.array_equal(left, right, equal_nan=left.dtype.kind == "f")
    else:
        assert left == right


def test_values_keep_their_type(ds: cas.Dataset) -> None:
    for mapping in (ds.metadata, ds["x"].metadata):
        mapping.update(VALUES)
        assert list(mapping) == sorted(VALUES)
        for key, value in VALUES.items():
            assert_same(mapping[key], value)
        assert len(mapping) == len(VALUES)
    ds.metadata["tuple"] = (1, 2)
    assert ds.metadata["tuple"] == [1, 2]
    old = cas.open_read_only(ds._repository.path, ds.commit("metadata"))
    for key, value in VALUES.items():
        assert_same(old.metadata[key], value)
        assert_same(old.x.metadata[key], value)


def test_values_that_cannot_be_kept_are_refused_before_anything_is_written(ds: cas.Dataset) -> None:
    for value in (object(), {1: 2}, {"a": {2}}, np.array(["a"]), "\ud800", {"deep": [object()]}, lambda: 0):
        with pytest.raises(InvalidInputError):
            ds.metadata.update({"good": 1, "bad": value})
    with pytest.raises(InvalidTypeError):
        ds.metadata[3] = 1  # type: ignore[index]
    assert ds.metadata.to_dict() == {}


def test_mapping_protocol(ds: cas.Dataset) -> None:
    ds.metadata["a"] = 1
    assert ds.metadata.get("b", 7) == 7
    assert "a" in ds.metadata
    assert "b" not in ds.metadata
    with pytest.raises(KeyError):
        ds.metadata["b"]
    del ds.metadata["a"]
    with pytest.raises(KeyError):
        del ds.metadata["a"]
    assert dict(ds.metadata.items()) == {}


def _set_and_die(url: Path) -> None:
    ds = cas.open(url)
    ds.metadata["from"] = "another process"
    os._exit(9)


def test_metadata_is_durable_and_visible_at_once(ds: cas.Dataset, tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_set_and_die, args=(tmp_path / "ds",))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert ds.metadata["from"] == "another process"
    assert ds.has_changes


def test_versions_show_the_metadata_of_their_commit(ds: cas.Dataset) -> None:
    ds.metadata["stage"] = "first"
    first = ds.commit("metadata only")
    ds.metadata["stage"] = "second"
    ds.x.metadata["unit"] = "m"
    second = ds.commit()
    assert first != second
    assert ds.history[first].open().metadata.to_dict() == {"stage": "first"}
    assert ds.history[second].open().x.metadata["unit"] == "m"
    read_only = ds.history[first].open().metadata
    for name in ("__setitem__", "__delitem__", "update", "pop", "clear"):
        assert not hasattr(read_only, name)


def test_history(ds: cas.Dataset, tmp_path: Path) -> None:
    history = ds.history
    assert len(history) == 7
    assert [version.message for version in history][-3:] == ["number 2", "number 3", "number 4"]
    assert [version.message for version in reversed(history)][:2] == ["number 4", "number 3"]
    assert history[0].message == "Dataset created"
    assert history[-1] == ds.version
    assert [version.message for version in history[-2:]] == ["number 3", "number 4"]
    for index, version in enumerate(history):
        assert history[index] == version
        assert history[version.id[:10]] == version
        assert version in history
        assert version.id in history
        with version.open() as old:
            assert len(old) == max(0, index - 1)
    assert history[-1].parents == (history[-2].id,)
    assert history[3].author == "me"
    for bad in (7, -8):
        with pytest.raises(IndexError):
            history[bad]
    for name in ("nope", "ffffffff", "0" * 64, "", "main~99"):
        with pytest.raises(VersionNotFoundError):
            history[name]
        assert name not in history


def test_times(ds: cas.Dataset) -> None:
    times = [version.timestamp for version in ds.history]
    assert times == sorted(set(times))
    assert all(moment.tzinfo is dt.UTC for moment in times)
    assert abs(ds.version.timestamp - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=5)
    assert abs(ds.version.client_timestamp - ds.version.timestamp) < dt.timedelta(seconds=60)
    for version in ds.history:
        assert ds.history.at(version.timestamp) == version
    assert ds.history.at(times[-1] + dt.timedelta(days=1)) == ds.version
    with pytest.raises(VersionNotFoundError):
        ds.history.at(times[0] - dt.timedelta(microseconds=1))
    with pytest.raises(InvalidTypeError):
        ds.history.at(times[0].replace(tzinfo=None))


def test_a_wrong_client_clock_shows_but_does_not_order(ds: cas.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    a_year_ago = time.time_ns() - 365 * 24 * 3600 * 10**9
    before = ds.version.timestamp
    monkeypatch.setattr(time, "time_ns", lambda: a_year_ago)
    ds.append({"x": [9]})
    ds.commit()
    assert ds.version.timestamp > before
    assert ds.version.client_timestamp < before - dt.timedelta(days=364)


def test_revisions(ds: cas.Dataset, tmp_path: Path) -> None:
    ds.tag("v1", version=ds.history[3])
    messages = {
        "main": "number 4",
        "main~": "number 3",
        "main~2": "number 2",
        "v1": "number 1",
        "v1~1~1": "Columns added",
        ds.history[2].id: "number 0",
    }
    for revision, message in messages.items():
        assert cas.open_read_only(tmp_path / "ds", revision).version.message == message
        assert cas.open_read_only(f"{tmp_path}/ds@{revision}").version.message == message


def test_prefixes_must_be_unique(tmp_path: Path) -> None:
    ds = cas.create(tmp_path / "ds", schema={"x": int})
    seen: dict[str, str] = {}
    for number in range(2000):
        ds.append({"x": [number]})
        id_ = ds.commit()
        if id_[:4] in seen:
            break
        seen[id_[:4]] = id_
    else:
        pytest.fail("no two ids share four digits")
    with pytest.raises(AmbiguousRevisionError, match="give more digits") as caught:
        ds.history[id_[:4]]
    assert sorted(caught.value.candidates) == sorted([id_, seen[id_[:4]]])
    longer = next(n for n in range(5, 64) if id_[:n] != seen[id_[:4]][:n])
    assert ds.history[id_[:longer]].id == id_


def test_tags(ds: cas.Dataset, tmp_path: Path) -> None:
    tag = ds.tag("v1.0", "as published")
    assert (tag.name, tag.message, tag.version) == ("v1.0", "as published", ds.version)
    assert ds.tags["v1.0"].id == ds.tags[tag.id].id == tag.id
    ds.tag("a", version=ds.history[1])
    assert ds.tags.names() == ["a", "v1.0"]
    assert len(ds.tags) == 2
    assert "a" in ds.tags
    assert "main" not in ds.tags
    assert [found.name for found in ds.tags] == ["a", "v1.0"]
    assert len(tag.open()) == 5
    with pytest.raises(TagExistsError):
        ds.tag("a")
    with pytest.raises(TagExistsError, match="branch 'main'"):
        ds.tag("main")
    with pytest.raises(TagNotFoundError, match="the tags are"):
        ds.tags["nope"]
    tag.rename("v1")
    assert ds.tags.names() == ["a", "v1"]
    assert ds.tags["v1"].id == tag.id
    tag.delete()
    assert ds.tags.names() == ["a"]
    with pytest.raises(TagNotFoundError, match="deleted or renamed"):
        tag.delete()
    for name in ("", "a b\n", "-x", "a..b", "a@b", "a~1", "a:b", "x" * 300, None, " a"):
        with pytest.raises(InvalidNameError):
            ds.tag(name)  # type: ignore[arg-type]
    with pytest.raises(VersionNotFoundError):
        ds.tag("z", version="nope")
    ds.append({"x": [1]})
    with pytest.raises(UncommittedChangesError):
        ds.tag("z")
    ds.tag("z", version="main~1")
    with cas.open_read_only(tmp_path / "ds") as old:
        view = old.tags["z"]
        for name in ("rename", "delete"):
            assert not hasattr(view, name)
