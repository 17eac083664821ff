"""Damage is found and named: blobs that are missing, changed or forged never give other rows."""

import random
import struct
from collections.abc import Callable

import numpy as np
import pytest
import second_reader
from hypothesis import given, settings
from hypothesis import strategies as st
from workbench import Workbench

from cas.errors import CasError, CorruptedError
from cas.hashing import Kind, hash_blob, hash_chunk
from cas.tree.node import MAX_CHILDREN, Entries, decode_node, encode_node
from cas.tree.read import StreamRef, TreeReader
from cas.types import Layout

ROWS = [b"%04d" % i for i in range(3000)]


@pytest.fixture(scope="module")
def bench() -> Workbench:
    return Workbench(Layout(None, alone=True))


@pytest.fixture(scope="module")
def ref(bench: Workbench) -> StreamRef:
    return bench.build(ROWS)


def test_every_lost_blob_is_named(bench: Workbench, ref: StreamRef) -> None:
    lost = [*random.Random(1).sample(sorted(bench.blobs()), 30), ref.root]
    for hash_ in lost:
        assert hash_ is not None
        with pytest.raises(CorruptedError) as caught:
            bench.damaged(hash_, None).rows(ref)
        assert caught.value.blob == hash_.hex()


def test_every_changed_blob_is_named(bench: Workbench, ref: StreamRef) -> None:
    blobs = bench.blobs()
    random_ = random.Random(2)
    changed = [*random_.sample(sorted(blobs), 30), ref.root]
    for hash_ in changed:
        assert hash_ is not None
        blob = bytearray(blobs[hash_])
        blob[random_.randrange(len(blob))] ^= 1 << random_.randrange(8)
        with pytest.raises(CorruptedError) as caught:
            bench.damaged(hash_, bytes(blob)).rows(ref)
        assert caught.value.blob == hash_.hex()


def test_a_blob_of_another_kind_does_not_pass(bench: Workbench, ref: StreamRef) -> None:
    """The payload of a node put under the hash it would have as a chunk."""
    assert ref.root is not None
    payload = bench.nodes.gate.read_record(Kind.NODE, ref.root)
    assert payload is not None
    other = bench.damaged(hash_chunk(payload), payload)
    with pytest.raises(CorruptedError):
        other.rows(StreamRef(hash_chunk(payload), ref.rows, ref.size_bytes))


@pytest.mark.parametrize(("rows", "size_bytes"), [(1, 0), (-1, 0), (0, 1), (0, -1), (1, -1)])
def test_a_root_that_is_not_what_was_declared(bench: Workbench, ref: StreamRef, rows: int, size_bytes: int) -> None:
    with pytest.raises(CorruptedError):
        bench.rows(StreamRef(ref.root, ref.rows + rows, ref.size_bytes + size_bytes))


def test_rows_of_another_layout_are_damage() -> None:
    source = Workbench(Layout(4))
    ref = source.build(ROWS)
    for layout in (Layout(8), Layout(None), Layout(3)):
        other = source.damaged(bytes(32), None)
        other.layout = layout
        with pytest.raises(CorruptedError):
            other.rows(ref)


def test_rows_beside_a_lost_leaf_are_read() -> None:
    """Where no row comes in pieces, nothing is asked of the leaf before."""
    bench = Workbench(Layout(4096))
    rows = [i.to_bytes(4, "little") * 1024 for i in range(400)]
    ref = bench.build(rows)
    tree = TreeReader(bench.nodes, ref)
    second = tree.node_at(0, tree.node_at(0, 0).extent_stop)
    lost = hash_blob(Kind.NODE, encode_node(0, second.node.entries))
    start, stop = second.row_start, second.row_start + second.node.rows
    reader = bench.damaged(lost, None).reader(ref)
    for row in (0, start - 1, stop, len(rows) - 1):
        assert bytes(reader.read(row, row + 1).row(0)) == rows[row]
        assert bytes(reader.take(np.array([row])).row(0)) == rows[row]
    assert [bytes(row) for row in reader.read(stop, ref.rows)] == rows[stop:]
    with pytest.raises(CorruptedError):
        reader.read(stop - 1, stop)


# --- nodes: the codec -----------------------------------------------------------------------------------------------


def entries(count: int, rows: int = 1, size: int = 4) -> Entries:
    hashes = np.frombuffer(b"".join(hash_chunk(b"%d" % i) for i in range(count)), np.uint8).reshape(count, 32)
    return Entries(hashes, np.full(count, rows, np.int64), np.full(count, size, np.int64))


@pytest.mark.parametrize("level", [0, 1, 5])
@pytest.mark.parametrize("count", [1, 2, MAX_CHILDREN])
def test_nodes_come_back(level: int, count: int) -> None:
    size = 2**31 if level else 262_080
    children = entries(count, rows=7, size=size)
    payload = encode_node(level, children)
    node = decode_node(payload, "name")
    assert node.level == level
    assert node.entries.hashes.tolist() == children.hashes.tolist()
    assert (node.rows, node.extent) == (7 * count, (7 + size) * count)
    plain = [(hash_.tobytes(), 7, size) for hash_ in children.hashes]
    assert payload == second_reader.node_payload(level, plain)


def patched(at: int, data: bytes) -> Callable[[bytes], bytes]:
    return lambda payload: payload[:at] + data + payload[at + len(data) :]


WRONG_NODES = {
    "empty": lambda payload: b"",
    "cut inside the header": lambda payload: payload[:7],
    "cut inside the hashes": lambda payload: payload[:-1],
    "too long": lambda payload: payload + b"\0",
    "another format": patched(0, b"\2"),
    "a level of 33": patched(1, b"\x21"),
    "no children": lambda payload: struct.pack("<BBHI", 1, 0, 0, 0),
    "257 children": lambda payload: struct.pack("<BBHI", 1, 0, 257, 0) + bytes(257 * 40),
    "not zero": patched(4, b"\1"),
}


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("change", WRONG_NODES.values(), ids=WRONG_NODES)
def test_wrong_nodes_are_refused(change: Callable[[bytes], bytes], level: int) -> None:
    payload = change(encode_node(level, entries(3)))
    with pytest.raises(CorruptedError, match="the-name"):
        decode_node(payload, "the-name")


def test_impossible_sums_are_refused() -> None:
    payload = struct.pack("<BBHI", 1, 1, 2, 0) + struct.pack("<4Q", 2**63, 2**63, 2**63, 2**63) + bytes(64)
    with pytest.raises(CorruptedError):
        decode_node(payload, "name")


# --- nodes: forged ones, whose hash is right ------------------------------------------------------------------------


def forged_root(bench: Workbench, level: int, children: Entries) -> StreamRef:
    root = bench.forge_node(encode_node(level, children))
    return StreamRef(root, int(children.rows.sum()), int(children.sizes.sum()))


def chunk_entries(bench: Workbench, chunks: list[tuple[bytes, int]]) -> Entries:
    """Entries for chunks as (payload, rows completed), which are put into the store."""
    hashes = bench.writer.add_chunks([payload for payload, _ in chunks], bench.layout)
    bench.writer.flush()
    return Entries(hashes, np.array([n for _, n in chunks], np.int64), np.array([len(p) for p, _ in chunks], np.int64))


FORGED: dict[str, tuple[Layout, list[tuple[bytes, int]]]] = {
    "a fixed chunk that is too long": (Layout(4), [(b"12345", 1)]),
    "a fixed chunk that is too short": (Layout(4), [(b"1234", 2)]),
    "a group without its ends": (Layout(None), [(b"abc", 2)]),
    "a group whose ends are wrong": (Layout(None), [(struct.pack("<2I", 9, 1) + b"abc", 2)]),
    "an unfinished row before others": (Layout(None), [(b"abc", 0), (struct.pack("<2I", 1, 2) + b"ab", 2)]),
    "an unfinished row that a later one would end": (
        Layout(None),
        [(b"x", 1), (b"abc", 0), (struct.pack("<2I", 1, 2) + b"ab", 2), (b"d", 1)],
    ),
    "an unfinished row at the end": (Layout(None, alone=True), [(b"abc", 1), (b"abc", 0)]),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_leaves_are_refused(name: str) -> None:
    layout, chunks = FORGED[name]
    bench = Workbench(layout)
    ref = forged_root(bench, 0, chunk_entries(bench, chunks))
    with pytest.raises(CorruptedError):
        bench.rows(ref)


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        [None, 0],
        [None, 1, 0],
        [None, 0, 1],
        [b"short", 1, 1],
        [bytes(32), -1, 1],
        [bytes(32), 1, -1],
        ["", 0, 0],
    ],
)
def test_wrong_stream_references_are_refused(record: object) -> None:
    with pytest.raises(CorruptedError, match="the record"):
        StreamRef.from_record(record, "the record")


@pytest.mark.parametrize(
    "record",
    [
        [bytes(32), 0, 5],
        [bytes(32), True, 5],
    ],
)
def test_references_that_were_once_taken_are_refused(record: object) -> None:
    with pytest.raises(CorruptedError):
        StreamRef.from_record(record, "the record")


def test_forged_inner_nodes_are_refused() -> None:
    bench = Workbench(Layout(None, alone=True))
    leaf = chunk_entries(bench, [(b"a", 1), (b"bc", 1)])
    low = forged_root(bench, 0, leaf)
    assert low.root is not None

    def parent(level: int, rows: int, size: int) -> StreamRef:
        hashes = np.frombuffer(low.root or b"", np.uint8).reshape(1, 32)
        return forged_root(bench, level, Entries(hashes, np.array([rows], np.int64), np.array([size], np.int64)))

    assert bench.rows(parent(1, 2, 3)) == [b"a", b"bc"]
    for level, rows, size in ((1, 3, 3), (1, 1, 3), (1, 2, 4), (1, 1, 4), (2, 2, 3)):
        ref = parent(level, rows, size)
        with pytest.raises(CorruptedError):
            bench.rows(ref)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_change_of_a_node_is_found_or_harmless(data: st.DataObject) -> None:
    """A forger who can write nodes gets an error of the package, never an accident, for any bytes."""
    layout = data.draw(st.sampled_from([Layout(None, alone=True), Layout(None), Layout(3)]))
    bench = Workbench(layout)
    ref = bench.build([b"%03d" % i for i in range(60)] + ([b"x" * 5000] if layout.row_bytes is None else []))
    assert ref.root is not None
    payload = bytearray(bench.nodes.gate.read_record(Kind.NODE, ref.root) or b"")
    numbers = 8 + 8 * struct.unpack_from("<H", payload, 2)[0]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, min(numbers, len(payload)) - 1))
        payload[at] = data.draw(st.sampled_from([0, 1, 2, 255]) | st.integers(0, 255))
    root = bench.forge_node(bytes(payload))
    assert root == hash_blob(Kind.NODE, bytes(payload))
    try:
        node = decode_node(bytes(payload), "name")
        forged = StreamRef(root, node.rows, node.extent - node.rows)
        assert bench.reader(forged).read(0, forged.rows).count == forged.rows
        assert bench.reader(forged).take(np.arange(forged.rows)).count == forged.rows
    except CasError as error:
        assert type(error) is CorruptedError  # noqa: PT017
