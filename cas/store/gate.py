"""The one gate through which blobs go in and out: hashed, compressed, unpacked and verified here."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from cas.codec import compression
from cas.codec.rows import Flat, Ints
from cas.errors import CorruptedError
from cas.hashing import HASH_BYTES, Bytes, Hashes, Kind, hash_blob, hash_chunk, split_hashes
from cas.store.checked import Checked
from cas.store.contract import Lease, Run, Store, View, Writable, single_runs
from cas.store.latest import Latest
from cas.types import Layout

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

MAX_NODE_BYTES: Final = 12_296
MAX_RECORD_BYTES: Final = 64 << 20
BATCH_BYTES: Final = 32 << 20
CACHE_BYTES: Final = 128 << 20
_SHARED_BYTES: Final = 1 << 20
_LARGE_BYTES: Final = 8 << 20
_ITEMS_PER_TASK: Final = 32
_LARGE_CHUNK_BYTES: Final = 32 << 10
"""Chunks from this size on are hashed in threads; handing the interpreter over takes longer than hashing others."""
_TASK_BYTES: Final = 512 << 10
_GIL_BYTES: Final = 64 << 10
"""From here on NumPy copies, which lets other threads run; below, that takes longer than the copy."""
Item = TypeVar("Item")
Result = TypeVar("Result")
_pool: ThreadPoolExecutor | None = None
_pool_pid = 0
_pool_lock = threading.Lock()


def _after_fork_in_child() -> None:
    """Another thread of the parent may have held the lock, which nobody here would ever give back."""
    global _pool_lock
    _pool_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)


def workers() -> ThreadPoolExecutor:
    """Returns the process's thread pool; hashing and compression release the GIL."""
    global _pool, _pool_pid
    # Imported here because few programs need it before they write, and it takes as long as half of this package.
    from concurrent.futures import ThreadPoolExecutor

    with _pool_lock:
        if _pool is None or _pool_pid != os.getpid():
            _pool = ThreadPoolExecutor(os.cpu_count() or 2, thread_name_prefix="cas")
            _pool_pid = os.getpid()
        return _pool


class Gate:
    """Reads payloads from a store and checks each against its hash.

    Chunks are checked when they are first read in a process, records always.
    """

    def __init__(self, store: Store, pending: Mapping[bytes, Bytes] | None = None) -> None:
        self.store = store
        self._pending: Mapping[bytes, Bytes] = {} if pending is None else pending
        self._checked = Checked()
        self._cache: Latest[Bytes] = Latest(CACHE_BYTES, len)

    def over(self, pending: Mapping[bytes, Bytes]) -> Gate:
        """Returns a gate that also sees blobs which a writer still holds back."""
        gate = copy.copy(self)
        gate._pending = pending
        return gate

    def read_record(self, kind: Kind, hash_: bytes) -> bytes | None:
        """Returns the payload of a node, tree or version, or None where there is none."""
        with self.store.read() as view:
            (blob,) = self._find(view, [hash_])
            if blob is None:
                return None
            bound = MAX_NODE_BYTES if kind is Kind.NODE else MAX_RECORD_BYTES
            with _naming(hash_):
                payload = bytes(compression.decode(blob, bound, exact=False))
        if hash_blob(kind, payload) != hash_:
            raise _damaged(hash_)
        return payload

    def _find(self, view: View, keys: list[bytes]) -> list[Bytes | None]:
        """The blobs, also those that a writer still holds back."""
        found = view.blobs(keys)
        if not self._pending:
            return found
        return [self._pending.get(key, blob) for key, blob in zip(keys, found, strict=True)]

    def read_chunk(self, hash_: bytes, size: int) -> Bytes:
        """Returns the payload of a chunk that is asked for in parts, which is kept for the next part."""
        payload = self._cache.get(hash_)
        if payload is None or len(payload) != size:
            payload = self.read_chunks(np.frombuffer(hash_, np.uint8)[None], np.array([size])).data.toreadonly()
            self._cache.put(hash_, payload)
        return payload

    def read_chunks(self, hashes: Hashes, sizes: Ints) -> Flat:
        """Returns the payloads of chunks, of the declared sizes, one after the other in the order asked for.

        ``hashes`` has shape (chunks, 32). A chunk that is missing or damaged raises ``CorruptedError``. Threads share
        what is to be unpacked from 1 MiB on, and anything from 8 MiB on.
        """
        if not len(hashes):
            return np.empty(0, np.uint8)
        if len(hashes) == 1:
            return self._read_one(hashes, int(sizes[0]))
        ends = np.cumsum(sizes)
        flat = np.empty(int(ends[-1]), np.uint8)
        reading = _Reading(hashes, sizes, ends, flat, np.zeros(len(ends), np.bool_))
        with self.store.read() as view:
            runs = list(self._runs(view, hashes))
            at_rest = sum(len(run.data) for run in runs if run.data is not None)
            share = len(flat) >= (_LARGE_BYTES if at_rest == len(flat) else _SHARED_BYTES)
            map_in_pool(reading.take, runs, batch=1 + len(runs) * _TASK_BYTES // len(flat) if share else len(runs))
        reading.unpack_framed()
        fresh = np.flatnonzero(self._checked.lacks(hashes))
        if len(fresh):
            reading.check(fresh)
            self._checked.add(hashes[fresh])
        return flat

    def _read_one(self, hashes: Hashes, size: int) -> Flat:
        hash_ = hashes.tobytes()
        flat = np.empty(size, np.uint8)
        with self.store.read() as view:
            (blob,) = self._find(view, [hash_])
            if blob is None:
                raise _missing(hash_)
            _unpack(blob, flat.data, hash_)
        if self._checked.lacks_one(hash_):
            if hash_chunk(flat.data) != hash_:
                raise _damaged(hash_)
            self._checked.add(hashes)
        return flat

    def _runs(self, view: View, hashes: Hashes) -> Iterator[Run]:
        keys = split_hashes(hashes) if self._pending else []
        if any(key in self._pending for key in keys):
            return single_runs(self._find(view, keys))
        return view.runs(hashes)


@dataclass(frozen=True, slots=True, eq=False)
class _Reading:
    """Chunks on their way into ``flat``, where each ends at ``ends``; ``copied`` are those that are as they were."""

    hashes: Hashes
    sizes: Ints
    ends: Ints
    flat: Flat
    copied: NDArray[np.bool_]

    def take(self, run: Run) -> None:
        """Copies blobs that lie together, or unpacks them."""
        if run.data is None:
            raise _missing(self._key(run.start))
        sizes = self.sizes[run.start : run.stop].tolist()
        if run.lengths == sizes:
            begin, end = self._begin(run.start), int(self.ends[run.stop - 1])
            if end - begin < _GIL_BYTES:
                self.flat.data[begin:end] = run.data
            else:
                self.flat[begin:end] = np.frombuffer(run.data, np.uint8)
            self.copied[run.start : run.stop] = True
            return
        at = 0
        for number, length in enumerate(run.lengths, run.start):
            self._put(number, run.data[at : at + length])
            at += length

    def unpack_framed(self) -> None:
        """Unpacks what was copied but is a frame, as long as what it unpacks to, which is rare."""
        copied = np.flatnonzero(self.copied)
        framed = compression.are_framed(self.flat, (self.ends - self.sizes)[copied])
        for number in copied[framed].tolist():
            self._put(number, self.payload(number).tobytes())

    def check(self, numbers: Ints) -> None:
        """Compares some chunks with their hashes."""
        for number in numbers.tolist():
            key = self._key(number)
            if hash_chunk(self.payload(number)) != key:
                raise _damaged(key)

    def payload(self, number: int) -> memoryview:
        """A chunk."""
        return self.flat.data[self._begin(number) : self.ends[number]]

    def _put(self, number: int, blob: Bytes) -> None:
        _unpack(blob, self.payload(number), self._key(number))

    def _begin(self, number: int) -> int:
        return int(self.ends[number] - self.sizes[number])

    def _key(self, number: int) -> bytes:
        return bytes(self.hashes[number])


def _missing(hash_: bytes) -> CorruptedError:
    return CorruptedError(f"chunk {hash_.hex()} is missing from the store", blob=hash_.hex())


def _damaged(hash_: bytes) -> CorruptedError:
    return CorruptedError(
        f"blob {hash_.hex()} does not have the content that its hash names; restore it from a copy",
        blob=hash_.hex(),
    )


@contextmanager
def _naming(hash_: bytes) -> Iterator[None]:
    try:
        yield
    except CorruptedError as error:
        raise CorruptedError(f"blob {hash_.hex()}: {error}", blob=hash_.hex()) from error


def _unpack(blob: Bytes, payload: memoryview, hash_: bytes) -> None:
    with _naming(hash_):
        compression.decode_into(blob, payload)


class BlobWriter:
    """Takes payloads in, and puts those that the store does not have, in large batches; ``compress`` tries to compress.

    What it holds back, in ``held``, is bounded by about 32 MiB, and as much again that a thread is putting meanwhile
    with ``background``; the caller may put the :meth:`rest` in a transaction of its own. A payload given as a view of
    somebody's memory must stay unchanged until :meth:`own` or :meth:`flush`.
    """

    def __init__(self, store: Writable, *, compress: bool = True, background: bool = False) -> None:
        self._store = store
        self._compress = compress
        self._background = background
        self._lease: Lease | None = None
        self._held_bytes = 0
        self._putting: _Putting | None = None
        self.held: dict[bytes, Bytes] = {}

    def add_record(self, kind: Kind, payload: bytes) -> bytes:
        """Takes a node, tree or version and returns its hash."""
        hash_ = hash_blob(kind, payload)
        if hash_ not in self.held:
            self._hold(hash_, compression.encode(payload))
        return hash_

    def add_chunks(self, payloads: Sequence[Bytes], layout: Layout) -> Hashes:
        """Takes chunks of a stream and returns their hashes, of shape (chunks, 32)."""
        hashes: list[bytes] = []
        for batch in _batches(payloads):
            mean = sum(map(len, batch)) // len(batch)
            keys = map_in_pool(hash_chunk, batch, _items_per_task(mean) if mean >= _LARGE_CHUNK_BYTES else len(batch))
            hashes += keys
            fresh = {key: payload for key, payload in zip(keys, batch, strict=True) if key not in self.held}
            self._add_missing(fresh, layout)
        return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, HASH_BYTES)

    def _add_missing(self, fresh: dict[bytes, Bytes], layout: Layout) -> None:
        """Compresses and holds those chunks that the store does not have."""
        if not fresh:
            return
        self._keep_lease()
        with self._store.read() as view:
            sizes = view.sizes(list(fresh))
        missing = [key for key, size in zip(fresh, sizes, strict=True) if size is None]

        def encode(key: bytes) -> Bytes:
            compress = layout.compress and self._compress
            return compression.encode(fresh[key], element_bytes=layout.element_bytes, compress=compress)

        mean = sum(len(fresh[key]) for key in missing) // max(1, len(missing))
        for key, blob in zip(missing, map_in_pool(encode, missing, _items_per_task(mean)), strict=True):
            self._hold(key, blob)

    def _keep_lease(self) -> None:
        """Keeps what is put or passed over from being collected, as long as the writer is there."""
        if self._lease is None:
            self._lease = self._store.lease_writing()

    def release(self) -> None:
        """Ends the lease: what was written is referred to by now, or not wanted."""
        if self._putting is not None and self._putting.pid == os.getpid():
            self._putting.done.exception()  # waits
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    def _hold(self, hash_: bytes, blob: Bytes) -> None:
        self._keep_lease()
        self.held[hash_] = blob
        self._held_bytes += len(blob)
        if self._held_bytes >= BATCH_BYTES:
            self._put_behind()

    def own(self) -> None:
        """Copies what is still a view of somebody else's memory, or puts it."""
        if self._putting is not None and self._putting.has_views:
            self._join()
        for hash_, blob in self.held.items():
            if isinstance(blob, memoryview):
                self.held[hash_] = bytes(blob)
        if self._held_bytes >= BATCH_BYTES // 2:
            self._put_behind()

    def rest(self) -> dict[bytes, Bytes]:
        """Returns what is not put yet, for a transaction of the caller's own; then :meth:`clear` forgets it."""
        self._join()
        return dict(self.held)

    def flush(self) -> None:
        """Puts what is held back, durably."""
        blobs = self.rest()
        if blobs:
            self._put(blobs)
            self.clear()

    def _put(self, blobs: dict[bytes, Bytes]) -> None:
        self._store.write(lambda txn: txn.put_blobs(list(blobs.items())))

    def _put_behind(self) -> None:
        """Puts what is held back in a thread, after what was begun before; the next call, or the rest, waits for it."""
        if not self._background:
            self.flush()
            return
        blobs = self.rest()
        try:
            done = workers().submit(self._put, blobs)
        except RuntimeError:
            # The interpreter is about to end, and threads take no more work.
            self.flush()
            return
        self._putting = _Putting(done, blobs, os.getpid())
        self._held_bytes = 0

    def _join(self) -> None:
        """Waits for what is being put; if that fails, it is held back as before."""
        putting, self._putting = self._putting, None
        if putting is None:
            return
        self._held_bytes += sum(map(len, putting.blobs.values()))
        if putting.pid == os.getpid():  # in a forked child nobody is putting it
            putting.done.result()
            for hash_ in putting.blobs:
                self._held_bytes -= len(self.held.pop(hash_))

    def clear(self) -> None:
        """Forgets what is held back: it has been put, or is not wanted."""
        self._putting = None
        self.held.clear()
        self._held_bytes = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Putting:
    """Blobs that a thread of a process is putting."""

    done: Future[None]
    blobs: dict[bytes, Bytes]
    pid: int

    @property
    def has_views(self) -> bool:
        """Whether some are memory of somebody else, which must not change meanwhile."""
        return any(isinstance(blob, memoryview) for blob in self.blobs.values())


def _batches(payloads: Sequence[Bytes]) -> Iterator[Sequence[Bytes]]:
    """Splits payloads so that no batch is much larger than the writer may hold back."""
    begin, size = 0, 0
    for index, payload in enumerate(payloads):
        size += len(payload)
        if size >= BATCH_BYTES // 2:
            yield payloads[begin : index + 1]
            begin, size = index + 1, 0
    if begin < len(payloads):
        yield payloads[begin:]


def _items_per_task(mean_bytes: int) -> int:
    """How many payloads of a mean size a thread takes at a time."""
    return min(_ITEMS_PER_TASK, 1 + _TASK_BYTES // max(1, mean_bytes))


def map_in_pool(
    function: Callable[[Item], Result], items: Sequence[Item], batch: int = _ITEMS_PER_TASK
) -> list[Result]:
    """Maps in the process's thread pool, ``batch`` items a task; a short list is not worth handing over."""
    if len(items) < 2 * batch:
        return [function(item) for item in items]

    def run(begin: int) -> list[Result]:
        return [function(item) for item in items[begin : begin + batch]]

    starts = range(0, len(items), batch)
    try:
        parts = workers().map(run, starts)
    except RuntimeError:
        # The interpreter is about to end, and threads take no more work.
        parts = map(run, starts)
    return [result for part in parts for result in part]
