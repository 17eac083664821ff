"""Blobs on their way into a store: hashed, compressed where that pays, and put many at a time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Final

import numpy as np

from cas.codec import compression
from cas.hashing import HASH_BYTES, Bytes, Hashes, Kind, hash_blob, hash_chunk, hash_chunks
from cas.store.contract import Laid, Lease, Writable
from cas.store.freed import keep_freed_memory
from cas.store.threads import (
    ITEMS_PER_TASK,
    LARGE_CHUNK_BYTES,
    TASK_BYTES,
    Task,
    give_way,
    map_in_pool,
    putters,
    workers,
)
from cas.types import Layout

BATCH_BYTES: Final = 24 << 20
_JOINED_BYTES: Final = 128 << 10
"""Blobs up to this size are joined before they are put."""
_HASHED_TASK_BYTES: Final = 2 << 20
_BEHIND_BYTES: Final = 4 << 20
"""So much in all is compressed at once: a process that has no threads yet would take longer to get one."""


class Held:
    """Blobs at rest that a writer holds back, by hash. For any thread to read."""

    def __init__(self) -> None:
        self._lots: dict[bytes, _Lot] = {}

    def __len__(self) -> int:
        return len(self._lots)

    def __contains__(self, hash_: bytes) -> bool:
        return hash_ in self._lots

    def get(self, hash_: bytes) -> Bytes | None:
        """Returns a blob, or None where it is not held back."""
        lot = self._lots.get(hash_)
        return None if lot is None else lot.blob(hash_)

    def add(self, lot: _Lot) -> None:
        """Takes the blobs of a lot."""
        self._lots.update(dict.fromkeys(lot.laid.hashes, lot))

    def forget(self, lot: _Lot) -> None:
        """Drops the blobs of a lot."""
        for hash_ in lot.laid.hashes:
            self._lots.pop(hash_, None)

    def clear(self) -> None:
        """Drops all."""
        self._lots.clear()


class _Lot:
    """Blobs that were taken in together. With ``compress`` they are payloads without elements, none of which looks as
    if it were compressed: a thread compresses them, and meanwhile they are read as they are."""

    __slots__ = ("_blobs", "_compressing", "laid")

    def __init__(self, laid: Laid, *, compress: bool = False) -> None:
        self.laid = laid
        self._blobs: dict[bytes, Bytes] | None = None
        self._compressing: Task[Laid] | None = None
        if compress:
            self._compressing = Task(partial(_compressed, laid)).start(workers)

    def own(self) -> None:
        """Copies what is memory of somebody else."""
        if isinstance(self.laid.data, memoryview):
            self._replace(self.laid._replace(data=bytes(self.laid.data)))

    def finish(self) -> Laid:
        """Returns the blobs as they are to be put, once they are compressed."""
        task, self._compressing = self._compressing, None
        if task is not None:
            # What failed once, as for want of memory, may not fail again.
            done = task.is_ours and task.error() is None
            self._replace(task.result() if done else _compressed(self.laid))
        return self.laid

    def blob(self, hash_: bytes) -> Bytes:
        """Returns one of them; where they lie is found when the first is asked for."""
        blobs = self._blobs  # which a thread that puts them may take away
        if blobs is None:
            blobs = self._blobs = dict(self.laid.blobs())
        return blobs[hash_]

    def _replace(self, laid: Laid) -> None:
        self.laid = laid
        self._blobs = None


class BlobWriter:
    """Takes payloads in, and puts those that the store does not have, in large batches; ``compress`` tries to compress.

    What it holds back, in ``held``, is bounded by about 24 MiB and what comes in at once, and as much again that a
    thread is putting meanwhile with ``background``; the caller may put the :meth:`rest` in a transaction of its own. A
    payload given as a view of somebody's memory must stay unchanged until :meth:`own` or :meth:`flush`.
    """

    def __init__(self, store: Writable, *, compress: bool = True, background: bool = False) -> None:
        self._store = store
        self._compress = compress
        self._background = background
        self._lease: Lease | None = None
        self._taken_bytes = 0
        self._held_bytes = 0
        self._lots: list[_Lot] = []
        self._putting: _Putting | None = None
        self.held = Held()

    def add_record(self, kind: Kind, payload: bytes) -> bytes:
        """Takes a node, tree or version and returns its hash."""
        hash_ = hash_blob(kind, payload)
        if hash_ not in self.held:
            self._hold([_Lot(Laid.one(hash_, compression.encode(payload)))])
        return hash_

    def add_chunks(self, payloads: Sequence[Bytes], layout: Layout, *, whole: memoryview | None = None) -> Hashes:
        """Takes chunks of a stream and returns their hashes, of shape (chunks, 32).

        ``whole`` is the memory in which the payloads lie one after the other, where they do: if all of them are to be
        put as they are, it is from there, without being joined.
        """
        hashes: list[bytes] = []
        done = 0
        for batch, lengths in _batches(payloads):
            size = sum(lengths)
            keys = _hash_all(batch, size // len(batch))
            hashes += keys
            self._taken_bytes += size
            self._add_missing(keys, batch, lengths, layout, None if whole is None else whole[done : done + size])
            done += size
        return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, HASH_BYTES)

    def _add_missing(
        self,
        keys: list[bytes],
        payloads: Sequence[Bytes],
        lengths: list[int],
        layout: Layout,
        whole: memoryview | None,
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
        if whole is not None and not compress and len(missing) == len(keys):
            laid = Laid(keys, lengths, whole)
            if not _any_framed(laid):
                self._hold([_Lot(laid)])
                return
        lacking = {key: payload for key, payload in fresh.items() if key in missing}
        behind = self._background and compress and layout.element_bytes == 1 and self._taken_bytes >= _BEHIND_BYTES
        if behind and len(lacking) >= compression.MANY:
            joined = _join(lacking)
            if not _any_framed(joined):
                self._hold([_Lot(joined, compress=True)])
                return
        if lacking:
            encoded = _encode(list(lacking.values()), layout.element_bytes, compress)
            self._hold(_lots(dict(zip(lacking, encoded, strict=True))))

    def _keep_lease(self) -> None:
        """Keeps what is put or passed over from being collected, as long as the writer is there."""
        if self._lease is None:
            self._lease = self._store.lease_writing()

    def release(self) -> None:
        """Ends the lease: what was written is referred to by now, or not wanted."""
        if self._putting is not None and self._putting.task.is_ours:
            self._putting.task.error()  # waits
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    def take(self, laid: Iterable[Laid]) -> None:
        """Takes what another writer gave as its :meth:`rest`."""
        self._hold(list(map(_Lot, laid)))

    def _hold(self, lots: list[_Lot]) -> None:
        """Holds lots back, or puts what is too much. Where that fails, the lots that follow are not taken."""
        if not lots:
            return
        self._keep_lease()
        for lot in lots:
            self._lots.append(lot)
            self.held.add(lot)
            self._held_bytes += len(lot.laid.data)
            if self._held_bytes >= BATCH_BYTES:
                self._put_behind()

    def own(self) -> None:
        """Copies what is still a view of somebody else's memory."""
        for lot in self._lots:
            lot.own()

    def rest(self) -> list[Laid]:
        """Returns what is not put yet, for a transaction of the caller's own; then :meth:`clear` forgets it."""
        self._join()
        return [lot.finish() for lot in self._lots]

    def flush(self) -> None:
        """Puts what is held back, durably."""
        self._join()
        if self._lots:
            self._put(self._lots)
            self.clear()

    def _put(self, lots: list[_Lot]) -> None:
        laid = [lot.finish() for lot in lots]
        self._store.write(lambda txn: txn.put_laid(laid))

    def _put_behind(self) -> None:
        """Puts what is held back in a thread, after what was begun before; the next call, or the rest, waits for it."""
        keep_freed_memory()
        if not self._background:
            self.flush()
            return
        for lot in self._lots:
            lot.own()
        self._join()
        # In this order: whoever is interrupted in between puts twice, and loses nothing.
        self._putting = _Putting(Task(partial(self._put, self._lots)).start(putters), self._lots)
        self._lots = []
        self._held_bytes = 0

    def _join(self) -> None:
        """Waits for what is being put; if that fails, it is held back as before."""
        putting = self._putting
        if putting is None:
            return
        error = putting.task.error() if putting.task.is_ours else None
        if putting.task.is_ours and error is None:
            for lot in putting.lots:
                self.held.forget(lot)
        else:
            self._lots = putting.lots + self._lots
            self._held_bytes += sum(len(lot.laid.data) for lot in putting.lots)
        self._putting = None
        if error is not None:
            raise error

    def clear(self) -> None:
        """Forgets what is held back: it has been put, or is not wanted."""
        self._putting = None
        self._lots = []
        self.held.clear()
        self._held_bytes = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Putting:
    """Blobs that a thread is putting."""

    task: Task[None]
    lots: list[_Lot]


def _batches(payloads: Sequence[Bytes]) -> Iterator[tuple[Sequence[Bytes], list[int]]]:
    """Splits payloads so that no batch is much larger than the writer may hold back; yields each with its lengths."""
    lengths = list(map(len, payloads))
    ends = list(accumulate(lengths))
    begin = done = 0
    while begin < len(lengths):
        stop = min(bisect_left(ends, done + BATCH_BYTES // 2) + 1, len(lengths))
        yield payloads[begin:stop], lengths[begin:stop]
        begin, done = stop, ends[stop - 1]


def _hash_all(payloads: Sequence[Bytes], mean_bytes: int) -> list[bytes]:
    if mean_bytes < LARGE_CHUNK_BYTES:
        hashes: list[bytes] = []
        for start in range(0, len(payloads), ITEMS_PER_TASK):
            give_way()
            hashes += hash_chunks(payloads[start : start + ITEMS_PER_TASK])
        return hashes
    return map_in_pool(hash_chunk, payloads, 1 + _HASHED_TASK_BYTES // mean_bytes)


def _join(blobs: Mapping[bytes, Bytes]) -> Laid:
    return Laid(list(blobs), list(map(len, blobs.values())), b"".join(blobs.values()))


def _compressed(payloads: Laid) -> Laid:
    """The forms at rest of payloads without elements."""
    blobs = compression.encode_many([payload for _, payload in payloads.blobs()])
    return _join(dict(zip(payloads.hashes, blobs, strict=True)))


def _any_framed(payloads: Laid) -> bool:
    """Whether one of them would be taken for a blob that is compressed."""
    begins = np.cumsum(payloads.lengths, dtype=np.int64) - payloads.lengths
    return bool(compression.are_framed(np.frombuffer(payloads.data, np.uint8), begins).any())


def _lots(blobs: Mapping[bytes, Bytes]) -> list[_Lot]:
    """Blobs as they are put: those of a few kilobytes together."""
    if sum(map(len, blobs.values())) > _JOINED_BYTES * len(blobs):
        return [_Lot(Laid.one(*item)) for item in blobs.items()]
    return [_Lot(_join(blobs))]


def _encode(payloads: list[Bytes], element_bytes: int, compress: bool) -> list[Bytes]:
    """The forms at rest of chunks."""
    if element_bytes == 1:
        return compression.encode_many(payloads, compress=compress)
    mean = sum(map(len, payloads)) // max(1, len(payloads))
    encode = partial(compression.encode, element_bytes=element_bytes, compress=compress)
    return map_in_pool(encode, payloads, _items_per_task(mean))


def _items_per_task(mean_bytes: int) -> int:
    """How many payloads of a mean size a thread takes at a time."""
    return min(ITEMS_PER_TASK, 1 + TASK_BYTES // max(1, mean_bytes))
