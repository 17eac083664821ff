"""Rows of a stream: read through its tree, and edited with re-cutting only around the changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cas.chunking.cut import PIECE_BYTES, SINGLE_ROW_BYTES, comes_in_pieces, find_cuts, stands_alone
from cas.codec.planes import Payload, payload_bytes
from cas.codec.rows import Ints, Rows, check_fixed, frame_group, unframe_group
from cas.errors import CorruptedError
from cas.hashing import Bytes, Kind, hash_blob, split_hashes
from cas.store.gate import split_payloads
from cas.store.writer import BlobWriter
from cas.tree.alignment import ascending_with_places
from cas.tree.edit import Keep, Part, build_tree
from cas.tree.node import Entries, Nodes
from cas.tree.read import EMPTY_STREAM, Chunk, Span, StreamRef, TreeReader
from cas.types import Layout


@dataclass(frozen=True, slots=True)
class KeepRows:
    """Rows ``start`` to ``stop`` of the old stream, which stay."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def slice(self, start: int, stop: int) -> KeepRows:
        """Returns the rows ``start`` to ``stop`` of these."""
        return KeepRows(self.start + start, self.start + stop)


RowsPart = KeepRows | Rows
_UNCUT_BYTES: Final = 1 << 20
_UNWRITTEN_BYTES: Final = 8 << 20
_DENSE: Final = 4
"""Of chunks with more rows than this for each that is wanted, the others are probably wanted soon."""


class StreamReader:
    """Reads the rows of one stream; ``ref`` names its content and ``layout`` its form."""

    def __init__(self, nodes: Nodes, ref: StreamRef, layout: Layout) -> None:
        self.tree = TreeReader(nodes, ref, pieces=comes_in_pieces(layout))
        self.ref = ref
        self.layout = layout

    def read(self, start: int, stop: int) -> Rows:
        """Returns the rows ``start`` to ``stop``. Cost: their chunks, and the tree's height in nodes."""
        if start >= stop:
            return Rows.empty(self.layout.row_bytes)
        if stop - start == 1:
            chunk = self.tree.chunk_of_row(start)
            if chunk is not None:
                return self._read_one(chunk)
        first = self.tree.span_of_row(start)
        last = first if stop <= first.row_stop else self.tree.span_of_row(stop - 1)
        entries = self.tree.entries(first.extent_start, last.extent_stop)
        few = (last.row_stop - first.row_start) > _DENSE * (stop - start)
        if few:
            return self._decode(entries, self._kept(entries)).slice(start - first.row_start, stop - first.row_start)
        return _owned(self._decode(entries).slice(start - first.row_start, stop - first.row_start))

    def _read_one(self, chunk: Chunk) -> Rows:
        """One row of a chunk, which is kept for the next row unless that is all."""
        hash_, count, length, within = chunk
        gate, size = self.tree.nodes.gate, self.layout.row_bytes
        if count == 1:
            if size is not None:
                check_fixed(length, 1, size)
            ends = np.array([length], np.int64) if size is None else None
            return Rows(gate.read_chunk(hash_, length), 1, size, ends, own=True)
        payload = gate.read_kept_chunk(hash_, length)
        if size is None or length != count * size:
            return unframe_group(payload_bytes(payload), count, size).slice(within, within + 1)
        return Rows.fixed(np.frombuffer(payload[within * size : (within + 1) * size], np.uint8), 1, size)

    def take(self, rows: Ints) -> Rows:
        """Returns the rows at the given numbers, in that order. Each chunk is read once."""
        if not len(rows):
            return Rows.empty(self.layout.row_bytes)
        if (rows[1:] > rows[:-1]).all():
            return self._take_ascending(rows, None)
        return self._take_ascending(*ascending_with_places(rows))

    def _take_ascending(self, order: Ints, wanted: Ints | None) -> Rows:
        """The rows ``order``, which ascend, in the order of ``wanted``: places in it, or None as they are."""
        located = self.tree.locate(order)
        if located is None:
            rows = self._take_by_halves(order)
            return rows if wanted is None else rows.take(wanted)
        if wanted is None:
            wanted = np.arange(len(order))
        entries, starts, owners = located
        count = int(entries.rows.sum())
        if count == len(entries):
            return _owned(self._decode(entries.take(wanted)))
        within, owners = (order - starts[owners])[wanted], owners[wanted]
        if count > _DENSE * len(order):
            return self._pick(entries, owners.tolist(), within.tolist())
        return self._decode(entries).take(within + (np.cumsum(entries.rows) - entries.rows)[owners])

    def _take_by_halves(self, order: Ints) -> Rows:
        """Rows of which some are in pieces: by halves, until none are, or all stand alone."""
        spans = list(map(self.tree.span_of_row, order.tolist()))
        if all(span.row_stop - span.row_start == 1 for span in spans):
            entries = [self.tree.entries(span.extent_start, span.extent_stop) for span in spans]
            flat = self._decode(Entries.concat(entries)).flat
            return _owned(Rows.varying(flat, np.cumsum([int(part.sizes.sum()) for part in entries])))
        if len(order) == 1:
            return self.read(int(order[0]), int(order[0]) + 1)
        halves = [self._take_ascending(half, None) for half in np.array_split(order, 2)]
        return Rows.concat(halves, self.layout.row_bytes)

    def _pick(self, entries: Entries, owners: list[int], within: list[int]) -> Rows:
        """A few rows of each of some chunks, which are kept for the next few: the rows ``within`` their owners."""
        payloads = self._kept(entries)
        size = self.layout.row_bytes
        if size is not None:
            for payload, count in zip(payloads, entries.rows.tolist(), strict=True):
                check_fixed(len(payload), count, size)
            found = [payloads[owner][at * size : (at + 1) * size] for owner, at in zip(owners, within, strict=True)]
            return Rows.fixed(np.frombuffer(b"".join(found), np.uint8), len(found), size)
        whole = map(payload_bytes, payloads)
        groups = [unframe_group(*group, None) for group in zip(whole, entries.rows.tolist(), strict=True)]
        return Rows.from_list([groups[owner].row(at) for owner, at in zip(owners, within, strict=True)])

    def _kept(self, entries: Entries) -> list[Payload]:
        return self.tree.nodes.gate.read_kept(entries.hashes, entries.sizes)

    def row_keys(self, start: int, stop: int) -> Iterator[bytes]:
        """Yields for each of rows that are chunks by themselves a key: equal rows have equal keys.

        It is the hash of the row's chunk, or where the row is in several pieces, that of their hashes; no chunk is
        read.
        """
        if start >= stop:
            return
        first, last = self.tree.span_of_row(start), self.tree.span_of_row(stop - 1)
        pieces: list[bytes] = []
        for entries in self.tree.leaves(first.extent_start, last.extent_stop):
            for hash_, rows in zip(split_hashes(entries.hashes), entries.rows.tolist(), strict=True):
                pieces.append(hash_)
                if rows:
                    yield row_key(pieces)
                    pieces = []

    def row_sizes(self) -> Ints:
        """Returns the length of every row, for rows that are chunks by themselves; 8 bytes of memory a row."""
        lengths = np.empty(self.ref.rows, np.int64)
        done, ended = 0, 0
        position = 0
        for entries in self.tree.leaves():
            ends = position + np.cumsum(entries.sizes)
            position = int(ends[-1])
            ends = ends[entries.rows > 0]
            if len(ends):
                lengths[done : done + len(ends)] = np.diff(ends, prepend=ended)
                done, ended = done + len(ends), int(ends[-1])
        return lengths

    def pieces(self, row: int, batch: int = 64) -> Iterator[memoryview]:
        """Yields the bytes of a row that is a chunk by itself, or of its pieces, holding ``batch`` of them at a
        time."""
        span = self.tree.span_of_row(row)
        for entries in self.tree.leaves(span.extent_start, span.extent_stop):
            for at in range(0, len(entries), batch):
                part = entries.slice(at, at + batch)
                yield from split_payloads(self.tree.nodes.gate.read_chunks(part.hashes, part.sizes), part.sizes)

    def chunks(self) -> Iterator[Entries]:
        """Yields the chunks of the stream in order, some at a time."""
        return self.tree.leaves()

    def _decode(self, entries: Entries, kept: list[Payload] | None = None) -> Rows:
        """The rows of chunks, whose payloads are read unless they are given."""
        if kept is None:
            flat = self.tree.nodes.gate.read_chunks(entries.hashes, entries.sizes)
        else:
            payloads = list(map(payload_bytes, kept))
            flat = np.frombuffer(payloads[0] if len(payloads) == 1 else b"".join(payloads), np.uint8)
        if self.layout.row_bytes is not None:
            return unframe_group(flat.data, int(entries.rows.sum()), self.layout.row_bytes)
        if (entries.rows <= 1).all() and entries.rows[-1:].all():
            return Rows.varying(flat, np.cumsum(entries.sizes)[entries.rows == 1])
        return _decode_varying(split_payloads(flat, entries.sizes), entries.rows)


def _owned(rows: Rows) -> Rows:
    return Rows(rows.flat, rows.count, rows.row_bytes, rows.ends, own=True)


def _decode_varying(payloads: list[memoryview], counts: Ints) -> Rows:
    groups: list[Rows] = []
    alone: list[memoryview] = []
    lengths: list[int] = []
    open_row = 0

    def close() -> None:
        if lengths:
            flat = np.frombuffer(b"".join(alone), np.uint8)
            groups.append(Rows.varying(flat, np.cumsum(lengths, dtype=np.int64)))
            alone.clear()
            lengths.clear()

    for payload, count in zip(payloads, counts.tolist(), strict=True):
        if count > 1:
            if open_row:
                break
            close()
            groups.append(unframe_group(payload, count, None))
            continue
        alone.append(payload)
        open_row += len(payload)
        if count == 1:
            lengths.append(open_row)
            open_row = 0
    if open_row:
        raise CorruptedError("a row of several pieces has no last piece")
    close()
    return Rows.concat(groups, None)


def row_key(pieces: Sequence[bytes]) -> bytes:
    """Returns what identifies the content of a row by the hashes of its pieces."""
    # The hashes of pieces are hashed as nodes are, so that no chunk's bytes can give the same key.
    return pieces[0] if len(pieces) == 1 else hash_blob(Kind.NODE, b"".join(pieces))


def edit_stream(old: StreamReader, parts: Iterable[RowsPart], writer: BlobWriter) -> StreamRef:
    """Returns the stream whose rows are those of ``parts``, in order, with its new chunks and nodes handed to the
    writer.

    The result depends on the rows alone, not on the parts. Cost: the new rows, and the chunks and nodes next to
    each change; a ``KeepRows`` of whole chunks costs nothing. Of parts that an iterator makes two are held at a time.
    """
    cutter = ChunkCutter(old, writer)
    some = (part for part in parts if len(part))
    part = next(some, None)
    while part is not None:
        following = next(some, None)
        if isinstance(part, KeepRows):
            cutter.keep(part, at_end=following is None)
        else:
            cutter.feed(part)
        part = following
    return build_tree(cutter.finish(), old.tree, writer)


def build_stream(nodes: Nodes, rows: Rows, layout: Layout, writer: BlobWriter) -> StreamRef:
    """Returns a stream of the given rows."""
    return edit_stream(StreamReader(nodes, EMPTY_STREAM, layout), [rows], writer)


@dataclass(frozen=True, slots=True)
class _Unwritten:
    """Chunks that were cut, in their place among the parts: their payloads, and the rows that each completes."""

    payloads: list[Bytes]
    counts: list[int]


class ChunkCutter:
    """Cuts edited rows into chunks, keeping those of the old stream that stay as they are."""

    def __init__(self, old: StreamReader, writer: BlobWriter) -> None:
        self._old = old
        self._layout = old.layout
        self._writer = writer
        self._parts: list[Part | _Unwritten] = []
        self._carry: list[Rows] = []
        self._uncut_bytes = 0
        self._unwritten: list[int] = []
        self._unwritten_bytes = 0
        self._decoded: tuple[Span, Rows] | None = None

    def finish(self) -> list[Part]:
        """Ends the last chunk and returns the parts of the chunk level."""
        self._cut(final=True)
        last = self._write()
        if last is not None and not stands_alone(self._layout):
            # Whoever appends next begins with the rows of this chunk.
            self._old.tree.nodes.gate.keep(*last)
        return [part for part in self._parts if not isinstance(part, _Unwritten)]

    def feed(self, rows: Rows) -> None:
        """Adds rows after those before."""
        alone = rows.count == 1 and rows.row_bytes is None and rows.nbytes >= SINGLE_ROW_BYTES
        if alone and self._carry:
            self._cut(final=True)  # what is before ends there, and the row is not copied to stand behind it
        self._carry.append(rows)
        self._uncut_bytes += rows.nbytes + 1
        if alone or self._uncut_bytes > _UNCUT_BYTES:
            self._cut(final=alone)

    def add_copies(self, rows: Rows, copies: int) -> None:
        """Adds, at a cut, ``copies`` of the chunk that is known to hold these rows."""
        payloads, counts, _ = _framed(rows, np.array([rows.count], np.int64))
        entries = self._written(payloads, counts)
        many = (np.tile(entries.hashes, (copies, 1)), np.tile(entries.rows, copies), np.tile(entries.sizes, copies))
        self._add(Entries(*many))

    def keep(self, part: KeepRows, *, at_end: bool) -> None:
        """Adds rows of the old stream, without reading those whose chunks stay."""
        tree = self._old.tree
        position = part.start
        while position < part.stop:
            span = tree.span_of_row(position)
            if self._carry and position == span.row_start:
                # Cut only where it may end a chunk together with the old stream: once a chunk, not once a run.
                self._cut(final=self._is_alone(span))
            if not self._carry and position == span.row_start:
                extent, row = self._last_end(part.stop, at_end)
                if row > position:
                    self._add(Keep(span.extent_start, extent))
                    position = row
                    continue
            stop = min(span.row_stop, part.stop)
            self.feed(self._rows_of(span).slice(position - span.row_start, stop - span.row_start))
            position = stop

    def _rows_of(self, span: Span) -> Rows:
        """The rows of a chunk of the old stream, read once for all runs that are kept of it."""
        if self._decoded is None or self._decoded[0] != span:
            self._decoded = span, self._old.read(span.row_start, span.row_stop)
        return self._decoded[1]

    def _is_alone(self, span: Span) -> bool:
        """Whether the chunk is one row that stands alone, so that there is a cut on either side of it."""
        if stands_alone(self._layout):
            return True
        size = span.extent_stop - span.extent_start - 1
        return span.row_stop - span.row_start == 1 and size >= SINGLE_ROW_BYTES

    def _last_end(self, stop: int, at_end: bool) -> tuple[int, int]:
        """The last chunk end up to row ``stop`` that holds whatever comes after it, as extent and row."""
        ref = self._old.ref
        if stop == ref.rows and at_end:
            return ref.extent, ref.rows
        last = self._old.tree.span_of_row(stop - 1)
        whole = last.row_stop == stop
        # The last chunk of the stream ended for want of rows; one of varying rows may have ended because of its next
        # row.
        sure = self._is_alone(last) or (self._layout.row_bytes is not None and stop < ref.rows)
        if whole and sure:
            return last.extent_stop, stop
        return last.extent_start, last.row_start

    def _cut(self, *, final: bool) -> None:
        rows = Rows.concat(self._carry, self._layout.row_bytes)
        cuts = find_cuts(rows, self._layout, final=final)
        if len(cuts):
            self._emit(rows, cuts)
        done = int(cuts[-1]) if len(cuts) else 0
        rest = rows.slice(done, rows.count)
        self._carry = [rest] if rest.count else []
        self._uncut_bytes = 0

    def _emit(self, rows: Rows, cuts: Ints) -> None:
        """Takes the chunks between cuts to be written."""
        payloads, counts, whole = _framed(rows, cuts)
        if whole is not None and len(payloads) > 1:
            # Chunks that lie together are written from where they lie.
            self._add(self._written(payloads, counts, whole))
            return
        if not self._parts or not isinstance(self._parts[-1], _Unwritten):
            self._unwritten.append(len(self._parts))
            self._parts.append(_Unwritten([], []))
        last = self._parts[-1]
        assert isinstance(last, _Unwritten)
        last.payloads.extend(payloads)
        last.counts.extend(counts)
        self._unwritten_bytes += sum(map(len, payloads))
        if self._unwritten_bytes >= _UNWRITTEN_BYTES:
            self._write()

    def _write(self) -> tuple[bytes, Bytes] | None:
        """Hands the chunks that were cut to the writer: those of many edits at once, for that costs as much as one.

        Returns the last one, with its hash.
        """
        some = [part for place in self._unwritten if isinstance(part := self._parts[place], _Unwritten)]
        entries = self._written([p for part in some for p in part.payloads], [n for part in some for n in part.counts])
        start = 0
        for place, part in zip(self._unwritten, some, strict=True):
            stop = start + len(part.payloads)
            self._parts[place] = entries.slice(start, stop)
            start = stop
        self._unwritten = []
        self._unwritten_bytes = 0
        return (entries.hashes[-1].tobytes(), some[-1].payloads[-1]) if some else None

    def _written(self, payloads: list[Bytes], counts: list[int], whole: memoryview | None = None) -> Entries:
        if not payloads:
            return Entries.empty()
        sizes = np.fromiter(map(len, payloads), np.int64, len(payloads))
        hashes = self._writer.add_chunks(payloads, self._layout, whole=whole)
        return Entries(hashes, np.array(counts, np.int64), sizes)

    def _add(self, part: Part) -> None:
        if len(self._parts) and isinstance(part, Keep):
            last = self._parts[-1]
            if isinstance(last, Keep) and last.stop == part.start:
                self._parts[-1] = Keep(last.start, part.stop)
                return
        self._parts.append(part)


def _framed(rows: Rows, cuts: Ints) -> tuple[list[Bytes], list[int], memoryview | None]:
    """The payloads of the chunks between cuts, the rows that each completes, and the memory in which the payloads lie
    one after the other, where they do."""
    starts = np.concatenate((np.zeros(1, np.int64), cuts[:-1]))
    counts = cuts - starts
    begins, ends = rows.offsets(starts), rows.offsets(cuts)
    if (ends - begins > PIECE_BYTES).any():
        return *_payloads_with_pieces(rows, starts, cuts), None
    if rows.row_bytes is not None or (counts == 1).all():
        flat = rows.flat.data
        payloads: list[Bytes] = [flat[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
        return payloads, counts.tolist(), flat[: ends[-1]]
    framed = [frame_group(rows, *pair) for pair in zip(starts.tolist(), cuts.tolist(), strict=True)]
    return framed, counts.tolist(), None


def _payloads_with_pieces(rows: Rows, starts: Ints, stops: Ints) -> tuple[list[Bytes], list[int]]:
    """The chunk payloads and the rows each completes, where some rows are longer than a piece."""
    payloads: list[Bytes] = []
    counts: list[int] = []
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        body = frame_group(rows, start, stop)
        pieces = max(1, -(-len(body) // PIECE_BYTES))
        payloads += [body[at * PIECE_BYTES : (at + 1) * PIECE_BYTES] for at in range(pieces)]
        counts += [0] * (pieces - 1) + [stop - start]
    return payloads, counts
