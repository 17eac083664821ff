"""``cas diff``: which versions are compared, what is said, and how little is read for it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import png, png_facts
from terminal import facts, ok, process, refused, run, usage_error

import cas
from cas.cli.opened import SHORT_DIGITS
from cas.dataset.column import ReadOnlyColumn
from cas.errors import ColumnNotFoundError, InvalidInputError, VersionNotFoundError
from cas.hashing import hash_chunk

PICTURES = [png(seed) for seed in range(4)]
SCHEMA = {"path": "text", "image": "image", "label": "text", "old": "int64"}


@pytest.fixture
def url(tmp_path: Path) -> Path:
    """Three rows, of which the second version changes everything that there is."""
    url = tmp_path / "lake" / "photos"
    cas.init(tmp_path / "lake")
    with cas.create(url, SCHEMA) as ds:
        ds.append({"path": ["a", "b\x1b", "c"], "image": PICTURES[:3], "label": ["x", "y", "z"], "old": [1, 2, 3]})
        ds.metadata["source"] = "camera"
        ds.metadata["gone"] = [1]
        ds.tag("v1", version=ds.commit("first\nversion"))
        ds.delete([0])
        ds["label"][0] = "Y"
        ds["image"][1] = PICTURES[3]
        ds.append({"path": ["d"], "image": PICTURES[:1], "label": ["w"], "old": [4]})
        ds.remove_column("old")
        ds.rename_column("label", "class")
        ds.add_column("note", cas.types.Nullable("text"))
        ds.metadata["source"] = {"name": "scanner"}
        del ds.metadata["gone"]
        ds["image"].metadata["mean"] = 0.5
        ds.commit("second")
    return url


def size(seed: int) -> str:
    return f"png 8x8, {len(PICTURES[seed])} B, {hash_chunk(PICTURES[seed]).hex()[:8]}"


def ids(url: Path) -> list[str]:
    with cas.open_read_only(url) as ds:
        return [version.id for version in ds.history]


def compared(*args: object) -> tuple[str, str]:
    found = facts("diff", *args)
    return found["a"]["id"], found["b"]["id"]


def test_everything_in_words(url: Path) -> None:
    lines = ok("diff", url).splitlines()
    first, second = ids(url)[-2:]
    assert lines[0].split()[:2] == ["from", first[:SHORT_DIGITS]]
    assert lines[0].endswith(" (tag: v1) first")
    assert lines[1].split()[:2] == ["to", second[:SHORT_DIGITS]]
    assert lines[1].endswith(" (main) second")
    assert lines[2:] == [
        "",
        "+ column 'note': text?",
        "- column 'old': int64",
        "~ column 'label' renamed to 'class'",
        "- metadata 'gone': [1]",
        """~ metadata 'source': "camera" to {"name": "scanner"}""",
        "+ metadata of 'image' 'mean': 0.5",
        "1 row inserted",
        "1 row deleted",
        "1 value of 'image' updated",
        "1 value of 'class' updated",
        "",
        "inserted:",
        f"row  path  image{' ' * (len(size(0)) - 5)}  class  note",
        f'  2  "d"   {size(0)}  "w"    null',
        "",
        "deleted:",
        f"row  path  image{' ' * (len(size(0)) - 5)}  label  old",
        f'  0  "a"   {size(0)}  "x"    1',
        "",
        "values of 'image' updated:",
        f"row  old{' ' * (len(size(2)) - 3)}  new",
        f"c    {size(2)}  {size(3)}",
        "",
        "values of 'class' updated:",
        "row    old  new",
        'b\\x1b  "y"  "Y"',
    ]


def test_counts_only(url: Path) -> None:
    lines = ok("diff", url, "--stat").splitlines()
    assert lines == ok("diff", url, "--limit", 0).splitlines()
    assert lines[2:] == ok("diff", url).splitlines()[2:13]


def test_json(url: Path) -> None:
    found = facts("diff", url)
    log = facts("log", url)
    assert found == {
        "dataset": str(url),
        "a": log[1],
        "b": log[0],
        "counts": {
            "rows_inserted": 1,
            "rows_deleted": 1,
            "values_updated": {"image": 1, "class": 1},
            "columns_added": 1,
            "columns_removed": 1,
            "columns_renamed": 1,
            "metadata_changes": 3,
        },
        "schema": {
            "added": {"note": "text?"},
            "removed": {"old": "int64"},
            "renamed": {"label": "class"},
            "reordered": False,
        },
        "metadata": [
            {"column": None, "key": "gone", "kind": "removed", "old": [1]},
            {"column": None, "key": "source", "kind": "changed", "old": "camera", "new": {"name": "scanner"}},
            {"column": "image", "key": "mean", "kind": "added", "new": 0.5},
        ],
        "inserted": {
            "count": 1,
            "runs": [[2, 3]],
            "items": [{"row": 2, "values": {"path": "d", "image": png_facts(PICTURES[0]), "class": "w", "note": None}}],
        },
        "deleted": {
            "count": 1,
            "runs": [[0, 1]],
            "items": [{"row": 0, "values": {"path": "a", "image": png_facts(PICTURES[0]), "label": "x", "old": 1}}],
        },
        "updated": {
            "image": {
                "count": 1,
                "runs": [[1, 2]],
                "items": [
                    {
                        "row": 1,
                        "old_row": 2,
                        "path": "c",
                        "old": png_facts(PICTURES[2]),
                        "new": png_facts(PICTURES[3]),
                    }
                ],
            },
            "class": {
                "count": 1,
                "runs": [[0, 1]],
                "items": [{"row": 0, "old_row": 1, "path": "b\x1b", "old": "y", "new": "Y"}],
            },
        },
    }
    counts = facts("diff", url, "--stat")
    assert counts["inserted"] == {"count": 1, "runs": [[2, 3]], "items": []}
    assert counts["updated"]["class"] == {"count": 1, "runs": [[0, 1]], "items": []}


def test_which_versions(url: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = ids(url)
    with cas.open(url) as ds:
        ds.branch("side/fixes", version="v1")
    last, before, first = versions[-1], versions[-2], versions[0]
    assert compared(url) == (before, last)
    assert compared(f"{url}@v1") == (before, last)
    assert compared(f"{url}@{first}") == (first, last)
    assert compared(f"{url}@main") == (last, last)
    for other in ("@v1", "v1", f"{url}@v1", f"file://{url}@v1", before, before[:6], "main~1", "main@{1}", "side/fixes"):
        assert compared(f"{url}@main", other) == (last, before), other
        assert compared(url, other) == (last, before), other
    assert compared(f"{url}@v1", url) == (before, last)
    monkeypatch.chdir(tmp_path / "lake")
    assert compared("photos@main", "v1") == (last, before)
    assert compared("photos@main", "side/fixes") == (last, before)
    assert compared("photos@v1", "photos") == (before, last)


def test_versions_that_are_not_there(url: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "lake" / "other", tmp_path / "elsewhere"):
        cas.create(path).close()
        assert "is another dataset than" in refused(InvalidInputError, "diff", url, path)
        assert "is another dataset than" in refused(InvalidInputError, "diff", url, f"{path}@main")
    assert "is the first one" in refused(InvalidInputError, "diff", tmp_path / "elsewhere")
    assert "'nope' names no version" in refused(VersionNotFoundError, "diff", url, "nope")
    assert "'nope' names no version" in refused(VersionNotFoundError, "diff", url, "@nope")
    assert process("diff", url, tmp_path / "elsewhere").returncode == 2


def test_no_differences_and_the_exit_code(url: Path) -> None:
    assert ok("diff", url, "@main", "--exit-code").splitlines()[2:] == ["", "no differences"]
    assert run("diff", url).exit_code == 0
    assert run("diff", url, "--exit-code", "--stat").exit_code == 1
    assert process("diff", url, "--exit-code", "--json").returncode == 1


def test_more_than_is_shown(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", {"x": "int64"}) as ds:
        ds.append({"x": range(30)})
        ds.commit()
        ds.delete(slice(0, 12))
        ds["x"][:11] = -1
        ds.append({"x": range(13)})
        ds.commit()
    lines = ok("diff", tmp_path / "ds").splitlines()
    assert [line for line in lines if line.startswith("and ")] == [
        f"and {count} more {word}; show them with --limit" for count, word in ((3, "rows"), (2, "rows"), (1, "value"))
    ]
    assert [line.split() for line in lines[-3:-1]] == [["row", "8", "20", "-1"], ["row", "9", "21", "-1"]]
    assert "and " not in ok("diff", tmp_path / "ds", "--limit", 13)
    assert len(facts("diff", tmp_path / "ds", "--limit", 2)["inserted"]["items"]) == 2


@pytest.fixture
def rows_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each access to a column reads."""
    read: list[int] = []
    get, stored = ReadOnlyColumn.__getitem__, ReadOnlyColumn.bytes

    def counted_get(self: ReadOnlyColumn, index: Any) -> Any:
        read.append(len(range(len(self))[index]) if isinstance(index, slice) else np.size(index))
        return get(self, index)

    def counted_bytes(self: ReadOnlyColumn, row: int) -> bytes:
        read.append(1)
        return stored(self, row)

    monkeypatch.setattr(ReadOnlyColumn, "__getitem__", counted_get)
    monkeypatch.setattr(ReadOnlyColumn, "bytes", counted_bytes)
    return read


def test_no_value_is_read_that_is_not_shown(tmp_path: Path, rows_read: list[int]) -> None:
    with cas.create(tmp_path / "ds", {"path": "text", "x": "float64", "image": "image"}) as ds:
        rows = {"path": [str(row) for row in range(3000)], "x": np.arange(3000.0), "image": [PICTURES[0]] * 3000}
        ds.append(rows)
        ds.commit()
        ds.delete(slice(0, 1000))
        ds["x"][:] = 0.5
        ds["image"][:1500] = [PICTURES[1]] * 1500
        ds.append(rows)
        ds.commit()
    rows_read.clear()
    ok("diff", tmp_path / "ds", "--stat")
    assert rows_read == []
    ok("diff", tmp_path / "ds", "--limit", 4)
    assert 0 < sum(rows_read) <= 4 * (3 + 3 + 3 + 3)
    rows_read.clear()
    facts("diff", tmp_path / "ds", "--limit", 4)
    assert 0 < sum(rows_read) <= 4 * (3 + 3 + 3 + 3)


def test_values_of_many_types(tmp_path: Path) -> None:
    """Old and new ones, without decoding an image."""
    schema = {"raw": cas.types.Image("uint8", None), "time": "datetime", "vector": cas.types.Embedding(9)}
    with cas.create(tmp_path / "ds", schema) as ds:
        moment = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
        ds.append([{"raw": np.zeros((2, 3), np.uint8), "time": moment, "vector": np.zeros(9, np.float32)}])
        ds.commit()
        ds["raw"][0] = np.ones((2, 3), np.uint8)
        ds["time"][0] = moment.replace(year=2027)
        ds["vector"][0] = np.ones(9, np.float32)
        ds.commit()
    text = ok("diff", tmp_path / "ds")
    assert text.count("raw uint8[2, 3], 6 B, ") == 2
    assert "2026-11-01T00:00:00+00:00  2027-11-01T00:00:00+00:00" in text
    assert text.count("float32[9], ") == 2
    assert facts("diff", tmp_path / "ds")["updated"]["vector"]["items"][0]["new"] == [1.0] * 9


def test_columns_in_another_order(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", {"a": "int64", "b": "int64"}) as ds:
        ds.remove_column("a")
        ds.add_column("a", "int64")
        ds.commit()
    assert "~ columns in another order" in ok("diff", tmp_path / "ds")


def test_options_that_do_not_go_together(url: Path) -> None:
    assert "--column goes with --contact-sheet" in usage_error("diff", url, "--column", "image")
    assert "'nope'" in refused(ColumnNotFoundError, "diff", url, "--contact-sheet", "x.png", "--column", "nope")
