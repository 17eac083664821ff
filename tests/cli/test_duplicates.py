"""``cas duplicates``: groups by what they waste, and a list for deletion that never takes the last copy."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from pictures import png, write_tree
from terminal import facts, ok, process, refused, usage_error

import cas
from cas.cli import delete_list, paths, whole_file
from cas.dataset.summary import format_bytes
from cas.errors import ColumnNotFoundError, InvalidInputError
from cas.types import Bytes, Image, Nullable, Text

A, B, C = png(1, 40), png(2), png(3)
FILES = {"a/1.png": A, "a/2.png": B, "b/1.png": C, "b/2.png": B, "b/3.png": A, "c d.png": B}


def make(url: Path, rows: list[tuple[str | None, bytes]]) -> Path:
    with cas.create(url, {"path": Nullable(Text()), "image": "image"}) as ds:
        ds.append({"path": [path for path, _ in rows], "image": [image for _, image in rows]})
        ds.commit()
    return url


@pytest.fixture
def url(tmp_path: Path) -> Path:
    return make(tmp_path / "ds", list(FILES.items()))


def test_groups_with_the_largest_waste_first(url: Path) -> None:
    large, small = format_bytes(len(A)), format_bytes(len(B))
    assert ok("duplicates", url).splitlines() == [
        f"{large} wasted: 2 rows of {large}",
        "    a/1.png",
        "    b/3.png",
        f"{format_bytes(2 * len(B))} wasted: 3 rows of {small}",
        "    a/2.png",
        "    b/2.png",
        "    c d.png",
        f"2 groups, 3 repeated rows, {format_bytes(len(A) + 2 * len(B))} wasted",
    ]


def test_json(url: Path) -> None:
    with cas.open_read_only(url) as ds:
        version = ds.version.id
    first = {"rows": [0, 4], "size_bytes": len(A), "wasted_bytes": len(A), "paths": ["a/1.png", "b/3.png"]}
    second = {
        "rows": [1, 3, 5],
        "size_bytes": len(B),
        "wasted_bytes": 2 * len(B),
        "paths": ["a/2.png", "b/2.png", "c d.png"],
    }
    expected = {
        "dataset": str(url),
        "version": version,
        "column": "image",
        "group_count": 2,
        "repeated_rows": 3,
        "wasted_bytes": len(A) + 2 * len(B),
        "groups": [first, second],
    }
    assert facts("duplicates", url) == expected
    assert facts("duplicates", url, "--limit", 1) == {**expected, "groups": [first]}
    assert facts("duplicates", url, "--limit", 0) == {**expected, "groups": []}


def test_the_limit_counts_groups_and_says_what_is_hidden(tmp_path: Path) -> None:
    url = make(tmp_path / "ds", [(f"{row}", png(row % 25)) for row in range(50)])
    lines = ok("duplicates", url).splitlines()
    assert len([line for line in lines if " wasted: " in line]) == 20
    assert lines[-2] == "and 5 more groups; show them with --limit"
    assert lines[-1].startswith("25 groups, 25 repeated rows, ")
    assert len([line for line in ok("duplicates", url, "--limit", 24).splitlines() if " wasted: " in line]) == 24
    assert "more groups" not in ok("duplicates", url, "--limit", 25)
    assert len(facts("duplicates", url)["groups"]) == 25


def test_an_older_version_and_none(url: Path) -> None:
    with cas.open(url) as ds:
        ds.delete([0, 1, 3])
        ds.commit()
    assert ok("duplicates", url) == "0 groups, 0 repeated rows, 0 B wasted\n"
    assert len(facts("duplicates", f"{url}@main~1")["groups"]) == 2


def test_rows_without_paths_go_by_number(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", {"photo": Nullable(Image()), "other": Bytes(dedup="row")}) as ds:
        ds.append({"photo": [None, A, None, A], "other": [b"x", b"y", b"x", b"z"]})
        ds.commit()
    assert ok("duplicates", tmp_path / "ds").splitlines()[1:3] == ["    row 1", "    row 3"]
    assert ok("duplicates", tmp_path / "ds", "--column", "other").splitlines()[1:3] == ["    row 0", "    row 2"]
    assert "paths" not in facts("duplicates", tmp_path / "ds")["groups"][0]
    message = refused(InvalidInputError, "duplicates", tmp_path / "ds", "--delete-list", "-")
    assert "no text column 'path'" in message
    url = make(tmp_path / "paths", [("a", A), (None, A)])
    assert ok("duplicates", url).splitlines()[1:3] == ["    a", "    row 1"]


def test_columns_that_cannot_be_compared(url: Path, tmp_path: Path) -> None:
    assert "column 'path'" in refused(InvalidInputError, "duplicates", url, "--column", "path")
    assert "no column 'nope'" in refused(ColumnNotFoundError, "duplicates", url, "--column", "nope")
    with cas.create(tmp_path / "numbers", {"x": "int64"}):
        pass
    message = refused(InvalidInputError, "duplicates", tmp_path / "numbers")
    assert message == "the dataset has no column of images; name one with --column: 'x'"


def test_paths_are_safe_on_a_terminal(tmp_path: Path) -> None:
    url = make(tmp_path / "ds", [("\x1b[2J", A), ("[red]", A)])
    assert ok("duplicates", url).splitlines()[1:3] == ["    \\x1b[2J", "    [red]"]


# The list for deletion


def test_the_list_has_all_but_the_first_of_each_group(url: Path, tmp_path: Path) -> None:
    expected = ["b/3.png", "b/2.png", "c d.png"]
    assert ok("duplicates", url, "--delete-list", "-") == "".join(f"{path}\n" for path in expected)
    assert ok("duplicates", url, "--delete-list", "-", "-0") == "".join(f"{path}\0" for path in expected)
    target = tmp_path / "list"
    target.write_text("old")
    text = ok("duplicates", url, "--delete-list", target, "-0", "--limit", 0)
    assert target.read_bytes() == "".join(f"{path}\0" for path in expected).encode()
    assert text.endswith("2 groups, 3 repeated rows, " + format_bytes(len(A) + 2 * len(B)) + " wasted\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ds", "list"]


def test_xargs_deletes_by_the_list_and_leaves_every_content(url: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    write_tree(folder, FILES)
    listed = process("duplicates", url, "--delete-list", "-", "-0")
    assert (listed.returncode, listed.stderr) == (0, b"")
    subprocess.run(["xargs", "-0", "rm", "--"], input=listed.stdout, cwd=folder, check=True)
    left = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}
    assert left == {"a/1.png": A, "a/2.png": B, "b/1.png": C}


def test_a_list_goes_through_a_pipe_and_a_link(url: Path, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    ok("duplicates", url, "--delete-list", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text().splitlines()[0] == "b/3.png"
    read, write = os.pipe()
    ok("duplicates", url, "--delete-list", f"/dev/fd/{write}")
    os.close(write)
    with open(read, "rb") as pipe:
        assert pipe.read().splitlines()[0] == b"b/3.png"


REFUSED = {
    "a line break": ([("a", A), ("b\nc", A)], "row 1: the path 'b\\nc' holds a line break"),
    "a zero byte": ([("a", A), ("b\0c", A)], "row 1: the path 'b\\x00c' holds a zero byte"),
    "a repeat without a path": ([("a", A), (None, A)], "row 1 repeats another one but has no path"),
    "a first row without a path": ([(None, A), ("b", A)], "row 0 is the first of identical rows but has no path"),
    "the path of the row that stays": ([("a", A), ("x", C), ("a", A)], "rows 0 and 2 have the same path 'a'"),
    "the path of another row": ([("a", A), ("b", A), ("b", C)], "rows 1 and 2 have the same path 'b'"),
    "the path of another repeat": ([("a", A), ("b", A), ("b", A)], "rows 1 and 2 have the same path 'b'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_list_that_would_do_harm_is_refused_as_a_whole(case: str, tmp_path: Path) -> None:
    rows, message = REFUSED[case]
    url = make(tmp_path / "ds", [*rows, ("p", B), ("q", B)])
    target = tmp_path / "list"
    target.write_text("old")
    assert message in refused(InvalidInputError, "duplicates", url, "--delete-list", target)
    assert target.read_text() == "old"
    assert message in refused(InvalidInputError, "duplicates", url, "--delete-list", "-")


def test_zero_bytes_carry_line_breaks(tmp_path: Path) -> None:
    url = make(tmp_path / "ds", [("a", A), ("b\nc", A)])
    assert "use -0" in refused(InvalidInputError, "duplicates", url, "--delete-list", "-")
    assert ok("duplicates", url, "--delete-list", "-", "-0") == "b\nc\0"


def test_paths_of_other_rows_may_repeat_or_be_missing(tmp_path: Path) -> None:
    url = make(tmp_path / "ds", [("a", A), ("x", B), ("x", C), (None, png(9)), ("b", A)])
    assert ok("duplicates", url, "--delete-list", "-") == "b\n"


def test_paths_are_told_apart_though_their_hashes_are_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delete_list, "hash", lambda path: 5, raising=False)
    monkeypatch.setattr(delete_list, "BATCH_ROWS", 2)
    monkeypatch.setattr(paths, "BATCH_ROWS", 2)
    rows = [("a", A), ("b", A), ("c", A), ("d", C), (None, png(9))]
    url = make(tmp_path / "ds", rows)
    assert ok("duplicates", url, "--delete-list", "-") == "b\nc\n"
    same = make(tmp_path / "same", [*rows, ("c", png(10))])
    assert "rows 2 and 5 have the same path 'c'" in refused(InvalidInputError, "duplicates", same, "--delete-list", "-")


def test_a_failure_while_writing_leaves_the_old_list(
    url: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "list"
    target.write_text("old")

    def fail(old: str, new: str) -> None:
        raise OSError("no")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no"), whole_file.replacing(str(target)) as file:
        file.write(b"new")
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ds", "list"]


def test_options_that_do_not_go_together(url: Path) -> None:
    assert "-0 goes with --delete-list" in usage_error("duplicates", url, "-0")
    assert "write the list to a file" in usage_error("duplicates", url, "--json", "--delete-list", "-")


def test_help_shows_an_example() -> None:
    assert "Example: cas duplicates " in ok("duplicates", "--help")
