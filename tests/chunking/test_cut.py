"""Cuts: those of the document, decided by what stands before them, and local."""

import itertools
import random

import numpy as np
import pytest
import second_reader
from hypothesis import given, settings
from hypothesis import strategies as st
from row_mixes import LAYOUTS, as_rows, layouts_and_rows

from cas.chunking.cut import MAX_BYTES, MIN_BYTES, find_cuts, stands_alone, word_offsets
from cas.codec.rows import Rows
from cas.types import Layout


def expected_cuts(rows: list[bytes], layout: Layout) -> list[int]:
    chunks = second_reader.chunks_of(rows, second_reader.Layout(layout.row_bytes, layout.alone))
    return list(itertools.accumulate(count for _, count in chunks if count))


def chunks_of(rows: Rows, layout: Layout) -> list[bytes]:
    """The bytes between cuts."""
    cuts = [0, *find_cuts(rows, layout, final=True).tolist()]
    return [rows.slice(*pair).flat.tobytes() for pair in itertools.pairwise(cuts)]


@settings(deadline=None, max_examples=150)
@given(layouts_and_rows)
def test_cuts_are_those_of_the_document(drawn: tuple[Layout, list[bytes]]) -> None:
    layout, rows = drawn
    assert find_cuts(as_rows(rows, layout), layout, final=True).tolist() == expected_cuts(rows, layout)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_cuts_of_a_long_stream_are_those_of_the_document(layout: Layout) -> None:
    """Several blocks of the vectorised code, and many cuts of all rules."""
    size = layout.row_bytes
    random_ = random.Random(str(layout))
    count = 40_000 if size is None or size < 10 else 2_000_000 // size
    rows = [random_.randbytes(random_.randrange(30) if size is None else size) for _ in range(count)]
    if size is None and not layout.alone:
        rows[5000:6000] = [b"same" * 3] * 1000
        rows[7000:7010] = [random_.randbytes(random_.randrange(3000, 5000)) for _ in range(10)]
    cuts = find_cuts(as_rows(rows, layout), layout, final=True).tolist()
    assert cuts == expected_cuts(rows, layout)
    assert len(cuts) > 1 or size == 0 or (size == 1 and count <= MAX_BYTES)


@settings(deadline=None, max_examples=100)
@given(layouts_and_rows, st.data())
def test_cuts_do_not_depend_on_what_comes_later(drawn: tuple[Layout, list[bytes]], data: st.DataObject) -> None:
    """Without ``final`` only cuts are given that hold whatever follows."""
    layout, rows = drawn
    seen = data.draw(st.integers(0, len(rows)))
    early = find_cuts(as_rows(rows[:seen], layout), layout, final=False).tolist()
    cuts = find_cuts(as_rows(rows, layout), layout, final=True).tolist()
    assert early == cuts[: len(early)]
    held = seen - (early[-1] if early else 0)
    weight = sum(len(row) + (4 if layout.row_bytes is None else 0) for row in rows[seen - held : seen])
    assert weight <= MAX_BYTES, "more rows are held back than a chunk may have"


@settings(deadline=None, max_examples=100)
@given(layouts_and_rows, st.data())
def test_cuts_depend_only_on_rows_since_the_last_cut(drawn: tuple[Layout, list[bytes]], data: st.DataObject) -> None:
    layout, rows = drawn
    cuts = [0, *find_cuts(as_rows(rows, layout), layout, final=True).tolist()]
    start = data.draw(st.sampled_from(cuts))
    rest = find_cuts(as_rows(rows[start:], layout), layout, final=True) + start
    assert rest.tolist() == [cut for cut in cuts if cut > start]


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if not stands_alone(layout)], ids=str)
def test_sizes_of_groups(layout: Layout) -> None:
    random_ = random.Random(3)
    size = layout.row_bytes
    rows = [random_.randbytes(random_.randrange(200) if size is None else size) for _ in range(4_000)]
    bound = MAX_BYTES - (0 if size is None else size)
    for chunk in chunks_of(as_rows(rows, layout), layout)[:-1]:
        assert MIN_BYTES - 4 * len(rows) * (size is None) <= len(chunk) <= bound + (size or 0)


def numbers(values: np.ndarray) -> Rows:
    return Rows.fixed(np.ascontiguousarray(values).view(np.uint8).reshape(-1), len(values), values.itemsize)


@pytest.mark.parametrize("change", ["replace", "insert", "delete"])
@pytest.mark.parametrize("at", [0, 77_777, 199_990])
def test_a_changed_row_moves_cuts_only_nearby(change: str, at: int) -> None:
    values = np.random.default_rng(5).integers(0, 2**60, 200_000)
    changed = {
        "replace": np.concatenate((values[:at], [-1], values[at + 1 :])),
        "insert": np.insert(values, at, -1),
        "delete": np.delete(values, at),
    }[change]
    before, after = chunks_of(numbers(values), Layout(8)), chunks_of(numbers(changed), Layout(8))
    assert len(before) > 20
    assert b"".join(after) == changed.tobytes()
    assert 1 <= len(set(after) - set(before)) <= 4
    assert 1 <= len(set(before) - set(after)) <= 4


@pytest.mark.parametrize("at", [100, 400_000, 700_000])
@pytest.mark.parametrize(("dtype", "run"), [("uint8", 1300), ("int64", 1300), ("int64", 40_000)])
def test_sorted_labels_meet_again_after_an_insertion(dtype: str, run: int, at: int) -> None:
    """Few different values, sorted: only where the value changes does content say anything."""
    labels = np.repeat(np.arange(2_000_000 // run) % 251, run).astype(dtype)
    at *= 1 if run == 1300 else 2
    before = chunks_of(numbers(labels), Layout(labels.itemsize))
    after = chunks_of(numbers(np.insert(labels, at, labels[at])), Layout(labels.itemsize))
    new = set(after) - set(before)
    assert len(before) > 6
    assert sum(map(len, new)) <= (2 if run == 1300 else 4) * MAX_BYTES, "the insertion moved cuts far away"


def test_repeated_rows_are_few_different_chunks() -> None:
    chunks = chunks_of(numbers(np.zeros(1_000_000, np.int64)), Layout(8))
    assert len(set(chunks)) <= 2


def test_word_offsets_are_inside_the_row() -> None:
    for length in range(8, 5000):
        offsets = word_offsets(length)
        assert len(offsets) <= 16
        assert offsets == sorted(set(offsets))
        assert offsets[0] == 0
        assert offsets[-1] == (length - 8 if len(offsets) > 1 else 0)


def test_rows_in_a_wider_buffer_are_cut_alike() -> None:
    """Unaligned and read-only memory makes no difference."""
    flat = np.random.default_rng(1).integers(0, 256, 900_001, np.uint8)
    aligned = find_cuts(Rows.fixed(flat[1:].copy(), 100_000, 9), Layout(9), final=True)
    shifted = flat[1:]
    shifted.flags.writeable = False
    assert find_cuts(Rows.fixed(shifted, 100_000, 9), Layout(9), final=True).tolist() == aligned.tolist()
    assert len(aligned) > 5
