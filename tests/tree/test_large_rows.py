"""Rows of so many pieces that they reach across leaves, and appends that reach across nodes."""

import numpy as np
import pytest
from workbench import Workbench

from cas.chunking.cut import PIECE_BYTES
from cas.tree.node import MAX_CHILDREN
from cas.tree.read import EMPTY_STREAM, StreamRef
from cas.types import Layout

# Three small rows and 253 whole pieces fill the first leaf; the end of the large row is the first child of the next.
LARGE = bytes(253 * PIECE_BYTES) + b"end"
ROWS = [b"a", b"b", b"c", LARGE, b"d", b"e"]


@pytest.fixture(scope="module")
def bench() -> Workbench:
    return Workbench(Layout(None, alone=True))


@pytest.fixture(scope="module")
def ref(bench: Workbench) -> StreamRef:
    return bench.build(ROWS)


def test_a_leaf_begins_with_the_last_piece(bench: Workbench, ref: StreamRef) -> None:
    tree = bench.reader(ref).tree
    first, second = tree.leaves()
    assert (len(first), len(second)) == (MAX_CHILDREN, 3)
    assert (int(first.rows[-1]), int(second.sizes[0])) == (0, 3)


def test_reading_it(bench: Workbench, ref: StreamRef) -> None:
    reader = bench.reader(ref)
    for at, row in enumerate(ROWS):
        assert reader.read(at, at + 1).row(0) == row
        assert reader.take(np.array([at])).row(0) == row
        assert b"".join(reader.pieces(at)) == row
    assert [bytes(row) for row in reader.take(np.array([4, 3, 2]))] == [b"d", LARGE, b"c"]
    assert [bytes(row) for row in reader.read(2, 5)] == ROWS[2:5]
    assert reader.row_sizes().tolist() == list(map(len, ROWS))
    assert len(list(reader.row_keys(0, 6))) == 6


@pytest.mark.parametrize(
    ("edit", "rows"),
    [
        ((3, 3, [b"new"]), [*ROWS[:3], b"new", *ROWS[3:]]),
        ((4, 4, [b"new"]), [*ROWS[:4], b"new", *ROWS[4:]]),
        ((3, 4, []), ROWS[:3] + ROWS[4:]),
        ((4, 5, []), ROWS[:4] + ROWS[5:]),
        ((0, 3, []), ROWS[3:]),
        ((4, 6, []), ROWS[:4]),
    ],
)
def test_editing_beside_it(
    bench: Workbench, ref: StreamRef, edit: tuple[int, int, list[bytes]], rows: list[bytes]
) -> None:
    assert bench.edit(ref, [edit]) == Workbench(bench.layout).build(rows)


@pytest.mark.parametrize("step", [1, 7, 100])
def test_appends_to_trees_of_several_levels(step: int) -> None:
    """The last node of each level ended for want of children, and takes the new ones in."""
    rows = [b"%04d" % i for i in range(15 * step + 1200)]
    bench = Workbench(Layout(None, alone=True))
    ref = bench.edit(EMPTY_STREAM, [(0, 0, rows[:1200])])
    for done in range(1200, len(rows), step):
        ref = bench.edit(ref, [(done, done, rows[done : done + step])])
        assert ref == Workbench(bench.layout).build(rows[: done + step])
    assert bench.reader(ref).tree.level >= 1
