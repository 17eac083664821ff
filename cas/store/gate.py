"""The one gate through which blobs go in and out: hashed, compressed, unpacked and verified here."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from cas.codec import compression
from cas.errors import CorruptedError
from cas.hashing import HASH_BYTES, Bytes, Kind, hash_blob, hash_chunk
from cas.store.contract import Lease, Store, Transaction, Writable
from cas.types import Layout

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

Hashes = NDArray[np.uint8]
MAX_NODE_BYTES: Final = 12_296
MAX_RECORD_BYTES: Final = 64 << 20
BATCH_BYTES: Final = 32 << 20
_VERIFIED_SLOTS: Final = 1 << 20
_ITEMS_PER_TASK: Final = 32
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

    Chunks are checked when they are first read in a process, records always. The memory of what has been checked is
    bounded: a table of 2^20 hash prefixes, where a newer one takes the place of an older.
    """

    def __init__(self, store: Store, pending: Mapping[bytes, Bytes] | None = None) -> None:
        self.store = store
        self._pending: Mapping[bytes, Bytes] = {} if pending is None else pending
        self._verified = _empty_marks()

    def over(self, pending: Mapping[bytes, Bytes]) -> Gate:
        """Returns a gate that also sees blobs which a writer still holds back."""
        gate = Gate(self.store, pending)
        gate._verified = self._verified
        return gate

    @contextmanager
    def _blobs(self, keys: list[bytes]) -> Iterator[list[Bytes | None]]:
        if self._pending and any(key in self._pending for key in keys):
            held = [self._pending.get(key) for key in keys]
            with self.store.read() as view:
                found = view.blobs(keys)
                yield [there if here is None else here for here, there in zip(held, found, strict=True)]
            return
        with self.store.read() as view:
            yield view.blobs(keys)

    def read_record(self, kind: Kind, hash_: bytes) -> bytes | None:
        """Returns the payload of a node, tree or version, or None where there is none."""
        with self._blobs([hash_]) as (blob,):
            if blob is None:
                return None
            bound = MAX_NODE_BYTES if kind is Kind.NODE else MAX_RECORD_BYTES
            payload = bytes(_decode(blob, bound, hash_, exact=False))
        if hash_blob(kind, payload) != hash_:
            raise _damaged(hash_)
        return payload

    def read_chunks(self, hashes: Hashes, sizes: NDArray[np.int64]) -> list[bytes]:
        """Returns the payloads of chunks, of the declared sizes, in the order asked for.

        ``hashes`` has shape (chunks, 32). A chunk that is missing or damaged raises ``CorruptedError``.
        """
        keys = split_hashes(hashes)
        payloads: list[bytes] = []
        with self._blobs(keys) as blobs:
            for hash_, size, blob in zip(keys, sizes.tolist(), blobs, strict=True):
                if blob is None:
                    raise CorruptedError(f"chunk {hash_.hex()} is missing from the store", blob=hash_.hex())
                payloads.append(bytes(_decode(blob, size, hash_, exact=True)))
        self._verify(keys, payloads)
        return payloads

    def _verify(self, keys: list[bytes], payloads: list[bytes]) -> None:
        for hash_, payload in zip(keys, payloads, strict=True):
            mark = int.from_bytes(hash_[:8], "little") | 1
            slot = mark >> 1 & (_VERIFIED_SLOTS - 1)
            if self._verified[slot] != mark:
                if hash_chunk(payload) != hash_:
                    raise _damaged(hash_)
                self._verified[slot] = mark


def _empty_marks() -> NDArray[np.uint64]:
    """A table of zeros that takes memory as it fills: in huge pages the first few marks would cost milliseconds."""
    memory = mmap.mmap(-1, 8 * _VERIFIED_SLOTS, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, np.uint64)


def _damaged(hash_: bytes) -> CorruptedError:
    return CorruptedError(
        f"blob {hash_.hex()} does not have the content that its hash names; restore it from a copy",
        blob=hash_.hex(),
    )


def _decode(blob: Bytes, size: int, hash_: bytes, *, exact: bool) -> Bytes:
    try:
        return compression.decode(blob, size, exact=exact)
    except CorruptedError as error:
        raise CorruptedError(f"blob {hash_.hex()}: {error}", blob=hash_.hex()) from error


def split_hashes(hashes: Hashes) -> list[bytes]:
    """Returns the rows of a (count, 32) array of hashes as byte strings."""
    joined = hashes.tobytes()
    return [joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)]


class BlobWriter:
    """Takes payloads in, and puts those that the store does not have, in large batches.

    What it holds back, in ``held``, is bounded by about 32 MiB; the caller may put the rest in a transaction of its
    own. A payload given as a view of somebody's memory must stay unchanged until :meth:`own` or :meth:`flush`.
    """

    def __init__(self, store: Writable) -> None:
        self._store = store
        self._lease: Lease | None = None
        self._held_bytes = 0
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
            keys = map_in_pool(hash_chunk, batch)
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
            return compression.encode(fresh[key], element_bytes=layout.element_bytes, compress=layout.compress)

        for key, blob in zip(missing, map_in_pool(encode, missing), strict=True):
            self._hold(key, blob)

    def _keep_lease(self) -> None:
        """Keeps what is put or passed over from being collected, as long as the writer is there."""
        if self._lease is None:
            self._lease = self._store.lease_writing()

    def release(self) -> None:
        """Ends the lease: what was written is referred to by now, or not wanted."""
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    def _hold(self, hash_: bytes, blob: Bytes) -> None:
        self._keep_lease()
        self.held[hash_] = blob
        self._held_bytes += len(blob)
        if self._held_bytes >= BATCH_BYTES:
            self.flush()

    def own(self) -> None:
        """Copies what is still a view of somebody else's memory."""
        for hash_, blob in self.held.items():
            if isinstance(blob, memoryview):
                self.held[hash_] = bytes(blob)

    def flush(self) -> None:
        """Puts what is held back, durably."""
        if self.held:
            blobs = list(self.held.items())

            def put(txn: Transaction) -> None:
                txn.put_blobs(blobs)

            self._store.write(put)
            self.clear()

    def clear(self) -> None:
        """Forgets what is held back: it has been put, or is not wanted."""
        self.held.clear()
        self._held_bytes = 0


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


def map_in_pool(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Maps in the process's thread pool, many items a task; a short list is not worth handing over."""
    if len(items) < 2 * _ITEMS_PER_TASK:
        return [function(item) for item in items]

    def run(begin: int) -> list[Result]:
        return [function(item) for item in items[begin : begin + _ITEMS_PER_TASK]]

    starts = range(0, len(items), _ITEMS_PER_TASK)
    try:
        parts = workers().map(run, starts)
    except RuntimeError:
        # The interpreter is about to end, and threads take no more work.
        parts = map(run, starts)
    return [result for part in parts for result in part]
