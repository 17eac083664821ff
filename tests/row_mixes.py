"""Strategies: rows of every size and entropy, drawn as a few segments so that long streams cost few choices."""

import random

import numpy as np
from hypothesis import strategies as st

from cas.codec.rows import Rows
from cas.types import Layout

LAYOUTS = [
    *(Layout(size) for size in (0, 1, 3, 7, 8, 9, 100, 1023, 1024, 2047, 2048, 4095, 4096, 5000)),
    Layout(None),
    Layout(None, alone=True),
    Layout(2, alone=True),
]
# Lengths of varying rows: empty, around a word and a row's limit, several words, and rows of several pieces.
LENGTHS = [0, 1, 7, 8, 9, 40, 300, 1500, 4091, 4095, 4096, 9000, 262_080, 262_081, 524_161]


def segment_rows(kind: str, count: int, size: int, seed: int) -> list[bytes]:
    """Rows of one size: all different, all equal, or sorted with many repeats."""
    random_ = random.Random(f"{kind} {size} {seed}")
    if kind == "equal":
        return [random_.randbytes(size)] * count
    if kind == "sorted":
        return [(i // 50).to_bytes(4, "big")[-size:].rjust(size, b"\0") if size else b"" for i in range(count)]
    return [random_.randbytes(size) for _ in range(count)]


@st.composite
def row_lists(draw: st.DrawFn, layout: Layout, *, total_bytes: int = 600_000, max_rows: int = 4000) -> list[bytes]:
    """A list of rows that fit a layout, of at most about that many bytes."""
    rows: list[bytes] = []
    for _ in range(draw(st.integers(0, 4))):
        size = draw(st.sampled_from(LENGTHS)) if layout.row_bytes is None else layout.row_bytes
        limit = min(max_rows, max(1, total_bytes // (4 * max(size, 1))))
        kind = draw(st.sampled_from(["different", "equal", "sorted"]))
        count = draw(st.sampled_from([1, limit // 2, limit]) | st.integers(0, limit))
        rows += segment_rows(kind, count, size, draw(st.integers(0, 99)))
    return rows


layouts = st.sampled_from(LAYOUTS)
layouts_and_rows = layouts.flatmap(lambda layout: st.tuples(st.just(layout), row_lists(layout)))


def as_rows(rows: list[bytes], layout: Layout) -> Rows:
    """A list of rows as the package holds them."""
    if layout.row_bytes is None:
        return Rows.from_list(rows)
    return Rows.fixed(np.frombuffer(b"".join(rows), np.uint8), len(rows), layout.row_bytes)
