"""``cas recover``: what was left uncommitted, listed, committed and dropped."""

from __future__ import annotations

from pathlib import Path

import pytest
from terminal import facts, ok, process, refused, usage_error

import cas
from cas.errors import BranchNotFoundError, ConflictError, SessionNotFoundError, UncommittedChangesWarning


@pytest.fixture
def url(tmp_path: Path) -> Path:
    with cas.create(tmp_path / "ds", schema={"x": "int64", "y": "int64"}) as ds:
        ds.append({"x": [1, 2, 3], "y": [0, 0, 0]})
        ds.commit()
        ds.branch("b")
    return tmp_path / "ds"


def leave(url: Path, branch: str = "main") -> None:
    ds = cas.open(url, branch)
    ds.append({"x": [4, 5], "y": [0, 0]})
    ds.delete(0)
    ds["x"][0] = 20
    ds.rename_column("y", "z")
    ds.add_column("new", int, 0)
    with pytest.warns(UncommittedChangesWarning):
        ds.close()


def test_a_list_tells_what_was_left(url: Path) -> None:
    assert ok("recover", url) == "Nothing was left uncommitted\n"
    assert facts("recover", url, "--list") == []
    leave(url)
    (found,) = facts("recover", url)
    with cas.open(url) as ds:
        assert found["base"] == ds.version.id
        assert [found["session"]] == [id_.hex() for id_ in ds.sessions()]
    assert found["rows"] == {"inserted": 2, "deleted": 1}
    assert found["columns"] == {"added": ["new"], "removed": [], "renamed": {"y": "z"}, "updated": {"x": 1}}
    assert (found["branch"], found["alive"], found["status"], found["pid"]) == ("main", False, "left", None)
    assert found["since"] <= found["updated"]
    heading, line = ok("recover", url, "--list").splitlines()
    assert heading.split()[:3] == ["session", "branch", "began"]
    assert "+2 -1" in line
    assert "+new, y -> z, x: 1 changed" in line
    assert facts("recover", url, "--branch", "b") == []


def test_what_was_left_is_committed_on_a_branch_that_has_moved(url: Path) -> None:
    leave(url)
    leave(url, "b")
    with cas.open(url) as ds:
        ds.append({"x": [9], "y": [9]})
        head = ds.commit()
    (done,) = facts("recover", url, "--branch", "main", "--commit", "-m", "rescued")
    with cas.open(url) as ds:
        assert ds.version.id == done["version"]
        assert ds.version.parents == (head,)
        assert ds.version.message == "rescued"
        assert ds["x"][:].tolist() == [20, 3, 9, 4, 5]
        assert ds["z"][:].tolist() == [0, 0, 9, 0, 0]
        assert [session.branch for session in ds.sessions().values()] == ["b"]
    assert "b is at " in ok("recover", url, "--commit")
    assert cas.open(url, "b").version.message == "Recovered: 2 rows inserted, 1 row deleted"
    assert ok("recover", url, "--commit") == "Nothing was left uncommitted\n"


def test_conflicts_keep_what_was_left(url: Path) -> None:
    leave(url)
    with cas.open(url) as ds:
        ds["x"][1] = 7
        ds.commit()
    with pytest.warns(UncommittedChangesWarning):
        refused(ConflictError, "recover", url, "--commit")
    assert [found["status"] for found in facts("recover", url)] == ["left"]


def test_what_was_left_is_dropped(url: Path) -> None:
    leave(url)
    leave(url, "b")
    assert ok("recover", url, "--discard", "--branch", "b") == "dropped from b: 2 rows inserted, 1 row deleted\n"
    assert [found["branch"] for found in facts("recover", url, "--discard")] == ["main"]
    assert ok("recover", url, "--discard") == "Nothing was left uncommitted\n"


def test_what_is_in_use_is_left_alone_unless_it_is_named(url: Path) -> None:
    busy = cas.open(url)
    busy.append({"x": [4], "y": [4]})
    busy.flush()
    (found,) = facts("recover", url)
    assert (found["alive"], found["status"]) == (True, "in use")
    for what in ("--commit", "--discard"):
        assert facts("recover", url, what) == []
    refused(SessionNotFoundError, "recover", url, "--session", "zz", "--commit")
    (done,) = facts("recover", url, "--session", found["session"][:6], "--commit")
    assert done["version"] == cas.open(url).version.id
    busy.rollback()


def test_a_branch_that_is_gone_is_told(url: Path) -> None:
    leave(url, "b")
    with cas.open(url) as ds:
        ds.branches["b"].delete()
    assert "'b'" in refused(BranchNotFoundError, "recover", url, "--commit")
    assert len(facts("recover", url)) == 1


def test_options_that_exclude_each_other(url: Path) -> None:
    assert "exclude" in usage_error("recover", url, "--commit", "--discard")
    assert "belongs to" in usage_error("recover", url, "-m", "text")
    assert "no meaning" in usage_error("recover", f"{url}@main")


def test_commands_say_it_in_one_line(url: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with cas.create(tmp_path / "images") as ds:
        ds.add_column("path", "text")
    done = process("import", tmp_path / "empty", tmp_path / "images")
    (line,) = (line for line in done.stderr.decode().splitlines() if "uncommitted" in line)
    assert line.startswith("cas: the dataset ")
