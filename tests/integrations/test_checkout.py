"""A version to files: bit for bit, only what differs, nobody else's files, and never outside of the folder."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from pathlib import Path

import other_process
import pytest
from pictures import png, read_tree, write_tree

import cas
from cas.errors import InvalidInputError, StoreError
from cas.integrations.folder import checkout as checkout_module
from cas.integrations.folder.checkout import CheckoutConflictError, CheckoutResult, checkout
from cas.integrations.folder.importing import COLUMNS, import_folder
from cas.integrations.folder.manifest import _SCHEMA as SCHEMA

FILES = {"a/1.png": png(1), "a/2.png": png(2), "a/b/3.png": png(3), "c.png": png(1)}


def make(url: Path, files: list[tuple[str, bytes]]) -> str:
    """Makes a version of the given rows, paths as they are."""
    with cas.open(url) if cas.exists(url) else cas.create(url, schema=COLUMNS) as ds:
        ds.delete(slice(None))
        paths, images = [path for path, _ in files], [content for _, content in files]
        ds.append({"path": paths, "image": images, "label": [None] * len(files)})
        return ds.commit()


def out(url: Path, folder: Path, version: str | None = None, **options: bool) -> CheckoutResult:
    with cas.open_read_only(url, version) as ds:
        return checkout(ds, folder, **options)


@pytest.fixture
def url(tmp_path: Path) -> Path:
    make(tmp_path / "ds", list(FILES.items()))
    return tmp_path / "ds"


def test_files_are_written_bit_for_bit(url: Path, tmp_path: Path) -> None:
    result = out(url, tmp_path / "out")
    assert (result.written, result.unchanged, result.removed) == (4, 0, 0)
    assert result.written_bytes == sum(map(len, FILES.values()))
    assert read_tree(tmp_path / "out") == FILES


def test_a_second_checkout_writes_only_what_differs(url: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    out(url, target)
    inodes = {path: (target / path).stat().st_ino for path in FILES}
    first = cas.open_read_only(url).version.id
    files = {"a/1.png": png(9), "a/2.png": png(2), "c.png": png(1), "d/new.png": png(4)}
    make(url, list(files.items()))
    result = out(url, target)
    assert (result.written, result.unchanged, result.removed) == (2, 2, 1)
    assert read_tree(target) == files
    assert not (target / "a/b").exists()  # the directory that became empty is gone
    kept = {path for path in files if (target / path).stat().st_ino == inodes.get(path)}
    assert kept == {"a/2.png", "c.png"}
    back = out(url, target, first)
    assert (back.written, back.unchanged, back.removed) == (2, 2, 1)
    assert read_tree(target) == FILES


def test_foreign_and_changed_files_are_not_replaced_without_force(url: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    write_tree(target, {"c.png": b"mine", "notes.txt": b"keep"})
    with pytest.raises(CheckoutConflictError, match=r"'c\.png'.*Nothing was written") as caught:
        out(url, target)
    assert caught.value.paths == ["c.png"]
    assert read_tree(target) == {"c.png": b"mine", "notes.txt": b"keep"}
    out(url, target, force=True)
    assert read_tree(target) == {**FILES, "notes.txt": b"keep"}

    (target / "a/2.png").write_bytes(b"edited")
    make(url, [("a/1.png", png(1)), ("a/2.png", png(22))])
    with pytest.raises(CheckoutConflictError) as caught:
        out(url, target)
    assert caught.value.paths == ["a/2.png"]
    assert (target / "a/b/3.png").exists()
    out(url, target, force=True)
    assert read_tree(target) == {"a/1.png": png(1), "a/2.png": png(22), "notes.txt": b"keep"}


def test_a_changed_file_that_is_no_more_in_the_version_is_kept(url: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    out(url, target)
    (target / "c.png").write_bytes(b"edited")
    make(url, [("a/1.png", png(1))])
    with pytest.raises(CheckoutConflictError) as caught:
        out(url, target)
    assert caught.value.paths == ["c.png"]
    assert read_tree(target) == {**FILES, "c.png": b"edited"}


def test_files_that_hold_the_content_already_stay_whose_they_are(url: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    write_tree(target, {"c.png": png(1), "a/1.png": png(1)})
    result = out(url, target)
    assert (result.written, result.unchanged) == (2, 2)
    (target / "c.png").touch()
    (target / "a/2.png").touch()
    assert out(url, target).unchanged == 4
    make(url, [("a/1.png", png(9))])
    with pytest.raises(CheckoutConflictError) as caught:
        out(url, target)
    assert caught.value.paths == ["a/1.png"]
    make(url, [("d.png", png(9))])
    out(url, target)
    assert read_tree(target) == {"a/1.png": png(1), "c.png": png(1), "d.png": png(9)}


def test_a_checkout_that_was_killed_goes_on(url: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out"

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt  # a signal may meet a finalizer of something else, which swallows it

    with monkeypatch.context() as patch:
        patch.setattr(checkout_module._Checkout, "_note", interrupt)
        with pytest.raises(KeyboardInterrupt):
            out(url, target)
    again = out(url, target)
    assert again.written + again.unchanged == 4
    assert read_tree(target) == FILES
    make(url, [("c.png", png(7))])
    out(url, target)
    assert read_tree(target) == {"c.png": png(7)}


def test_deleted_files_are_written_again(url: Path, tmp_path: Path) -> None:
    out(url, tmp_path / "out")
    (tmp_path / "out/a/2.png").unlink()
    assert out(url, tmp_path / "out").written == 1
    assert read_tree(tmp_path / "out") == FILES


@pytest.mark.parametrize(
    "path",
    [
        "../evil.png",
        "/tmp/evil.png",
        "a/../../evil.png",
        "a//b.png",
        "./x.png",
        "",
        "a/",
        "x\0y.png",
        ".cas-checkout",
        "n" * 256,
    ],
)
def test_paths_that_lead_outside_are_left_out(tmp_path: Path, path: str) -> None:
    make(tmp_path / "ds", [(path, png(1)), ("good.png", png(2))])
    before = set(tmp_path.iterdir())
    result = out(tmp_path / "ds", tmp_path / "in/out")
    assert [item.path for item in result.skipped] == [path]
    assert "not safe" in result.skipped[0].reason
    assert read_tree(tmp_path / "in/out") == {"good.png": png(2)}
    assert set(tmp_path.iterdir()) - before == {tmp_path / "in"}
    assert [child.name for child in (tmp_path / "in").iterdir()] == ["out"]


@pytest.mark.parametrize("force", [False, True])
def test_links_are_not_followed(url: Path, tmp_path: Path, force: bool) -> None:
    outside = tmp_path / "outside"
    write_tree(outside, {"1.png": b"precious"})
    target = tmp_path / "out"
    target.mkdir()
    (target / "a").symlink_to(outside)
    (target / "c.png").symlink_to(outside / "1.png")
    if force:
        out(url, target, force=True)
        assert read_tree(target) == FILES
        assert not (target / "a").is_symlink()
        assert not (target / "c.png").is_symlink()
    else:
        with pytest.raises(CheckoutConflictError) as caught:
            out(url, target)
        assert caught.value.paths == ["a/1.png", "a/2.png", "a/b/3.png", "c.png"]
    assert read_tree(outside) == {"1.png": b"precious"}


def test_a_link_planted_after_a_checkout_does_not_lead_out(url: Path, tmp_path: Path) -> None:
    target, outside = tmp_path / "out", tmp_path / "outside"
    out(url, target)
    write_tree(outside, {"3.png": FILES["a/b/3.png"]})
    (target / "a/b/3.png").unlink()
    (target / "a/b").rmdir()
    (target / "a/b").symlink_to(outside)
    make(url, [("c.png", png(1))])  # would remove a/b/3.png
    with pytest.raises(CheckoutConflictError):
        out(url, target)
    assert (outside / "3.png").exists()


def test_rows_of_one_path_and_files_in_place_of_directories_are_left_out(tmp_path: Path) -> None:
    make(tmp_path / "ds", [("a", png(1)), ("a/b.png", png(2)), ("c.png", png(3)), ("c.png", png(4))])
    result = out(tmp_path / "ds", tmp_path / "out")
    assert [item.path for item in result.skipped] == ["c.png", "a/b.png"]
    assert read_tree(tmp_path / "out") == {"a": png(1), "c.png": png(3)}


def test_a_directory_in_the_way_is_reported_even_with_force(url: Path, tmp_path: Path) -> None:
    write_tree(tmp_path / "out", {"c.png/inside.txt": b"mine"})
    with pytest.raises(CheckoutConflictError):
        out(url, tmp_path / "out")
    result = out(url, tmp_path / "out", force=True)
    assert [item.path for item in result.skipped] == ["c.png"]
    assert (tmp_path / "out/c.png/inside.txt").read_bytes() == b"mine"


def test_datasets_without_images_and_targets_that_are_files_are_refused(url: Path, tmp_path: Path) -> None:
    with cas.create(tmp_path / "numbers", schema={"x": int}):
        pass
    with pytest.raises(InvalidInputError, match="needs a column 'path'"):
        out(tmp_path / "numbers", tmp_path / "out")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidInputError, match="is not a folder"):
        out(url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b""


def test_large_images_survive_the_round_trip(tmp_path: Path) -> None:
    large = png(5, 1500)
    assert len(large) > 2**20
    write_tree(tmp_path / "in", {"large.png": large, "small.png": png(1), "twin.png": large})
    with cas.create(tmp_path / "ds") as ds:
        import_folder(tmp_path / "in", ds)
    out(tmp_path / "ds", tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(tmp_path / "in")
    os.truncate(tmp_path / "out/large.png", 100)
    with pytest.raises(CheckoutConflictError):
        out(tmp_path / "ds", tmp_path / "out")


def test_what_a_killed_checkout_left_is_removed_by_the_next(url: Path, tmp_path: Path) -> None:
    script = """
from cas.integrations.folder.checkout import checkout
calls = []
real = os.rename
def killed(*arguments, **named):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), 9)
    return real(*arguments, **named)
os.rename = killed
checkout(cas.open_read_only(url), Path(sys.argv[2]), jobs=1)
"""
    target = tmp_path / "out"
    assert other_process.run(script, url, str(target)).returncode == -signal.SIGKILL
    left = list(target.rglob(".cas-writing-*"))
    assert left
    (target / "mine").mkdir()
    (target / "mine" / ".cas-writing-by-another").write_text("mine")
    out(url, target)
    assert not any(path.exists() for path in left)
    assert read_tree(target) == {**FILES, "mine/.cas-writing-by-another": b"mine"}


RECORDS = {
    "noise": b"no database" * 1000,
    "a view": "CREATE VIEW files AS SELECT 'a' AS path, x'00' AS key, 1 AS size, 1 AS mtime_ns",
    "a trigger": f"{SCHEMA}; CREATE TRIGGER t AFTER INSERT ON files BEGIN DELETE FROM files; END",
    "another table": "CREATE TABLE files (path TEXT PRIMARY KEY, key BLOB, size INTEGER)",
    "a path of bytes": f"{SCHEMA}; INSERT INTO files VALUES (x'ff', x'00', 1, 1)",
    "a size of text": f"{SCHEMA}; INSERT INTO files VALUES ('a', x'00', 'x', 1)",
    "a path that leads out": f"{SCHEMA}; INSERT INTO files VALUES ('../victim', x'00', 6, 1)",
    "a path of no text": f"{SCHEMA}; INSERT INTO files VALUES (CAST(x'ff' AS TEXT), x'00', 6, 1)",
}


@pytest.mark.parametrize("name", RECORDS)
def test_records_of_a_stranger_are_refused(url: Path, tmp_path: Path, name: str) -> None:
    target, victim = tmp_path / "out", tmp_path / "victim"
    target.mkdir()
    victim.write_text("victim")
    os.utime(victim, ns=(1, 1))
    record = RECORDS[name]
    if isinstance(record, bytes):
        (target / ".cas-checkout").write_bytes(record)
    else:
        with contextlib.closing(sqlite3.connect(target / ".cas-checkout")) as database:
            database.executescript(record)
    with pytest.raises((StoreError, InvalidInputError)):
        out(url, target)
    assert victim.read_text() == "victim"
    assert read_tree(target) == {}
