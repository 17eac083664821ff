"""``cas reflog``: every move of branches and tags, and that what was deleted is found again by it."""

from __future__ import annotations

from pathlib import Path

import pytest
from terminal import facts, ok, refused, usage_error

import cas
from cas.errors import StoreNotFoundError


@pytest.fixture
def url(tmp_path: Path) -> Path:
    with cas.create(tmp_path / "ds", {"x": "int64"}) as ds:
        ds.append({"x": [1]})
        ds.commit("one\nand more")
        ds.tag("v1", "as \x1bpublished")
        ds.tags["v1"].delete()
    return tmp_path / "ds"


def test_newest_first(url: Path) -> None:
    lines = [line.split() for line in ok("reflog", url).splitlines()]
    assert lines[0] == ["ref", "time", "command", "from", "to", "message"]
    assert [line[0] for line in lines[1:]] == ["v1", "v1", "main", "main", "main"]
    head = cas.open(url).version.id[:12]
    assert lines[1][-1] == head
    assert lines[2][-3:] == [head, "as", "\\x1bpublished"]
    assert lines[3][-1] == "one"


def test_one_ref_and_a_limit(url: Path) -> None:
    assert len(ok("reflog", url, "--ref", "main").splitlines()) == 4
    assert len(ok("reflog", url, "-n", "2").splitlines()) == 3
    assert ok("reflog", url, "--ref", "nope") == ""


def test_json_has_whole_ids(url: Path) -> None:
    entries = facts("reflog", url)
    version = cas.open(url).version
    assert entries[0] == {**entries[0], "ref": "v1", "command": "tag delete", "old": version.id, "new": None}
    assert entries[1]["message"] == "as \x1bpublished"
    assert entries[-1]["old"] is None
    assert ok("log", f"{url}@v1@{{1}}", "-n", "1").startswith(version.id[:12])


def test_what_is_refused(url: Path, tmp_path: Path) -> None:
    usage_error("reflog", f"{url}@main")
    refused(StoreNotFoundError, "reflog", tmp_path / "nothing")
