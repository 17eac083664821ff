"""``cas tag``: list, make, rename, delete."""

from __future__ import annotations

from pathlib import Path

import pytest
from terminal import facts, ok, refused, usage_error

import cas
from cas.errors import InvalidNameError, TagExistsError, TagNotFoundError, VersionNotFoundError
from cas.store.lmdb import LmdbStore


@pytest.fixture
def url(tmp_path: Path) -> Path:
    with cas.create(tmp_path / "ds", {"x": "int64"}) as ds:
        for number in range(2):
            ds.append({"x": [number]})
            ds.commit()
    return tmp_path / "ds"


def tags(url: Path) -> dict[str, tuple[str, str]]:
    with cas.open_read_only(url) as ds:
        return {tag.name: (tag.version.id, tag.message) for tag in ds.tags}


def head(url: Path, revision: str = "main") -> str:
    with cas.open_read_only(url, revision) as ds:
        return ds.version.id


def test_make_at_the_head_and_at_a_revision(url: Path) -> None:
    assert ok("tag", url, "v2", "-m", "the second") == f"Tagged version {head(url)[:12]} as v2\n"
    made = facts("tag", f"{url}@main~1", "v1")
    assert (made["name"], made["version"], made["message"]) == ("v1", head(url, "main~1"), "")
    assert tags(url) == {"v1": (head(url, "main~1"), ""), "v2": (head(url), "the second")}


def test_list(url: Path) -> None:
    assert ok("tag", url) == ""
    assert facts("tag", url) == []
    ok("tag", url, "b", "-m", "one\x1b[2J\ntwo")
    ok("tag", f"{url}@main~1", "a")
    with cas.open_read_only(url) as ds:
        b = ds.tags["b"]
    lines = ok("tag", url).splitlines()
    assert lines[0].split() == ["tag", "version", "time", "message"]
    assert lines[1].split()[:2] == ["a", head(url, "main~1")[:12]]
    assert lines[2].split() == [
        "b",
        head(url)[:12],
        b.timestamp.isoformat(timespec="seconds")[:-6] + "Z",
        "one\\x1b[2J",
    ]
    assert [tag["name"] for tag in facts("tag", url)] == ["a", "b"]
    assert facts("tag", url)[1] == {
        "name": "b",
        "id": b.id,
        "version": head(url),
        "timestamp": b.timestamp.isoformat(timespec="microseconds")[:-6] + "Z",
        "message": "one\x1b[2J\ntwo",
    }


def test_list_of_one_version(url: Path) -> None:
    ok("tag", url, "b")
    ok("tag", f"{url}@main~1", "a")
    assert [tag["name"] for tag in facts("tag", f"{url}@main")] == ["b"]
    assert [tag["name"] for tag in facts("tag", f"{url}@a")] == ["a"]
    assert facts("tag", f"{url}@main~2") == []


def test_a_list_opens_the_store_for_reading_only(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ok("tag", url, "v1")
    modes: list[bool] = []
    start = LmdbStore.__init__

    def note(self: LmdbStore, path: Path, *, read_only: bool = False) -> None:
        modes.append(read_only)
        start(self, path, read_only=read_only)

    monkeypatch.setattr(LmdbStore, "__init__", note)
    ok("tag", url)
    assert modes == [True]
    ok("tag", url, "v2")
    assert modes == [True, False]


def test_rename_and_delete(url: Path) -> None:
    ok("tag", url, "old", "-m", "why")
    with cas.open_read_only(url) as ds:
        id_ = ds.tags["old"].id
    assert ok("tag", url, "--rename", "old", "new") == "Renamed tag old to new\n"
    assert tags(url) == {"new": (head(url), "why")}
    with cas.open_read_only(url) as ds:
        assert ds.tags["new"].id == id_
    assert ok("tag", url, "--delete", "new") == f"Deleted tag new, which was at version {head(url)[:12]}\n"
    assert tags(url) == {}


def test_json_of_rename_and_delete(url: Path) -> None:
    ok("tag", url, "old")
    assert facts("tag", url, "--rename", "old", "new")["name"] == "new"
    assert facts("tag", url, "--delete", "new")["version"] == head(url)
    assert tags(url) == {}


def test_names_that_are_taken_missing_or_wrong(url: Path) -> None:
    ok("tag", url, "v1")
    before = tags(url)
    assert "tag 'v1' exists already" in refused(TagExistsError, "tag", f"{url}@main~1", "v1")
    assert "branch 'main' exists already" in refused(TagExistsError, "tag", url, "main")
    assert "no tag 'v2'; the tags are: 'v1'" in refused(TagNotFoundError, "tag", url, "--delete", "v2")
    assert "no tag 'v2'" in refused(TagNotFoundError, "tag", url, "--rename", "v2", "v3")
    assert "exists already" in refused(TagExistsError, "tag", url, "--rename", "v1", "main")
    assert "'a@b' is not valid" in refused(InvalidNameError, "tag", url, "a@b")
    refused(VersionNotFoundError, "tag", f"{url}@nope", "v2")
    assert tags(url) == before


def test_options_that_do_not_go_together(url: Path) -> None:
    ok("tag", url, "v1")
    for options in (
        ("v2", "--delete", "v1"),
        ("v2", "--rename", "v1", "v3"),
        ("--delete", "v1", "--rename", "v1", "v3"),
        ("-m", "text"),
        ("--delete", "v1", "-m", "text"),
    ):
        usage_error("tag", url, *options)
    assert "ends in @main" in usage_error("tag", f"{url}@main", "--delete", "v1")
    assert "ends in @main" in usage_error("tag", f"{url}@main", "--rename", "v1", "v2")
    assert list(tags(url)) == ["v1"]


def test_help_shows_an_example() -> None:
    assert "Example: cas tag " in ok("tag", "--help")
