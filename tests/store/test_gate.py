"""The gate and its threads: the caller's memory, the map of a store, and writers that wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from cas.codec import compression
from cas.codec.compression import ZSTD_MAGIC
from cas.codec.planes import memory_bytes, payload_bytes
from cas.codec.rows import Flat
from cas.errors import CorruptedError, StoreFullError
from cas.hashing import Bytes, Hashes, Kind
from cas.repo.commit import writer_inside
from cas.store import writer as writing
from cas.store.contract import T, Transaction, View
from cas.store.gate import Gate, split_payloads
from cas.store.lmdb import create_files
from cas.store.memory import MemoryStore
from cas.store.writer import BATCH_BYTES, BlobWriter
from cas.types import Layout

CHUNK_BYTES = 1 << 18


@pytest.fixture(autouse=True)
def behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads compress little too."""
    monkeypatch.setattr(writing, "_BEHIND_BYTES", 0)


class SlowStore(MemoryStore):
    """Threads put what they are given when ``may_put`` is set; they fail where ``full``."""

    def __init__(self) -> None:
        super().__init__()
        self.may_put = threading.Event()
        self.full = False

    def write(self, change: Callable[[Transaction], T]) -> T:
        if threading.current_thread() is not threading.main_thread():
            assert self.may_put.wait(20)
            if self.full:
                raise StoreFullError("no space")
        return super().write(change)


def noise(size: int, seed: int = 0) -> Flat:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def add(writer: BlobWriter, memory: Flat) -> Hashes:
    """Gives a writer chunks that lie in some memory."""
    sizes = np.full(len(memory) // CHUNK_BYTES, CHUNK_BYTES)
    return writer.add_chunks(split_payloads(memory, sizes), Layout(None), whole=memory.data)


def check_all(store: MemoryStore, hashes: Hashes) -> None:
    Gate(store).read_chunks(hashes, np.full(len(hashes), CHUNK_BYTES))


@pytest.fixture
def memory() -> Flat:
    return noise(BATCH_BYTES + (4 << 20))


def test_memory_may_change_while_it_is_put(memory: Flat) -> None:
    store = SlowStore()
    writer = BlobWriter(store, compress=False, background=True)
    hashes = add(writer, memory)
    assert writer._putting is not None
    writer.own()  # as the draft does when rows are staged, and with whatever was raised
    memory[:] = 0
    store.may_put.set()
    writer.flush()
    check_all(store, hashes)


def test_what_could_not_be_put_is_held_back(memory: Flat) -> None:
    store = SlowStore()
    store.full = True
    store.may_put.set()
    writer = BlobWriter(store, compress=False, background=True)
    hashes = add(writer, memory)
    writer.own()
    memory[:] = 0
    with pytest.raises(StoreFullError):
        writer.flush()
    assert len(writer.held) == len(hashes)
    store.full = False
    writer.flush()
    check_all(store, hashes)
    assert not writer.held


def texts(count: int, seed: int = 0) -> list[bytes]:
    """Payloads that can be compressed."""
    return [b"%d " % (seed + number) * 500 for number in range(count)]


def test_no_chunks_have_no_hashes() -> None:
    writer = BlobWriter(MemoryStore())
    assert writer.add_chunks([], Layout(None)).shape == (0, 32)
    assert not writer.rest()


def test_what_is_being_compressed_is_read_and_put() -> None:
    store = MemoryStore()
    writer = BlobWriter(store, background=True)
    payloads = texts(300)
    sizes = np.array(list(map(len, payloads)))
    hashes = writer.add_chunks(payloads, Layout(None))
    assert Gate(store).over(writer.held).read_chunks(hashes, sizes).tobytes() == b"".join(payloads)
    writer.flush()
    assert not writer.held
    assert Gate(store).read_chunks(hashes, sizes).tobytes() == b"".join(payloads)
    assert sum(map(len, store._blobs.values())) < sizes.sum() / 4


def test_a_payload_that_looks_like_a_frame_among_others_that_are_compressed() -> None:
    store = MemoryStore()
    writer = BlobWriter(store, background=True)
    payloads = [*texts(100), ZSTD_MAGIC + bytes(100), *texts(100, 1000)]
    sizes = np.array(list(map(len, payloads)))
    hashes = writer.add_chunks(payloads, Layout(None))
    for _ in range(2):
        assert Gate(store).over(writer.held).read_chunks(hashes, sizes).tobytes() == b"".join(payloads)
        writer.flush()


def test_a_thread_compresses_from_where_there_is_enough_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    payloads = texts(200)
    monkeypatch.setattr(writing, "_BEHIND_BYTES", sum(map(len, payloads)))
    writer = BlobWriter(MemoryStore(), background=True)
    for some, behind in ((payloads[:100], False), (payloads[100:], True)):
        writer.add_chunks(some, Layout(None))
        assert (writer._lots[-1]._compressing is not None) == behind
    writer.flush()


def test_what_could_not_be_compressed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    writer = BlobWriter(store, background=True)
    encode_many = compression.encode_many
    tries: list[int] = []

    def fail_once(payloads: Sequence[Bytes]) -> list[Bytes]:
        tries.append(len(payloads))
        if len(tries) == 1:
            raise MemoryError
        return encode_many(payloads)

    monkeypatch.setattr(compression, "encode_many", fail_once)
    payloads = texts(100)
    hashes = writer.add_chunks(payloads, Layout(None))
    writer.flush()
    assert tries == [100, 100]
    sizes = np.array(list(map(len, payloads)))
    assert Gate(store).read_chunks(hashes, sizes).tobytes() == b"".join(payloads)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_forked_child_puts_what_its_parent_was_compressing(compressed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the parent's thread was done with it or not."""
    may_end = threading.Event()
    compress = writing._compressed
    if not compressed:
        monkeypatch.setattr(writing, "_compressed", lambda payloads: may_end.wait(20) and compress(payloads))
    store = MemoryStore()
    writer = BlobWriter(store, background=True)
    payloads = texts(100)
    sizes = np.array(list(map(len, payloads)))
    hashes = writer.add_chunks(payloads, Layout(None))
    if compressed:
        task = writer._lots[-1]._compressing
        assert task is not None
        assert task.error() is None
    monkeypatch.setattr(writing, "_compressed", compress)
    child = os.fork()
    if not child:
        writer.flush()
        found = Gate(store).read_chunks(hashes, sizes).tobytes()
        os._exit(0 if found == b"".join(payloads) else 1)
    may_end.set()
    assert os.waitpid(child, 0)[1] == 0
    writer.flush()
    assert Gate(store).read_chunks(hashes, sizes).tobytes() == b"".join(payloads)


class PuttingStore(MemoryStore):
    """While a view is open a writer puts what it holds back, which the view does not show."""

    writer: BlobWriter | None = None

    @contextmanager
    def read(self) -> Iterator[View]:
        with super().read() as view:
            writer, self.writer = self.writer, None
            if writer is not None:
                writer.flush()
            yield view


@pytest.mark.parametrize("count", [0, 1, 4])
def test_what_is_put_while_it_is_read_is_found(count: int) -> None:
    store = PuttingStore()
    writer = BlobWriter(store, compress=False)
    gate = Gate(store).over(writer.held)
    node = writer.add_record(Kind.NODE, b"a node")
    hashes = add(writer, noise(4 * CHUNK_BYTES))
    store.writer = writer
    if count:
        gate.read_chunks(hashes[:count], np.full(count, CHUNK_BYTES))
    else:
        assert gate.read_record(Kind.NODE, node) == b"a node"
    assert not writer.held


def with_numbers(count: int) -> tuple[MemoryStore, list[bytes], Hashes]:
    """A store with chunks of 4,000 small numbers each, their payloads, and their hashes."""
    store = MemoryStore()
    writer = BlobWriter(store)
    payloads = [np.arange(number, number + 4000).tobytes() for number in range(count)]
    hashes = writer.add_chunks(payloads, Layout(8, element_bytes=8))
    writer.flush()
    return store, payloads, hashes


def test_numbers_that_were_read_whole_are_kept_as_planes() -> None:
    store, payloads, hashes = with_numbers(40)
    sizes = np.full(40, 32_000)
    gate = Gate(store)
    assert gate.read_chunks(hashes, sizes).tobytes() == b"".join(payloads)
    store._blobs.clear()
    kept = gate.read_kept(hashes, sizes)
    assert sum(map(memory_bytes, kept)) < 40 * (4000 * 2 + 500)
    assert [bytes(payload_bytes(payload)) for payload in kept] == payloads
    assert gate.read_kept_chunk(hashes[7].tobytes(), 32_000)[8:16] == payloads[7][8:16]


def test_planes_are_compared_with_the_hash_first() -> None:
    store, _, hashes = with_numbers(3)
    keys = [key.tobytes() for key in hashes]
    store._blobs[keys[0]] = store._blobs[keys[1]]
    gate = Gate(store)
    with pytest.raises(CorruptedError):
        gate.read_kept_chunk(keys[0], 32_000)
    with pytest.raises(CorruptedError):
        gate.read_kept(hashes, np.full(3, 32_000))
    with pytest.raises(CorruptedError):
        gate.read_chunks(hashes, np.full(3, 32_000))
    assert gate._cache.get(keys[0]) is None


CLOSE_AFTER_DAMAGE = """
import sys
import numpy as np
from pathlib import Path
from cas.errors import CorruptedError
from cas.hashing import hash_chunk
from cas.store.gate import Gate
from cas.store.lmdb import LmdbStore
rng = np.random.default_rng(0)
blobs = [rng.bytes(200_000) for _ in range(100)]
keys = [hash_chunk(blob) for blob in blobs]
store = LmdbStore(Path(sys.argv[1]))
store.write(lambda txn: txn.put_blobs([*zip(keys[:2], blobs[:2]), *zip(keys[3:], blobs[3:])]))
store.close()
hashes = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32)
for _ in range(100):
    try:
        Gate(store).read_chunks(hashes, np.full(100, 200_000))
    except CorruptedError:
        store.close()
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs threads that run at once")
def test_a_store_may_be_closed_after_a_blob_was_missing(tmp_path: Path) -> None:
    create_files(tmp_path / "s", lambda txn: None).close()
    done = subprocess.run([sys.executable, "-c", CLOSE_AFTER_DAMAGE, str(tmp_path / "s")], check=False)
    assert done.returncode == 0


def test_threads_that_wait_for_a_writer_are_not_those_that_it_needs(tmp_path: Path, memory: Flat) -> None:
    """Somebody who writes uses the pool, while as many others put something as there are threads in it."""
    store = create_files(tmp_path / "s", lambda txn: None)
    others = [BlobWriter(store, compress=False, background=True) for _ in range(os.cpu_count() or 2)]
    mine = noise(4 << 20, seed=1)

    def change(txn: Transaction) -> Hashes:
        for other in others:
            add(other, memory)
        with writer_inside(txn) as inside:
            return add(inside, mine)

    def write() -> None:
        written.append(store.write(change))

    written: list[Hashes] = []
    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    thread.join(60)
    assert len(written) == 1
    for other in others:
        other.flush()
        other.release()
    assert Gate(store).read_chunks(written[0], np.full(16, CHUNK_BYTES)).tobytes() == mine.tobytes()
    store.close()
