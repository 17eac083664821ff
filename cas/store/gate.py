"""The one gate through which blobs go in and out: hashed, compressed, unpacked and verified here."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from cas.codec import compression
from cas.codec.rows import Flat, Ints
from cas.errors import CorruptedError
from cas.hashing import HASH_BYTES, Bytes, Hashes, Kind, hash_blob, hash_chunk, split_hashes
from cas.store.checked import Checked
from cas.store.contract import Laid, Lease, Run, Store, View, Writable, single_runs
from cas.store.latest import Latest
from cas.types import Layout

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

MAX_NODE_BYTES: Final = 12_296
MAX_RECORD_BYTES: Final = 64 << 20
BATCH_BYTES: Final = 16 << 20
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
_PUTTERS: Final = 8
_pools: dict[str, ThreadPoolExecutor] = {}
_pools_pid = 0
_pool_lock = threading.Lock()


def _after_fork_in_child() -> None:
    """Another thread of the parent may have held the lock, which nobody here would ever give back."""
    global _pool_lock
    _pool_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)


def workers() -> ThreadPoolExecutor:
    """Returns the process's thread pool; hashing and compression release the GIL."""
    return _pool("cas", os.cpu_count() or 2)


def _putters() -> ThreadPoolExecutor:
    """Threads that put blobs. They wait for whoever writes to the store, who may wait for :func:`workers`."""
    return _pool("cas-put", _PUTTERS)


def _pool(name: str, threads: int) -> ThreadPoolExecutor:
    global _pools_pid
    # Imported here because few programs need it before they write, and it takes as long as half of this package.
    from concurrent.futures import ThreadPoolExecutor

    with _pool_lock:
        if _pools_pid != os.getpid():
            _pools.clear()
            _pools_pid = os.getpid()
        if name not in _pools:
            _pools[name] = ThreadPoolExecutor(threads, thread_name_prefix=name)
        return _pools[name]


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
        held = self._pending.get(hash_)
        with self.store.read() as view:
            blob = view.blobs([hash_])[0] if held is None else held
            if blob is None:
                return None
            bound = MAX_NODE_BYTES if kind is Kind.NODE else MAX_RECORD_BYTES
            payload = _decode_record(blob, bound, hash_)
        if hash_blob(kind, payload) != hash_:
            raise _damaged(hash_)
        return payload

    def _held_back(self, hashes: Hashes) -> list[Bytes | None]:
        """The blobs that a writer still holds back; an empty list where it has none of them.

        They are looked up before a view is opened: a writer in another thread forgets them once they are in the store,
        which a view from before does not show.
        """
        if not self._pending:
            return []
        held = [self._pending.get(key) for key in split_hashes(hashes)]
        return held if any(blob is not None for blob in held) else []

    def read_kept_chunk(self, hash_: bytes, size: int) -> Bytes:
        """Returns the payload of a chunk that is asked for in parts, which is kept for the next part."""
        payload = self._cache.get(hash_)
        if payload is None or len(payload) != size:
            payload = self.read_chunk(hash_, size).data.toreadonly()
            self._cache.put(hash_, payload)
        return payload

    def read_kept(self, hashes: Hashes, sizes: Ints) -> list[Bytes]:
        """Returns the payloads of chunks that are asked for in parts, each kept as by :meth:`read_kept_chunk`."""
        keys = split_hashes(hashes)
        found: list[Bytes] = []
        lacking: list[int] = []
        for number, (payload, size) in enumerate(zip(self._cache.get_many(keys), sizes.tolist(), strict=True)):
            if payload is None or len(payload) != size:
                lacking.append(number)
            found.append(b"" if payload is None else payload)
        for numbers in _batches(lacking, sizes):
            flat = self.read_chunks(hashes[numbers], sizes[numbers])
            for number, payload in zip(numbers, split_payloads(flat, sizes[numbers]), strict=True):
                found[number] = own = payload.tobytes()  # a copy, for each is dropped by itself
                self._cache.put(keys[number], own)
        return found

    def read_chunks(self, hashes: Hashes, sizes: Ints) -> Flat:
        """Returns the payloads of chunks, of the declared sizes, one after the other in the order asked for.

        ``hashes`` has shape (chunks, 32). A chunk that is missing or damaged raises ``CorruptedError``. Threads share
        what is to be unpacked from 1 MiB on, and anything from 8 MiB on.
        """
        if not len(hashes):
            return np.empty(0, np.uint8)
        if len(hashes) == 1:
            return self.read_chunk(hashes.tobytes(), int(sizes[0]))
        ends = np.cumsum(sizes)
        flat = np.empty(int(ends[-1]), np.uint8)
        fresh = self._checked.lacks(hashes)
        reading = _Reading(hashes, sizes.tolist(), ends.tolist(), flat, fresh)
        held = self._held_back(hashes)
        with self.store.read() as view:
            runs = list(_runs_beside(held, view, hashes) if held else view.runs(hashes))
            at_rest = sum(len(run.data) for run in runs if run.data is not None)
            share = len(flat) >= (_LARGE_BYTES if at_rest == len(flat) else _SHARED_BYTES)
            map_in_pool(reading.take, runs, batch=1 + len(runs) * _TASK_BYTES // len(flat) if share else len(runs))
        reading.unpack_framed(ends - sizes)
        reading.check_copied()
        if fresh.any():
            self._checked.add(hashes[fresh])
        return flat

    def read_chunk(self, hash_: bytes, size: int) -> Flat:
        """Returns the payload of a chunk, as :meth:`read_chunks` does."""
        flat = np.empty(size, np.uint8)
        held = self._pending.get(hash_)
        with self.store.read() as view:
            blob = view.blobs([hash_])[0] if held is None else held
            if blob is None:
                raise _missing(hash_)
            _decode_into(blob, flat, hash_)
        if self._checked.lacks_one(hash_):
            if hash_chunk(flat.data) != hash_:
                raise _damaged(hash_)
            self._checked.add(np.frombuffer(hash_, np.uint8)[None])
        return flat


def _runs_beside(held: list[Bytes | None], view: View, hashes: Hashes) -> Iterator[Run]:
    """The blobs, of which a writer holds some back."""
    found = view.blobs(split_hashes(hashes))
    return single_runs([blob if own is None else own for own, blob in zip(held, found, strict=True)])


class _Reading:
    """Chunks on their way into ``flat``, where each ends at ``ends``; ``fresh`` are those to be compared with their
    hash."""

    def __init__(self, hashes: Hashes, sizes: list[int], ends: list[int], flat: Flat, fresh: NDArray[np.bool_]) -> None:
        self.hashes = hashes
        self.sizes = sizes
        self.ends = ends
        self.flat = flat
        self.view = flat.data
        self.fresh = fresh
        self.copied = np.ones(len(sizes), np.bool_)
        """Chunks that are at rest as they are, or seem to be."""

    def take(self, run: Run) -> None:
        """Copies blobs that lie together, or unpacks them."""
        start, stop, data, lengths = run
        if data is None:
            raise _missing(self._key(start))
        if lengths == self.sizes[start:stop]:
            begin, end = self.ends[start] - self.sizes[start], self.ends[stop - 1]
            if end - begin < _GIL_BYTES:
                self.view[begin:end] = data
            else:
                self.flat[begin:end] = np.frombuffer(data, np.uint8)
            return
        self.copied[start:stop] = False
        at = 0
        for number, length in enumerate(lengths, start):
            self._unpack(number, data[at : at + length])
            at += length

    def unpack_framed(self, begins: Ints) -> None:
        """Unpacks what was copied but is a frame, as long as what it unpacks to, which is rare."""
        for number in np.flatnonzero(self.copied & compression.are_framed(self.flat, begins)).tolist():
            self.copied[number] = False
            self._unpack(number, self.payload(number).tobytes())

    def check_copied(self) -> None:
        """Compares with their hashes what was copied, which takes one look at all of it after the other."""
        numbers = np.flatnonzero(self.copied & self.fresh).tolist()
        large = len(self.flat) >= _SHARED_BYTES and len(self.flat) >= _LARGE_CHUNK_BYTES * len(self.sizes)
        map_in_pool(self._check, numbers, batch=4 if large else len(numbers) + 1)

    def _check(self, number: int) -> None:
        key = self._key(number)
        if hash_chunk(self.payload(number).data) != key:
            raise _damaged(key)

    def payload(self, number: int) -> Flat:
        """A chunk."""
        end = self.ends[number]
        return self.flat[end - self.sizes[number] : end]

    def _unpack(self, number: int, blob: Bytes) -> None:
        _decode_into(blob, self.payload(number), self._key(number))
        if self.fresh[number]:
            self._check(number)

    def _key(self, number: int) -> bytes:
        return bytes(self.hashes[number])


def split_payloads(flat: Flat, sizes: Ints) -> list[memoryview]:
    """Returns the payloads, of the given sizes, that lie one after the other."""
    ends = np.cumsum(sizes)
    return [flat.data[begin:end] for begin, end in zip((ends - sizes).tolist(), ends.tolist(), strict=True)]


def _batches(numbers: list[int], sizes: Ints) -> Iterator[list[int]]:
    """Some of the numbers at a time, of about as much as threads share."""
    begin, size = 0, 0
    for index, number in enumerate(numbers):
        size += int(sizes[number])
        if size >= _LARGE_BYTES:
            yield numbers[begin : index + 1]
            begin, size = index + 1, 0
    if begin < len(numbers):
        yield numbers[begin:]


def _missing(hash_: bytes) -> CorruptedError:
    return CorruptedError(f"chunk {hash_.hex()} is missing from the store", blob=hash_.hex())


def _damaged(hash_: bytes) -> CorruptedError:
    return CorruptedError(
        f"blob {hash_.hex()} does not have the content that its hash names; restore it from a copy",
        blob=hash_.hex(),
    )


def _decode_record(blob: Bytes, bound: int, hash_: bytes) -> bytes:
    try:
        return bytes(compression.decode(blob, bound, exact=False))
    except CorruptedError as error:
        raise _undecodable(hash_, error) from error


def _decode_into(blob: Bytes, payload: Flat, hash_: bytes) -> None:
    try:
        compression.decode_into(blob, payload)
    except CorruptedError as error:
        raise _undecodable(hash_, error) from error


def _undecodable(hash_: bytes, error: CorruptedError) -> CorruptedError:
    return CorruptedError(f"blob {hash_.hex()}: {error}", blob=hash_.hex())


class BlobWriter:
    """Takes payloads in, and puts those that the store does not have, in large batches; ``compress`` tries to compress.

    What it holds back, in ``held``, is bounded by about 16 MiB, and as much again that a thread is putting meanwhile
    with ``background``; the caller may put the :meth:`rest` in a transaction of its own. A payload given as a view of
    somebody's memory must stay unchanged until :meth:`own` or :meth:`flush`.
    """

    def __init__(self, store: Writable, *, compress: bool = True, background: bool = False) -> None:
        self._store = store
        self._compress = compress
        self._background = background
        self._lease: Lease | None = None
        self._held_bytes = 0
        self._laid: list[Laid] = []
        self._putting: _Putting | None = None
        self.held: dict[bytes, Bytes] = {}

    def add_record(self, kind: Kind, payload: bytes) -> bytes:
        """Takes a node, tree or version and returns its hash."""
        hash_ = hash_blob(kind, payload)
        if hash_ not in self.held:
            self._hold([Laid.one(hash_, compression.encode(payload))])
        return hash_

    def add_chunks(self, payloads: Sequence[Bytes], layout: Layout, *, whole: memoryview | None = None) -> Hashes:
        """Takes chunks of a stream and returns their hashes, of shape (chunks, 32).

        ``whole`` is the memory in which the payloads lie one after the other, where they do: then they are written
        from there without being joined.
        """
        hashes: list[bytes] = []
        done = 0
        for batch in _payload_batches(payloads):
            size = sum(map(len, batch))
            mean = size // len(batch)
            keys = map_in_pool(hash_chunk, batch, _items_per_task(mean) if mean >= _LARGE_CHUNK_BYTES else len(batch))
            hashes += keys
            self._add_missing(keys, batch, layout, None if whole is None else whole[done : done + size])
            done += size
        return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, HASH_BYTES)

    def _add_missing(
        self, keys: list[bytes], payloads: Sequence[Bytes], layout: Layout, whole: memoryview | None
    ) -> None:
        """Compresses and holds those chunks that the store does not have."""
        fresh = {key: payload for key, payload in zip(keys, payloads, strict=True) if key not in self.held}
        if not fresh:
            return
        self._keep_lease()
        with self._store.read() as view:
            sizes = view.sizes(list(fresh))
        missing = {key for key, size in zip(fresh, sizes, strict=True) if size is None}
        compress = layout.compress and self._compress
        if whole is not None and not compress:
            lengths = list(map(len, payloads))
            if not compression.are_framed(
                np.frombuffer(whole, np.uint8), np.cumsum(lengths, dtype=np.int64) - lengths
            ).any():
                self._hold(_lay_together(keys, lengths, whole, missing))
                return

        lacking = [key for key in fresh if key in missing]
        blobs = _encode([fresh[key] for key in lacking], layout.element_bytes, compress)
        self._hold(list(map(Laid.one, lacking, blobs)))

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

    def take(self, laid: Iterable[Laid]) -> None:
        """Takes what another writer gave as its :meth:`rest`."""
        self._hold(list(laid))

    def _hold(self, laid: list[Laid]) -> None:
        if not laid:
            return
        self._keep_lease()
        for some in laid:
            self._laid.append(some)
            self.held.update(some.blobs())
            self._held_bytes += len(some.data)
            if self._held_bytes >= BATCH_BYTES:
                self._put_behind()

    def own(self) -> None:
        """Copies what is still a view of somebody else's memory, or puts it."""
        try:
            if self._putting is not None and self._putting.has_views:
                self._join()
        finally:
            self._copy_views()
        if self._held_bytes >= BATCH_BYTES // 2:
            self._put_behind()

    def _copy_views(self) -> None:
        for number, some in enumerate(self._laid):
            if isinstance(some.data, memoryview):
                self._laid[number] = own = some._replace(data=bytes(some.data))
                self.held.update(own.blobs())

    def rest(self) -> list[Laid]:
        """Returns what is not put yet, for a transaction of the caller's own; then :meth:`clear` forgets it."""
        self._join()
        return list(self._laid)

    def flush(self) -> None:
        """Puts what is held back, durably."""
        laid = self.rest()
        if laid:
            self._put(laid)
            self.clear()

    def _put(self, laid: list[Laid]) -> None:
        self._store.write(lambda txn: txn.put_laid(laid))

    def _put_behind(self) -> None:
        """Puts what is held back in a thread, after what was begun before; the next call, or the rest, waits for it."""
        if not self._background:
            self.flush()
            return
        laid = self.rest()
        try:
            done = _putters().submit(self._put, laid)
        except RuntimeError:
            # The interpreter is about to end, and threads take no more work.
            self.flush()
            return
        self._putting = _Putting(done, laid, os.getpid())
        self._laid = []
        self._held_bytes = 0

    def _join(self) -> None:
        """Waits for what is being put; if that fails, it is held back as before.

        Whoever is interrupted while waiting has to wait again, for the thread may be reading somebody's memory.
        """
        putting = self._putting
        if putting is None:
            return
        mine = putting.pid == os.getpid()  # in a forked child nobody is putting it
        error = putting.done.exception() if mine else None
        if mine and error is None:
            for some in putting.laid:
                for hash_ in some.hashes:
                    self.held.pop(hash_, None)
        else:
            self._laid = putting.laid + self._laid
            self._held_bytes += sum(len(some.data) for some in putting.laid)
        self._putting = None
        if error is not None:
            raise error

    def clear(self) -> None:
        """Forgets what is held back: it has been put, or is not wanted."""
        self._putting = None
        self._laid = []
        self.held.clear()
        self._held_bytes = 0


def _lay_together(keys: list[bytes], lengths: list[int], whole: memoryview, missing: set[bytes]) -> list[Laid]:
    """Runs of payloads that are missing, of those that lie one after the other; each once."""
    if len(missing) == len(keys):
        return [Laid(keys, lengths, whole)]
    laid: list[Laid] = []
    begin = end = 0
    run: list[bytes] = []
    run_lengths: list[int] = []
    for key, length in zip(keys, lengths, strict=True):
        if key in missing:
            missing.discard(key)
            run.append(key)
            run_lengths.append(length)
        else:
            if run:
                laid.append(Laid(run, run_lengths, whole[begin:end]))
                run, run_lengths = [], []
            begin = end + length
        end += length
    if run:
        laid.append(Laid(run, run_lengths, whole[begin:end]))
    return laid


@dataclass(frozen=True, slots=True, eq=False)
class _Putting:
    """Blobs that a thread of a process is putting."""

    done: Future[None]
    laid: list[Laid]
    pid: int

    @property
    def has_views(self) -> bool:
        """Whether some are memory of somebody else, which must not change meanwhile."""
        return any(isinstance(some.data, memoryview) for some in self.laid)


def _payload_batches(payloads: Sequence[Bytes]) -> Iterator[Sequence[Bytes]]:
    """Splits payloads so that no batch is much larger than the writer may hold back."""
    begin, size = 0, 0
    for index, payload in enumerate(payloads):
        size += len(payload)
        if size >= BATCH_BYTES // 2:
            yield payloads[begin : index + 1]
            begin, size = index + 1, 0
    if begin < len(payloads):
        yield payloads[begin:]


def _encode(payloads: list[Bytes], element_bytes: int, compress: bool) -> list[Bytes]:
    """The forms at rest of chunks."""
    if element_bytes == 1:
        return compression.encode_many(payloads, compress=compress)
    mean = sum(map(len, payloads)) // max(1, len(payloads))
    encode = partial(compression.encode, element_bytes=element_bytes, compress=compress)
    return map_in_pool(encode, payloads, _items_per_task(mean))


def _items_per_task(mean_bytes: int) -> int:
    """How many payloads of a mean size a thread takes at a time."""
    return min(_ITEMS_PER_TASK, 1 + _TASK_BYTES // max(1, mean_bytes))


def map_in_pool(
    function: Callable[[Item], Result], items: Sequence[Item], batch: int = _ITEMS_PER_TASK
) -> list[Result]:
    """Maps in the process's thread pool, ``batch`` items a task; a short list is not worth handing over.

    When it returns or raises no task is under way any more: what they read, such as the map of a store, may go then.
    """
    if len(items) < 2 * batch:
        return [function(item) for item in items]

    def run(begin: int) -> list[Result]:
        return [function(item) for item in items[begin : begin + batch]]

    tasks: list[Future[list[Result]]] = []
    try:
        try:
            pool = workers()
            for start in range(0, len(items), batch):
                tasks.append(pool.submit(run, start))
        except RuntimeError:
            # The interpreter is about to end: threads take no more work, nor can they be had for the first time.
            pass
        results = [result for task in tasks for result in task.result()]
    finally:
        _end(tasks)
    return results + [function(item) for item in items[len(tasks) * batch :]]


def _end(tasks: list[Future[list[Result]]]) -> None:
    """Sees to it that no task is under way."""
    for task in tasks:
        if not task.cancel() and not task.done():
            task.exception()
