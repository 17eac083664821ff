"""The one gate through which blobs come out of a store: unpacked and verified here."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from cas.codec import compression
from cas.codec.planes import Payload, Planes, memory_bytes, write_payload
from cas.codec.rows import Flat, Ints
from cas.errors import CorruptedError
from cas.hashing import Bytes, Hashes, Kind, hash_blob, hash_chunk, hash_chunks, split_hashes
from cas.store.checked import Checked
from cas.store.contract import Run, Store, View, single_runs
from cas.store.latest import Latest
from cas.store.threads import LARGE_CHUNK_BYTES, TASK_BYTES, map_in_pool

MAX_NODE_BYTES: Final = 12_296
MAX_RECORD_BYTES: Final = 64 << 20
CACHE_BYTES: Final = 128 << 20
_SHARED_BYTES: Final = 2 * TASK_BYTES
_LARGE_BYTES: Final = 8 << 20
_CHECKS_PER_TASK: Final = 4
_EASY: Final = 4
"""What unpacks to so many times its size is unpacked before another thread has begun."""
_GIL_BYTES: Final = 64 << 10
"""From here on NumPy copies, which lets other threads run; below, that takes longer than the copy."""


class Pending(Protocol):
    """Blobs at rest that are not in the store yet."""

    def __len__(self) -> int: ...

    def get(self, hash_: bytes, /) -> Bytes | None:
        """Returns a blob, or None where there is none."""


class Gate:
    """Reads payloads from a store and checks each against its hash.

    Chunks are checked when they are first read in a process, records always.
    """

    def __init__(self, store: Store, pending: Pending | None = None) -> None:
        self.store = store
        self._pending: Pending = {} if pending is None else pending
        self._checked = Checked()
        self._cache: Latest[Payload] = Latest(CACHE_BYTES, memory_bytes)

    def over(self, pending: Pending) -> Gate:
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

    def read_kept_chunk(self, hash_: bytes, size: int) -> Payload:
        """Returns the payload of a chunk that is asked for in parts, which is kept for the next part."""
        payload = self._cache.get(hash_)
        if payload is None or len(payload) != size:
            read = self._read_one(hash_, size, as_planes=True)
            payload = read if isinstance(read, Planes) else read.data.toreadonly()
            self._cache.put(hash_, payload)
        return payload

    def keep(self, hash_: bytes, payload: Bytes) -> None:
        """Keeps the payload of a chunk that is right, for it will be asked for soon; copies it."""
        self._cache.put(hash_, bytes(payload))

    def read_kept(self, hashes: Hashes, sizes: Ints) -> list[Payload]:
        """Returns the payloads of chunks that are asked for in parts, each kept as by :meth:`read_kept_chunk`."""
        keys = split_hashes(hashes)
        found = {
            number: payload
            for number, (payload, size) in enumerate(zip(self._cache.get_many(keys), sizes.tolist(), strict=True))
            if payload is not None and len(payload) == size
        }
        lacking = np.array([number for number in range(len(keys)) if number not in found], np.int64)
        read = self._read_planes(hashes[lacking], sizes[lacking])
        fresh: dict[int, Payload] = {int(lacking[number]): planes for number, planes in read.items()}
        for numbers in _batches([number for number in lacking.tolist() if number not in fresh], sizes):
            flat = self.read_chunks(hashes[numbers], sizes[numbers])
            for number, view in zip(numbers, split_payloads(flat, sizes[numbers]), strict=True):
                fresh[number] = view.tobytes()  # a copy, for each is dropped by itself
        for number, payload in fresh.items():
            self._cache.put(keys[number], payload)
        found |= fresh
        return [found[number] for number in range(len(keys))]

    def _read_planes(self, hashes: Hashes, sizes: Ints) -> dict[int, Planes]:
        """Those payloads, by their number, that can be had as a few planes, of chunks that were checked already."""
        found: dict[int, Planes] = {}
        wanted = np.flatnonzero(~self._checked.lacks(hashes))
        if not len(wanted):
            return found
        with self.store.read() as view:
            for start, _, data, lengths in view.runs(hashes[wanted]):
                end = 0
                for number, length in zip(wanted[start:].tolist(), lengths, strict=False):
                    begin, end = end, end + length
                    planes = (
                        None if data is None else _decode_planes(data[begin:end], int(sizes[number]), hashes[number])
                    )
                    if planes is not None:
                        found[number] = planes
        return found

    def read_chunks(self, hashes: Hashes, sizes: Ints) -> Flat:
        """Returns the payloads of chunks, of the declared sizes, one after the other in the order asked for.

        ``hashes`` has shape (chunks, 32). A chunk that is missing or damaged raises ``CorruptedError``. Threads share
        what is to be unpacked from 2 MiB on, and anything from 8 MiB on.
        """
        if not len(hashes):
            return np.empty(0, np.uint8)
        if len(hashes) == 1:
            return self.read_chunk(hashes.tobytes(), int(sizes[0]))
        ends = np.cumsum(sizes)
        flat = np.empty(int(ends[-1]), np.uint8)
        fresh = self._checked.lacks(hashes)
        reading = _Reading(hashes, sizes, ends, flat, fresh)
        held = self._held_back(hashes)
        with self.store.read() as view:
            runs = list(_runs_beside(held, view, hashes) if held else view.runs(hashes))
            at_rest = sum(len(run.data) for run in runs if run.data is not None)
            share = len(flat) >= (_LARGE_BYTES if at_rest == len(flat) else _SHARED_BYTES)
            share = share and len(flat) < _EASY * at_rest
            map_in_pool(reading.take, runs, batch=1 + len(runs) * TASK_BYTES // len(flat) if share else len(runs))
        reading.unpack_framed(ends - sizes)
        reading.check_copied()
        for key, planes in reading.planes:
            self._cache.put_if_room(key, planes)
        if fresh.any():
            self._checked.add(hashes[fresh])
        return flat

    def read_chunk(self, hash_: bytes, size: int) -> Flat:
        """Returns the payload of a chunk, as :meth:`read_chunks` does."""
        kept = self._cache.get(hash_)
        if kept is None or len(kept) != size:
            read = self._read_one(hash_, size, as_planes=False)
            assert not isinstance(read, Planes)
            return read
        flat = np.empty(size, np.uint8)
        write_payload(kept, flat)
        return flat

    def _read_one(self, hash_: bytes, size: int, *, as_planes: bool) -> Flat | Planes:
        """The payload of a chunk; ``as_planes`` if it can be had so, and was checked already."""
        fresh = self._checked.lacks_one(hash_)
        held = self._pending.get(hash_)
        with self.store.read() as view:
            blob = view.blobs([hash_])[0] if held is None else held
            if blob is None:
                raise _missing(hash_)
            planes = _decode_planes(blob, size, hash_) if as_planes and not fresh else None
            if planes is not None:
                return planes
            flat = np.empty(size, np.uint8)
            _decode_into(blob, flat, hash_)
        if fresh:
            if hash_chunk(flat.data) != hash_:
                raise _damaged(hash_)
            self._checked.add_one(hash_)
        return flat


def _runs_beside(held: list[Bytes | None], view: View, hashes: Hashes) -> Iterator[Run]:
    """The blobs, of which a writer holds some back."""
    found = view.blobs(split_hashes(hashes))
    return single_runs([blob if own is None else own for own, blob in zip(held, found, strict=True)])


class _Reading:
    """Chunks of some sizes on their way into ``flat``, where each ends at ``ends``; those that are ``fresh`` are to be
    compared with their hash."""

    def __init__(self, hashes: Hashes, sizes: Ints, ends: Ints, flat: Flat, fresh: NDArray[np.bool_]) -> None:
        self.keys = split_hashes(hashes)
        self.sizes: list[int] = sizes.tolist()
        self.begins: list[int] = (ends - sizes).tolist()
        self.ends: list[int] = ends.tolist()
        self.flat = flat
        self.view = flat.data
        self.fresh = fresh
        self.copied = np.ones(len(sizes), np.bool_)
        """Chunks that are at rest as they are, or seem to be."""
        self.planes: list[tuple[bytes, Planes]] = []
        """Those that were unpacked from a few planes."""

    def take(self, run: Run) -> None:
        """Copies blobs that lie together, or unpacks them."""
        start, stop, data, lengths = run
        if data is None:
            raise _missing(self.keys[start])
        if lengths == self.sizes[start:stop]:
            begin, end = self.begins[start], self.ends[stop - 1]
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
        self._check((np.flatnonzero(self.fresh[start:stop]) + start).tolist())

    def unpack_framed(self, begins: Ints) -> None:
        """Unpacks what was copied but is a frame, as long as what it unpacks to, which is rare."""
        for number in np.flatnonzero(self.copied & compression.are_framed(self.flat, begins)).tolist():
            self._unpack(number, self._payload(number).tobytes())

    def check_copied(self) -> None:
        """Compares with their hashes what was copied, which takes one look at all of it after the other."""
        numbers = np.flatnonzero(self.copied & self.fresh).tolist()
        large = len(self.flat) >= _SHARED_BYTES and len(self.flat) >= LARGE_CHUNK_BYTES * len(self.sizes)
        step = _CHECKS_PER_TASK if large else max(1, len(numbers))
        map_in_pool(self._check, [numbers[at : at + step] for at in range(0, len(numbers), step)], batch=1)

    def _check(self, numbers: list[int]) -> None:
        """Compares some with their hashes."""
        found = hash_chunks([self.view[self.begins[number] : self.ends[number]] for number in numbers])
        for number, hash_ in zip(numbers, found, strict=True):
            if hash_ != self.keys[number]:
                raise _damaged(self.keys[number])

    def _payload(self, number: int) -> Flat:
        return self.flat[self.begins[number] : self.ends[number]]

    def _unpack(self, number: int, blob: Bytes) -> None:
        planes = _decode_into(blob, self._payload(number), self.keys[number])
        if planes is not None:
            self.planes.append((self.keys[number], planes))


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


def _decode_into(blob: Bytes, payload: Flat, hash_: bytes) -> Planes | None:
    try:
        return compression.decode_into(blob, payload)
    except CorruptedError as error:
        raise _undecodable(hash_, error) from error


def _decode_planes(blob: Bytes, size: int, hash_: Bytes | Flat) -> Planes | None:
    try:
        return compression.decode_planes(blob, size)
    except CorruptedError as error:
        raise _undecodable(bytes(hash_), error) from error


def _undecodable(hash_: bytes, error: CorruptedError) -> CorruptedError:
    return CorruptedError(f"blob {hash_.hex()}: {error}", blob=hash_.hex())
