"""Cuts at the very limits of the rules: exact sums, full windows, and thresholds that no longer fit 64 bits."""

import itertools
import random

import pytest
import second_reader
from row_mixes import as_rows

from cas.chunking import cut
from cas.chunking.cut import MAX_BYTES, MIN_BYTES, RELAX_BYTES, find_cuts, window_rows
from cas.types import Layout

VARYING = Layout(None)


def expected_cuts(rows: list[bytes], layout: Layout) -> list[int]:
    chunks = second_reader.chunks_of(rows, second_reader.Layout(layout.row_bytes, layout.alone))
    return list(itertools.accumulate(count for _, count in chunks))


def cuts_of(rows: list[bytes], layout: Layout, *, final: bool = True) -> list[int]:
    return find_cuts(as_rows(rows, layout), layout, final=final).tolist()


@pytest.mark.parametrize("layout", [Layout(8), Layout(16), Layout(1040), Layout(2080), VARYING], ids=str)
@pytest.mark.parametrize("beyond", [-1, 0, 1])
@pytest.mark.parametrize("chunks", [1, 2])
def test_rows_that_fill_the_largest_chunk_exactly(layout: Layout, chunks: int, beyond: int) -> None:
    """Equal rows have one window, which does not end a chunk here, so that it ends where the next row does not fit."""
    size = layout.row_bytes or 12
    weight = size if layout.row_bytes else size + 4
    full = MAX_BYTES // weight
    assert full * weight == MAX_BYTES
    (fill, *_) = [byte for byte in b"abcdefgh" if full in cuts_of([bytes([byte]) * size] * (full + 1), layout)]
    rows = [bytes([fill]) * size] * (chunks * full + beyond)
    cuts = cuts_of(rows, layout)
    assert cuts == expected_cuts(rows, layout)
    held_back = cuts_of(rows, layout, final=False)
    assert held_back == [cut for cut in cuts if cut < len(rows)], "a full chunk is decided by the row after it"


def test_a_row_that_is_one_byte_too_long_for_the_largest_chunk() -> None:
    full = MAX_BYTES // 16
    for last, expected in ((12, [full]), (13, [full - 1, full])):
        rows = [b"a" * 12] * (full - 1) + [b"b" * last]
        assert cuts_of(rows, VARYING) == expected_cuts(rows, VARYING) == expected


@pytest.mark.parametrize("length", [1020, 1021, 1364, 1500, 2048, 3068, 3069, 4091, 4095])
def test_long_rows_of_varying_layouts(length: int) -> None:
    """Sixteen such rows are longer than the least chunk; from 3,069 bytes on the lower threshold is cut off."""
    random_ = random.Random(length)
    rows = [random_.randbytes(length - random_.randrange(2)) for _ in range(1500)]
    cuts = cuts_of(rows, VARYING)
    assert cuts == expected_cuts(rows, VARYING)
    counts = [stop - start for start, stop in itertools.pairwise([0, *cuts])]
    assert min(counts[:-1]) >= max(window_rows(None), -(-MIN_BYTES // (length + 4)))


def test_a_chunk_of_long_rows_ends_at_once_beyond_the_second_limit() -> None:
    random_ = random.Random(7)
    rows = [random_.randbytes(4000) for _ in range(1500)]
    counts = [stop - start for start, stop in itertools.pairwise([0, *cuts_of(rows, VARYING)])]
    assert max(counts) == -(-RELAX_BYTES // 4004)


@pytest.mark.parametrize("run", [17, 18, 19, 1000])
@pytest.mark.parametrize("size", [8, None])
def test_ends_of_runs_of_equal_rows(size: int | None, run: int) -> None:
    layout = Layout(size)
    rows = [b"%08d" % (i // run) for i in range(60_000)]
    assert cuts_of(rows, layout) == expected_cuts(rows, layout)


@pytest.mark.parametrize("size", [1, 8, 1500, None])
@pytest.mark.parametrize("block", [1, 16, 17, 18, 100, 1000])
def test_the_blocks_of_the_code_leave_no_trace(monkeypatch: pytest.MonkeyPatch, block: int, size: int | None) -> None:
    random_ = random.Random(size)
    rows: list[bytes] = []
    while len(rows) < (600_000 // size if size else 30_000):
        rows += [random_.randbytes(random_.randrange(40) if size is None else size)] * random_.choice(
            [1, 2, 17, 18, 60]
        )
    layout = Layout(size)
    in_one_block = cuts_of(rows, layout)
    assert len(in_one_block) > 3
    if len(rows) > 8000 * block:
        rows = rows[: 8000 * block]
        in_one_block = cuts_of(rows, layout)
    monkeypatch.setattr(cut, "_BLOCK_ROWS", block)
    assert cuts_of(rows, layout) == in_one_block
