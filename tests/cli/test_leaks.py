"""``cas leaks``: rows in two datasets or splits, and a list for deletion that leaves one side whole."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pictures import png, write_tree
from terminal import ok, process, refused, run, usage_error

import cas
from cas import types
from cas.dataset.summary import format_bytes
from cas.errors import ColumnNotFoundError, InvalidInputError
from cas.types import Image, Nullable, Text

A, B, C, D, E = (png(seed, 10 + seed) for seed in range(5))
TRAIN = {"1.png": A, "2.png": B, "a/3.png": B, "4.png": C}
TEST = {"x.png": D, "y.png": B, "z.png": C, "w.png": E}


def make(url: Path, files: dict[str, bytes]) -> Path:
    with cas.create(url, {"path": Nullable(Text()), "image": "image"}) as ds:
        ds.append({"path": list(files), "image": list(files.values())})
        ds.commit()
    return url


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return make(tmp_path / "train", TRAIN)


@pytest.fixture
def held(tmp_path: Path) -> Path:
    return make(tmp_path / "test", TEST)


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """One dataset with a column that tells the sides."""
    url = tmp_path / "both"
    schema = {"path": Nullable(Text()), "image": "image", "split": Nullable(types.ClassLabel(["test", "train"]))}
    with cas.create(url, schema) as ds:
        ds.append({"path": list(TRAIN), "image": list(TRAIN.values()), "split": ["train"] * 4})
        ds.append({"path": list(TEST), "image": list(TEST.values()), "split": ["test"] * 4})
        ds.append({"path": ["none.png", "e.png"], "image": [A, E], "split": [None, None]})
        ds.commit()
    return url


def leaks(*args: object) -> str:
    """What the command prints where it finds leaks: the exit code is 1."""
    result = run("leaks", *args)
    assert (result.exit_code, result.stderr) == (1, ""), result.output
    return result.stdout


def facts(*args: object) -> Any:
    return json.loads(leaks(*args, "--json"))


def versions(*urls: Path) -> list[dict[str, str]]:
    return [{"dataset": str(url), "version": cas.open_read_only(url).version.id} for url in urls]


def test_rows_of_one_dataset_in_another(train: Path, held: Path) -> None:
    assert leaks(train, held).splitlines() == [
        f"3 rows of {format_bytes(len(B))}",
        f"    {train}: 2.png",
        f"    {train}: a/3.png",
        f"    {held}: y.png",
        f"2 rows of {format_bytes(len(C))}",
        f"    {train}: 4.png",
        f"    {held}: z.png",
        f"2 groups, 3 rows of {train} that stand in {held} too",
    ]


def test_json(train: Path, held: Path) -> None:
    one, two = versions(train, held)
    first = {
        "size_bytes": len(B),
        "sides": [
            {"side": str(train), "rows": [1, 2], "paths": ["2.png", "a/3.png"]},
            {"side": str(held), "rows": [1], "paths": ["y.png"]},
        ],
    }
    second = {
        "size_bytes": len(C),
        "sides": [
            {"side": str(train), "rows": [3], "paths": ["4.png"]},
            {"side": str(held), "rows": [2], "paths": ["z.png"]},
        ],
    }
    expected = {
        **one,
        "other": two,
        "column": "image",
        "by": None,
        "group_count": 2,
        "leaking_rows": 3,
        "groups": [first, second],
    }
    assert facts(train, held) == expected
    assert facts(train, held, "--limit", 1) == {**expected, "groups": [first]}
    assert facts(train, held, "--limit", 0) == {**expected, "groups": []}


def test_values_of_a_column_as_sides(both: Path) -> None:
    assert leaks(both, "--by", "split").splitlines() == [
        f"3 rows of {format_bytes(len(B))}",
        "    train: 2.png",
        "    train: a/3.png",
        "    test: y.png",
        f"2 rows of {format_bytes(len(C))}",
        "    train: 4.png",
        "    test: z.png",
        "2 groups, 5 rows that are identical but differ in 'split'",
    ]
    found = facts(both, "--by", "split")
    assert {key: found[key] for key in ("dataset", "version")} == versions(both)[0]
    assert (found["other"], found["by"], found["group_count"], found["leaking_rows"]) == (None, "split", 2, 5)
    assert found["groups"][1]["sides"] == [
        {"side": "train", "rows": [3], "paths": ["4.png"]},
        {"side": "test", "rows": [6], "paths": ["z.png"]},
    ]


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        ("text", ["a", "b", "a"]),
        ("uint8", [3, 200, 3]),
        ("bool", [True, False, True]),
        (types.ClassLabel(["no", "yes"]), ["yes", "no", "yes"]),
    ],
)
def test_columns_that_tell_sides(type_: Any, values: list[Any], tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", {"image": Image(), "side": type_}) as ds:
        ds.append({"image": [A, A, B], "side": values})
        ds.commit()
    first, second = map(str, values[:2])
    assert leaks(tmp_path / "ds", "--by", "side").splitlines()[1:3] == [f"    {first}: row 0", f"    {second}: row 1"]


def test_none_and_an_older_version(train: Path, held: Path, both: Path) -> None:
    with cas.open(train) as ds:
        ds.delete([1, 2, 3])
        ds.commit()
    assert ok("leaks", train, held) == f"0 groups, 0 rows of {train} that stand in {held} too\n"
    assert len(facts(f"{train}@main~1", held)["groups"]) == 2
    assert facts(f"{train}@main~1", train)["leaking_rows"] == 1
    assert process("leaks", train, held).returncode == 0
    assert process("leaks", train, train).returncode == 1


def test_the_limit_counts_groups_and_says_what_is_hidden(tmp_path: Path) -> None:
    files = {f"{row}": png(row) for row in range(25)}
    one, two = make(tmp_path / "one", files), make(tmp_path / "two", files)
    lines = leaks(one, two).splitlines()
    assert len([line for line in lines if line.startswith("2 rows of ")]) == 20
    assert lines[-2] == "and 5 more groups; show them with --limit"
    assert "more groups" not in leaks(one, two, "--limit", 25)
    assert len(facts(one, two)["groups"]) == 25


def test_a_side_without_paths_and_names_for_a_terminal(train: Path, tmp_path: Path) -> None:
    with cas.create(tmp_path / "bare", {"image": Nullable(Image()), "name": "text"}) as ds:
        ds.append({"image": [None, C, A], "name": ["\x1b[2J", "n", "m"]})
        ds.commit()
    lines = leaks(train, tmp_path / "bare").splitlines()
    assert lines[1:3] == [f"    {train}: 1.png", f"    {tmp_path / 'bare'}: row 2"]
    sides = facts(train, tmp_path / "bare")["groups"][0]["sides"]
    assert "paths" in sides[0]
    assert "paths" not in sides[1]
    with cas.open(tmp_path / "bare") as ds:
        ds.append({"image": [C], "name": ["\x1b[2J"]})
        ds.commit()
    assert "    \\x1b[2J: row 3" in leaks(tmp_path / "bare", "--by", "name").splitlines()


# What cannot be compared


def test_columns_that_are_missing_or_differ(train: Path, tmp_path: Path) -> None:
    raws = {"image": Image("uint8", None), "picture": Image()}
    with cas.create(tmp_path / "raws", raws):
        pass
    message = refused(InvalidInputError, "leaks", train, tmp_path / "raws")
    assert "column 'image' is of type image" in message
    assert "in the first dataset and image[raw, uint8] in the second" in message
    message = refused(ColumnNotFoundError, "leaks", tmp_path / "raws", train, "--column", "picture")
    assert message == f"{train}: there is no column 'picture'; the columns are: 'path', 'image'"
    message = refused(ColumnNotFoundError, "leaks", train, tmp_path / "raws", "--column", "path2")
    assert message.startswith(f"{train}: there is no column 'path2'")
    assert "keeps several small rows" in refused(InvalidInputError, "leaks", train, train, "--column", "path")
    with cas.create(tmp_path / "numbers", {"x": "int64"}):
        pass
    assert "no column of images" in refused(InvalidInputError, "leaks", tmp_path / "numbers", train)


def test_columns_that_do_not_tell_sides(both: Path, tmp_path: Path) -> None:
    assert "'image' of type image" in refused(InvalidInputError, "leaks", both, "--by", "image")
    assert "'nope'" in refused(ColumnNotFoundError, "leaks", both, "--by", "nope")
    with cas.create(tmp_path / "ds", {"image": Image(), "x": "float32"}):
        pass
    assert "does not tell rows apart" in refused(InvalidInputError, "leaks", tmp_path / "ds", "--by", "x")


# The list for deletion


def test_the_list_has_the_rows_of_the_first_dataset(train: Path, held: Path, tmp_path: Path) -> None:
    assert leaks(train, held, "--delete-list", "-") == "2.png\na/3.png\n4.png\n"
    assert leaks(train, held, "--delete-list", "-", "-0", "--limit", 0) == "2.png\0a/3.png\0" + "4.png\0"
    text = leaks(held, train, "--delete-list", tmp_path / "list")
    assert (tmp_path / "list").read_text() == "y.png\nz.png\n"
    assert text.endswith(f"2 groups, 2 rows of {held} that stand in {train} too\n")


def test_after_deleting_by_the_list_nothing_leaks(train: Path, held: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_tree(folder, TRAIN)
    listed = process("leaks", train, held, "--delete-list", "-", "-0")
    assert (listed.returncode, listed.stderr) == (1, b"")
    subprocess.run(["xargs", "-0", "rm", "--"], input=listed.stdout, cwd=folder, check=True)
    left = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}
    assert left == {"1.png": A}
    assert ok("leaks", make(tmp_path / "again", left), held).startswith("0 groups")


def test_the_list_of_one_side(both: Path) -> None:
    args = ("--by", "split", "--delete-list", "-", "--delete-from")
    assert leaks(both, *args, "train") == "2.png\na/3.png\n4.png\n"
    assert leaks(both, *args, "test") == "y.png\nz.png\n"
    message = refused(InvalidInputError, "leaks", both, *args, "tset")
    assert message == "no row has 'tset' in column 'split'; its values are: 'train', 'test'"


def test_a_list_that_would_do_harm_is_refused(train: Path, both: Path, tmp_path: Path) -> None:
    message = refused(InvalidInputError, "leaks", f"{train}@main", train, "--delete-list", "-")
    assert "are versions of one dataset" in message
    with cas.open(both) as ds:
        ds["path"][5] = None
        ds["path"][3] = "x.png"
        ds.commit()
    args = ("leaks", both, "--by", "split", "--delete-list", tmp_path / "list", "--delete-from")
    assert "row 5 is the first of identical rows but has no path" in refused(InvalidInputError, *args, "train")
    assert "row 5 repeats another one but has no path" in refused(InvalidInputError, *args, "test")
    with cas.open(both) as ds:
        ds["path"][5] = "y.png"
        ds.commit()
    assert "rows 3 and 4 have the same path 'x.png'" in refused(InvalidInputError, *args, "train")
    assert not (tmp_path / "list").exists()
    assert leaks(*args[1:], "test")
    assert (tmp_path / "list").read_text() == "y.png\nz.png\n"


def test_options_that_do_not_go_together(both: Path) -> None:
    assert "name a second dataset" in usage_error("leaks", both)
    assert "leave out the second one" in usage_error("leaks", both, both, "--by", "split")
    assert "-0 goes with --delete-list" in usage_error("leaks", both, both, "-0")
    assert "write the list to a file" in usage_error("leaks", both, both, "--json", "--delete-list", "-")
    assert "need --delete-from" in usage_error("leaks", both, "--by", "split", "--delete-list", "-")
    for args in (("--by", "split"), (both, "--delete-list", "-")):
        assert "--delete-from goes with" in usage_error("leaks", both, *args, "--delete-from", "train")


def test_help_shows_an_example() -> None:
    assert "Example: cas leaks " in ok("leaks", "--help")
