"""``cas log``: order, limits, what a line holds, and that it looks only at the versions it shows."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from merged import land
from terminal import facts, ok, refused, usage_error

import cas
from cas.errors import DatasetNotFoundError, StoreNotFoundError, VersionNotFoundError
from cas.history.records import load_version
from cas.store.gate import Gate


@pytest.fixture
def url(tmp_path: Path) -> Path:
    """Five versions: created, columns added, and three with messages."""
    with cas.create(tmp_path / "ds", {"x": "int64"}) as ds:
        for number in range(3):
            ds.append({"x": [number]})
            ds.commit(f"number {number}\nand more", author=f"author {number}")
    return tmp_path / "ds"


def ids(url: Path) -> list[str]:
    with cas.open_read_only(url) as ds:
        return [version.id for version in ds.history]


def test_newest_first(url: Path) -> None:
    lines = ok("log", url).splitlines()
    assert [line[:12] for line in lines] == [id_[:12] for id_ in reversed(ids(url))]
    assert lines[0].endswith(" author 2 (main) number 2")
    assert lines[1].endswith(" author 1 number 1")
    assert lines[4].endswith(" Dataset created")


def test_a_line_has_the_storage_time_in_utc(url: Path) -> None:
    with cas.open_read_only(url) as ds:
        time = ds.version.timestamp
    text = ok("log", url).splitlines()[0].split()[1]
    assert dt.datetime.fromisoformat(text) == time.replace(microsecond=0)
    assert text.endswith("Z")


def test_a_revision_limits_and_reverse(url: Path) -> None:
    oldest = [id_[:12] for id_ in ids(url)]

    def shown(*args: object) -> list[str]:
        return [line[:12] for line in ok("log", *args).splitlines()]

    assert shown(f"{url}@main~2") == oldest[2::-1]
    assert shown(f"{url}@{oldest[1]}") == oldest[1::-1]
    assert shown(url, "-n", 2) == oldest[:2:-1]
    assert shown(url, "-n", 99) == oldest[::-1]
    assert shown(url, "--reverse") == oldest
    assert shown(url, "--reverse", "-n", 2) == oldest[3:]
    assert shown(f"{url}@main~1", "--reverse", "--limit", 1) == oldest[3:4]


@pytest.mark.parametrize("options", [(), ("--reverse",), ("--graph",), ("--all",), ("--all", "--reverse")])
def test_it_looks_only_at_the_versions_it_shows(
    url: Path, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with cas.open(url) as ds:
        for number in range(40):
            ds.append({"x": [number]})
            ds.commit()
    loaded: list[bytes] = []

    def count(gate: Gate, hash_: bytes) -> object:
        loaded.append(hash_)
        return load_version(gate, hash_)

    monkeypatch.setattr("cas.repo.repository.load_version", count)
    assert len(ok("log", url, "-n", 3, *options).splitlines()) == 3
    assert len(loaded) == 3


def test_tags_and_branches_of_each_version(url: Path) -> None:
    with cas.open(url) as ds:
        ds.tag("v2")
        ds.tag("also v2")
        ds.tag("v1", version="main~1")
    lines = ok("log", url).splitlines()
    assert "(main, tag: also v2, tag: v2)" in lines[0]
    assert "(tag: v1)" in lines[1]
    assert "(" not in lines[2]
    found = facts("log", url)
    assert [(version["branches"], version["tags"]) for version in found[:3]] == [
        (["main"], ["also v2", "v2"]),
        ([], ["v1"]),
        ([], []),
    ]


def test_the_counts_of_an_import(url: Path) -> None:
    counts = {"added": 5, "changed": 1, "removed": 2, "unchanged": 100}
    with cas.open(url) as ds:
        ds.append({"x": [7]})
        ds.commit("spring", details={"import": counts})
    assert ok("log", url, "-n", 1).endswith("(main) +5 ~1 -2 spring\n")
    found = facts("log", url)
    assert found[0]["import"] == counts
    assert "import" not in found[1]


@pytest.mark.parametrize("details", [{"import": "text"}, {"import": [1]}, {"import": {"added": "many"}}, {"other": 1}])
def test_details_that_no_import_wrote_are_passed_over(url: Path, details: dict[str, object]) -> None:
    with cas.open(url) as ds:
        ds.append({"x": [7]})
        ds.commit("spring", details=details, author="me")
    assert ok("log", url, "-n", 1).endswith("Z me (main) spring\n")
    assert "import" not in facts("log", url)[0]


def test_json_has_the_whole_message_and_times_in_full(url: Path) -> None:
    with cas.open_read_only(url) as ds:
        version = ds.version
    (found,) = facts("log", url, "-n", 1)
    assert found == {
        "id": version.id,
        "timestamp": version.timestamp.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "author": "author 2",
        "message": "number 2\nand more",
        "parents": list(version.parents),
        "branches": ["main"],
        "tags": [],
    }


def test_control_characters_do_not_reach_the_terminal(url: Path) -> None:
    with cas.open(url) as ds:
        ds.append({"x": [7]})
        ds.commit("\x1b[2J[red]gone[/red]", author="a\x07b")
    line = ok("log", url, "-n", 1)
    assert line.endswith(" a\\x07b (main) \\x1b[2J[red]gone[/red]\n")


def test_what_does_not_exist_is_named(url: Path, tmp_path: Path) -> None:
    assert "'nope' names no version" in refused(VersionNotFoundError, "log", f"{url}@nope")
    assert "goes back further" in refused(VersionNotFoundError, "log", f"{url}@main~9")
    assert str(tmp_path / "other") in refused(StoreNotFoundError, "log", tmp_path / "other")
    cas.init(tmp_path / "lake")
    assert "has no dataset 'cats'" in refused(DatasetNotFoundError, "log", tmp_path / "lake" / "cats")
    assert "'-n'" in usage_error("log", url, "-n", 0)


# --- through all parents ---------------------------------------------------------------------------------------------


@pytest.fixture
def merged(url: Path) -> Path:
    """Main with a branch merged in, which goes on, and another root with a tag."""
    with cas.open(url) as ds:
        number_0 = ds.history["main~2"].id
        ds.branch("fixes", version=number_0)
        fix = land(ds, [number_0], "fix", branch="fixes")
        land(ds, [ds.version.id, fix], "merge", branch="main")
        land(ds, [fix], "fix again", branch="fixes")
        ds.branch("scratch")
        ds.tag("imported", version=land(ds, [], "elsewhere", branch="scratch"))
        ds.branches["scratch"].delete()
    return url


def messages(*args: object) -> list[str]:
    return [version["message"].partition("\n")[0] for version in facts("log", *args)]


def test_a_picture_of_all_that_leads_to_a_revision(merged: Path) -> None:
    with cas.open_read_only(merged) as ds:
        names = {version.message.partition("\n")[0]: version.id[:12] for version in ds.history}
        names["fix"] = ds.history["main^2"].id[:12]
    expected = [
        ("* ", "merge"),
        ("|\\", ""),
        ("| * ", "fix"),
        ("* | ", "number 2"),
        ("* | ", "number 1"),
        ("|/", ""),
        ("* ", "number 0"),
        ("* ", "Columns added"),
        ("* ", "Dataset created"),
    ]
    lines = ok("log", merged, "--graph").splitlines()
    plain = ok("log", merged).splitlines()
    assert [line[: len(row)] for line, (row, _) in zip(lines, expected, strict=True)] == [row for row, _ in expected]
    shown = [line[len(row) :] for line, (row, _) in zip(lines, expected, strict=True)]
    assert [line[:12] for line in shown] == [names.get(message, "")[:12] for _, message in expected]
    assert [line for line in shown if line and not line.startswith(names["fix"])] == plain
    assert ok("log", f"{merged}@main~1", "--graph").splitlines() == [f"* {line}" for line in plain[1:]]


def test_all_starts_at_every_branch_and_tag(merged: Path) -> None:
    line = ["number 2", "number 1", "number 0", *messages(f"{merged}@main~4")]
    assert messages(merged) == ["merge", *line]
    assert messages(merged, "--graph") == ["merge", "fix", *line]
    assert messages(merged, "--all") == ["elsewhere", "fix again", "merge", "fix", *line]
    assert messages(merged, "--all", "--graph") == messages(merged, "--all")
    assert messages(merged, "--all", "--reverse", "-n", 2) == ["fix again", "elsewhere"]
    assert messages(merged, "--all", "--graph", "-n", 3) == ["elsewhere", "fix again", "merge"]
    rows = ok("log", merged, "--all", "--graph").splitlines()
    assert [row.split("*")[0] for row in rows[:5]] == ["", "", "", "| ", "|/|"]
    assert "(tag: imported) elsewhere" in rows[0]
    assert ok("log", merged, "--all").splitlines() == [
        row.partition("* ")[2].lstrip("| ") for row in rows if "*" in row
    ]


def test_all_adds_what_a_revision_names_beside_the_refs(merged: Path) -> None:
    with cas.open(merged) as ds:
        ds.branches["fixes"].delete(force=True)
    assert "fix again" not in messages(merged, "--all")
    assert messages(f"{merged}@fixes@{{1}}", "--all")[:2] == ["elsewhere", "fix again"]


def test_all_needs_no_main(merged: Path) -> None:
    before = messages(merged, "--all")
    with cas.open(merged) as ds:
        ds.branches["main"].rename("trunk")
    assert messages(merged, "--all") == before
    refused(VersionNotFoundError, "log", merged, "--graph")


def test_json_has_all_parents(merged: Path) -> None:
    found = facts("log", merged, "--graph")
    ids = {version["message"]: version["id"] for version in found}
    assert found[0]["parents"] == [found[2]["id"], ids["fix"]]
    assert found == facts("log", f"{merged}@main", "--graph")


def test_a_picture_begins_with_the_newest(url: Path) -> None:
    assert "--reverse" in usage_error("log", url, "--graph", "--reverse")


def test_help_shows_an_example() -> None:
    assert "Example: cas log " in ok("log", "--help")
