"""Reading by range, by row numbers and by pieces, against a plain list."""

import random

import numpy as np
import pytest
import second_reader
from hypothesis import given, settings
from hypothesis import strategies as st
from row_mixes import as_rows, layouts_and_rows
from workbench import Workbench

from cas.chunking.cut import PIECE_BYTES
from cas.codec.planes import Planes
from cas.codec.rows import Flat
from cas.errors import CorruptedError
from cas.hashing import hash_chunk
from cas.store.gate import Gate
from cas.tree.node import Entries, save_node
from cas.tree.read import StreamRef
from cas.tree.stream import StreamReader, build_stream
from cas.types import Layout


@settings(deadline=None, max_examples=80)
@given(layouts_and_rows, st.data())
def test_ranges_and_row_numbers(drawn: tuple[Layout, list[bytes]], data: st.DataObject) -> None:
    layout, rows = drawn
    bench = Workbench(layout)
    reader = bench.reader(bench.build(rows))
    for _ in range(5):
        start = data.draw(st.integers(0, len(rows)))
        stop = data.draw(st.integers(start, len(rows)))
        found = reader.read(start, stop)
        assert (found.count, found.row_bytes) == (stop - start, layout.row_bytes)
        assert [bytes(row) for row in found] == rows[start:stop]
    numbers = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=20)) if rows else []
    taken = reader.take(np.array(numbers, np.int64))
    assert [bytes(row) for row in taken] == [rows[number] for number in numbers]


class Deep:
    """A stream of many chunks of one to three rows, with large rows between."""

    def __init__(self) -> None:
        random_ = random.Random(4)
        self.rows = [b"%05d" % i for i in range(5000)]
        for at in random_.sample(range(5000), 20):
            self.rows[at] = random_.randbytes(random_.choice([PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 700_000]))
        self.bench = Workbench(Layout(None, alone=True))
        self.ref: StreamRef = self.bench.build(self.rows)

    @property
    def reader(self) -> StreamReader:
        return self.bench.reader(self.ref)


@pytest.fixture(scope="module")
def deep() -> Deep:
    return Deep()


def test_every_row_of_a_deep_tree(deep: Deep) -> None:
    assert deep.reader.tree.level >= 1
    reader = deep.reader
    for at, row in enumerate(deep.rows):
        assert reader.read(at, at + 1).row(0) == row


def test_ranges_of_a_deep_tree(deep: Deep) -> None:
    random_ = random.Random(1)
    for _ in range(200):
        start = random_.randrange(len(deep.rows))
        stop = min(start + random_.choice([0, 1, 2, 50]), len(deep.rows))
        assert [bytes(row) for row in deep.reader.read(start, stop)] == deep.rows[start:stop]


def test_row_numbers_of_a_deep_tree(deep: Deep) -> None:
    random_ = random.Random(2)
    small = [at for at, row in enumerate(deep.rows) if len(row) < 10]
    for pool in (range(len(deep.rows)), small):
        for count in (1, 2, 100):
            numbers = random_.choices(pool, k=count)
            taken = deep.reader.take(np.array(numbers, np.int64))
            assert [bytes(row) for row in taken] == [deep.rows[number] for number in numbers]


def test_pieces_of_a_row(deep: Deep) -> None:
    for at, row in enumerate(deep.rows):
        if len(row) > 10 or at % 100 == 0:
            pieces = list(deep.reader.pieces(at, batch=2))
            assert b"".join(pieces) == row
            assert all(len(piece) == PIECE_BYTES for piece in pieces[:-1])


def test_keys_of_rows(deep: Deep) -> None:
    """Equal rows have equal keys; the key of a row of one chunk is its hash."""
    keys = list(deep.reader.row_keys(0, len(deep.rows)))
    assert len(set(keys)) == len(set(deep.rows))
    for row, key in zip(deep.rows, keys, strict=True):
        if len(row) <= PIECE_BYTES:
            assert key == hash_chunk(row)
    assert list(deep.reader.row_keys(100, 4000)) == keys[100:4000]
    assert list(deep.reader.row_keys(7, 7)) == []


def test_many_look_ups_find_what_the_first_ones_found(deep: Deep) -> None:
    """The chunks are looked up in one node from some time on."""
    random_ = random.Random(5)
    reader = deep.reader
    for _ in range(60):
        numbers = random_.choices(range(5000), k=random_.choice([1, 2, 30]))
        assert [bytes(row) for row in reader.take(np.array(numbers))] == [deep.rows[number] for number in numbers]
        start = random_.randrange(5000)
        assert [bytes(row) for row in reader.read(start, start + 1)] == [deep.rows[start]]
        stop = min(start + random_.choice([2, 300]), 5000)
        assert [bytes(row) for row in reader.read(start, stop)] == deep.rows[start:stop]
    assert reader.tree._chunks is not None


def test_sizes_of_rows(deep: Deep) -> None:
    assert deep.reader.row_sizes().tolist() == list(map(len, deep.rows))


def test_chunks_are_those_of_the_document(deep: Deep) -> None:
    found = [
        (hash_.tobytes(), rows)
        for entries in deep.reader.chunks()
        for hash_, rows in zip(entries.hashes, entries.rows.tolist(), strict=True)
    ]
    chunks = second_reader.chunks_of(deep.rows, second_reader.Layout(None, alone=True))
    assert found == [(hash_chunk(payload), count) for payload, count in chunks]


def test_a_range_reads_only_its_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Workbench(Layout(8))
    numbers = np.random.default_rng(1).integers(0, 2**60, 100_000)
    reader = bench.reader(bench.build([number.tobytes() for number in numbers]))
    asked: list[bytes] = []
    gate = type(bench.nodes.gate)
    read = gate._read_one

    def read_one(self: Gate, hash_: bytes, size: int, *, as_planes: bool) -> Flat | Planes:
        asked.append(hash_)
        return read(self, hash_, size, as_planes=as_planes)

    monkeypatch.setattr(gate, "_read_one", read_one)
    reader.read(50_000, 50_001)
    assert len(asked) == 1
    reader.take(np.array([3, 50_000, 4, 3]))
    assert len(set(asked)) == len(asked) == 2, "a chunk of which a part was read is kept"


def test_an_empty_chunk_that_a_writer_holds_back_is_read() -> None:
    bench = Workbench(Layout(None, alone=True))
    ref = build_stream(bench.nodes, as_rows([b"a", b"", b"b"], bench.layout), bench.layout, bench.writer)
    nodes = bench.nodes.over(bench.nodes.gate.over(bench.writer.held))
    reader = StreamReader(nodes, ref, bench.layout)
    assert [bytes(row) for row in reader.read(1, 2)] == [b""]
    assert [bytes(row) for row in reader.take(np.array([1]))] == [b""]
    assert [bytes(row) for row in reader.read(0, 3)] == [b"a", b"", b"b"]


@pytest.mark.parametrize("count", [10, 40])
def test_a_chunk_that_does_not_fit_its_rows_is_damage(count: int) -> None:
    """However its rows are asked for: a node may tell of another number of rows than its chunk has."""
    bench = Workbench(Layout(4))
    payloads = [bytes(range(100)), bytes(range(100, 200))]
    hashes = bench.writer.add_chunks(payloads, bench.layout)
    entries = Entries(hashes, np.array([count, 25]), np.array([100, 100]))
    ref = StreamRef(save_node(bench.writer, 0, entries), count + 25, 200)
    bench.writer.flush()
    for read in (
        lambda reader: reader.read(9, 10),
        lambda reader: reader.read(0, count),
        lambda reader: reader.take(np.array([count - 1])),
        lambda reader: reader.take(np.array([9, 3])),
    ):
        with pytest.raises(CorruptedError):
            read(bench.reader(ref))
