"""Segments: blobs laid one after the other into values of whole pages (FORMAT section 7), and their space reclaimed."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from cas.codec.rows import Ints
from cas.hashing import HASH_BYTES, Bytes
from cas.store.contract import Laid
from cas.store.environment import INDEX, SEGMENTS, Environment
from cas.store.places import OFFSET_BITS, OFFSET_MASK, PLACE, PLACES

SEGMENT_BYTES: Final = 262_128
SEGMENT_KEY: Final = struct.Struct(">Q")
_ROW: Final = np.dtype([("hash", "V32"), *PLACES.descr])
_BATCH_ROWS: Final = 1 << 16
_BATCH_BYTES: Final = 32 << 20
_LIVE_SHARE: Final = 0.5
"""A segment of which less is alive is written anew."""

Report = Callable[[int, int], None]


def lay_segments(shared: Environment, txn: Any, laid: Iterable[Laid], present: Collection[bytes] = ()) -> None:
    """Puts blobs into new segments, and their places into the index; those that are ``present`` are passed over."""
    rows: dict[bytes, bytes] = {}
    parts: list[_Part] = []
    filled = 0
    number = last_segment(shared, txn) + 1
    for hashes, lengths, data in laid:
        end = 0
        for hash_, length in zip(hashes, lengths, strict=True):
            begin, end = end, end + length
            if hash_ in rows or hash_ in present:
                continue
            if parts and filled + length > SEGMENT_BYTES:
                _put_segment(shared, txn, number, parts)
                parts, filled, number = [], 0, number + 1
            rows[hash_] = PLACE.pack(number << OFFSET_BITS | filled, length)
            if parts and parts[-1].data is data and parts[-1].end == begin:
                parts[-1].end = end
            else:
                parts.append(_Part(data, begin, end))
            filled += length
    if parts:
        _put_segment(shared, txn, number, parts)
    with txn.cursor(shared.databases[INDEX]) as cursor:
        # Sorted keys visit each page of the index once.
        cursor.putmulti(sorted(rows.items()))


@dataclass(slots=True)
class _Part:
    """Bytes ``begin`` to ``end`` of some memory."""

    data: Bytes
    begin: int
    end: int

    def view(self) -> Bytes:
        whole = self.begin == 0 and self.end == len(self.data)
        return self.data if whole else memoryview(self.data)[self.begin : self.end]


def last_segment(shared: Environment, txn: Any) -> int:
    """Returns the greatest number of a segment, 0 where there is none."""
    with txn.cursor(shared.databases[SEGMENTS]) as cursor:
        return int.from_bytes(cursor.key(), "big") if cursor.last() else 0


def _put_segment(shared: Environment, txn: Any, number: int, parts: list[_Part]) -> None:
    value = parts[0].view() if len(parts) == 1 else b"".join([part.view() for part in parts])
    # LMDB keeps no empty value apart from a missing one when asked for its buffer.
    txn.put(SEGMENT_KEY.pack(number), value or b"\0", append=True, db=shared.databases[SEGMENTS])


@dataclass(frozen=True, slots=True, eq=False)
class _Sparse:
    """Segments of which little is alive: their numbers, ascending, and bytes; and the bytes alive in each."""

    numbers: Ints
    sizes: Ints
    live: Ints


def reclaim(shared: Environment, write: Callable[[Callable[[Any], int]], int], report: Report | None) -> int:
    """Removes the segments of which little is alive, once that is written to others; returns the bytes freed.

    ``write`` runs a function in a transaction. Cost: two passes over the index, and what is alive in these segments;
    memory: 16 bytes a segment, and 44 for each blob that moves. Each transaction moves some 32 MiB.
    """
    sparse = _find_sparse(shared)
    rows = _rows_in(shared, sparse.numbers[sparse.live > 0])
    segments = np.searchsorted(sparse.numbers, (rows["at"] >> OFFSET_BITS).astype(np.int64))
    total, done = int(sparse.sizes.sum()), 0
    for start, stop in _batches(sparse.live):
        first, last = np.searchsorted(segments, (start, stop)).tolist()
        part, numbers = rows[first:last], sparse.numbers[start:stop].tolist()
        write(partial(_move, shared, part, numbers))
        done += int(sparse.sizes[start:stop].sum())
        if report is not None:
            report(done, total)
    return total - int(sparse.live.sum())


def _batches(live: Ints) -> Iterator[tuple[int, int]]:
    """Runs of segments of which some 32 MiB are alive, at most 1,024 segments each."""
    start, filled = 0, 0
    for number, size in enumerate(live.tolist()):
        filled += size
        if filled >= _BATCH_BYTES or number - start >= 1023:
            yield start, number + 1
            start, filled = number + 1, 0
    if start < len(live):
        yield start, len(live)


def _find_sparse(shared: Environment) -> _Sparse:
    with shared.transaction(write=False) as txn:
        live = np.zeros(last_segment(shared, txn) + 1, np.int64)
        for rows in _index(shared, txn):
            np.add.at(live, (rows["at"] >> OFFSET_BITS).astype(np.int64), rows["length"].astype(np.int64))
        found: list[tuple[int, int, int]] = []
        with txn.cursor(shared.databases[SEGMENTS]) as cursor:
            for key, value in cursor:
                number, size = int.from_bytes(key, "big"), len(value)
                if live[number] < _LIVE_SHARE * size:
                    found.append((number, size, int(live[number])))
    return _Sparse(*np.array(found, np.int64).reshape(-1, 3).T)


def _index(shared: Environment, txn: Any) -> Iterator[np.ndarray[Any, np.dtype[np.void]]]:
    """All rows of the index, some at a time."""
    parts: list[bytes] = []
    with txn.cursor(shared.databases[INDEX]) as cursor:
        for key, value in cursor:
            if len(key) == HASH_BYTES and len(value) == PLACE.size:
                parts += (bytes(key), bytes(value))
            if len(parts) >= 2 * _BATCH_ROWS:
                yield np.frombuffer(b"".join(parts), _ROW)
                parts.clear()
    yield np.frombuffer(b"".join(parts), _ROW)


def _rows_in(shared: Environment, numbers: Ints) -> np.ndarray[Any, np.dtype[np.void]]:
    """The rows of the index that lie in some segments, by place."""
    found: list[Any] = [np.empty(0, _ROW)]
    with shared.transaction(write=False) as txn:
        for rows in _index(shared, txn):
            found.append(rows[np.isin((rows["at"] >> OFFSET_BITS).astype(np.int64), numbers)])
    joined = np.concatenate(found)
    return joined[np.argsort(joined["at"])]


def _move(shared: Environment, rows: np.ndarray[Any, np.dtype[np.void]], numbers: Sequence[int], txn: Any) -> int:
    """Writes blobs to new segments and removes those they were in; nobody else writes to these."""
    index, segments = shared.databases[INDEX], shared.databases[SEGMENTS]
    moved: list[Laid] = []
    for row in rows:
        hash_, at, length = row["hash"].tobytes(), int(row["at"]), int(row["length"])
        # Since the index was read, the blob may have been removed, and put again elsewhere.
        if txn.get(hash_, db=index) == PLACE.pack(at, length):
            segment = txn.get(SEGMENT_KEY.pack(at >> OFFSET_BITS), db=segments)
            offset = at & OFFSET_MASK
            moved.append(Laid.one(hash_, b"" if segment is None else bytes(segment[offset : offset + length])))
    lay_segments(shared, txn, moved)
    for number in numbers:
        txn.delete(SEGMENT_KEY.pack(number), db=segments)
    return len(moved)
