"""``cas ls``: the datasets of a store, and the rows of a dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import png, png_facts
from terminal import facts, ok, refused, run, usage_error

import cas
from cas.codec import images
from cas.errors import ColumnNotFoundError, DatasetNotFoundError, InvalidInputError
from cas.types import Array, Bytes, Image, Nullable, Text

PICTURES = [png(seed, 8 + seed) for seed in range(30)]


@pytest.fixture
def url(tmp_path: Path) -> Path:
    with cas.create(tmp_path / "ds", {"path": "text", "image": "image", "label": Nullable(Text())}) as ds:
        labels = [None if row % 2 else "even" for row in range(30)]
        ds.append({"path": [f"a/{row}.png" for row in range(30)], "image": PICTURES, "label": labels})
        ds.commit()
    return tmp_path / "ds"


def table(*args: object) -> list[list[str]]:
    return [line.split() for line in ok("ls", *args).splitlines()]


def test_datasets_of_a_store(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    cas.init(lake)
    assert facts("ls", lake) == {"store": str(lake), "datasets": []}
    for name, rows in (("cats", 1500), ("a/dogs", 0)):
        with cas.create(lake / name, {"x": "int64"}) as ds:
            ds.append({"x": range(rows)})
            ds.commit()
    heads = {}
    for name in ("a/dogs", "cats"):
        with cas.open_read_only(lake / name) as view:
            heads[name] = view.version
    found = facts("ls", lake)["datasets"]
    assert [(item["name"], item["rows"], item["version"]) for item in found] == [
        ("a/dogs", 0, heads["a/dogs"].id),
        ("cats", 1500, heads["cats"].id),
    ]
    assert found[1]["timestamp"] == heads["cats"].timestamp.isoformat(timespec="microseconds")[:-6] + "Z"
    first, dogs, cats = table(lake)
    assert first == ["dataset", "rows", "version", "time"]
    assert dogs[:3] == ["a/dogs", "0", heads["a/dogs"].id[:12]]
    assert cats[:3] == ["cats", "1,500", heads["cats"].id[:12]]
    assert table(lake / "cats", "--limit", 1)[1] == ["0", "0"]
    assert "it has: 'a/dogs', 'cats'" in refused(DatasetNotFoundError, "ls", lake / "birds")
    assert "name one of them" in refused(DatasetNotFoundError, "ls", f"{lake}@main")


def test_rows_as_a_table(url: Path) -> None:
    lines = ok("ls", url).splitlines()
    assert lines[0].split() == ["row", "path", "image", "label"]
    assert len(lines) == 22
    assert lines[1].split() == ["0", "a/0.png", "png,", str(len(PICTURES[0])), "B", "even"]
    assert lines[20].split()[-1] == "null"
    with cas.open_read_only(url) as ds:
        assert lines[21] == f"rows 0 to 19 of 30, version {ds.version.id[:12]}"


def test_limit_offset_and_columns(url: Path) -> None:
    lines = table(url, "--limit", 2, "--offset", 28, "--columns", "label,path")
    assert lines[:3] == [["row", "label", "path"], ["28", "even", "a/28.png"], ["29", "null", "a/29.png"]]
    assert lines[3][:6] == ["rows", "28", "to", "29", "of", "30,"]
    assert table(url, "--offset", 30)[1][:4] == ["no", "rows", "of", "30,"]
    assert len(table(url, "--limit", 0)) == 2
    assert "no column 'size'" in refused(ColumnNotFoundError, "ls", url, "--columns", "path,size")


def test_json_is_one_document(url: Path) -> None:
    with cas.open_read_only(url) as ds:
        version = ds.version.id
    assert facts("ls", url, "--limit", 2, "--offset", 5) == {
        "dataset": str(url),
        "version": version,
        "rows": 30,
        "offset": 5,
        "columns": {"path": "text", "image": "image", "label": "text?"},
        "items": [
            {"path": "a/5.png", "image": png_facts(PICTURES[5]), "label": None},
            {"path": "a/6.png", "image": png_facts(PICTURES[6]), "label": "even"},
        ],
    }


def test_images_are_not_decoded(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(images, "_pillow")
    assert "png, " in ok("ls", url)


def test_an_older_version(url: Path) -> None:
    with cas.open(url) as ds:
        ds.delete(slice(1, None))
        ds.commit()
    assert len(facts("ls", url)["items"]) == 1
    assert len(facts("ls", f"{url}@main~1", "--limit", 50)["items"]) == 30


def test_values_of_every_type(tmp_path: Path) -> None:
    schema = {
        "flag": "bool",
        "number": "float32",
        "complex": "complex64",
        "bytes": Bytes(),
        "small": Array("int16", (2, 2)),
        "large": Array("uint8", (3, 4)),
        "varying": Nullable(Array("float64", (None,))),
        "image": Nullable(Image()),
    }
    row = {
        "flag": True,
        "number": 0.5,
        "complex": 1 + 2j,
        "bytes": b"\x01\xff",
        "small": np.array([[1, 2], [3, 4]], np.int16),
        "large": np.zeros((3, 4), np.uint8),
        "varying": np.array([1.5, np.inf]),
        "image": PICTURES[0],
    }
    with cas.create(tmp_path / "ds", schema) as ds:
        ds.append([row, {**row, "number": np.nan, "varying": None, "image": None}])
        ds.commit()
    first, second = facts("ls", tmp_path / "ds")["items"]
    image = png_facts(PICTURES[0])
    assert first == {
        "flag": True,
        "number": 0.5,
        "complex": [1.0, 2.0],
        "bytes": "01ff",
        "small": [[1, 2], [3, 4]],
        "large": [[0] * 4] * 3,
        "varying": [1.5, "inf"],
        "image": image,
    }
    assert second == {**first, "number": "nan", "varying": None, "image": None}
    lines = ok("ls", tmp_path / "ds").splitlines()
    for text in ("True", "0.5", "(1+2j)", "2 B", "[[1, 2], [3, 4]]", "uint8[3, 4]", '[1.5, "inf"]', "png, "):
        assert f"  {text}" in lines[1], text
    assert lines[2].count("null") == 2


def test_text_is_short_on_one_line_and_safe(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", {"a": "text"}) as ds:
        ds.append({"a": ["x" * 61, "x" * 60, "two\nlines\x1b[2J", "[red]r[/red]"]})
        ds.commit()
    lines = ok("ls", tmp_path / "ds").splitlines()
    assert [line.split(maxsplit=1)[1].rstrip() for line in lines[1:5]] == [
        "x" * 59 + "…",
        "x" * 60,
        "two\\nlines\\x1b[2J",
        "[red]r[/red]",
    ]
    assert facts("ls", tmp_path / "ds")["items"][2] == {"a": "two\nlines\x1b[2J"}


def test_paths(url: Path) -> None:
    names = [f"a/{row}.png" for row in range(30)]
    assert ok("ls", url, "--paths") == "".join(f"{name}\n" for name in names)
    assert ok("ls", url, "--paths", "-0") == "".join(f"{name}\0" for name in names)
    assert ok("ls", url, "--paths", "--offset", 3, "--limit", 2) == "a/3.png\na/4.png\n"


def test_paths_with_line_breaks_need_zero_bytes(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", {"path": "text"}) as ds:
        ds.append({"path": ["one", "t\nwo", "dr\u00e9i \x1b"]})
        ds.commit()
    assert ok("ls", tmp_path / "ds", "--paths", "-0") == "one\0t\nwo\0dr\u00e9i \x1b\0"
    message = refused(InvalidInputError, "ls", tmp_path / "ds", "--paths")
    assert message == "row 1: the path 't\\nwo' holds a line break, so it cannot stand on a line; use -0"


def test_rows_without_a_path_are_left_out_and_told(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", {"path": Nullable(Text())}) as ds:
        ds.append({"path": ["a", None, "b", None]})
        ds.commit()
    result = run("ls", tmp_path / "ds", "--paths")
    assert (result.exit_code, result.stdout) == (1, "a\nb\n")
    assert result.stderr == "left out 2 rows without a path\n"


def test_paths_need_a_column_of_text(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", {"path": "int64"}) as ds:
        ds.append({"path": [1]})
        ds.commit()
    assert "no text column 'path'" in refused(InvalidInputError, "ls", tmp_path / "ds", "--paths")


def test_options_that_do_not_go_together(url: Path) -> None:
    assert "-0 goes with --paths" in usage_error("ls", url, "-0")
    assert "leave out --json" in usage_error("ls", url, "--paths", "--json")
    assert "leave out --json" in usage_error("ls", url, "--paths", "--columns", "path")


def test_help_shows_an_example() -> None:
    assert "Example: cas ls " in ok("ls", "--help")
