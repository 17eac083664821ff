"""``cas du``: tables and JSON; the counts themselves are tested in ``tests/repo``."""

from __future__ import annotations

from pathlib import Path

import pytest
from pictures import png
from terminal import facts, ok, process, refused, usage_error

import cas
from cas.dataset.summary import format_bytes
from cas.errors import NotFoundError
from cas.repo.repository import open_repository
from cas.repo.usage import dataset_usage, deletion_usage, versions_usage

OLD, SIDE, LOST, STAGED = (png(seed, 60 + seed) for seed in range(4))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset beside another one, with a tag, a branch, a deleted one and uncommitted rows."""
    lake = tmp_path_factory.mktemp("lake") / "lake"
    cas.init(lake)
    with cas.create(lake / "other", {"image": "image"}) as other:
        other.append({"image": [png(9, 50)]})
        other.commit()
    with cas.create(lake / "ds", {"image": "image"}) as ds:
        ds.append({"image": [png(9, 50), OLD]})
        ds.commit("two\nrows")
        ds.tag("v1")
        for name, image in (("side", SIDE), ("lost", LOST)):
            with ds.branch(name).open() as branch:
                branch.append({"image": [image]})
                branch.commit(name)
        ds.branches["lost"].delete(force=True)
        ds.append({"image": [STAGED]})
        ds.flush()
    return lake / "ds"


def lines_of(*args: object) -> list[list[str]]:
    return [line.split() for line in ok("du", *args).splitlines()]


def told(amount: dict[str, int]) -> list[str]:
    return [*format_bytes(amount["stored_bytes"]).split(), "in", f"{amount['blobs']:,}", "blobs"]


def test_json_is_what_was_counted(url: Path) -> None:
    repository, location = open_repository(url, read_only=True)
    dataset = repository.dataset_id(location.name)
    found = facts("du", url)
    assert found == {"dataset": str(url), **dataset_usage(repository, dataset).to_dict()}
    sizes = {ref["name"]: ref["stored_bytes"] for ref in found["refs"]}
    assert len(SIDE) < sizes["side"] < len(SIDE) + 1000
    assert sizes["main"] == sizes["v1"] == 0
    assert len(LOST) < found["reflog"]["stored_bytes"] < len(LOST) + 1000
    assert len(STAGED) < found["sessions"]["stored_bytes"] < len(STAGED) + 1000
    assert len(OLD) < found["several"]["stored_bytes"]
    assert len(png(9, 50)) <= found["elsewhere"]["stored_bytes"] < len(png(9, 50)) + 1000
    several = deletion_usage(repository, dataset, ["side", "main"])
    assert facts("du", url, "side", "main") == {"dataset": str(url), **several.to_dict()}
    versions = facts("du", url, "--versions")["versions"]
    counted = [(usage.version.hex(), usage.alone.stored_bytes) for usage in versions_usage(repository, dataset)]
    assert [(version["id"], version["stored_bytes"]) for version in versions] == counted
    assert versions[2]["tags"] == ["v1"]
    assert {"timestamp", "author", "message", "parents", "branches", "blobs"} <= versions[0].keys()


def test_table(url: Path) -> None:
    found = facts("du", url)
    lines = lines_of(url)
    assert lines[0] == ["kind", "name", "version", "bytes", "blobs"]
    assert [line[:3] for line in lines[1:4]] == [
        [ref["kind"], ref["name"], ref["version"][:12]] for ref in found["refs"]
    ]
    assert [line[1] for line in lines[1:4]] == ["main", "side", "v1"]
    assert lines[2][3:] == [*format_bytes(found["refs"][1]["stored_bytes"]).split(), str(found["refs"][1]["blobs"])]
    rest = [
        ("several", "kept by several of these"),
        ("elsewhere", "kept by other datasets too"),
        ("sessions", "kept by uncommitted rows only"),
        ("reflog", "kept by the reflog only, until its entries expire"),
        ("total", "in total"),
    ]
    assert lines[4:] == [[*told(found[name]), *text.split()] for name, text in rest]


def test_refs_that_would_be_deleted_together(url: Path) -> None:
    found = facts("du", url, "main", "v1")
    # Other branches come from the same version.
    assert found["total"]["stored_bytes"] == 0
    found = facts("du", url, "main", "v1", "side")
    assert found["total"]["stored_bytes"] > len(OLD) + len(SIDE)
    lines = lines_of(url, "main", "v1", "side")
    assert [line[1] for line in lines[1:4]] == ["main", "side", "v1"]
    assert " ".join(lines[4]) == " ".join([*told(found["several"]), "kept by several of these"])
    end = "kept by nothing else: what deleting these would free"
    assert " ".join(lines[5]) == " ".join([*told(found["total"]), end])


def test_versions(url: Path) -> None:
    found = facts("du", url, "--versions")["versions"]
    lines = lines_of(url, "--versions")
    assert lines[0] == ["version", "time", "bytes", "blobs", "refs", "message"]
    assert [line[0] for line in lines[1:]] == [version["id"][:12] for version in found]
    assert [line[-1] for line in lines[1:4]] == ["lost", "side", "two"]
    assert lines[3][-4:-1] == ["main,", "tag:", "v1"]
    assert found[0]["stored_bytes"] > len(LOST)


def test_names_and_options_that_do_not_fit(url: Path) -> None:
    message = refused(NotFoundError, "du", url, "main", "nope")
    assert message == "there is no branch or tag 'nope'; there are: 'main', 'side', 'v1'"
    assert process("du", url, "nope").returncode == 3
    assert "leave out REF" in usage_error("du", url, "main", "--versions")
    assert "has no meaning here" in usage_error("du", f"{url}@v1")


def test_a_dataset_without_the_branch_main(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", {"image": "image"}) as ds:
        ds.branches["main"].rename("trunk")
    assert [ref["name"] for ref in facts("du", tmp_path / "ds")["refs"]] == ["trunk"]
    assert "trunk" in lines_of(tmp_path / "ds", "--versions")[1]


def test_help_tells_when_bytes_become_free() -> None:
    text = " ".join(ok("du", "--help").split())
    assert "Example: cas du " in text
    assert "becomes free when the store is collected, after the reflog's entries for it have expired" in text
