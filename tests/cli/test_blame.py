"""``cas blame``: by version, and by row."""

from __future__ import annotations

from pathlib import Path

import pytest
from pictures import png
from terminal import facts, ok, process, refused, run, usage_error

import cas
from cas.cli import blame as blame_module
from cas.errors import ColumnNotFoundError, RowNotFoundError


@pytest.fixture
def url(tmp_path: Path) -> Path:
    """Rows 0 to 9, of which other writers changed some; the last two have no path."""
    url = tmp_path / "ds"
    with cas.create(url, {"path": cas.types.Nullable("text"), "x": "int64", "image": "image"}) as ds:
        ds.append({"path": [*map(str, range(8)), None, None], "x": range(10), "image": [png(1)] * 10})
        ds.commit("appended\nin one go", author="ada")
        ds["x"][[1, 2, 5]] = -1
        ds.commit("fixed", author="grace\x1b")
        ds["x"][2] = -2
        ds.commit("again", author="ada")
    return url


def ids(url: Path) -> list[str]:
    """Of the versions that changed rows, newest first."""
    return [version["id"] for version in facts("log", url, "-n", 3)]


def test_by_version(url: Path) -> None:
    lines = [line.split() for line in ok("blame", url, "--column", "x").splitlines()]
    times = [version["timestamp"][:19] + "Z" for version in facts("log", url, "-n", 3)]
    short = [id_[:12] for id_ in ids(url)]
    assert lines == [
        ["version", "time", "author", "count", "message", "rows"],
        [short[0], times[0], "ada", "1", "again", "2"],
        [short[1], times[1], "grace\\x1b", "2", "fixed", "1,", "5"],
        [short[2], times[2], "ada", "7", "appended", "0,", "3", "to", "4,", "6", "to", "9"],
        ["10", "rows", "from", "3", "versions"],
    ]
    limited = ok("blame", url, "--column", "x", "--limit", 1).splitlines()
    assert len(limited) == 4
    assert limited[-2:] == ["and 2 more versions; show them with --limit", "10 rows from 3 versions"]


def test_by_version_as_json(url: Path) -> None:
    found = facts("blame", url, "--column", "x")
    log = facts("log", url, "-n", 3)
    runs = [[[2, 3]], [[1, 2], [5, 6]], [[0, 1], [3, 5], [6, 10]]]
    assert found == {
        "dataset": str(url),
        "version": log[0]["id"],
        "column": "x",
        "row_count": 10,
        "versions": [
            {**version, "row_count": count, "runs": run}
            for version, count, run in zip(log, (1, 2, 7), runs, strict=True)
        ],
    }
    assert len(facts("blame", url, "--column", "x", "--limit", 2)["versions"]) == 2


def test_by_row(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blame_module, "_BATCH_ROWS", 3)
    first, second, third = (id_[:12] for id_ in reversed(ids(url)))
    lines = ok("blame", url, "--column", "x", "--rows", "0:3,-1,5").splitlines()
    assert [(line.split()[0], line.split()[2:]) for line in lines] == [
        (first, ["ada", "0", "0"]),
        (second, ["grace\\x1b", "1", "-1"]),
        (third, ["ada", "2", "-2"]),
        (first, ["ada", "row", "9", "9"]),
        (second, ["grace\\x1b", "5", "-1"]),
    ]
    assert lines[0].index("0  0") == lines[1].index("1  -1")
    assert ok("blame", url, "--column", "x", "--rows", "0:3,-1,5", "--limit", 2).splitlines() == lines[:2]
    assert ok("blame", url, "--column", "x", "--rows", "3:3") == ""
    assert "png 8x8, " in ok("blame", url, "--column", "image", "--rows", "-1")


def test_by_row_as_json(url: Path) -> None:
    found = facts("blame", f"{url}@main~1", "--column", "x", "--rows", "8:,:2")
    log = facts("log", url, "-n", 3)
    first, second = (
        {"version": version["id"], **{name: version[name] for name in ("timestamp", "author", "message")}}
        for version in reversed(log[1:])
    )
    assert found["version"] == log[1]["id"]
    assert found["row_count"] == 4
    assert found["rows"] == [
        {"row": 8, **first, "value": 8},
        {"row": 9, **first, "value": 9},
        {"row": 0, **first, "path": "0", "value": 0},
        {"row": 1, **second, "path": "1", "value": -1},
    ]


def test_an_empty_dataset(tmp_path: Path) -> None:
    cas.create(tmp_path / "empty", {"x": "int64"}).close()
    assert ok("blame", tmp_path / "empty", "--column", "x") == "0 rows from 0 versions\n"
    assert facts("blame", tmp_path / "empty", "--column", "x")["versions"] == []


def test_what_is_refused(url: Path) -> None:
    assert "'nope'" in refused(ColumnNotFoundError, "blame", url, "--column", "nope")
    assert "'nope'" in refused(ColumnNotFoundError, "blame", url, "--column", "nope", "--rows", "0")
    assert "row 10 is out of range" in refused(RowNotFoundError, "blame", url, "--column", "x", "--rows", "10")
    assert process("blame", url, "--column", "x", "--rows", "10").returncode == 3
    assert "Missing option '--column'" in usage_error("blame", url)
    for rows in ("a", "1-2", "", "1:2:3", "1,,2"):
        assert "names no rows" in usage_error("blame", url, "--column", "x", "--rows", rows), rows
    assert run("blame", url, "--column", "x", "--rows", "5:100").exit_code == 0
