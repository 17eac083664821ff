"""Streams of one row repeated: the same as if the rows had been made, at a cost of their chunks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from row_mixes import LENGTHS, as_rows, layouts
from workbench import Workbench

from cas.tree.constant import build_constant_stream
from cas.types import Layout


@given(layout=layouts, size=st.sampled_from(LENGTHS), share=st.floats(0, 1), byte=st.integers(0, 255))
def test_equal_to_the_stream_of_the_rows(layout: Layout, size: int, share: float, byte: int) -> None:
    size = size if layout.row_bytes is None else layout.row_bytes
    count = 1 + int(share * min(300_000, 3_000_000 // (size + 5)))
    bench = Workbench(layout)
    row = bytes([byte]) * size
    ref = build_constant_stream(bench.nodes, as_rows([row], layout), count, layout, bench.writer)
    bench.writer.flush()
    assert ref == Workbench(layout).build([row] * count)
    assert bench.rows(ref)[count // 2] == row


@pytest.mark.parametrize("row_bytes", [1, 8, 4096])
def test_a_hundred_million_rows_cost_their_entries(row_bytes: int) -> None:
    layout = Layout(row_bytes)
    bench = Workbench(layout)
    count = 100_000_000 // row_bytes
    ref = build_constant_stream(bench.nodes, as_rows([bytes(row_bytes)], layout), count, layout, bench.writer)
    assert (ref.rows, ref.size_bytes) == (count, count * row_bytes)
    # A chunk, perhaps a shorter last one, and nodes that are nearly all the same.
    assert len(bench.writer.held) < 60
    bench.writer.flush()
    assert bench.reader(ref).take(np.array([0, count // 2, count - 1])).nbytes == 3 * row_bytes
