"""Which rows of two streams differ, against a comparison of all rows; and that what is equal is not even read.

Most trees here are made of small pieces, chunks and nodes, so that a few rows make several levels of them.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from row_mixes import LAYOUTS, row_lists
from workbench import Workbench

from cas.chunking import cut
from cas.codec.rows import Ints
from cas.tree import difference, split, stream
from cas.tree.alignment import Alignment
from cas.tree.difference import find_changed
from cas.tree.node import Nodes
from cas.tree.read import StreamRef
from cas.types import Layout

Edited = list[tuple[int | None, bytes]]
"""Rows of the new stream, each with its number in the old one, if it is of that."""

PIECE = 64
# Of the small trees below, some of these blocks end a node and some do not.
BLOCKS = [bytes([number]) * PIECE for number in range(4)]
LONG_ROWS = [
    b"".join(BLOCKS[place] for place in places) + tail
    for places in ((0,), *itertools.product(range(4), repeat=2), (0, 2, 0), (2, 0, 2))
    for tail in (b"", b"x", b"y")
]
POOLS: list[tuple[Layout, list[bytes]]] = [
    (Layout(None), [b"", b"a", b"b", b"cc", b"d" * 20, b"e" * 40, *LONG_ROWS]),
    (Layout(None, alone=True), [b"", b"a", b"b", b"d" * 40, *LONG_ROWS]),
    (Layout(0), [b""]),
    (Layout(1), [b"a", b"b", b"c"]),
    (Layout(1, alone=True), [b"a", b"b", b"c"]),
    (Layout(8), [bytes(8), b"a" * 8, b"abcdefgh"]),
    (Layout(40), [bytes(40), b"a" * 40, b"a" * 39 + b"b"]),
    (Layout(2 * PIECE + 1), [row for row in LONG_ROWS if len(row) == 2 * PIECE + 1]),
]


pools = st.integers(0, len(POOLS) - 1).map(POOLS.__getitem__)


@contextmanager
def small_trees() -> Iterator[None]:
    """Chunks of some 24 bytes, rows of a chunk by themselves from 32, pieces of 64, and nodes of some 3 children."""
    with pytest.MonkeyPatch.context() as patch:
        for name, number in (("MIN_BYTES", 16), ("RELAX_BYTES", 40), ("MAX_BYTES", PIECE), ("_UNIT", 2**64 // 24)):
            patch.setattr(cut, name, number)
        for module in (cut, stream):
            patch.setattr(module, "SINGLE_ROW_BYTES", 32)
            patch.setattr(module, "PIECE_BYTES", PIECE)
        patch.setattr(split, "MIN_CHILDREN", 2)
        patch.setattr(split, "_THRESHOLD", np.uint64(2**64 // 3))
        yield


@st.composite
def rows_of_a_pool(draw: st.DrawFn, pool: list[bytes]) -> list[bytes]:
    """Rows drawn one by one, and many more by a seed."""
    drawn = draw(st.lists(st.sampled_from(pool), max_size=12))
    random_ = random.Random(draw(st.integers(0, 99)))
    return drawn + random_.choices(pool, k=draw(st.sampled_from([0, 0, 10, 60, 300])))


EDITS = st.tuples(
    st.sampled_from(["insert", "delete", "set", "set", "move", "forget"]),
    st.integers(0, 999),
    st.integers(1, 5),
    st.integers(0, 999),
)


def edited(rows: list[bytes], pool: list[bytes], edits: list[tuple[str, int, int, int]]) -> Edited:
    """The rows after edits; one that was replaced by itself, or forgotten to be the same, may have equal bytes."""
    new: Edited = list(enumerate(rows))
    for kind, where, count, what in edits:
        at = where % (len(new) + 1)
        part = new[at : at + count]
        values = [pool[(what + step) % len(pool)] for step in range(count)]
        if kind == "insert":
            part, count = [(None, value) for value in values], 0
        elif kind == "delete":
            part = []
        elif kind == "set":
            part = [(old, value) for (old, _), value in zip(part, values, strict=False)]
        elif kind == "forget":
            part = [(None, value) for _, value in part]
        elif kind == "move":
            del new[at : at + count]
            at, count = what % (len(new) + 1), 0
        new[at : at + count] = part
    return new


def alignment_of(new: Edited) -> Alignment:
    pairs = [(old, number) for number, (old, _) in enumerate(new) if old is not None]
    olds, news = (
        (np.array(side, np.int64) for side in zip(*pairs, strict=True)) if pairs else (np.empty(0, np.int64),) * 2
    )
    return Alignment.of(olds, news, np.ones(len(olds), np.int64))


def expected_of(rows: list[bytes], new: Edited) -> list[int]:
    return [number for number, (old, value) in enumerate(new) if old is not None and rows[old] != value]


def check(bench: Workbench, rows: list[bytes], new: Edited, within: Ints) -> None:
    """Compares two streams both ways, and some rows alone."""
    old, ref = bench.build(rows), bench.build([value for _, value in new])
    alignment, expected = alignment_of(new), expected_of(rows, new)
    found = find_changed(bench.reader(old), bench.reader(ref), alignment)
    assert found.tolist() == expected
    assert found.dtype == np.int64
    back = find_changed(bench.reader(ref), bench.reader(old), alignment.inverse())
    assert back.tolist() == sorted(alignment.inverse().map(found).tolist())
    some = find_changed(bench.reader(old), bench.reader(ref), alignment, within)
    assert some.tolist() == sorted({*expected} & {*within.tolist()})


@settings(deadline=None, max_examples=300)
@given(pools, st.data())
def test_rows_that_differ_are_found(drawn: tuple[Layout, list[bytes]], data: st.DataObject) -> None:
    layout, pool = drawn
    with small_trees():
        rows = data.draw(rows_of_a_pool(pool))
        new = edited(rows, pool, data.draw(st.lists(EDITS, max_size=6)))
        within = data.draw(st.sets(st.integers(0, max(0, len(new) - 1)), max_size=5))
        check(Workbench(layout), rows, new, np.array(sorted(within), np.int64))


@pytest.mark.parametrize("seed", range(24))
def test_rows_in_pieces_that_stand_in_several_nodes(seed: int) -> None:
    """A node may end within a row: it is not equal for that one too, and is looked at where that one is asked for."""
    random_ = random.Random(seed)
    layout, pool = random_.choice([pair for pair in POOLS if len(pair[1][-1]) > PIECE])
    pool = [row for row in pool if len(row) > PIECE]
    with small_trees():
        rows = random_.choices(pool, k=30)
        kinds = random_.choices(["insert", "delete", "set", "set", "move"], k=5)
        edits = [(kind, random_.randrange(99), random_.randint(1, 3), random_.randrange(99)) for kind in kinds]
        new = edited(rows, pool, edits)
        bench = Workbench(layout)
        old, ref = bench.reader(bench.build(rows)), bench.reader(bench.build([value for _, value in new]))
        expected = expected_of(rows, new)
        assert find_changed(old, ref, alignment_of(new)).tolist() == expected
        for row in range(len(new)):
            found = find_changed(old, ref, alignment_of(new), np.array([row]))
            assert found.tolist() == [row] * (row in expected)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(LAYOUTS), st.data())
def test_rows_that_differ_are_found_in_trees_as_they_are(layout: Layout, data: st.DataObject) -> None:
    rows = data.draw(row_lists(layout))
    pool = rows[::97] + data.draw(row_lists(layout, total_bytes=3000, max_rows=5)) or [bytes(layout.row_bytes or 0)]
    new = edited(rows, pool, data.draw(st.lists(EDITS, max_size=4)))
    check(Workbench(layout), rows, new, np.arange(0, len(new), 7, dtype=np.int64))


class CountedNodes(Nodes):
    """Nodes that keep a list of what is loaded, and of the sizes of chunks that are read."""

    def __init__(self, bench: Workbench, patch: pytest.MonkeyPatch) -> None:
        super().__init__(bench.nodes.gate)
        self.loaded: list[bytes] = []
        self.read: list[int] = []
        read_chunks = self.gate.read_chunks

        def counted(hashes: Any, sizes: Any) -> list[bytes]:
            self.read += sizes.tolist()
            return read_chunks(hashes, sizes)

        patch.setattr(self.gate, "read_chunks", counted)

    def load(self, hash_: bytes) -> Any:
        self.loaded.append(hash_)
        return super().load(hash_)


def nodes_of(bench: Workbench, ref: StreamRef) -> list[tuple[bytes, int, int, int]]:
    """All nodes of a tree: hash, level, the row at which each begins, and the rows that end in it."""
    found: list[tuple[bytes, int, int, int]] = []

    def visit(hash_: bytes, start: int) -> None:
        node = bench.nodes.load(hash_)
        found.append((hash_, node.level, start, node.rows))
        if node.level:
            for child, end, rows in zip(node.entries.hashes, node.row_ends, node.entries.rows, strict=True):
                visit(child.tobytes(), start + int(end - rows))

    if ref.root is not None:
        visit(ref.root, 0)
    return found


@settings(deadline=None, max_examples=150)
@given(pools.filter(lambda pair: pair[0].row_bytes != 0), st.data())
def test_no_node_is_loaded_that_both_have_at_the_same_rows(
    drawn: tuple[Layout, list[bytes]], data: st.DataObject
) -> None:
    layout, pool = drawn
    with small_trees(), pytest.MonkeyPatch.context() as patch:
        rows = data.draw(rows_of_a_pool(pool))
        new = edited(rows, pool, data.draw(st.lists(EDITS, max_size=3)))
        bench = Workbench(layout)
        old, ref = bench.build(rows), bench.build([value for _, value in new])
        alignment = alignment_of(new)
        pairs = {number: place for place, (number, _) in enumerate(new)}
        of_new = nodes_of(bench, ref)
        equal = {
            hash_
            for hash_, level, start, count in nodes_of(bench, old)
            if count
            and (hash_, level, pairs.get(start), count) in of_new
            # It may end with a piece of the next row.
            and all(
                pairs.get(row) == pairs[start] + row - start for row in range(start, min(start + count + 1, len(rows)))
            )
        }
        several = [hash_ for hash_, *_ in of_new + nodes_of(bench, old)]
        equal = {hash_ for hash_ in equal if several.count(hash_) == 2}
        counted = bench.nodes = CountedNodes(bench, patch)
        compared: list[bytes] = []
        # Rows that are looked at then are read down from the root.
        candidates = difference._candidates
        patch.setattr(difference, "_candidates", lambda *args: compared.extend(counted.loaded) or candidates(*args))
        find_changed(bench.reader(old), bench.reader(ref), alignment)
        assert not equal & {*compared} - ({old.root, ref.root} if old.root != ref.root else set())
        if layout.alone or (layout.row_bytes or 0) >= 32:
            assert not counted.read, "the hash of a chunk says whether its row is the same"


def test_a_change_costs_the_nodes_and_chunks_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Workbench(Layout(8))
    rows = [number.to_bytes(8, "big") for number in range(400_000)]
    old = bench.build(rows)
    ref = bench.edit(old, [(1000, 1000, [b"inserted"]), (200_000, 200_001, [b"replaced"]), (300_000, 300_010, [])])
    counted = bench.nodes = CountedNodes(bench, monkeypatch)
    olds, news, lengths = (
        np.array(part, np.int64) for part in ([0, 1000, 300_010], [0, 1001, 300_001], [1000, 299_000, 99_990])
    )
    alignment = Alignment.of(olds, news, lengths)
    found = find_changed(bench.reader(old), bench.reader(ref), alignment)
    assert found.tolist() == [200_001]
    assert len({*counted.loaded}) <= 12
    assert 0 < sum(counted.read) < 4_000_000 // 2


def test_equal_streams_are_not_even_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Workbench(Layout(None))
    ref = bench.build([b"a"] * 5000)
    counted = bench.nodes = CountedNodes(bench, monkeypatch)
    assert not len(find_changed(bench.reader(ref), bench.reader(ref), Alignment.identity(5000)))
    assert not counted.loaded
