"""Alignments, against dictionaries from rows to rows."""

from __future__ import annotations

import itertools
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.codec.rows import Ints
from cas.tree.alignment import Alignment, ascending, complement, numbers_of, runs_of_numbers

ROWS = 14
Pairs = dict[int, int]


@st.composite
def pairs(draw: st.DrawFn, *, ordered: bool | None = None) -> Pairs:
    """Rows of an old sequence with the rows of a new one that they are, in runs mostly."""
    old = sorted(draw(st.sets(st.integers(0, ROWS - 1))))
    new = sorted(draw(st.permutations(range(ROWS)))[: len(old)])
    if not (draw(st.booleans()) if ordered is None else ordered):
        cut, other = sorted(draw(st.tuples(st.integers(0, len(new)), st.integers(0, len(new)))))
        new = [*new[cut:other], *new[:cut], *new[other:][:: draw(st.sampled_from([1, -1]))]]
    return dict(zip(old, new, strict=True))


def ints(*numbers: int) -> Ints:
    return np.array(numbers, np.int64)


def alignment(pairs: Pairs) -> Alignment:
    return Alignment.of(ints(*pairs), ints(*pairs.values()), np.ones(len(pairs), np.int64))


def pairs_of(alignment: Alignment) -> Pairs:
    runs = zip(alignment.old.tolist(), alignment.new.tolist(), alignment.lengths.tolist(), strict=True)
    return {old + step: new + step for old, new, length in runs for step in range(length)}


def check_form(alignment: Alignment) -> None:
    """Runs are int64, not empty, ascending in old, and as long as they can be."""
    old, new, lengths = alignment.old, alignment.new, alignment.lengths
    assert (old.dtype, new.dtype, lengths.dtype) == (np.int64, np.int64, np.int64)
    assert (lengths > 0).all()
    ends = old + lengths
    assert (old[1:] >= ends[:-1]).all()
    assert not ((old[1:] == ends[:-1]) & (new[1:] == (new + lengths)[:-1])).any()


@given(pairs(), st.randoms(use_true_random=False))
def test_runs_are_joined_in_any_order(given_pairs: Pairs, random: Random) -> None:
    items = list(given_pairs.items())
    random.shuffle(items)
    made = alignment(dict(items))
    check_form(made)
    assert pairs_of(made) == given_pairs
    assert made.rows == len(given_pairs)
    news = [given_pairs[row] for row in sorted(given_pairs)]
    assert made.ordered == (news == sorted(news))
    assert len(made) == len(made.lengths)


@given(pairs())
def test_inverse(mine: Pairs) -> None:
    inverse = alignment(mine).inverse()
    assert pairs_of(inverse) == {new: old for old, new in mine.items()}
    assert (np.diff(inverse.old) > 0).all()
    assert pairs_of(inverse.inverse()) == mine


@given(pairs(), pairs())
def test_two_of_them(mine: Pairs, other: Pairs) -> None:
    one, two = alignment(mine), alignment(other)
    expected = [
        (one.then(two), {row: other[mine[row]] for row in mine if mine[row] in other}),
        (one.without(two), {row: mine[row] for row in mine if row not in other}),
        (one.within(two), {row: mine[row] for row in mine if row in other}),
        (one.union(two), {**other, **mine}),
    ]
    for found, wanted in expected:
        check_form(found)
        assert pairs_of(found) == wanted


@given(pairs(), st.lists(st.integers(0, ROWS - 1)), st.lists(st.tuples(st.integers(0, ROWS), st.integers(0, ROWS))))
def test_rows_are_looked_up(mine: Pairs, rows: list[int], ranges: list[tuple[int, int]]) -> None:
    made = alignment(mine)
    assert made.map(ints(*rows)).tolist() == [mine.get(row, -1) for row in rows]
    ranges = [(min(ends), max(ends)) for ends in ranges]
    held = [
        start in mine and all(mine.get(row) == mine[start] + row - start for row in range(start, stop))
        for start, stop in ranges
    ]
    starts, stops = (ints(*ends) for ends in zip(*ranges, strict=True)) if ranges else (ints(), ints())
    assert made.holds(starts, stops).tolist() == held


def longest(news: list[int]) -> int:
    """The length of a longest ascending part."""
    best: list[int] = []
    for place, number in enumerate(news):
        best.append(1 + max((best[before] for before in range(place) if news[before] < number), default=0))
    return max(best, default=0)


@given(pairs(ordered=False))
def test_a_largest_part_in_order(mine: Pairs) -> None:
    part = alignment(mine).in_order()
    check_form(part)
    assert part.ordered
    assert pairs_of(part).items() <= mine.items()
    assert part.rows == longest([mine[row] for row in sorted(mine)])


@given(pairs(ordered=False), st.sets(st.integers(0, ROWS - 1)))
def test_a_largest_part_in_order_of_those_with_a_given_part(mine: Pairs, wanted: set[int]) -> None:
    fixed: Pairs = {}
    for row in sorted(wanted & mine.keys()):
        if mine[row] > max(fixed.values(), default=-1):
            fixed[row] = mine[row]
    part = alignment(mine).in_order_with(alignment(fixed))
    assert part.ordered
    assert fixed.items() <= pairs_of(part).items() <= mine.items()
    # Between two given rows whatever is there in both sequences is a matter of its own.
    bounds = [(-1, -1), *sorted(fixed.items()), (ROWS, ROWS)]
    sizes = [
        longest([mine[row] for row in sorted(mine) if left[0] < row < right[0] and left[1] < mine[row] < right[1]])
        for left, right in itertools.pairwise(bounds)
    ]
    assert part.rows == len(fixed) + sum(sizes)


@given(pairs(ordered=True))
def test_gaps_and_complement(mine: Pairs) -> None:
    made = alignment(mine)
    for gaps, starts, taken in zip(made.gaps(ROWS, ROWS + 3), (made.old, made.new), (mine, mine.values()), strict=True):
        rows = ROWS if taken is mine else ROWS + 3
        assert len(gaps) == len(made) + 1
        ends = [0, *(starts + made.lengths).tolist()]
        assert gaps.tolist() == [start - end for end, start in zip(ends, [*starts.tolist(), rows], strict=True)]
        left = numbers_of(*complement(starts, made.lengths, rows)).tolist()
        assert left == [row for row in range(rows) if row not in taken]


@given(st.sets(st.integers(0, 30)))
def test_runs_of_numbers(numbers: set[int]) -> None:
    starts, lengths = runs_of_numbers(ints(*sorted(numbers)))
    assert numbers_of(starts, lengths).tolist() == sorted(numbers)
    assert (starts[1:] > (starts + lengths)[:-1]).all()
    assert pairs_of(Alignment.of_rows(ints(*sorted(numbers)))) == {row: row for row in numbers}


@given(st.lists(st.integers(-5, 5)))
def test_ascending(numbers: list[int]) -> None:
    assert ascending(ints(*numbers)).tolist() == sorted(set(numbers))


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_identity(rows: int) -> None:
    same = Alignment.identity(rows)
    assert pairs_of(same) == {row: row for row in range(rows)}
    assert same.is_identity(rows)
    assert not same.is_identity(rows + 1)
    assert not alignment({0: 1}).is_identity(1)
    assert len(Alignment.empty()) == 0


def test_a_million_runs_are_quick() -> None:
    """Deleted rows, scattered: what a comparison of large versions composes; and as many runs in reverse."""
    old = np.arange(0, 3_000_000, 3, dtype=np.int64)
    lengths = np.full(len(old), 2, np.int64)
    kept = Alignment.of(old, old // 3 * 2, lengths)
    assert kept.then(kept.inverse()).rows == kept.rows
    part = Alignment.of(old[:100_000], old[99_999::-1], lengths[:100_000]).in_order()
    assert part.rows == 2
