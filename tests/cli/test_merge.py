"""``cas merge``, and ``cas revert``: what is said of where a branch goes, and of conflicts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pictures import png
from terminal import facts, ok, process, refused, run, usage_error

import cas
from cas.dataset.dataset import Dataset
from cas.errors import BranchNotFoundError, ConflictError, InvalidInputError, VersionNotFoundError

SCHEMA = {"path": "text", "image": "image", "label": cas.types.ClassLabel(["cat", "dog", "cow"])}
PICTURES = [png(seed) for seed in range(6)]


@pytest.fixture
def url(tmp_path: Path) -> Path:
    """A dataset with a branch at the first of two versions with rows."""
    url = tmp_path / "ds"
    with cas.create(url, SCHEMA) as ds:
        ds.append({"path": list("abcd"), "image": PICTURES[:4], "label": ["cat"] * 4})
        ds.commit("first")
        ds.branch("fixes")
    return url


def change(url: Path, branch: str, row: int, label: str, message: str = "fixed") -> str:
    with cas.open(url, branch) as ds:
        ds["label"][row] = label
        return ds.commit(message)


def head(url: Path, branch: str = "main") -> str:
    with cas.open_read_only(url, branch) as ds:
        return ds.version.id


@pytest.fixture
def conflicting(url: Path) -> Path:
    with cas.open(url) as ds:
        ds["label"][0] = "dog"
        ds["image"][1] = PICTURES[4]
        ds.metadata["by"] = "us"
        ds.add_column("note", "text", default="")
        ds.commit("ours")
    with cas.open(url, "fixes") as ds:
        ds["label"][0] = "cow"
        ds.delete([1])
        ds.metadata["by"] = "them"
        ds.add_column("note", "int64", default=0)
        ds.commit("theirs")
    return url


def test_nothing_to_merge(url: Path) -> None:
    before = head(url)
    short = before[:12]
    text = f"main is at {short} already, which has all of fixes ({short}): nothing to merge\n"
    assert ok("merge", url, "fixes") == text
    newer = change(url, "main", 0, "dog")
    assert ok("merge", url, "@fixes") == text.replace(f"at {short}", f"at {newer[:12]}")
    assert facts("merge", url, "fixes")["outcome"] == "nothing"
    assert head(url) == newer


def test_a_branch_moves_forward(url: Path) -> None:
    before, fixed = head(url), change(url, "fixes", 2, "dog")
    assert ok("merge", url, "fixes") == (
        f"main moved forward from {before[:12]} to fixes ({fixed[:12]}): 1 value of 'label' updated\n"
    )
    assert head(url) == fixed


def test_a_merge(url: Path) -> None:
    fixed = change(url, "fixes", 2, "dog")
    with cas.open(url) as ds:
        ds.append({"path": ["e"], "image": PICTURES[5:], "label": ["cow"]})
        before = ds.commit("appended")
    found = facts("merge", f"{url}@main", f"{url}@fixes")
    assert found == {
        "branch": "main",
        "outcome": "merge",
        "old": before,
        "version": facts("log", url, "-n", 1)[0],
        "named": facts("log", f"{url}@fixes", "-n", 1)[0],
        "changes": {
            "rows_inserted": 0,
            "rows_deleted": 0,
            "values_updated": {"label": 1},
            "columns_added": 0,
            "columns_removed": 0,
            "columns_renamed": 0,
            "metadata_changes": 0,
        },
    }
    assert found["version"]["parents"] == [before, fixed]
    assert found["version"]["message"] == "Merge fixes into main"
    assert head(url) == found["version"]["id"]


def test_into_another_branch_with_a_message(url: Path) -> None:
    change(url, "fixes", 2, "dog")
    main = change(url, "main", 1, "cow")
    text = ok("merge", f"{url}@fixes", main[:8], "-m", "both")
    version = head(url, "fixes")
    assert text == f"merged {main[:12]} into fixes as version {version[:12]}: 1 value of 'label' updated\n"
    assert head(url) == main
    assert facts("log", f"{url}@fixes", "-n", 1)[0]["message"] == "both"


def test_conflicts_are_listed_and_nothing_changes(conflicting: Path) -> None:
    before = head(conflicting)
    done = process("merge", conflicting, "fixes")
    assert done.returncode == 4
    assert done.stderr.decode() == ("cas: 4 conflicts; nothing was changed; decide with --on-conflict ours or theirs\n")
    heading, *lines = done.stdout.decode().splitlines()
    assert heading.split() == ["conflict", "row", "column", "base", "ours", "theirs"]
    cells = {tuple(line.split()[:3]): line for line in lines}
    assert cells["cell", "a", "label"].split()[3:] == ["cat", "dog", "cow"]
    assert cells["row", "b", "image"].count("pixels uint8[8, 8]") == 2
    assert cells["row", "b", "image"].endswith("  -")
    assert cells["metadata", "'by'", "-"].split()[2:] == ["-", '"us"', '"them"']
    assert cells["column", "note", "-"].split()[2:] == ["-", "text", "int64"]
    assert head(conflicting) == before


def test_more_conflicts_than_are_shown(conflicting: Path) -> None:
    lines = run("merge", conflicting, "fixes", "--limit", 1).stdout.splitlines()
    assert lines[2:] == ["and 3 more conflicts; show them with --limit"]
    assert run("merge", conflicting, "fixes", "--limit", 0).stdout.splitlines() == [
        "and 4 more conflicts; show them with --limit"
    ]


def test_conflicts_as_json(conflicting: Path) -> None:
    result = run("merge", conflicting, "fixes", "--json")
    assert result.exit_code == 4
    found = json.loads(result.stdout)
    assert (found["branch"], found["outcome"], found["conflict_count"]) == ("main", "conflict", 4)
    assert found["version"]["id"] == head(conflicting)
    assert found["named"]["id"] == head(conflicting, "fixes")
    by_kind = {conflict["kind"]: conflict for conflict in found["conflicts"]}
    assert by_kind["cell"] == {
        "kind": "cell",
        "column": "label",
        "row": 0,
        "theirs_row": 0,
        "path": "a",
        "base": "cat",
        "ours": "dog",
        "theirs": "cow",
    }
    assert by_kind["row"]["base"]["shape"] == [8, 8]
    assert {"theirs", "theirs_row", "key"} & by_kind["row"].keys() == set()
    assert by_kind["metadata"] == {"kind": "metadata", "key": "by", "ours": "us", "theirs": "them"}
    assert by_kind["column"] == {"kind": "column", "column": "note", "ours": "text", "theirs": "int64"}
    assert len(json.loads(run("merge", conflicting, "fixes", "--json", "--limit", 1).stdout)["conflicts"]) == 1


@pytest.mark.parametrize(("decision", "label", "rows"), [("ours", 1, 4), ("theirs", 2, 3)])
def test_conflicts_decided(conflicting: Path, decision: str, label: int, rows: int) -> None:
    assert ok("merge", conflicting, "fixes", "--on-conflict", decision).startswith("merged fixes (")
    with cas.open_read_only(conflicting) as ds:
        assert (ds["label"][0], len(ds)) == (label, rows)


def test_a_row_of_theirs_is_named_by_its_path_there(url: Path) -> None:
    with cas.open(url) as ds:
        ds.delete([3])
        ds.commit()
    change(url, "fixes", 3, "dog")
    line = run("merge", url, "fixes").stdout.splitlines()[1]
    assert line.split() == ["row", "d", "label", "cat", "-", "dog"]


def test_another_writer_meanwhile(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Just after the branch was opened; what it brought is not told as what the merge brought."""
    change(url, "fixes", 2, "dog")
    merge = Dataset.merge
    late: list[str] = []

    def slow(self: Dataset, *args: object) -> str:
        late.append(change(url, "main", 0, "cow"))
        return merge(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Dataset, "merge", slow)
    found = facts("merge", url, "fixes")
    assert found["old"] == late[0]
    assert found["changes"]["values_updated"] == {"label": 1}


def test_what_is_refused(url: Path, tmp_path: Path) -> None:
    cas.create(tmp_path / "other").close()
    assert "there is no branch 'nope'" in refused(BranchNotFoundError, "merge", f"{url}@nope", "main")
    assert "names no version" in refused(VersionNotFoundError, "merge", url, "nope")
    assert "is another dataset" in refused(InvalidInputError, "merge", url, tmp_path / "other")
    assert "is another dataset" in refused(InvalidInputError, "revert", url, tmp_path / "other")
    assert "there is no branch" in refused(BranchNotFoundError, "revert", f"{url}@nope", "main")
    assert "names no version" in refused(VersionNotFoundError, "revert", url, "nope")
    assert "'mine' is not one of" in usage_error("merge", url, "fixes", "--on-conflict", "mine")


def test_revert(url: Path) -> None:
    first = head(url)
    change(url, "main", 0, "dog")
    change(url, "main", 1, "cow")
    text = ok("revert", url, "main~2", "-m", "as it was")
    version = head(url)
    assert text == (
        f"main has the content of main~2 ({first[:12]}) again, as version {version[:12]}: 2 values of 'label' updated\n"
    )
    assert facts("log", url, "-n", 1)[0]["message"] == "as it was"
    with cas.open_read_only(url) as ds, cas.open_read_only(url, first) as old:
        assert ds.version.tree == old.version.tree


def test_nothing_to_revert(url: Path) -> None:
    before = head(url)
    short = before[:12]
    assert ok("revert", url, short) == (
        f"main is at {short} already, which has the content of {short}: nothing to revert\n"
    )
    assert facts("revert", url, "@fixes")["outcome"] == "nothing"
    assert head(url) == before


def test_revert_as_json_on_a_branch(url: Path) -> None:
    first = head(url)
    fixed = change(url, "fixes", 0, "dog")
    found = facts("revert", f"{url}@fixes", f"{url}@main")
    assert (found["branch"], found["outcome"], found["old"]) == ("fixes", "revert", fixed)
    assert found["version"]["message"] == "Revert to main"
    assert found["named"]["id"] == first
    assert head(url) == first


def test_a_revert_does_not_take_back_what_it_has_not_seen(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(url, "main", 0, "dog")
    revert = Dataset.revert_to

    def slow(self: Dataset, *args: object) -> str:
        change(url, "main", 1, "cow")
        return revert(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Dataset, "revert_to", slow)
    refused(ConflictError, "revert", url, "fixes")
    with cas.open_read_only(url) as ds:
        assert ds["label"][:2].tolist() == [1, 2]
