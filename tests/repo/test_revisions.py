"""Revisions: steps back, parents, and where branches and tags were."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from long_history import counted, extend
from merged import land

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


# --- what was merged in ---------------------------------------------------------------------------------------------


@pytest.fixture
def merged(ds: cas.Dataset) -> dict[str, str]:
    """Ids by message: a line of two versions that no ref names, merged into main by an octopus, with one more root."""
    head = ds.version.id
    side = land(ds, [land(ds, [ds.history[2].id], "side 1")], "side 2")
    root = land(ds, [], "another root")
    merge = land(ds, [head, root, side], "merge", branch="main")
    return {"side 2": side, "another root": root, "side 1": ds.history[f"{side}~1"].id, "merge": merge}


def test_what_was_merged_in_is_found_by_its_id(ds: cas.Dataset, merged: dict[str, str]) -> None:
    for message, id_ in merged.items():
        assert at(ds, id_) == at(ds, id_[:12]) == message
    assert [at(ds, revision) for revision in ("main^2", "main^3", "main^3~", "main^3~2")] == [
        "another root",
        "side 2",
        "side 1",
        "number 0",
    ]


def test_the_history_goes_along_first_parents_still(ds: cas.Dataset, merged: dict[str, str]) -> None:
    ds.refresh()
    assert merged["merge"] in ds.history
    assert merged["side 2"] not in ds.history
    assert [version.message for version in ds.history][-2:] == ["number 3", "merge"]


def test_what_led_to_a_deleted_branch_is_found_by_its_id(ds: cas.Dataset) -> None:
    """Also what no entry of the reflog names itself."""
    branch = ds.branch("b", version=ds.history[1])
    first = land(ds, [ds.history[1].id], "first")
    second = land(ds, [first], "second", branch="b")
    branch.delete(force=True)
    assert at(ds, "b@{1}") == at(ds, second) == "second"
    assert at(ds, first) == "first"


def test_versions_of_other_datasets_are_not_found(tmp_path: Path) -> None:
    cas.init(tmp_path)
    ids = {}
    for name in ("one", "two"):
        with cas.create(tmp_path / name, schema={"x": "int64"}) as ds:
            ids[name] = land(ds, [ds.version.id, land(ds, [], f"root of {name}")], f"merge in {name}", branch="main")
    for name, other in (("one", "two"), ("two", "one")):
        with cas.open(tmp_path / name) as ds:
            assert ds.history[f"{ids[name]}^2"].message == f"root of {name}"
            theirs = cas.open(tmp_path / other).history[f"{ids[other]}^2"].id
            for id_ in (ids[other], theirs, theirs[:20]):
                with pytest.raises(VersionNotFoundError, match="of this dataset"):
                    ds.history[id_]


def test_only_what_was_merged_in_is_searched_for_and_down_to_its_generation(ds: cas.Dataset) -> None:
    ids = extend(ds, 3000)
    sides = [land(ds, [ids[fork]], f"side of {fork}") for fork in (100, 2900)]
    merge = land(ds, [ids[-1], *sides], "merge", branch="main")
    for id_, most in ((ids[50], 100), (merge, 100), (ids[2990], 100), (sides[1], 300), (sides[0], 3500)):
        with counted() as counts:
            ds.history[id_]
        assert counts.all < most
