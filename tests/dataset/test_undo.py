"""Undo: a branch goes back move by move, with its metadata and columns, and nothing is lost by it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from merged import land

import cas
from cas.errors import (
    BranchNotFoundError,
    CasError,
    ClosedError,
    ConflictError,
    ReadOnlyAttributeError,
    UncommittedChangesError,
    VersionNotFoundError,
)
from cas.store.contract import METADATA


@pytest.fixture
def ds(tmp_path: Path) -> cas.Dataset:
    return filled(tmp_path)


def filled(folder: Path) -> cas.Dataset:
    dataset = cas.create(folder / "ds", schema={"x": "int64"})
    for number in range(3):
        commit(dataset, number)
    return dataset


def commit(ds: cas.Dataset, number: int) -> str:
    """A version with another row and other metadata, and the column again where that was undone too."""
    if "x" not in ds.schema:
        ds.add_column("x", "int64")
    ds.append({"x": [number]})
    ds.metadata["last"] = number
    ds["x"].metadata[f"key {number}"] = np.float32(number)
    return ds.commit(f"number {number}\nand more")


def moves(ds: cas.Dataset, name: str = "main") -> list[tuple[str, str]]:
    return [(entry.command, entry.message) for entry in ds.reflog if entry.name == name]


def check_live(ds: cas.Dataset) -> None:
    """What the handle and those opened now show is the version, metadata included."""
    old = ds.version.open()
    for each in (ds, cas.open(ds._repository.path, ds.branch_name)):
        assert each.version == ds.version
        assert not each.has_changes
        assert each.schema == old.schema
        assert each.metadata.to_dict() == old.metadata.to_dict()
        for column in old.schema:
            assert each[column].metadata.to_dict() == old[column].metadata.to_dict()
            assert list(each[column]) == list(old[column])


def test_the_last_commit_is_undone(ds: cas.Dataset) -> None:
    before, undone = ds.history[-2:]
    count = len(ds.reflog)
    assert ds.undo() == before
    assert ds.version == before
    assert ds.x[:].tolist() == [0, 1]
    check_live(ds)
    assert len(ds.history) == 4
    entry = ds.reflog[0]
    assert (entry.name, entry.command, entry.message) == ("main", "undo", 'commit "number 2"')
    assert (entry.old, entry.new) == (undone.id, before.id)
    assert len(ds.reflog) == count + 1
    assert entry.timestamp == ds.branches["main"].timestamp > undone.timestamp
    for revision in ("main@{1}", undone.id, undone.id[:12]):
        assert ds.history[revision] == undone
    assert cas.open_read_only(f"{ds._repository.path}@main@{{1}}").x[:].tolist() == [0, 1, 2]


def test_again_goes_one_step_further_back(ds: cas.Dataset) -> None:
    versions = list(ds.history)
    for number in (3, 2, 1, 0):
        assert ds.undo() == versions[number]
        check_live(ds)
    with pytest.raises(VersionNotFoundError, match="nothing to undo"):
        ds.undo()
    assert [command for command, _ in moves(ds)] == 4 * ["undo"] + 4 * ["commit"] + ["create"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.booleans(), max_size=14))
def test_moves_are_undone_as_from_a_stack(commits: list[bool]) -> None:
    with tempfile.TemporaryDirectory() as folder, filled(Path(folder)) as ds:
        stack = [version.id for version in ds.history]
        for number, is_commit in enumerate(commits):
            if is_commit:
                stack.append(commit(ds, number))
            elif len(stack) > 1:
                left = stack.pop()
                assert ds.undo().id == stack[-1]
                assert ds.history["main@{1}"].id == left
            else:
                with pytest.raises(VersionNotFoundError):
                    ds.undo()
            assert ds.version.id == stack[-1]
        check_live(ds)


def test_columns_that_differ_get_their_metadata_back(ds: cas.Dataset) -> None:
    ds.add_column("z", "text", default="")
    ds["z"].metadata["unit"] = "lux"
    ds.commit("z")
    ds.rename_column("x", "y")
    ds.remove_column("z")
    ds.add_column("w", "int64", default=0)
    ds["y"].metadata["renamed"] = True
    ds["w"].metadata["new"] = True
    ds.commit("y, w")
    ds.undo()
    assert list(ds.schema) == ["x", "z"]
    assert ds["z"].metadata.to_dict() == {"unit": "lux"}
    assert "renamed" not in ds["x"].metadata
    check_live(ds)
    with ds._repository.store.read() as view:
        stored = len(list(view.scan(METADATA, ds._dataset)))
    assert stored == len(ds.metadata) + len(ds["x"].metadata) + len(ds["z"].metadata)
    ds.undo()
    check_live(ds)
    for name in ("y", "z", "w"):
        ds.add_column(name, "int64", default=0)
    ds.commit()
    assert [ds[name].metadata.to_dict() for name in ("y", "z", "w")] == [{}, {}, {}]
    assert ds["x"].metadata.to_dict() == {f"key {number}": number for number in range(3)}


def test_work_goes_on_from_there(ds: cas.Dataset) -> None:
    undone = ds.version.id
    ds.undo()
    ds.append({"x": [20]})
    ds.commit("another third")
    assert ds.x[:].tolist() == [0, 1, 20]
    ds.branch("rescued", version=undone)
    assert ds.branches["rescued"].open().x[:].tolist() == [0, 1, 2]
    ds.undo()
    ds.undo()
    assert moves(ds)[:2] == [("undo", 'commit "number 1"'), ("undo", 'commit "another third"')]


def test_moves_of_every_kind_are_undone(ds: cas.Dataset) -> None:
    """A merge, and a branch moved ahead by several versions at once."""
    start = ds.version
    side = land(ds, [land(ds, [ds.history[2].id], "side")], "side")
    merge = land(ds, [start.id, side], "", branch="main")
    ds.refresh()
    assert ds.undo() == start
    assert moves(ds)[0] == ("undo", "merge")
    assert ds.history[merge].parents == (start.id, side)
    check_live(ds)


def test_a_branch_goes_back_to_where_it_was_made(ds: cas.Dataset) -> None:
    made = ds.history[-2]
    fixes = ds.branch("fixes", version=made).open()
    with pytest.raises(VersionNotFoundError, match="made or renamed"):
        fixes.undo()
    commit(fixes, 7)
    assert fixes.undo() == made
    with pytest.raises(VersionNotFoundError):
        fixes.undo()
    commit(fixes, 8)
    ds.branches["fixes"].rename("bugs")
    bugs = cas.open(ds._repository.path, "bugs")
    with pytest.raises(VersionNotFoundError):
        bugs.undo()
    commit(bugs, 9)
    assert bugs.undo().message == "number 8\nand more"
    ds.branches["bugs"].delete(force=True)
    again = ds.branch("bugs", version=made).open()
    with pytest.raises(VersionNotFoundError):
        again.undo()
    assert ds.version == ds.history[-1]


def refused(ds: cas.Dataset, error: type[CasError], match: str) -> CasError:
    """Undo is refused, and the branch stays as it was."""
    before = ds.reflog
    with pytest.raises(error, match=match) as caught:
        ds.undo()
    assert ds.reflog == before
    return caught.value


def test_what_would_be_lost_is_kept(ds: cas.Dataset) -> None:
    for change in (lambda: ds.append({"x": [9]}), lambda: ds.rename_column("x", "y")):
        change()
        refused(ds, UncommittedChangesError, "commit or roll back")
        assert ds.has_changes
        ds.rollback()
    ds.metadata["live"] = 1
    refused(ds, UncommittedChangesError, "metadata")
    del ds.metadata["live"]
    ds["x"].metadata["live"] = 1
    refused(ds, UncommittedChangesError, "metadata")
    assert ds["x"].metadata["live"] == 1
    del ds["x"].metadata["live"]
    ds.undo()


def test_another_writers_commit_is_not_undone(ds: cas.Dataset, tmp_path: Path) -> None:
    other = cas.open(tmp_path / "ds")
    base, theirs = ds.version.id, commit(other, 5)
    error = refused(ds, ConflictError, "another writer")
    assert isinstance(error, ConflictError)
    assert (error.expected, error.found) == (base, theirs)
    ds.refresh()
    assert ds.undo().id == base
    other.append({"x": [6]})
    with pytest.raises(UncommittedChangesError):
        other.undo()
    other.rollback()
    refused(other, ConflictError, "another writer")
    other.refresh()
    check_live(other)


def test_a_branch_that_is_gone(ds: cas.Dataset) -> None:
    fixes = ds.branch("fixes").open()
    commit(fixes, 3)
    ds.branches["fixes"].delete(force=True)
    refused(fixes, BranchNotFoundError, "deleted or renamed")
    ds.branch("fixes", version="fixes@{1}")
    refused(fixes, BranchNotFoundError, "deleted or renamed")


def test_handles_that_cannot_write(ds: cas.Dataset) -> None:
    with pytest.raises(ReadOnlyAttributeError):
        ds.version.open().undo()
    ds.close()
    with pytest.raises(ClosedError):
        ds.undo()
