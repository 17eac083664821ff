"""What the machine does not give: space, memory, write access, locks across a network; and processes that die."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import lmdb
import numpy as np
import other_process
import pytest
from pictures import png, write_tree

import cas
from cas.errors import (
    CasError,
    ReadOnlyError,
    StoreError,
    StoreExistsError,
    StoreFullError,
    StoreNotFoundError,
)
from cas.integrations.folder.importing import import_folder
from cas.store import environment, medium
from cas.store.contract import REFS
from cas.store.lmdb import MARKER, MARKER_TEXT, LmdbStore, create_files

# --- network file systems -------------------------------------------------------------------------------------------

LINE = "36 35 98:0 / {point} rw,noatime master:1 - {kind} server:/export rw,errors=continue\n"


def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> None:
    """Fakes the table of mounts."""
    table = tmp_path / "mountinfo"
    text = LINE.format(point="/", kind="ext4") + "".join(LINE.format(point=point, kind=kind) for point, kind in points)
    table.write_text(text + "\nnot a line of the table\n")
    monkeypatch.setattr(medium, "MOUNTS", table)
    monkeypatch.setattr(medium, "DISKS", str(tmp_path / "no disks"))


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "fuse.s3fs", "virtiofs"])
def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    share = tmp_path / "share"
    cas.create(share / "old", {"n": "int64"}).close()
    mounts(tmp_path, monkeypatch, (str(share), kind))
    for make in (cas.create, cas.init):
        with pytest.raises(StoreError, match=f"network file system {kind}.*touch .*cas-network"):
            make(share / "new")
    assert not (share / "new" / MARKER).exists()
    with pytest.raises(StoreError, match=kind):
        cas.open(share / "old")
    with cas.open_read_only(share / "old") as ds:
        assert len(ds) == 0
        with pytest.raises(ReadOnlyError):
            ds._repository.store.write(lambda txn: None)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuse.portal", "fuseblk", "unknownfs"])
def test_others_and_unknown_ones_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    mounts(tmp_path, monkeypatch, (str(tmp_path), kind))
    cas.create(tmp_path / "new").close()


def test_of_a_path_on_a_disk_the_table_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts(tmp_path, monkeypatch, (str(tmp_path), "nfs4"))
    assert medium.network_file_system(tmp_path) == "nfs4"
    device = os.stat(tmp_path).st_dev
    for major, found in ((os.major(device) + 1, "nfs4"), (os.major(device), None)):
        (tmp_path / "disks" / f"{major}:{os.minor(device)}").mkdir(parents=True)
        monkeypatch.setattr(medium, "DISKS", str(tmp_path / "disks"))
        assert medium.network_file_system(tmp_path) == found
    assert medium.network_file_system(tmp_path / "missing") == "nfs4"


@pytest.mark.skipif(not os.path.isdir(medium.DISKS), reason="the system does not list its disks")
def test_disks_of_the_system_are_known_by_their_numbers() -> None:
    names = os.listdir(medium.DISKS)
    assert all(re.fullmatch(r"\d+:\d+", name) for name in names)


def test_without_a_table_of_mounts_all_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(medium, "MOUNTS", tmp_path / "missing")
    cas.create(tmp_path / "new").close()


def test_the_owner_may_answer_for_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts(tmp_path, monkeypatch, (str(tmp_path), "nfs4"))
    place = tmp_path / "ds"
    place.mkdir()
    (place / "cas-network").touch()
    with cas.create(place, {"n": "int64"}) as ds:
        ds.append({"n": [1]})
        ds.commit()
    with cas.open(place) as ds:
        assert ds["n"][:].tolist() == [1]


def test_the_deepest_and_last_mount_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "with space"
    (odd / "local").mkdir(parents=True)
    (tmp_path / "link").symlink_to(odd)
    escaped = str(odd).replace(" ", r"\040")
    points = ((escaped, "ext4"), (escaped, "nfs"), (f"{escaped}/local", "xfs"), (f"{escaped}/loc", "nfs"))
    mounts(tmp_path, monkeypatch, *points)
    assert medium.network_file_system(odd / "x") == "nfs"
    assert medium.network_file_system(tmp_path / "link" / "x") == "nfs"
    assert medium.network_file_system(odd / "local" / "x") is None
    assert medium.network_file_system(tmp_path / "with spaces") is None


# --- a full disk ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


class Filler:
    """Takes the space of a file system, up to some bytes."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "filler"

    def leave(self, size_bytes: int) -> None:
        status = os.statvfs(self._file.parent)
        free = status.f_bavail * status.f_frsize
        if free > size_bytes:
            with open(self._file, "ab") as file:
                file.write(bytes(free - size_bytes))

    def clear(self) -> None:
        self._file.unlink(missing_ok=True)


NOISE = np.random.default_rng(0).integers(0, 256, (6, 1 << 20), dtype=np.uint8)


def filled(small: Path) -> cas.Dataset:
    ds = cas.create(small / "ds", {"n": "int64", "noise": cas.types.Array("uint8", (1 << 20,))})
    ds.append({"n": [0], "noise": NOISE[:1]})
    ds.commit("first")
    ds.branch("other")
    ds.metadata["kept"] = "yes"
    with cas.open(f"{small / 'ds'}@other") as other:
        other.append({"n": [1], "noise": NOISE[1:2]})
        other.commit("other")
    return ds


CHANGES = {
    "append and commit": lambda ds, folder: (ds.append({"n": range(5), "noise": NOISE[1:]}), ds.commit("more")),
    "flush": lambda ds, folder: (ds.append({"n": range(5), "noise": NOISE[1:]}), ds.flush()),
    "commit": lambda ds, folder: (ds.append({"n": [5], "noise": NOISE[5:]}), ds.commit("one more")),
    "metadata": lambda ds, folder: ds.metadata.update({f"k{n}": "x" * 30_000 for n in range(50)}),
    "tag": lambda ds, folder: [ds.tag(f"v{n}", "x" * 4000) for n in range(200) if f"v{n}" not in ds.tags],
    "merge": lambda ds, folder: (ds.append({"n": [7], "noise": NOISE[5:]}), ds.commit(), ds.merge("other")),
    "copy": lambda ds, folder: cas.copy(ds, folder / "copy").close(),
    "create": lambda ds, folder: cas.create(folder / "another", {"n": "int64"}).close(),
}


MADE = ("copy", "another")


@pytest.mark.parametrize("name", CHANGES)
def test_a_full_disk_leaves_what_was_acknowledged(small: Path, name: str) -> None:
    """The disk is full at many moments; afterwards there is space, and everything goes on."""
    change, filler = CHANGES[name], Filler(small)
    refused = 0
    for left in (0, 4096, 40_000, 120_000, 300_000, 1 << 20, 3 << 20):
        ds = filled(small)
        head = ds.version.id
        filler.leave(left)
        refused_now = False
        try:
            change(ds, small)
        except StoreFullError:
            refused += 1
            refused_now = True
        with cas.open_read_only(small / "ds", head) as old:
            assert (old["noise"][:] == NOISE[:1]).all()
        with cas.open_read_only(small / "ds") as now:
            assert [int(n) for n in now["n"][:]][:1] == [0]
        assert ds.metadata["kept"] == "yes"
        filler.clear()
        for made in MADE:
            assert cas.exists(small / made) <= (not refused_now)
            if cas.exists(small / made):
                cas.delete(small / made)
        change(ds, small)
        if ds.has_changes:
            ds.commit("there is space again")
        assert ds["n"][0] == 0
        ds.close()
        for made in ("ds", *MADE):
            if cas.exists(small / made):
                cas.delete(small / made)
    assert refused >= 2


def test_an_import_to_a_full_disk_goes_on_later(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    noise = np.random.default_rng(1)
    write_tree(folder, {f"{n}.png": png(n) + noise.bytes(600_000) for n in range(30)})
    ds = cas.create(small / "ds")
    Filler(small).leave(9 << 20)
    with pytest.raises(StoreFullError):
        import_folder(folder, ds)
    assert len(cas.open_read_only(small / "ds")) == 0
    ds.close()
    Filler(small).clear()
    with cas.open(small / "ds") as again:
        assert import_folder(folder, again).counts()["added"] == 30
        assert again["image"].bytes(7) == (folder / again["path"][7]).read_bytes()


def test_a_store_opens_on_a_full_disk(small: Path) -> None:
    """The lock file is written through a map, so a hole in it would kill the process."""
    filled(small).close()
    filler = Filler(small)
    filler.leave(0)
    script = "with cas.open_read_only(url) as ds: print(len(ds))"
    assert other_process.output(script, small / "ds") == "1"
    (small / "ds" / "lock.mdb").unlink()
    filler.leave(0)
    done = other_process.run(script, small / "ds")
    assert done.returncode == 1, "killed"
    assert "StoreFullError" in done.stderr
    filler.clear()
    assert other_process.output(script, small / "ds") == "1"
    assert (small / "ds" / "lock.mdb").stat().st_blocks * 512 >= environment._LOCK_BYTES


# --- limited address space ------------------------------------------------------------------------------------------

LIMITED = """
import resource
with open("/proc/self/statm") as file:
    now = int(file.read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (now + int(sys.argv[2]), now + int(sys.argv[2])))
"""


def test_a_store_opens_in_little_address_space(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", {"x": "bytes"}) as ds:
        ds.append({"x": [bytes([n]) * 100_000 for n in range(10)]})
        ds.commit()
    script = f"""{LIMITED}
ds = cas.open(url)
ds.append({{"x": [b"new" * 100_000]}})
ds.commit()
print(len(ds), ds["x"][10][:3].decode(), ds._repository.store._environment()._env.info()["map_size"] < 1 << 40)
"""
    assert other_process.output(script, tmp_path / "ds", str(700 << 20)) == "11 new True"


def test_too_little_address_space_is_said(tmp_path: Path) -> None:
    cas.create(tmp_path / "ds").close()
    script = f"""cas.open
{LIMITED}
try:
    cas.open(url)
except StoreError as error:
    print(error)
"""
    assert "address space" in other_process.output(script, tmp_path / "ds", str(30 << 20))


def test_a_map_that_cannot_grow_leaves_the_store_usable(tmp_path: Path) -> None:
    """LMDB gives its map away before it asks for a larger one."""
    create_files(tmp_path / "s", lambda txn: txn.put(REFS, b"k", b"v")).close()
    script = f"""
from cas.store import environment
from cas.store.contract import REFS
from cas.store.lmdb import LmdbStore
environment._FIRST_MAP_BYTES = 64 << 20
store = LmdbStore(url)
{LIMITED}
blobs = [(bytes([n]) * 32, os.urandom(1 << 20)) for n in range(70)]
try:
    store.write(lambda txn: txn.put_blobs(blobs))
except StoreError as error:
    print("address space" in str(error))
store.write(lambda txn: txn.put(REFS, b"k", b"w"))
with store.read() as view:
    print(view.get(REFS, b"k"), view.sizes([blobs[0][0]]))
"""
    words = other_process.output(script, tmp_path / "s", str(200 << 20))
    assert words.split("\n") == ["True", "b'w' [None]"]


def test_the_map_grows_while_others_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of this process that hardly pause, and another process that opened the store when it was small."""
    monkeypatch.setattr(environment, "_FIRST_MAP_BYTES", 4 << 20)
    path = tmp_path / "s"
    store = create_files(path, lambda txn: txn.put(REFS, b"k", b"v"))
    script = """
from cas.store import environment
from cas.store.contract import REFS
from cas.store.lmdb import LmdbStore
environment._FIRST_MAP_BYTES = 4 << 20
store = LmdbStore(url)
seen = 0
store._environment()
print("open", flush=True)
while True:
    with store.read() as view:
        if view.get(REFS, b"end"):
            break
        number = int(view.get(REFS, b"number") or 0)
        seen = max(seen, number)
        for n in range(number):
            assert bytes(view.blobs([bytes([n]) * 32])[0]) == bytes([n]) * 1_000_000
print(seen > 0)
"""
    command = [sys.executable, "-c", other_process.PRELUDE + script, str(path)]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "open\n"
    stop, failed = threading.Event(), []

    def read() -> None:
        try:
            while not stop.is_set():
                time.sleep(0.0002)  # the interpreter is handed over, so that this takes a second and not a minute
                with store.read() as view:
                    number = int(view.get(REFS, b"number") or 0)
                    assert view.sizes([bytes([n]) * 32 for n in range(number)]) == [1_000_000] * number
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    first = store._environment()._env.info()["map_size"]
    for number in range(10):
        blob = (bytes([number]) * 32, bytes([number]) * 1_000_000)

        def put(txn: object, number: int = number, blob: tuple[bytes, bytes] = blob) -> None:
            txn.put_blobs([blob])  # type: ignore[attr-defined]
            txn.put(REFS, b"number", b"%d" % (number + 1))  # type: ignore[attr-defined]

        store.write(put)
    store.write(lambda txn: txn.put(REFS, b"end", b"1"))
    stop.set()
    for thread in threads:
        thread.join()
    out, err = reader.communicate(timeout=60)
    assert (reader.returncode, out.strip(), failed) == (0, "True", []), err
    assert store._environment()._env.info()["map_size"] > first
    store.close()


def test_a_transaction_within_another_does_not_wait_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LMDB cannot map a store that another process has made larger while this thread reads the old map."""
    monkeypatch.setattr(environment, "_FIRST_MAP_BYTES", 4 << 20)
    with closing(create_files(tmp_path / "s", lambda txn: txn.put(REFS, b"k", b"v"))) as store:
        with store.read() as view:
            script = """
from cas.store.lmdb import LmdbStore
LmdbStore(url).write(lambda txn: txn.put_blobs([(bytes(32), bytes(8 << 20))]))
"""
            other_process.output(script, tmp_path / "s")
            with pytest.raises(StoreError, match="try again"), store.read():
                pass
            assert view.sizes([bytes(32)]) == [None]
        with store.read() as view:
            assert view.sizes([bytes(32)]) == [8 << 20]


# --- media that nobody writes to ------------------------------------------------------------------------------------


def test_a_read_only_file_system_is_read(tmp_path: Path) -> None:
    """A mount that root cannot write to either."""
    with cas.create(tmp_path / "data" / "ds", {"n": "int64"}) as ds:
        ds.append({"n": [1, 2]})
        ds.commit()
    frozen = tmp_path / "frozen"
    frozen.mkdir()
    commands = (
        ["mount", "--bind", str(tmp_path / "data"), str(frozen)],
        ["mount", "-o", "remount,ro,bind", str(frozen)],
    )
    if os.geteuid() != 0 or any(subprocess.run(command, capture_output=True).returncode for command in commands):
        pytest.skip("only root may mount")
    try:
        script = """
with cas.open_read_only(url) as ds:
    print(ds["n"][:].tolist(), ds.history[0].message != "")
for change in (lambda ds: ds.metadata.update(a=1), lambda ds: (ds.append({"n": [3]}), ds.commit())):
    try:
        change(cas.open(url))
    except ReadOnlyError as error:
        print("refused")
"""
        assert other_process.output(script, frozen / "ds").split("\n") == ["[1, 2] True", "refused", "refused"]
    finally:
        subprocess.run(["umount", str(frozen)], check=True)


# --- processes that die ---------------------------------------------------------------------------------------------


READER = """
from cas.store.contract import REFS
from cas.store.lmdb import LmdbStore
store = LmdbStore(url)
with store.read() as view:
    print(view.get(REFS, b"k"), flush=True)
    sys.stdin.read()
"""


def reader(path: Path) -> subprocess.Popen[bytes]:
    """A process that is inside a view."""
    command = [sys.executable, "-c", other_process.PRELUDE + READER, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"b'v'\n"
    return process


def readers(path: Path) -> list[int]:
    """The processes that have a place among the readers."""
    with lmdb.open(str(path), readonly=True, max_dbs=16, lib_version=0) as env:
        return [int(line.split()[0]) for line in env.readers().splitlines()[1:]]


def test_the_place_of_a_reader_that_was_killed_is_given_back(tmp_path: Path) -> None:
    """It would keep its state of the store from being reused, and the file would grow."""
    path = tmp_path / "s"
    create_files(path, lambda txn: txn.put(REFS, b"k", b"v")).close()
    with reader(path) as alive, reader(path) as killed:
        assert sorted(readers(path)) == sorted([alive.pid, killed.pid])
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert sorted(readers(path)) == sorted([alive.pid, killed.pid])
        again = LmdbStore(path)
        with again.read():
            pass
        again.close()
        assert readers(path) == [alive.pid]
        alive.kill()


def test_a_store_that_was_begun_is_named_and_taken_over(tmp_path: Path) -> None:
    """The process that makes it is killed at any write."""
    script = """
import itertools, cas.store.lmdb as lmdb
number = int(sys.argv[2])
calls = itertools.count()
def step(real):
    def stepped(*arguments, **named):
        if next(calls) == number:
            os.kill(os.getpid(), 9)
        return real(*arguments, **named)
    return stepped
for name in ("open", "truncate", "write", "fsync", "utime"):
    setattr(os, name, step(getattr(os, name)))
Path.touch = step(Path.touch)
cas.create(url).close()
print("made")
"""
    begun = number = 0
    while True:
        place = tmp_path / f"{number}"
        done = other_process.run(script, place, str(number))
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        if (place / MARKER).exists() and (place / MARKER).read_bytes() != MARKER_TEXT:
            begun += 1
            with pytest.raises(StoreNotFoundError, match=r"begun and never finished.*cas\.create"):
                cas.open(place)
        try:
            with cas.open_read_only(place) as ds:
                assert len(ds) == 0
        except CasError:
            with cas.create(place, {"n": "int64"}) as ds:
                ds.append({"n": [1]})
                ds.commit()
            with cas.open_read_only(place) as ds:
                assert ds["n"][:].tolist() == [1]
        number += 1
    assert begun >= 3
    assert number >= 8


def test_what_another_process_is_making_is_left_to_it(tmp_path: Path) -> None:
    def interfere(txn: object) -> None:
        with pytest.raises(StoreExistsError, match="another process is making"):
            create_files(tmp_path / "s", lambda txn: None)

    create_files(tmp_path / "s", interfere).close()
    assert (tmp_path / "s" / MARKER).read_bytes() == MARKER_TEXT


@pytest.mark.parametrize("extra", ["notes.txt", "sub/file"])
def test_a_directory_with_files_of_others_is_not_taken_over(tmp_path: Path, extra: str) -> None:
    place = tmp_path / "s"
    write_tree(place, {MARKER: b"", "data.mdb": b"", extra: b"mine"})
    with pytest.raises(StoreExistsError):
        cas.create(place)
    assert (place / extra).read_bytes() == b"mine"


def test_a_dataset_whose_columns_find_no_space_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cas.init(tmp_path / "lake")
    cas.create(tmp_path / "lake/old").close()

    def full(*arguments: object, **named: object) -> None:
        raise StoreFullError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(cas.Dataset, "commit", full)
        for place in (tmp_path / "lake/new", tmp_path / "alone"):
            with pytest.raises(StoreFullError):
                cas.create(place, {"n": "int64"})
    assert [cas.exists(tmp_path / place) for place in ("lake/new", "alone", "lake/old")] == [False, False, True]
    assert not (tmp_path / "alone").exists()
    cas.create(tmp_path / "lake/new", {"n": "int64"}).close()
