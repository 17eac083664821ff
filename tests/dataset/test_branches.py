"""Branches: made at any version, opened for writing, renamed and deleted with care; metadata of their own."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

import cas
from cas.errors import (
    BranchExistsError,
    BranchNotFoundError,
    InvalidInputError,
    InvalidNameError,
    TagExistsError,
    UncommittedChangesError,
    VersionNotFoundError,
)


@pytest.fixture
def ds(tmp_path: Path) -> cas.Dataset:
    dataset = cas.create(tmp_path / "ds", schema={"x": "int64"})
    for number in range(3):
        dataset.append({"x": [number]})
        dataset.metadata["last"] = number
        dataset["x"].metadata["last"] = number
        dataset.commit(f"number {number}")
    return dataset


def test_a_branch_begins_at_the_current_version(ds: cas.Dataset) -> None:
    branch = ds.branch("fixes")
    assert (branch.name, branch.version) == ("fixes", ds.version)
    assert len(branch.id) == 32
    fixes = branch.open()
    assert fixes.branch_name == "fixes"
    fixes["x"][0] = 100
    fixes.commit("fixed")
    assert branch.version == fixes.version
    assert branch.timestamp == fixes.version.timestamp
    assert ds["x"][:].tolist() == [0, 1, 2]
    ds.refresh()
    assert ds["x"][:].tolist() == [0, 1, 2]
    assert [version.message for version in fixes.history][-2:] == ["number 2", "fixed"]
    assert ds.branches.names() == ["fixes", "main"]


def test_a_branch_begins_at_any_version_with_its_metadata(ds: cas.Dataset, tmp_path: Path) -> None:
    ds.metadata["last"] = "live"
    ds.tag("v1", version=ds.history[2])
    for number, version in enumerate([ds.history[2], ds.history[2].id, ds.history[2].id[:12], "v1", "main~2"]):
        old = ds.branch(f"old{number}", version=version).open()
        assert old["x"][:].tolist() == [0]
        assert old.metadata.to_dict() == {"last": 0}
        assert old["x"].metadata.to_dict() == {"last": 0}
        assert not old.has_changes
    old.metadata["last"] = "old"
    assert ds.metadata["last"] == "live"
    assert cas.open(tmp_path / "ds", "old4").metadata["last"] == "old"
    assert cas.open(f"{tmp_path}/ds@old4").branch_name == "old4"
    assert cas.open_read_only(f"{tmp_path}/ds@old4").version == ds.history[2]


def test_what_branch_refuses(ds: cas.Dataset) -> None:
    ds.tag("v1")
    ds.branch("b")
    for taken in ("b", "main", "v1"):
        with pytest.raises(BranchExistsError, match="exists already"):
            ds.branch(taken)
    with pytest.raises(TagExistsError):
        ds.tag("b")
    for name in ("", " ", "a b\n", "-x", "a..b", "a@b", "a~1", "a:b", "x" * 300, None, 5):
        with pytest.raises(InvalidNameError):
            ds.branch(name)  # type: ignore[arg-type]
    for version in ("nope", "", "main~99", "0" * 64, 5):
        with pytest.raises(VersionNotFoundError):
            ds.branch("c", version=version)  # type: ignore[arg-type]
    ds.append({"x": [9]})
    with pytest.raises(UncommittedChangesError):
        ds.branch("c")
    assert ds.branch("c", version="main").version == ds.version
    assert ds["x"][:].tolist() == [0, 1, 2, 9]


def test_looking_branches_up(ds: cas.Dataset) -> None:
    branch = ds.branch("b")
    branches = ds.branches
    assert len(branches) == 2
    assert [found.name for found in branches] == ["b", "main"]
    assert branches["b"] == branches[branch.id] == branch
    assert "b" in branches
    assert branch in branches
    assert "nope" not in branches
    ds.tag("v1")
    assert "v1" not in branches
    with pytest.raises(BranchNotFoundError, match="the branches are: 'b', 'main'"):
        branches["nope"]
    assert pickle.loads(pickle.dumps(branch)) == branch
    assert repr(branch) == f"<Branch 'b' at {ds.version.id[:12]}>"
    view = ds.version.open().branches["b"]
    assert view == branch
    assert isinstance(view.open(), cas.ReadOnlyDataset)
    assert not hasattr(view, "delete")
    assert branch.open_async().result().branch_name == "b"


def test_renaming_takes_metadata_and_sessions_along(ds: cas.Dataset, tmp_path: Path) -> None:
    branch = ds.branch("b")
    b = branch.open()
    b.metadata["live"] = True
    b["x"].metadata["live"] = True
    b.append({"x": [7]})
    b.flush()
    same = ds.branches["b"]
    branch.rename("c")
    assert branch.name == "c"
    assert ds.branches.names() == ["c", "main"]
    assert same.version == ds.version
    assert same.name == "c"
    c = cas.open(tmp_path / "ds", "c")
    assert c.metadata.to_dict() == {"last": 2, "live": True}
    assert c["x"].metadata.to_dict() == {"last": 2, "live": True}
    with pytest.raises(BranchNotFoundError):
        b.commit()
    assert [session.branch for session in c.sessions().values()] == ["c"]
    ds.branch("b")
    assert cas.open(tmp_path / "ds", "b").metadata.to_dict() == {"last": 2}
    with pytest.raises(BranchExistsError):
        branch.rename("main")
    b.rollback()


def test_deleting_an_unmerged_branch_needs_force(ds: cas.Dataset, tmp_path: Path) -> None:
    branch = ds.branch("b")
    b = branch.open()
    b.append({"x": [7]})
    b.commit("only here")
    with pytest.raises(InvalidInputError, match="force"):
        branch.delete()
    ds.tag("kept", version="b")
    branch.delete()
    assert ds.branches.names() == ["main"]
    for use in (branch.delete, branch.open, lambda: branch.rename("c"), lambda: branch.version):
        with pytest.raises(BranchNotFoundError, match="was deleted"):
            use()
    assert "deleted" in repr(branch)
    with pytest.raises(BranchNotFoundError):
        cas.open(tmp_path / "ds", "b")
    again = ds.branch("b", version="main~1").open()
    assert again.metadata.to_dict() == {"last": 1}
    again.append({"x": [8]})
    again.commit()
    ds.branches["b"].delete(force=True)
    assert "b" not in ds.branches


def test_the_only_branch_stays(ds: cas.Dataset) -> None:
    with pytest.raises(InvalidInputError, match="the only one"):
        ds.branches["main"].delete(force=True)
    assert ds.branches.names() == ["main"]
    ds.branch("trunk")
    ds.branches["main"].delete()
    assert ds.branches.names() == ["trunk"]
    ds.append({"x": [1]})
    with pytest.raises(BranchNotFoundError, match=r"recover\(\) it there"):
        ds.commit()
    ds.rollback()


def test_schema_changes_stay_on_their_branch(ds: cas.Dataset) -> None:
    b = ds.branch("b").open()
    b.rename_column("x", "y")
    b.commit()
    assert b["y"].metadata.to_dict() == {"last": 2}
    ds.refresh()
    assert list(ds.schema) == ["x"]
    assert ds["x"].metadata.to_dict() == {"last": 2}
