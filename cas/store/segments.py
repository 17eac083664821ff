"""Segments: blobs laid one after the other into values of whole pages (FORMAT section 7), and their space reclaimed."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, Final

import numpy as np

from cas.codec.rows import Ints
from cas.hashing import HASH_BYTES, Bytes, split_hashes
from cas.store.contract import Laid
from cas.store.environment import INDEX, SEGMENTS, Environment
from cas.store.places import OFFSET_BITS, OFFSET_MASK, PLACE, PLACES, index_order

SEGMENT_BYTES: Final = 262_128
SEGMENT_KEY: Final = struct.Struct(">Q")
_ROW: Final = np.dtype([("hash", "V32"), *PLACES.descr])
_BATCH_ROWS: Final = 1 << 16
_BATCH_BYTES: Final = 32 << 20
_LIVE_SHARE: Final = 0.5
"""A segment of which less is alive is written anew."""

Report = Callable[[int, int], None]


def lay_segments(shared: Environment, txn: Any, laid: Iterable[Laid], *, moving: bool = False) -> None:
    """Puts blobs into new segments, and their places into the index.

    Those that are there already are passed over; with ``moving`` they lie in the new segments from now on.
    """
    lots = _each_once(laid, set())
    number = last_segment(shared, txn) + 1
    end, rows = _put_segments(shared, txn, number, lots)
    if _put_places(shared, txn, rows, overwrite=moving) == len(rows):
        return
    # Some are there: they keep their places, and the others lie closer together. Their rows are in the index by now,
    # with the places of the first plan, so they are overwritten; of those that were there none is left among them.
    lots = _each_once(lots, _placed_otherwise(shared, txn, rows))
    for undone in range(number, end):
        txn.delete(SEGMENT_KEY.pack(undone), db=shared.databases[SEGMENTS])
    _, rows = _put_segments(shared, txn, number, lots)
    _put_places(shared, txn, rows, overwrite=True)


def _each_once(laid: Iterable[Laid], present: set[bytes]) -> list[Laid]:
    """The same blobs, each once, without those that are present."""
    seen = set(present)
    lots: list[Laid] = []
    for lot in laid:
        wanted = set(lot.hashes) - seen
        seen |= wanted
        lots += lot.only(wanted)
    return lots


def _put_segments(
    shared: Environment, txn: Any, number: int, lots: list[Laid]
) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Puts segments from ``number`` on; returns the number after the last, and the rows of the index, in its order.

    Segments come before these rows: so LMDB takes pages for the index that lie together, and not one here and there
    between segments.
    """
    keys = [hash_ for lot in lots for hash_ in lot.hashes]
    lengths = np.array([length for lot in lots for length in lot.lengths], np.int64)
    ends = lengths.cumsum()
    starts = ends - lengths
    places = np.empty(len(keys), PLACES)
    places["length"] = lengths
    memory = _Memory(lots)
    first = 0
    while first < len(keys):
        begin = int(starts[first])
        stop = max(first + 1, int(ends.searchsorted(begin + SEGMENT_BYTES, "right")))
        places["at"][first:stop] = (number << OFFSET_BITS) + starts[first:stop] - begin
        # LMDB keeps no empty value apart from a missing one when asked for its buffer.
        value = memory.between(begin, int(ends[stop - 1])) or b"\0"
        txn.put(SEGMENT_KEY.pack(number), value, append=True, db=shared.databases[SEGMENTS])
        first, number = stop, number + 1
    hashes = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, HASH_BYTES)
    order = index_order(hashes)
    rows = places[order].tobytes()
    values = [rows[at : at + PLACE.size] for at in range(0, len(rows), PLACE.size)]
    return number, list(zip(split_hashes(hashes[order]), values, strict=True))


def _put_places(shared: Environment, txn: Any, rows: list[tuple[bytes, bytes]], *, overwrite: bool) -> int:
    """Puts rows of the index; returns how many were put."""
    with txn.cursor(shared.databases[INDEX]) as cursor:
        return int(cursor.putmulti(rows, overwrite=overwrite)[1])


def _placed_otherwise(shared: Environment, txn: Any, rows: list[tuple[bytes, bytes]]) -> set[bytes]:
    """The hashes of rows for which others are in the index."""
    index = shared.databases[INDEX]
    return {hash_ for hash_, place in rows if txn.get(hash_, db=index) != place}


class _Memory:
    """The bytes of lots as if they lay one after the other."""

    def __init__(self, lots: list[Laid]) -> None:
        self._views = [memoryview(lot.data) for lot in lots]
        self._ends = list(accumulate(map(len, self._views)))

    def between(self, begin: int, end: int) -> Bytes:
        """Bytes ``begin`` to ``end``, joined only where they are of several lots."""
        parts: list[Bytes] = []
        number = bisect_right(self._ends, begin)
        while begin < end:
            view, view_end = self._views[number], self._ends[number]
            before = view_end - len(view)
            upto = min(end, view_end)
            parts.append(view[begin - before : upto - before])
            begin, number = upto, number + 1
        return parts[0] if len(parts) == 1 else b"".join(parts)


def last_segment(shared: Environment, txn: Any) -> int:
    """Returns the greatest number of a segment, 0 where there is none."""
    with txn.cursor(shared.databases[SEGMENTS]) as cursor:
        return int.from_bytes(cursor.key(), "big") if cursor.last() else 0


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
    lay_segments(shared, txn, moved, moving=True)
    for number in numbers:
        txn.delete(SEGMENT_KEY.pack(number), db=segments)
    return len(moved)
