"""``cas branch``: list, make, rename, delete, and bring back."""

from __future__ import annotations

from pathlib import Path

import pytest
from terminal import facts, ok, refused, usage_error

import cas
from cas.errors import (
    BranchExistsError,
    BranchNotFoundError,
    InvalidInputError,
    InvalidNameError,
    VersionNotFoundError,
)


@pytest.fixture(params=["ds", "lake/ds"])
def url(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """In a store of its own, and in one of many."""
    if request.param == "lake/ds":
        cas.init(tmp_path / "lake")
    with cas.create(tmp_path / request.param, {"x": "int64"}) as ds:
        for number in range(2):
            ds.append({"x": [number]})
            ds.commit(f"number {number}\x1b\nand more")
    return tmp_path / request.param


def branches(url: Path) -> dict[str, str]:
    with cas.open_read_only(url) as ds:
        return {branch.name: branch.version.id for branch in ds.branches}


def head(url: Path, revision: str = "main") -> str:
    with cas.open_read_only(url, revision) as ds:
        return ds.version.id


def work_on(url: Path, branch: str) -> str:
    with cas.open(url, branch) as ds:
        ds.append({"x": [9]})
        return ds.commit("only here")


def test_make_at_the_head_and_at_a_revision(url: Path) -> None:
    assert ok("branch", url, "a") == f"Made branch a at version {head(url)[:12]}\n"
    made = facts("branch", f"{url}@main~1", "b")
    assert (made["name"], made["version"]) == ("b", head(url, "main~1"))
    assert branches(url) == {"a": head(url), "b": head(url, "main~1"), "main": head(url)}
    work_on(url, "b")
    with cas.open(url) as ds:
        assert ds.x[:].tolist() == [0, 1]


def test_list(url: Path) -> None:
    ok("branch", f"{url}@main~1", "fixes")
    ok("branch", f"{url}@main~1", "zoo")
    last = work_on(url, "fixes")
    with cas.open_read_only(url) as ds:
        times = {branch.name: branch.timestamp.isoformat(timespec="seconds")[:-6] + "Z" for branch in ds.branches}
    lines = ok("branch", url).splitlines()
    assert lines[0].split() == ["branch", "version", "time", "message"]
    assert [line[:7] for line in lines[1:]] == ["  fixes", "* main ", "  zoo  "]
    assert [line[7:].rstrip().split(maxsplit=2) for line in lines[1:]] == [
        [last[:12], times["fixes"], "only here"],
        [head(url)[:12], times["main"], "number 1\\x1b"],
        [head(url, "main~1")[:12], times["zoo"], "number 0\\x1b"],
    ]


def test_json(url: Path) -> None:
    with cas.open_read_only(url) as ds:
        main = ds.branches["main"]
        assert facts("branch", url) == [
            {
                "name": "main",
                "id": main.id,
                "version": ds.version.id,
                "timestamp": main.timestamp.isoformat(timespec="microseconds")[:-6] + "Z",
                "message": "number 1\x1b\nand more",
            }
        ]


def test_list_of_one_version(url: Path) -> None:
    ok("branch", url, "b")
    ok("branch", f"{url}@main~1", "a")
    assert [branch["name"] for branch in facts("branch", f"{url}@main")] == ["b", "main"]
    assert [branch["name"] for branch in facts("branch", f"{url}@a")] == ["a"]
    assert facts("branch", f"{url}@main~2") == []
    refused(VersionNotFoundError, "branch", f"{url}@nope")


def test_a_dataset_without_main_has_a_list_of_branches_and_of_tags(url: Path) -> None:
    ok("tag", url, "v1")
    assert ok("branch", url, "--rename", "main", "trunk") == "Renamed branch main to trunk\n"
    assert ok("branch", url).splitlines()[1].startswith("  trunk ")
    assert [tag["name"] for tag in facts("tag", url)] == ["v1"]


def test_rename_and_delete(url: Path) -> None:
    ok("branch", url, "old")
    with cas.open(url, "old") as ds:
        id_ = ds.branches["old"].id
        ds.metadata["live"] = 1
    assert facts("branch", url, "--rename", "old", "new")["id"] == id_
    with cas.open(url, "new") as ds:
        assert ds.metadata["live"] == 1
    assert ok("branch", url, "--delete", "new") == f"Deleted branch new, which was at version {head(url)[:12]}\n"
    assert branches(url) == {"main": head(url)}


def test_deleting_what_nothing_else_leads_to_takes_force_and_can_be_undone(url: Path) -> None:
    ok("branch", url, "fixes")
    last = work_on(url, "fixes")
    assert "force" in refused(InvalidInputError, "branch", url, "-d", "fixes")
    assert branches(url)["fixes"] == last
    assert facts("branch", url, "-d", "fixes", "--force")["version"] == last
    assert "fixes" not in branches(url)
    assert facts("branch", f"{url}@fixes@{{1}}", "fixes")["version"] == last
    assert branches(url)["fixes"] == last
    with cas.open(url, "fixes") as ds:
        assert ds.x[:].tolist() == [0, 1, 9]


def test_names_that_are_taken_missing_or_wrong(url: Path) -> None:
    ok("branch", url, "b")
    ok("tag", url, "v1")
    before = branches(url)
    assert "branch 'b' exists already" in refused(BranchExistsError, "branch", f"{url}@main~1", "b")
    assert "tag 'v1' exists already" in refused(BranchExistsError, "branch", url, "v1")
    assert "the branches are: 'b', 'main'" in refused(BranchNotFoundError, "branch", url, "--delete", "v1")
    assert "no branch 'c'" in refused(BranchNotFoundError, "branch", url, "--rename", "c", "d")
    assert "exists already" in refused(BranchExistsError, "branch", url, "--rename", "b", "main")
    assert "'a@b' is not valid" in refused(InvalidNameError, "branch", url, "a@b")
    refused(VersionNotFoundError, "branch", f"{url}@nope", "c")
    ok("branch", url, "-d", "b")
    assert "the only one" in refused(InvalidInputError, "branch", url, "--delete", "main", "--force")
    assert {**branches(url), "b": before["b"]} == before


def test_options_that_do_not_go_together(url: Path) -> None:
    ok("branch", url, "b")
    for options in (
        ("c", "--delete", "b"),
        ("c", "--rename", "b", "d"),
        ("--delete", "b", "--rename", "b", "d"),
        ("--force",),
        ("c", "--force"),
        ("--rename", "b", "d", "--force"),
    ):
        usage_error("branch", url, *options)
    assert "ends in @main" in usage_error("branch", f"{url}@main", "--delete", "b")
    assert "ends in @main" in usage_error("branch", f"{url}@main", "--rename", "b", "c")
    assert list(branches(url)) == ["b", "main"]
