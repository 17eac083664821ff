"""What only the LMDB store has: processes, threads, permissions, and files that are damaged or gone."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import lmdb
import numpy as np
import pytest

import cas
from cas.errors import CorruptedError, ReadOnlyError, StoreError, StoreExistsError, StoreNotFoundError
from cas.hashing import hash_chunk
from cas.store import environment
from cas.store.contract import REFS, Transaction
from cas.store.leases import MARKER
from cas.store.lmdb import LmdbStore, create_files, is_store
from cas.store.segments import SEGMENT_BYTES

PRELUDE = """
    import os, sys
    from pathlib import Path
    from cas.errors import *
    from cas.store.contract import REFS
    from cas.store.lmdb import LmdbStore

    def put(store, key, value):
        store.write(lambda txn: txn.put(REFS, key, value))

    def get(store, key):
        with store.read() as view:
            return view.get(REFS, key)

    path = Path(sys.argv[1])
"""


def run(path: Path, script: str, prefix: Sequence[str] = ()) -> "subprocess.CompletedProcess[str]":
    """Runs a script on a store in a process of its own, where a crash is a return code."""
    code = textwrap.dedent(PRELUDE) + textwrap.dedent(script)
    command = [*prefix, sys.executable, "-X", "faulthandler", "-c", code, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def output(path: Path, script: str, prefix: Sequence[str] = ()) -> list[str]:
    """The words that a script prints, which must end well."""
    done = run(path, script, prefix)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def put(store: LmdbStore, key: bytes, value: bytes) -> None:
    store.write(lambda txn: txn.put(REFS, key, value))


def get(store: LmdbStore, key: bytes) -> bytes | None:
    with store.read() as view:
        return view.get(REFS, key)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with one row and some blobs, closed."""
    store = create_files(tmp_path / "store", lambda txn: txn.put(REFS, b"k", b"v"))
    store.write(lambda txn: txn.put_blobs([(hash_chunk(b"%d" % i), bytes([i]) * 50_000) for i in range(30)]))
    store.close()
    return tmp_path / "store"


# --- processes and threads ------------------------------------------------------------------------------------------


def test_a_forked_child_reads_and_writes(path: Path) -> None:
    script = """
        store = LmdbStore(path)
        put(store, b"parent", b"1")
        child = os.fork()
        if child == 0:
            assert get(store, b"parent") == b"1"
            put(store, b"child", b"2")
            assert get(LmdbStore(path), b"child") == b"2"
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        put(store, b"parent", b"3")
        print(get(store, b"child").decode(), get(store, b"parent").decode())
    """
    assert output(path, script) == ["2", "3"]


def test_a_fork_inside_a_view_leaves_the_snapshot_whole(path: Path) -> None:
    """The child cannot have the store, since closing its copy would give away the parent's place among the readers."""
    script = """
        store = LmdbStore(path)
        with store.read() as view:
            child = os.fork()
            if child == 0:
                try:
                    get(LmdbStore(path), b"k")
                except StoreError:
                    os._exit(7)
                os._exit(8)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            import threading
            writer = threading.Thread(target=lambda: [put(store, b"k", b"%d" % n) for n in range(60)])
            writer.start()
            writer.join()
            assert view.get(REFS, b"k") == b"v"
        print(code, get(store, b"k").decode())
    """
    assert output(path, script) == ["7", "59"]


def test_a_fork_waits_for_the_views_of_other_threads(path: Path) -> None:
    script = """
        import threading, time
        store = LmdbStore(path)
        inside, done = threading.Event(), []

        def read():
            with store.read() as view:
                inside.set()
                time.sleep(0.3)
                done.append(view.get(REFS, b"k"))

        thread = threading.Thread(target=read)
        thread.start()
        inside.wait()
        child = os.fork()
        if child == 0:
            put(store, b"child", get(store, b"k"))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        thread.join()
        print(done[0].decode(), get(store, b"child").decode())
    """
    assert output(path, script) == ["v", "v"]


def test_a_fork_while_another_thread_looks_at_the_length_of_the_file(path: Path) -> None:
    """As it does after each write. LMDB's binding would wait in the child for a call that never ends there."""
    script = """
    import signal, threading, time
    store = LmdbStore(path)
    shared = store._environment()
    done = False
    def work():
        while not done:
            shared.complete()
    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(50):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        for _ in range(1000):
            if os.waitpid(pid, os.WNOHANG)[0]:
                break
            time.sleep(0.01)
        else:
            os.kill(pid, signal.SIGKILL)
            print("hangs")
            break
    done = True
    thread.join()
    """
    assert output(path, script) == []


def test_closing_while_others_read_is_no_crash(path: Path) -> None:
    script = """
        import threading
        stop = threading.Event()
        store = LmdbStore(path)

        def read():
            while not stop.is_set():
                try:
                    with store.read() as view:
                        assert view.get(REFS, b"k") == b"v"
                except StoreError:
                    pass

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(300):
            store.close()
        stop.set()
        for thread in threads:
            thread.join()
        with store.read() as view:
            store.close()
            assert view.get(REFS, b"k") == b"v"
        print(get(store, b"k").decode())
    """
    assert output(path, script) == ["v"]


def test_workers_of_multiprocessing(path: Path) -> None:
    script = """
        import multiprocessing

        store = LmdbStore(path)
        put(store, b"first", b"")

        def work(number):
            put(store, b"%d" % number, b"x")
            return get(store, b"%d" % number)

        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(work, range(20)) == [b"x"] * 20
        with store.read() as view:
            print(len(list(view.scan(REFS))))
    """
    assert output(path, script) == ["22"]


def test_handles_pickle(path: Path) -> None:
    for store in (LmdbStore(path), LmdbStore(path, read_only=True)):
        assert get(store, b"k") == b"v"
        copy = pickle.loads(pickle.dumps(store))
        assert (copy.path, copy.read_only) == (store.path, store.read_only)
        store.close()
        assert get(copy, b"k") == b"v"
        copy.close()


def test_two_handles_share_one_environment(path: Path) -> None:
    one, two = LmdbStore(path), LmdbStore(path / ".." / path.name)
    put(one, b"a", b"1")
    assert get(two, b"a") == b"1"
    assert one._environment() is two._environment()
    one.close()
    put(two, b"a", b"2")
    assert get(one, b"a") == b"2"
    shared = one._environment()
    one.close()
    two.close()
    assert shared not in environment._registry.values()


def test_a_second_process_sees_what_is_written_and_is_seen(path: Path) -> None:
    store = LmdbStore(path)
    put(store, b"a", b"1")
    assert output(path, 'store = LmdbStore(path); put(store, b"b", b"2"); print(get(store, b"a").decode())') == ["1"]
    assert get(store, b"b") == b"2"
    store.close()


def test_timestamps_grow_across_processes(path: Path) -> None:
    store = LmdbStore(path)
    times = []
    for _ in range(3):
        times.append(store.write(lambda txn: txn.timestamp()))
        times += map(int, output(path, "print(LmdbStore(path).write(lambda txn: txn.timestamp()))"))
    store.close()
    assert times == sorted(set(times))


def test_timestamps_do_not_follow_a_clock_that_goes_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LmdbStore(path)
    first = store.write(lambda txn: txn.timestamp())
    monkeypatch.setattr("cas.store.lmdb._file_system_time", lambda marker: first - 10**9)
    assert [store.write(lambda txn: txn.timestamp()) for _ in range(3)] == [first + 1, first + 2, first + 3]
    store.close()


def test_threads_with_a_handle_each(path: Path) -> None:
    found: list[bytes | None] = []

    def work(number: int) -> None:
        store = LmdbStore(path)
        for i in range(10):
            put(store, b"%d %d" % (number, i), b"x")
            found.append(get(store, b"%d %d" % (number, i)))
        store.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"x"] * 40
    file = (path / "data.mdb").stat()
    assert (file.st_dev, file.st_ino) not in environment._registry


def test_the_map_grows_when_it_is_full(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_FIRST_MAP_BYTES", 4 << 20)
    store = LmdbStore(path)
    blobs = [(hash_chunk(b"%d" % i), bytes([i]) * 1_000_000) for i in range(40)]
    runs = []
    store.write(lambda txn: (runs.append(1), txn.put_blobs(blobs)))
    assert len(runs) > 1, "the map was large enough from the start, so nothing was tested"
    with store.read() as view:
        assert view.sizes([key for key, _ in blobs[30:]]) == [1_000_000] * 10
        assert bytes(view.blobs([blobs[39][0]])[0] or b"") == blobs[39][1]
    store.close()


def test_a_map_that_another_process_has_grown(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_FIRST_MAP_BYTES", 4 << 20)
    store = LmdbStore(path)
    put(store, b"a", b"1")
    grow = """
        blobs = [(bytes([i]) * 32, bytes([i]) * 1_000_000) for i in range(40)]
        LmdbStore(path).write(lambda txn: txn.put_blobs(blobs))
    """
    output(path, grow)
    put(store, b"b", b"2")
    assert get(store, b"b") == b"2"
    with store.read() as view:
        assert view.sizes([bytes([39]) * 32]) == [1_000_000]
    store.close()


def test_no_segment_is_longer_than_it_may_be(path: Path) -> None:
    lengths = [0, 1, SEGMENT_BYTES - 1, 1, 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 0, 70_000, 200_000]
    store = LmdbStore(path)
    blobs = [(hash_chunk(b"new %d" % i), bytes([i + 1]) * length) for i, length in enumerate(lengths)]
    store.write(lambda txn: txn.put_blobs(blobs))
    store.close()
    with lmdb.open(str(path), readonly=True, max_dbs=16, lib_version=0) as env:
        with env.begin() as txn, txn.cursor(env.open_db(b"segments", txn, create=False)) as cursor:
            segments = {int.from_bytes(key, "big"): value for key, value in cursor}
    assert sorted(segments) == list(range(1, len(segments) + 1))
    whole = {blob for _, blob in blobs if len(blob) > SEGMENT_BYTES}
    assert all(len(value) <= SEGMENT_BYTES or value in whole for value in segments.values())
    assert sum(map(len, segments.values())) <= 30 * 50_000 + sum(lengths) + 2


# --- permissions ----------------------------------------------------------------------------------------------------


@pytest.fixture
def read_only_path(path: Path) -> Iterator[Path]:
    """The store with its files and directory made read-only."""
    for part in path.iterdir():
        part.chmod(0o444)
    path.chmod(0o555)
    yield path
    path.chmod(0o755)


def bound_by_permissions() -> list[str]:
    """A prefix for commands that permissions shall bind: root must lose the capability to pass over them."""
    if os.geteuid() != 0:
        return []
    prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    if shutil.which(prefix[0]) is None or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("permissions do not bind root, and setpriv cannot take that capability away")
    return prefix


def test_a_read_only_directory_is_read(read_only_path: Path) -> None:
    script = """
        assert not os.access(path, os.W_OK)
        for store in (LmdbStore(path, read_only=True), LmdbStore(path)):
            print(get(store, b"k").decode())
            try:
                put(store, b"k", b"changed")
            except ReadOnlyError:
                print("refused")
            store.close()
    """
    assert output(read_only_path, script, bound_by_permissions()) == ["v", "refused"] * 2


def test_a_handle_for_reading_does_not_write(path: Path) -> None:
    store = LmdbStore(path, read_only=True)
    assert store.read_only
    with pytest.raises(ReadOnlyError):
        put(store, b"k", b"changed")
    assert get(store, b"k") == b"v"
    store.close()


# --- files that are missing or damaged ------------------------------------------------------------------------------


def test_no_store(tmp_path: Path) -> None:
    for where in (tmp_path, tmp_path / "missing"):
        assert not is_store(where)
        with pytest.raises(StoreNotFoundError):
            get(LmdbStore(where), b"k")


def test_a_directory_that_cannot_be_made_becomes_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for where in (tmp_path / ("x" * 5000), tmp_path / "file/below"):
        with pytest.raises(StoreError, match="no store can be made at"):
            create_files(where, lambda txn: None)


def test_a_directory_with_files_does_not_become_a_store(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreExistsError):
        create_files(tmp_path, lambda txn: None)
    with pytest.raises(StoreExistsError):
        create_files(tmp_path / "notes.txt", lambda txn: None)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_store_whose_making_fails_leaves_no_store(tmp_path: Path) -> None:
    def fail(txn: object) -> None:
        raise KeyError("first transaction")

    with pytest.raises(KeyError):
        create_files(tmp_path / "s", fail)
    assert not is_store(tmp_path / "s")
    create_files(tmp_path / "s", lambda txn: None).close()
    assert is_store(tmp_path / "s")


def test_without_its_marker_a_directory_is_no_store(path: Path) -> None:
    (path / MARKER).unlink()
    assert not is_store(path)
    store = LmdbStore(path)
    with pytest.raises(StoreNotFoundError, match=MARKER):
        store.write(lambda txn: txn.timestamp())
    store.close()


def test_an_unfinished_marker_is_no_store(path: Path) -> None:
    (path / MARKER).write_bytes(b"")
    assert not is_store(path)


DAMAGES = {
    "zeros": lambda data: bytes(len(data)),
    "noise": lambda data: bytes((i * 7919 >> 3) & 255 for i in range(len(data))),
    "text": lambda data: b"this is no database\n" * 1000,
    "one byte": lambda data: b"\0",
    "first page cut": lambda data: data[:1000],
    "no magic": lambda data: data[:16] + bytes(4) + data[20:4112] + bytes(4) + data[4116:],
    "another version": lambda data: data[:20] + b"\7\0\0\0" + data[24:4116] + b"\7\0\0\0" + data[4120:],
    "only the meta pages": lambda data: data[:8192],
    "cut in half": lambda data: data[: len(data) // 2],
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_database_is_an_error_and_not_a_crash(path: Path, name: str) -> None:
    data = (path / "data.mdb").read_bytes()
    (path / "data.mdb").write_bytes(DAMAGES[name](data))
    script = """
        store = LmdbStore(path)
        try:
            with store.read() as view:
                keys = [key for table in ("refs", "store", "versions") for key, _ in view.scan(table)]
            print("read", keys)
        except (CorruptedError, StoreError, UnsupportedError) as error:
            print(type(error).__name__)
    """
    done = run(path, script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() in (["CorruptedError"], ["StoreError"], ["UnsupportedError"])


@pytest.mark.parametrize("read_only", [True, False])
def test_a_value_put_and_removed_at_once_leaves_a_store_that_opens(path: Path, read_only: bool) -> None:
    def change(txn: Transaction) -> None:
        txn.put(REFS, b"large", bytes(200_000))
        txn.remove(REFS, b"large")

    store = LmdbStore(path)
    store.write(change)
    store.close()
    again = LmdbStore(path, read_only=read_only)
    assert get(again, b"k") == b"v"
    again.close()


def test_an_empty_database_is_no_dataset(tmp_path: Path) -> None:
    """LMDB takes an empty file for a new database, which must not pass for a dataset without rows."""
    cas.create(tmp_path / "s").close()
    (tmp_path / "s" / "data.mdb").write_bytes(b"")
    for open_ in (cas.open_read_only, cas.open):
        with pytest.raises(CorruptedError):
            open_(tmp_path / "s")


def test_an_index_row_that_leads_nowhere_is_damage(path: Path) -> None:
    store = LmdbStore(path)
    rows = {
        b"short" * 6: b"\1\2\3",
        b"no segment": b"\xff" * 12,
        b"too long": (1 << 24 | 262_000).to_bytes(8, "little"),
    }
    rows[b"too long"] += (999_999).to_bytes(4, "little")
    shared = store._environment()
    with shared.transaction(write=True) as txn:
        for key, value in rows.items():
            txn.put(key, value, db=shared.databases[environment.INDEX])
    for key in rows:
        with pytest.raises(CorruptedError), store.read() as view:
            view.blobs([key])
    store.close()


@pytest.mark.parametrize("place", [1 << 63, (1 << 63) | (1 << 24), (1 << 64) - 1])
def test_a_place_beyond_all_segments_is_damage(path: Path, place: int) -> None:
    store = LmdbStore(path)
    keys = [bytes([number]) * 32 for number in range(4)]
    store.write(lambda txn: txn.put_blobs([(key, key * 100) for key in keys]))
    shared = store._environment()
    with shared.transaction(write=True) as txn:
        row = place.to_bytes(8, "little") + (3200).to_bytes(4, "little")
        txn.put(keys[2], row, db=shared.databases[environment.INDEX])
    with pytest.raises(CorruptedError) as caught, store.read() as view:
        list(view.runs(np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32)))
    assert caught.value.blob == keys[2].hex()
    store.close()


def test_of_blobs_that_lie_together_the_lost_one_is_named(path: Path) -> None:
    store = LmdbStore(path)
    blobs = [(bytes([number]) * 32, bytes([number]) * 1000) for number in range(20)]
    store.write(lambda txn: txn.put_blobs(blobs))
    shared = store._environment()
    with shared.transaction(write=True) as txn, txn.cursor(shared.databases[environment.SEGMENTS]) as cursor:
        assert cursor.last()
        txn.put(bytes(cursor.key()), bytes(cursor.value())[:15_500], db=shared.databases[environment.SEGMENTS])
    with pytest.raises(CorruptedError) as caught, store.read() as view:
        list(view.runs(np.frombuffer(b"".join(hash_ for hash_, _ in blobs), np.uint8).reshape(-1, 32)))
    assert caught.value.blob == (bytes([15]) * 32).hex()
    store.close()


def test_a_table_whose_name_is_lost_is_not_an_empty_one(path: Path) -> None:
    with lmdb.open(str(path), max_dbs=16, lib_version=0) as env, env.begin(write=True) as txn:
        txn.drop(env.open_db(REFS.encode(), txn, create=False))
    for _ in range(2):
        with pytest.raises(CorruptedError, match="no table 'refs'"):
            LmdbStore(path).write(lambda txn: None)
    (path / MARKER).write_bytes(b"")  # as one that is being made
    store = LmdbStore(path)
    store.write(lambda txn: None)
    store.close()


def test_a_handle_goes_on_while_another_thread_closes_it(path: Path) -> None:
    """Handles of versions share that of their dataset, and closing one must not fail the writes of another thread."""
    store, stop = LmdbStore(path), threading.Event()

    def close() -> None:
        while not stop.is_set():
            store.close()

    closing = threading.Thread(target=close)
    closing.start()
    try:
        for number in range(200):
            put(store, b"k", b"%d" % number)
            with store.read() as view:
                assert view.get(REFS, b"k") == b"%d" % number
    finally:
        stop.set()
        closing.join()
    store.close()
    assert store._shared is None
    assert all(shared.path != path for shared in environment._registry.values())


def test_what_is_durable_is_not_said_to_have_failed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LmdbStore(path)
    put(store, b"k", b"before")

    def fail(shared: environment.Environment) -> None:
        raise StoreError("the file cannot be made longer")

    monkeypatch.setattr(environment.Environment, "complete", fail)
    put(store, b"k", b"after")
    with store.read() as view:
        assert view.get(REFS, b"k") == b"after"


def test_a_reader_that_was_killed_keeps_no_space(path: Path) -> None:
    store = LmdbStore(path)
    blobs = [(hash_chunk(b"large %d" % number), bytes([number]) * 250_000) for number in range(4)]

    def rewrite() -> int:
        for _ in range(12):
            store.write(lambda txn: txn.put_blobs(blobs))
            store.write(lambda txn: txn.remove_blobs([hash_ for hash_, _ in blobs]))
            store.reclaim()
        return (path / "data.mdb").stat().st_size

    before = rewrite()
    script = """
        import signal
        with LmdbStore(path).read() as view:
            view.get(REFS, b"k")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run(path, script).returncode == -signal.SIGKILL
    assert rewrite() < before + 3_000_000
