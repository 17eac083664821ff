"""Lock files: the text, the file under many writers, and what is opened through one."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import other_process
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_store import RawStore

import cas
from cas.errors import (
    CorruptedError,
    DatasetNotFoundError,
    InvalidInputError,
    StoreNotFoundError,
    UnsupportedError,
    VersionNotFoundError,
)
from cas.hashing import hash_chunk
from cas.integrations.lock import locking
from cas.integrations.lock.file import EntryNotFoundError, LockFile, LockFileNotFoundError, editing, read_lock
from cas.integrations.lock.locking import EntryExistsError
from cas.integrations.lock.pin import portable_url
from cas.integrations.lock.toml import Entry, LockFileError, check_name, format_lock, parse_lock
from cas.types import Bytes

VERSION, TREE = "3f" * 32, "9c" * 32
HERE = Path("/project/cas.lock")
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
ENTRIES = st.builds(Entry, TEXT.filter(bool), HASHES, HASHES, st.none() | TEXT.filter(bool))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the store ``lake`` in it, which has ``train`` of two versions, the first one tagged."""
    folder = tmp_path / "home" / "project"
    folder.mkdir(parents=True)
    cas.init(folder / "lake")
    with cas.create(folder / "lake/train", {"x": "int64", "b": Bytes(dedup="row")}) as ds:
        ds.append({"x": [1, 2, 3], "b": [b"one" * 100, b"two" * 100, b"three" * 100]})
        ds.commit("one")
        ds.tag("v1")
        ds["x"][0] = 9
        ds.commit("two")
    return folder


def head(url: Path, revision: str = "main") -> tuple[str, str]:
    with cas.open_read_only(url, revision) as ds:
        return ds.version.id, ds.version.tree


def move_on(url: Path) -> str:
    with cas.open(url) as ds:
        ds["x"][1] += 1
        return ds.commit()


# The text


def test_the_text_is_pinned() -> None:
    entries = {"b c": Entry('a"\\\n', VERSION, TREE), "a-1": Entry("../lake/a", TREE, VERSION, "main")}
    assert format_lock(entries) == (
        f'format = 1\n\n[datasets.a-1]\nurl = "../lake/a"\nversion = "{TREE}"\ntree = "{VERSION}"\nrevision = "main"\n'
        f'\n[datasets."b c"]\nurl = "a\\"\\\\\\n"\nversion = "{VERSION}"\ntree = "{TREE}"\n'
    )
    assert format_lock({}) == "format = 1\n"


@given(st.dictionaries(TEXT, ENTRIES, max_size=5))
def test_any_text_comes_back(entries: dict[str, Entry]) -> None:
    fields = ("url", "version", "tree", "revision")
    found = tomllib.loads(format_lock(entries))
    assert found.pop("format") == 1
    assert found.get("datasets", {}) == {
        name: {field: getattr(entry, field) for field in fields if getattr(entry, field) is not None}
        for name, entry in entries.items()
    }


def is_name(text: str) -> bool:
    try:
        return bool(check_name(text))
    except InvalidInputError:
        return False


@given(st.dictionaries(TEXT.filter(is_name), ENTRIES, max_size=5))
def test_one_lock_has_one_text(entries: dict[str, Entry]) -> None:
    text = format_lock(entries)
    read = parse_lock(text.encode(), HERE)
    assert read == entries
    assert format_lock(dict(reversed(read.items()))) == text


@given(st.binary(max_size=200) | TEXT.map(str.encode) | st.just(b"a = " + b"[" * 5000))
def test_anything_else_is_refused_as_such(data: bytes) -> None:
    try:
        found = parse_lock(data, HERE)
    except (LockFileError, UnsupportedError):
        return
    assert found == {}


GOOD = f'format = 1\n\n[datasets.a]\nurl = "a"\nversion = "{VERSION}"\ntree = "{TREE}"\n'
MALFORMED = {
    "no format": ("[datasets.a]\n", None, "format = 1"),
    "another format": ('format = "x"\n', 1, "found 'x'"),
    "no TOML": ("format = 1\n\n[datasets.a]\nurl = a\n", 4, "not TOML"),
    "end of file": ("format = 1\n[datasets", 2, "not TOML"),
    "an entry twice": (GOOD + GOOD[11:], 8, "not TOML"),
    "marks of a merge": (f"{GOOD}<<<<<<< HEAD\n", 7, "a merge left its marks"),
    "an unknown key at the top": ("format = 1\nformta = 2\n", 2, "'formta' has no meaning"),
    "an unknown key": (GOOD + 'sha = "1"\n', 7, "'sha' has no meaning in 'a'"),
    "a missing key": (GOOD.replace("tree", "#tree"), 3, "'a' has no 'tree'"),
    "a short hash": (GOOD.replace(TREE, "9c9c"), 6, "'tree' of 'a' is '9c9c'"),
    "an upper case hash": (GOOD.replace(VERSION, VERSION.upper()), 5, "lower case"),
    "a number": (GOOD.replace('"a"', "7"), 4, "expected text"),
    "no table": ("format = 1\ndatasets.a = 3\n", None, "expected a table"),
    "no tables": ("format = 1\ndatasets = 3\n", 2, "expected tables"),
    "a path as a name": (GOOD.replace("datasets.a", 'datasets."../a"'), 3, "'../a' cannot name"),
    "no UTF-8": (GOOD.replace('"a"', '"\udcff"'), 4, "not UTF-8"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_told_with_its_line(tmp_path: Path, case: str) -> None:
    text, line, message = MALFORMED[case]
    path = tmp_path / "cas.lock"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(LockFileError) as caught:
        cas.open_locked(path, "a")
    assert message in str(caught.value)
    assert (caught.value.path, caught.value.line) == (str(path), line)
    assert str(caught.value).startswith(f"{path}{'' if line is None else f', line {line}'}: ")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.line) == (str(caught.value), line)
    with pytest.raises(LockFileError):
        locking.remove(path, ("a",))  # nothing is written over it
    assert path.read_bytes() == text.encode(errors="surrogateescape")


def test_a_newer_format_is_refused_as_such(tmp_path: Path) -> None:
    (tmp_path / "cas.lock").write_text("format = 2\n")
    with pytest.raises(UnsupportedError, match="format 2"):
        read_lock(tmp_path / "cas.lock")


@pytest.mark.parametrize("name", ["", " a", "a/b", "..", ".", ".cas-x", "-f", "a\nb", "\ud800", "x" * 256, None, 5])
def test_names_that_cannot_be_folders(project: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot name a dataset"):
        locking.add(project / "cas.lock", name, project / "lake/train")
    assert not (project / "cas.lock").exists()


# Urls


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/a/b/project/lake/x", "lake/x"),
        ("/a/b/project", "."),
        ("/a/b/lake/x", "../lake/x"),
        ("/a/lake/x", "/a/lake/x"),
        ("/a/b/project/~x", "./~x"),
        ("/a/b", ".."),
    ],
)
def test_urls_are_relative_below_and_beside(path: str, url: str) -> None:
    assert portable_url(Path(path), Path("/a/b/project")) == url


def test_beside_a_folder_at_the_root_is_absolute() -> None:
    assert portable_url(Path("/data/lake"), Path("/project")) == "/data/lake"
    assert portable_url(Path("/project/lake"), Path("/project")) == "lake"


def test_a_project_and_its_lake_move_together(project: Path, tmp_path: Path) -> None:
    cas.copy(project / "lake/train", project.parent / "beside").close()
    locking.add(project / "cas.lock", "train", project / "lake/train@v1")
    locking.add(project / "cas.lock", "beside", project.parent / "beside")
    assert {name: entry.url for name, entry in read_lock(project / "cas.lock").entries.items()} == {
        "train": "lake/train",
        "beside": "../beside",
    }
    moved = tmp_path / "elsewhere"
    project.parent.rename(moved)
    for name, rows in (("train", [1, 2, 3]), ("beside", [9, 2, 3])):
        with cas.open_locked(moved / "project/cas.lock", name) as ds:
            assert ds["x"][:].tolist() == rows


def test_a_lock_file_behind_a_link_stays_where_it_is(project: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.lock"
    link.symlink_to(project / "cas.lock")
    locking.add(link, "train", project / "lake/train")
    assert link.is_symlink()
    assert read_lock(project / "cas.lock").entry("train").url == "lake/train"
    assert len(cas.open_locked(link, "train")) == 3


# Opened


def test_what_is_pinned_opens_whatever_happens_to_the_branch(project: Path) -> None:
    lock, url = project / "cas.lock", project / "lake/train"
    entry = locking.add(lock, "train", url)
    assert (entry.version, entry.tree) == head(url)
    assert entry.revision == "main"
    move_on(url)
    with cas.open_locked(lock, "train") as ds:
        assert isinstance(ds, cas.ReadOnlyDataset)
        assert (ds.version.id, ds["x"][:].tolist()) == (entry.version, [9, 2, 3])
    assert cas.open_read_only(url)["x"][1] == 3


def test_the_lock_file_is_found_from_any_folder(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    locking.add("cas.lock", "train", "lake/train@v1")
    monkeypatch.chdir(tmp_path)
    assert cas.open_locked(os.path.relpath(project / "cas.lock"), "train")["x"][0] == 1


@pytest.mark.parametrize(
    ("revision", "kept"), [("main", "main"), ("v1", "v1"), ("main~1", None), ("main@{0}", None), ("id", None)]
)
def test_a_branch_or_tag_is_kept_for_updates(project: Path, revision: str, kept: str | None) -> None:
    url = project / "lake/train"
    revision = head(url)[0] if revision == "id" else revision
    assert locking.add(project / "cas.lock", "train", f"{url}@{revision}").revision == kept


def test_what_is_not_there(project: Path) -> None:
    lock = project / "cas.lock"
    with pytest.raises(LockFileNotFoundError, match="cas lock add"):
        cas.open_locked(lock, "train")
    locking.add(lock, "train", project / "lake/train")
    with pytest.raises(EntryNotFoundError, match="pins no dataset 'tarin'; it has: 'train'"):
        cas.open_locked(lock, "tarin")
    with pytest.raises(InvalidInputError, match="is a folder"):
        cas.open_locked(project, "train")
    with pytest.raises(InvalidInputError, match="make it first"):
        locking.add(project / "nowhere/cas.lock", "train", project / "lake/train")


def test_a_moved_dataset(project: Path) -> None:
    lock = project / "cas.lock"
    locking.add(lock, "train", project / "lake/train")
    (project / "lake").rename(project / "sea")
    with pytest.raises(StoreNotFoundError, match=r"'train' in .*cas\.lock: .*pin it at its new place"):
        cas.open_locked(lock, "train")
    cas.init(project / "lake")
    with pytest.raises(DatasetNotFoundError, match="pin it at its new place"):
        cas.open_locked(lock, "train")
    before = read_lock(lock).entry("train")
    assert locking.add(lock, "train", project / "sea/train", replace=True).version == before.version
    assert len(cas.open_locked(lock, "train")) == 3


def test_a_version_that_is_gone(project: Path) -> None:
    lock, url = project / "cas.lock", project / "lake/train"
    entry = locking.add(lock, "train", url)
    cas.delete(url)
    cas.create(url, {"x": "int64"}).close()
    with pytest.raises(VersionNotFoundError, match=f"no version {entry.version[:12]} any more") as caught:
        cas.open_locked(lock, "train")
    assert caught.value.name == entry.version


def test_another_tree(project: Path) -> None:
    lock, url = project / "cas.lock", project / "lake/train"
    entry = locking.add(lock, "train", url)
    other = head(url, "v1")[1]
    lock.write_text(lock.read_text().replace(entry.tree, other))
    with pytest.raises(CorruptedError, match=f"has the tree {entry.tree[:12]}, and {other[:12]} was pinned") as caught:
        cas.open_locked(lock, "train")
    assert caught.value.version == entry.version


@pytest.mark.parametrize("kind", ["version", "tree"])
def test_a_damaged_record(project: Path, kind: str) -> None:
    lock = project / "cas.lock"
    entry = locking.add(lock, "train", project / "lake/train")
    RawStore(project / "lake").flip(bytes.fromhex(getattr(entry, kind)))
    with pytest.raises(CorruptedError):
        cas.open_locked(lock, "train")


def test_a_revision_in_the_url_of_a_lock_file(project: Path) -> None:
    lock = project / "cas.lock"
    locking.add(lock, "train", project / "lake/train")
    lock.write_text(lock.read_text().replace('"lake/train"', '"lake/train@v1"'))
    with pytest.raises(InvalidInputError, match="the version stands beside it"):
        cas.open_locked(lock, "train")


# Added, moved on, removed


def test_another_dataset_takes_a_name_only_where_that_is_said(project: Path) -> None:
    lock, url = project / "cas.lock", project / "lake/train"
    first = locking.add(lock, "train", f"{url}@v1")
    written = lock.stat()
    assert locking.add(lock, "train", f"{url}@v1") == first
    assert lock.stat().st_ino == written.st_ino  # what changes nothing writes nothing
    with pytest.raises(EntryExistsError, match="pins something else as 'train'"):
        locking.add(lock, "train", url)
    assert read_lock(lock).entry("train") == first
    assert locking.add(lock, "train", url, replace=True).version == head(url)[0]


def test_update_moves_what_has_a_branch(project: Path) -> None:
    lock, url = project / "cas.lock", project / "lake/train"
    for name, revision in (("moves", "main"), ("tagged", "v1"), ("fixed", head(url)[0])):
        locking.add(lock, name, f"{url}@{revision}")
    before = dict(read_lock(lock).entries)
    assert [move.old == move.new for move in locking.update(lock)] == [True] * 3
    new = move_on(url)
    assert [move.name for move in locking.update(lock) if move.old != move.new] == ["moves"]
    assert read_lock(lock).entries == before | {"moves": Entry("lake/train", *head(url), "main")}
    assert read_lock(lock).entry("moves").version == new


def test_an_update_that_fails_changes_nothing(project: Path) -> None:
    lock, url = project / "cas.lock", project / "lake/train"
    locking.add(lock, "a", url)
    locking.add(lock, "b", f"{url}@v1")
    with cas.open(url) as ds:
        ds.tags["v1"].delete()
    move_on(url)
    before = lock.read_bytes()
    with pytest.raises(VersionNotFoundError):
        locking.update(lock)
    assert lock.read_bytes() == before
    assert [move.name for move in locking.update(lock, ("a",))] == ["a"]


def test_remove(project: Path) -> None:
    lock, url = project / "cas.lock", project / "lake/train"
    for name in "abc":
        locking.add(lock, name, url)
    with pytest.raises(EntryNotFoundError):
        locking.remove(lock, ("a", "x"))
    assert list(read_lock(lock).entries) == ["a", "b", "c"]
    assert [entry.url for entry in locking.remove(lock, ("c", "a"))] == ["lake/train"] * 2
    assert list(read_lock(lock).entries) == ["b"]


# The file


def test_permissions_stay(project: Path) -> None:
    lock = project / "cas.lock"
    locking.add(lock, "a", project / "lake/train")
    lock.chmod(0o640)
    locking.add(lock, "b", project / "lake/train")
    assert lock.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in project.iterdir()) == ["cas.lock", "lake"]


def test_adds_at_the_same_time_lose_nothing(project: Path) -> None:
    script = (
        "import sys; from cas.integrations.lock.locking import add\n"
        "for number in range(8): add('cas.lock', f'{sys.argv[1]}-{number}', 'lake/train')"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(cas.__file__).parent.parent)}
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(name)], cwd=project, env=environment) for name in range(5)
    ]
    assert [process.wait(120) for process in running] == [0] * 5
    entries = read_lock(project / "cas.lock").entries
    assert sorted(entries) == sorted(f"{name}-{number}" for name in range(5) for number in range(8))


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_writer_that_is_killed_leaves_the_file_as_it_was(project: Path, moment: str) -> None:
    lock = project / "cas.lock"
    locking.add(lock, "a", project / "lake/train")
    before = lock.read_bytes()
    script = f"""
    import signal
    from cas.integrations.lock.locking import add
    os.{moment} = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
    add(url, "b", url.parent / "lake/train")
    """
    assert other_process.run(script, lock).returncode == -9
    assert lock.read_bytes() == before
    locking.add(lock, "b", project / "lake/train")  # the lock of the folder went with the process
    assert sorted(read_lock(lock).entries) == ["a", "b"]


def test_what_raises_while_it_edits_writes_nothing(project: Path) -> None:
    lock = project / "cas.lock"

    def edit() -> None:
        with editing(lock) as (_, entries):
            entries["a"] = Entry("a", VERSION, TREE)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        edit()
    assert not lock.exists()


# Verified


def verified(lock: Path, *names: str, full: bool = False) -> list[tuple[str, str | None, int]]:
    found = locking.verify(read_lock(lock), names, full=full)
    return [(each.name, each.error and type(each.error).__name__, len(each.faults)) for each in found]


def test_verify_looks_at_all_entries(project: Path) -> None:
    lock, url = project / "cas.lock", project / "lake/train"
    entry = locking.add(lock, "good", url)
    with editing(lock) as (_, entries):
        entries["gone"] = Entry("nowhere", VERSION, TREE)
        entries["tree"] = Entry(entry.url, entry.version, TREE)
        entries["version"] = Entry(entry.url, VERSION, entry.tree)
    assert verified(lock) == [
        ("gone", "StoreNotFoundError", 0),
        ("good", None, 0),
        ("tree", "CorruptedError", 0),
        ("version", "VersionNotFoundError", 0),
    ]
    assert verified(lock, "tree", "good", full=True) == [("tree", "CorruptedError", 0), ("good", None, 0)]
    with pytest.raises(EntryNotFoundError):
        verified(lock, "nobody")


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_a_full_check_finds_every_blob_with_its_rows(project: Path, how: str) -> None:
    lock, blob = project / "cas.lock", hash_chunk(b"two" * 100)
    locking.add(lock, "train", project / "lake/train")
    shutil.copytree(project / "lake", project / "sea")
    if how == "damaged":
        RawStore(project / "lake").flip(blob)
    else:
        RawStore(project / "lake").remove("index", blob)
    assert verified(lock) == [("train", None, 0)]  # the records are sound
    (found,) = locking.verify(read_lock(lock), full=True)
    (fault,) = found.faults
    assert not found.sound
    assert (fault.blob, fault.columns) == (blob.hex(), {"b": ((1, 2),)})
    assert blob.hex() in fault.message


def test_a_full_check_looks_at_the_pinned_version_alone(project: Path) -> None:
    lock, url = project / "cas.lock", project / "lake/train"
    locking.add(lock, "old", f"{url}@v1")
    locking.add(lock, "new", url)
    with cas.open(url) as ds:
        ds["b"][0] = b"another" * 100
        ds.commit()
    locking.add(lock, "newest", url)
    RawStore(project / "lake").flip(hash_chunk(b"another" * 100))
    assert verified(lock, full=True) == [("new", None, 0), ("newest", None, 1), ("old", None, 0)]


def test_a_damaged_node_is_found(project: Path) -> None:
    with cas.create(project / "lake/wide", {"x": "float64"}) as ds:
        ds.append({"x": np.random.default_rng(0).random(300_000)})
        ds.commit()
        root = ds._repository.tree(bytes.fromhex(ds.version.tree)).columns[0].streams["data"].root
    assert root is not None
    locking.add(project / "cas.lock", "wide", project / "lake/wide")
    RawStore(project / "lake").flip(root)
    (found,) = locking.verify(read_lock(project / "cas.lock"), full=True)
    assert [(fault.blob, fault.columns) for fault in found.faults] == [(root.hex(), {"x": ((0, 300_000),)})]


def test_names_are_sorted_in_memory_too(project: Path) -> None:
    with editing(project / "cas.lock") as (_, entries):
        for name in ("b", "a", "c"):
            entries[name] = Entry("x", VERSION, TREE)
    file = read_lock(project / "cas.lock")
    assert isinstance(file, LockFile)
    assert list(file.entries) == ["a", "b", "c"]
