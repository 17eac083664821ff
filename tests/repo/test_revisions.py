"""Revisions: steps back, parents, and where branches and tags were."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

import cas
from cas.errors import NotFoundError, VersionNotFoundError


@pytest.fixture
def ds(tmp_path: Path) -> cas.Dataset:
    dataset = cas.create(tmp_path / "ds", schema={"x": "int64"})
    for number in range(4):
        dataset.append({"x": [number]})
        dataset.commit(f"number {number}")
    return dataset


def at(ds: cas.Dataset, revision: str) -> str:
    """The message of the version that a revision names, in every way it can be given."""
    messages = {
        cas.open_read_only(ds._repository.path, revision).version.message,
        cas.open_read_only(f"{ds._repository.path}@{revision}").version.message,
        ds.history[revision].message,
        ds.tag("spare", version=revision).version.message,
    }
    ds.tags["spare"].delete()
    (message,) = messages
    return message


def test_steps_and_parents(ds: cas.Dataset) -> None:
    ds.tag("v1", version="main~1")
    expected = {"main~": 2, "main~0": 3, "main^": 2, "main^1": 2, "main^0": 3, "main^^": 1, "main~2^": 0, "v1^": 1}
    for revision, number in expected.items():
        assert at(ds, revision) == f"number {number}"
    assert at(ds, f"{ds.version.id[:12]}^^~1") == "number 0"
    with pytest.raises(VersionNotFoundError, match="parent 2 of a version that has 1"):
        at(ds, "main^2")
    with pytest.raises(VersionNotFoundError, match="parent 1 of a version that has 0"):
        at(ds, "main~5^")


def test_moves_ago(ds: cas.Dataset) -> None:
    assert [at(ds, f"main@{{{moves}}}") for moves in range(4)] == [f"number {3 - moves}" for moves in range(4)]
    assert at(ds, "main@{1}~1") == "number 1"
    with pytest.raises(VersionNotFoundError, match="was not there then"):
        at(ds, "main@{6}")


def test_at_a_time(ds: cas.Dataset) -> None:
    times = [version.timestamp for version in ds.history]
    for version in ds.history:
        assert at(ds, f"main@{{{version.timestamp.isoformat()}}}") == version.message
    between = (times[-1] - (times[-1] - times[-2]) / 2).astimezone(dt.timezone(dt.timedelta(hours=5, minutes=30)))
    assert at(ds, f"main@{{{between.isoformat()}}}") == "number 2"
    assert at(ds, f"main@{{{times[-1].replace(tzinfo=None).isoformat()}}}") == "number 3"
    assert at(ds, "main@{9999-01-01}") == "number 3"
    for wrong in ("main@{2001-01-01}", "main@{yesterday}", "main@{}", "main@{1}{2}", "nope@{0}", "@{1}", "main@{-1}"):
        with pytest.raises(NotFoundError):
            at(ds, wrong)


def test_what_was_deleted_comes_back(ds: cas.Dataset) -> None:
    ds.tag("v1", version="main~2")
    b = ds.branch("b").open()
    b.append({"x": [9]})
    lost = b.commit("only here")
    ds.branches["b"].delete(force=True)
    ds.tags["v1"].delete()
    for revision in ("b", "b@{0}", "v1"):
        with pytest.raises(NotFoundError):
            at(ds, revision)
    assert ds.branch("b", version="b@{1}").version.id == lost
    assert ds.tag("v1", version="v1@{1}").version == ds.history["main~2"]
    assert ds.branch("old", version="b@{3}").version == ds.version


def test_the_reflog(ds: cas.Dataset) -> None:
    ds.tag("v1", "as published")
    ds.tags["v1"].rename("v2")
    entries = ds.reflog
    assert [(entry.name, entry.command) for entry in entries[:4]] == [
        ("v2", "tag rename"),
        ("v1", "tag rename"),
        ("v1", "tag"),
        ("main", "commit"),
    ]
    assert entries[2].message == "as published"
    assert (entries[1].old, entries[1].new) == (ds.version.id, None)
    assert (entries[-1].name, entries[-1].command, entries[-1].old) == ("main", "create", None)
    assert [entry.timestamp for entry in entries] == sorted((entry.timestamp for entry in entries), reverse=True)
    assert [entry.new for entry in entries if entry.name == "main"] == [version.id for version in reversed(ds.history)]
    assert ds.version.open().reflog == entries


def test_names_that_begin_another_are_told_apart(ds: cas.Dataset) -> None:
    ds.branch("main2", version="main~3")
    assert at(ds, "main2@{0}") == "number 0"
    assert at(ds, "main@{0}") == "number 3"
    with pytest.raises(VersionNotFoundError):
        at(ds, "main2@{1}")
