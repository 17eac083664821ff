"""``cas undo``."""

from __future__ import annotations

from pathlib import Path

import pytest
from terminal import facts, ok, process, refused, usage_error

import cas
from cas.dataset.branches import Branches
from cas.errors import BranchNotFoundError, ConflictError, UncommittedChangesError, VersionNotFoundError


@pytest.fixture
def url(tmp_path: Path) -> Path:
    with cas.create(tmp_path / "ds", {"x": "int64"}) as ds:
        for number in range(3):
            ds.append({"x": [number]})
            ds.metadata["last"] = number
            ds.commit(f"number {number}\x1b\nand more")
    return tmp_path / "ds"


def ids(url: Path, revision: str = "main") -> list[str]:
    with cas.open_read_only(url, revision) as ds:
        return [version.id for version in ds.history]


def test_one_step_back_and_another(url: Path) -> None:
    before = ids(url)
    short = [id_[:12] for id_ in before]
    assert ok("undo", url) == (
        f'main is back at {short[-2]} "number 1\\x1b"; undone: commit "number 2\\x1b" ({short[-1]}), which is still '
        f"main@{{1}}\n"
    )
    assert ids(url) == before[:-1]
    assert ids(url, "main@{1}") == before
    with cas.open(url) as ds:
        assert ds.metadata["last"] == 1
        assert ds.reflog[0].command == "undo"
    assert f"({short[-2]})" in ok("undo", url)
    assert ids(url) == before[:-2]


def test_json(url: Path) -> None:
    before = ids(url)
    assert facts("undo", url) == {
        "branch": "main",
        "version": facts("log", url, "-n", 1)[0],
        "undone": {"command": "commit", "message": "number 2\x1b\nand more", "version": before[-1]},
    }
    assert facts("log", url, "-n", 1)[0]["id"] == before[-2]


def test_another_branch(url: Path) -> None:
    before = ids(url)
    ok("branch", f"{url}@main~1", "fixes")
    with cas.open(url, "fixes") as ds:
        ds.append({"x": [9]})
        ds.commit()
    undone = ids(url, "fixes")[-1][:12]
    assert ok("undo", url, "--branch", "fixes") == (
        f'fixes is back at {before[-2][:12]} "number 1\\x1b"; undone: commit ({undone}), which is still fixes@{{1}}\n'
    )
    assert ids(url, "fixes") == before[:-1]
    assert ids(url) == before
    assert "nothing to undo: branch 'fixes'" in refused(VersionNotFoundError, "undo", url, "--branch", "fixes")
    assert process("undo", url, "--branch", "fixes").returncode == 3


def test_what_is_refused(url: Path) -> None:
    before = ids(url)
    assert "the branches are: 'main'" in refused(BranchNotFoundError, "undo", url, "--branch", "nope")
    assert "ends in @main~1" in usage_error("undo", f"{url}@main~1")
    with cas.open(url) as ds:
        ds.metadata["live"] = True
    assert "metadata" in refused(UncommittedChangesError, "undo", url)
    assert ids(url) == before


def test_a_branch_that_moves_meanwhile(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Just after the command has read where it is."""
    find = Branches.__getitem__

    def move(self: Branches, name: str) -> object:
        branch = find(self, name)
        monkeypatch.undo()
        version = branch.version
        with cas.open(url) as ds:
            ds.append({"x": [9]})
            ds.commit("theirs")
        monkeypatch.setattr(type(branch), "version", version)
        return branch

    monkeypatch.setattr(Branches, "__getitem__", move)
    assert "another writer" in refused(ConflictError, "undo", url)
    monkeypatch.undo()
    with cas.open_read_only(url) as ds:
        assert ds.version.message == "theirs"
