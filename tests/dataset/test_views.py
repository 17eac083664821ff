"""The pages ReadOnlyDataset, TagsView and TagView: classes of their own, without any way to write."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from other_process import PRELUDE, bound_by_permissions, output

import cas
from cas.errors import InvalidInputError, ReadOnlyAttributeError, ReadOnlyError

# Every public name that only the class for writing has. A new method of it must be put here, or on the view as well.
WRITING = {
    (cas.Dataset, cas.ReadOnlyDataset): {
        "add_column",
        "adopt",
        "append",
        "branch",
        "branch_name",
        "commit",
        "commit_async",
        "delete",
        "discard",
        "flush",
        "has_changes",
        "merge",
        "revert_to",
        "insert",
        "recover",
        "refresh",
        "remove_column",
        "rename_column",
        "rollback",
        "sessions",
        "splice",
        "tag",
        "undo",
    },
    (cas.Column, cas.ReadOnlyColumn): {"__setitem__"},
    (cas.Metadata, cas.ReadOnlyMetadata): {
        "__delitem__",
        "__setitem__",
        "clear",
        "pop",
        "popitem",
        "setdefault",
        "update",
    },
    (cas.Tag, cas.TagView): {"delete", "rename"},
    (cas.Tags, cas.TagsView): set(),
}
SPECIAL = {"__setitem__", "__delitem__", "__iadd__", "__ior__", "__call__"}


def fill(url: Path) -> cas.Dataset:
    """A dataset of two versions of rows, the older one tagged, with metadata."""
    ds = cas.create(url, schema={"x": "int64", "image": "bytes"})
    ds.append({"x": [0, 1], "image": [b"a" * 70_000, b"b"]})
    ds.metadata["stage"] = 1
    ds.x.metadata["unit"] = "lux"
    ds.commit("two rows")
    ds.tag("v1", "as published")
    ds.metadata["stage"] = 2
    ds.append({"x": [2], "image": [b"c"]})
    ds.commit("three rows")
    return ds


@pytest.fixture
def ds(tmp_path: Path) -> cas.Dataset:
    return fill(tmp_path / "ds")


OPENERS: dict[str, Callable[[cas.Dataset], cas.ReadOnlyDataset]] = {
    "open_read_only": lambda ds: cas.open_read_only(ds._repository.path, "v1"),
    "version.open": lambda ds: ds.history[-2].open(),
    "tag.open": lambda ds: ds.tags["v1"].open(),
    "view of a tag": lambda ds: cas.open_read_only(ds._repository.path).tags["v1"].open(),
    "view's version": lambda ds: cas.open_read_only(ds._repository.path).history[-2].open(),
    "pickle": lambda ds: pickle.loads(pickle.dumps(ds.history[-2].open())),
}


def public(class_: type) -> set[str]:
    return {name for name in dir(class_) if not name.startswith("_") or name in SPECIAL}


# --- classes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", WRITING, ids=lambda pair: pair[0].__name__)
def test_what_only_the_class_for_writing_has_is_known(pair: tuple[type, type]) -> None:
    writable, view = pair
    assert public(writable) - public(view) == WRITING[pair]


@pytest.mark.parametrize("pair", WRITING, ids=lambda pair: pair[1].__name__)
def test_a_view_has_nothing_that_the_class_for_writing_lacks(pair: tuple[type, type]) -> None:
    writable, view = pair
    assert public(view) <= public(writable)
    assert not issubclass(view, writable)


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
def test_every_way_to_a_view_gives_views_only(ds: cas.Dataset, opener: Callable[..., cas.ReadOnlyDataset]) -> None:
    old = opener(ds)
    parts = {
        cas.ReadOnlyDataset: [old],
        cas.ReadOnlyColumn: [old.x, old["image"]],
        cas.ReadOnlyMetadata: [old.metadata, old.x.metadata],
        cas.TagsView: [old.tags],
        cas.TagView: [old.tags["v1"], old.tags[old.tags["v1"].id], *old.tags],
        cas.Version: [old.version, *old.history, old.tags["v1"].version],
    }
    writing = {view: names for (_, view), names in WRITING.items()}
    for class_, objects in parts.items():
        for each in objects:
            assert type(each) is class_
            for name in writing.get(class_, ()):
                assert not hasattr(each, name), name


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
def test_every_view_shows_the_version(ds: cas.Dataset, opener: Callable[..., cas.ReadOnlyDataset]) -> None:
    with opener(ds) as old:
        assert old.x[:].tolist() == [0, 1]
        assert old.image[:] == [b"a" * 70_000, b"b"]
        assert [dict(row)["x"] for row in old] == [0, 1]
        assert old.metadata == {"stage": 1}
        assert old.x.metadata == {"unit": "lux"}
        assert old.version == ds.history[-2]
        assert len(old.history) == 3
        assert old.tags.names() == ["v1"]
        assert old.tags["v1"].message == "as published"
        assert old.tags["v1"].open().version == old.version


def test_a_view_says_how_to_write(ds: cas.Dataset) -> None:
    old = ds.version.open()
    for name in ("append", "commit", "tag", "delete", "add_column"):
        with pytest.raises(ReadOnlyAttributeError, match=r"open for reading only; open it with cas\.open"):
            getattr(old, name)
    for error in (ReadOnlyError, AttributeError, TypeError):
        assert issubclass(ReadOnlyAttributeError, error)
    with pytest.raises(TypeError):
        old.x[0] = 5  # type: ignore[index]
    with pytest.raises(TypeError):
        old.metadata["k"] = 1  # type: ignore[index]
    with pytest.raises((ValueError, AttributeError)):
        old.x = [1]  # type: ignore[assignment]
    assert (ds.x[0], ds.metadata["stage"]) == (0, 2)


def test_arrays_that_a_view_gives_out_are_the_callers(ds: cas.Dataset) -> None:
    old = ds.version.open()
    old.x[:][0] = 99
    assert old.x[:].tolist() == [0, 1, 2]


def test_stored_bytes_in_batches_count_rows_as_a_slice_does(ds: cas.Dataset) -> None:
    rows = [b"a" * 70_000, b"b", b"c"]
    for image in (ds.image, ds.version.open().image):
        for start in (-9, -2, 0, 1, 3, 9):
            for stop in (None, -9, -1, 0, 2, 3, 9):
                assert [row for batch in image.bytes_batches(start, stop) for row in batch] == rows[start:stop]
        for bad in ("a", 0.5, [1]):
            with pytest.raises(InvalidInputError):
                image.bytes_batches(bad)


def test_views_never_change(ds: cas.Dataset) -> None:
    old = ds.version.open()
    ds.metadata["stage"] = 9
    ds.x[:] = [7, 7, 7]
    ds.commit()
    ds.delete([0, 1])
    ds.commit()
    assert old.x[:].tolist() == [0, 1, 2]
    assert old.metadata == {"stage": 2}
    assert len(old.history) == 4


# --- no write access ------------------------------------------------------------------------------------------------

READ_AND_TRY_TO_WRITE = """
assert not os.access(url, os.W_OK) and not os.access(url / "data.mdb", os.W_OK)
before = sorted((entry.name, entry.stat().st_mtime_ns) for entry in url.iterdir())
ds = cas.open_read_only(url)
assert cas.exists(url) and cas.exists(f"{url}@v1")
for old in (ds.history[-2].open(), ds.tags["v1"].open(), cas.open_read_only(url, "v1")):
    assert old.x[:].tolist() == [0, 1] and old.image[0] == b"a" * 70_000
    assert old.metadata == {"stage": 1} and old.x.metadata == {"unit": "lux"}
    assert [version.message for version in old.history][-1] == "two rows"
    assert old.history.at(old.version.timestamp) == old.version
    assert pickle.loads(pickle.dumps(old)).x[1] == 1
    assert repr(old) and repr(old.tags["v1"]) and repr(old.version)
assert ds.x[:].tolist() == [0, 1, 2] and ds.tags.names() == ["v1"]
writer = cas.open(url)
assert writer.x[2] == 2
def commit():
    writer.append({"x": [1], "image": [b""]})
    writer.commit()
for write in (lambda: writer.metadata.update(a=1), lambda: writer.x.metadata.pop("unit"), commit,
              lambda: writer.tag("v2", version="v1"), writer.tags["v1"].delete, lambda: writer.tags["v1"].rename("v3")):
    try:
        write()
    except ReadOnlyError as error:
        assert "read" in str(error)
    else:
        raise AssertionError("written")
assert sorted((entry.name, entry.stat().st_mtime_ns) for entry in url.iterdir()) == before
print("read")
"""


# The modules are imported first: the other user need not be able to read them.
BECOME_NOBODY = """
import cas.dataset.opening, cas.dataset.tags, cas.dataset.history
if os.geteuid() == 0:
    try:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    except PermissionError:
        sys.exit(77)
"""


def make_read_only(url: Path) -> None:
    for file in url.iterdir():
        file.chmod(0o444)
    url.chmod(0o555)


@pytest.mark.parametrize("lock", [True, False], ids=["with its lock file", "without a lock file"])
def test_a_store_without_write_permissions_is_read(ds: cas.Dataset, tmp_path: Path, lock: bool) -> None:
    ds.close()
    url = tmp_path / "ds"
    if not lock:
        (url / "lock.mdb").unlink()
    make_read_only(url)
    try:
        assert output(READ_AND_TRY_TO_WRITE, url, prefix=bound_by_permissions()) == "read"
    finally:
        url.chmod(0o755)


@pytest.fixture
def anyones_path() -> Iterator[Path]:
    """A directory that every user can reach, unlike those of ``tmp_path``."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    (directory / "ds").chmod(0o755)
    shutil.rmtree(directory)


def test_another_user_reads_the_store_of_somebody_else(anyones_path: Path) -> None:
    """The script becomes an unprivileged user where it may; otherwise it is one already, bound by the permissions."""
    url = anyones_path / "ds"
    with fill(url):
        pass
    make_read_only(url)
    code = PRELUDE + BECOME_NOBODY + READ_AND_TRY_TO_WRITE
    done = subprocess.run([sys.executable, "-c", code, str(url)], capture_output=True, text=True, timeout=60)
    if done.returncode == 77:
        pytest.skip("this root may not become another user")
    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr
