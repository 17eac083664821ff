"""``cas show``: one version in full."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from terminal import facts, ok, refused

import cas
from cas.errors import VersionNotFoundError
from cas.types import Array, Nullable


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "ds"
    with cas.create(path, {"x": "int64", "note": Nullable(cas.types.Text())}) as ds:
        ds.append({"x": range(10), "note": ["ab"] * 10})
        ds.commit("ten rows\n\nand why", author="Ada", details={"import": {"added": 10}})
        ds.tag("v1.0")
        ds.metadata["weights"] = np.array([1.0, np.nan, -np.inf])
        ds.metadata["made"] = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
        ds["x"].metadata["unit"] = "m"
        ds.insert(3, {"x": [100, 101], "note": [None, None]})
        ds.delete([0, 1, 9])
        ds["x"][5] = 7
        ds.commit("edited")
    return path


def test_json_of_a_version_with_everything(url: Path) -> None:
    with cas.open_read_only(url) as ds:
        version, before = ds.version, ds.history[-2]
    found = facts("show", url)
    times = {"timestamp": version.timestamp, "client_timestamp": version.client_timestamp}
    for name, time in times.items():
        text = found.pop(name)
        assert text.endswith("Z")
        assert dt.datetime.fromisoformat(text) == time
    assert found == {
        "id": version.id,
        "author": version.author,
        "message": "edited",
        "parents": [before.id],
        "branches": ["main"],
        "tags": [],
        "tree": version.tree,
        "details": {},
        "rows": 9,
        "rows_inserted": 2,
        "rows_deleted": 3,
        "columns": [
            {"name": "x", "type": "int64", "size_bytes": 9 * 8, "metadata": {"unit": "m"}},
            # Two bytes a row but for the two missing, four for each row's end, one for the mask.
            {"name": "note", "type": "text?", "size_bytes": 7 * 2 + 9 * 4 + 9, "metadata": {}},
        ],
        "metadata": {"weights": [1.0, "nan", "-inf"], "made": "2026-11-01T00:00:00+00:00"},
    }


def test_text_of_an_older_version(url: Path) -> None:
    with cas.open_read_only(url, "v1.0") as ds:
        version = ds.version
    lines = ok("show", f"{url}@v1.0").splitlines()
    assert lines[:3] == [
        f"version {version.id} (tag: v1.0)",
        f"tree:    {version.tree}",
        f"parent:  {version.parents[0]}",
    ]
    assert "author:  Ada" in lines
    assert "rows:    10 (+10 -0)" in lines
    message = lines.index("    ten rows")
    assert lines[message - 1 : message + 3] == ["", "    ten rows", "    ", "    and why"]
    assert '    import: {"added": 10}' in lines
    assert [line.split() for line in lines if line.startswith(("x ", "note "))] == [
        ["x", "int64", "80", "B"],
        ["note", "text?", "70", "B"],
    ]
    assert not any(line.startswith("metadata") for line in lines)


def test_text_of_metadata(url: Path) -> None:
    lines = ok("show", url).splitlines()
    assert lines[lines.index("metadata of x:") + 1] == '    unit: "m"'
    assert '    weights: [1.0, "nan", "-inf"]' in lines
    assert "rows:    9 (+2 -3)" in lines


def test_the_first_version_has_no_parent(url: Path) -> None:
    found = facts("show", f"{url}@main~3")
    assert (found["parents"], found["rows"], found["rows_inserted"], found["rows_deleted"]) == ([], 0, 0, 0)
    assert found["message"] == "Dataset created"
    assert "parent:" not in ok("show", f"{url}@main~3")


def test_text_from_others_cannot_drive_the_terminal(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", {"[bold]x[/bold]": Array("uint8", (2,))}) as ds:
        ds.metadata["k\x1b[1m"] = "\x1b[2J"
        ds.commit("one\x1b[2J\rtwo", author="\x07")
    text = ok("show", tmp_path / "ds")
    assert "\x1b" not in text
    assert "\r" not in text
    assert "\x07" not in text
    assert "[bold]x[/bold]" in text


def test_a_revision_that_is_none(url: Path) -> None:
    assert "'v9' names no version" in refused(VersionNotFoundError, "show", f"{url}@v9")


def test_help_shows_an_example() -> None:
    assert "Example: cas show " in ok("show", "--help")
