"""The rows of a merge, against lists of rows with identities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from cas.codec.rows import Ints
from cas.history.weave import Sides, Weaver
from cas.tree.alignment import Alignment

Ids = list[int]


@dataclass(frozen=True)
class Case:
    """Rows of a base and of two sides, as numbers that say which are the same; and which of deleted ones stay."""

    base: Ids
    ours: Ids
    theirs: Ids
    saved: frozenset[int] = frozenset()


@st.composite
def sides_of(draw: st.DrawFn, base: Ids, new: Ids, both: Ids) -> Ids:
    """Some rows of the base, and new ones; often not in the order of the base."""
    rows = [row for row in base if draw(st.integers(0, 3))]
    if draw(st.booleans()):
        cut, other = sorted(draw(st.tuples(st.integers(0, len(rows)), st.integers(0, len(rows)))))
        rows = [*rows[cut:other], *rows[:cut], *rows[other:]]
    for row in [*new[: draw(st.integers(0, len(new)))], *both]:
        rows.insert(draw(st.integers(0, len(rows))), row)
    return rows


@st.composite
def cases(draw: st.DrawFn) -> Case:
    base = list(range(draw(st.integers(0, 8))))
    both = [90, 91][: draw(st.sampled_from([0, 0, 1, 2]))]
    ours = draw(sides_of(base, [10, 11, 12, 13], both))
    theirs = draw(sides_of(base, [20, 21, 22, 23], both))
    deleted = sorted({*base} & ({*ours} ^ {*theirs}))
    return Case(base, ours, theirs, frozenset(row for row in deleted if draw(st.booleans())))


def ints(numbers: list[int]) -> Ints:
    return np.array(numbers, np.int64)


def aligned(old: Ids, new: Ids) -> Alignment:
    pairs = [(number, new.index(row)) for number, row in enumerate(old) if row in new]
    starts = [ints([pair[side] for pair in pairs]) for side in (0, 1)]
    return Alignment.of(*starts, np.ones(len(pairs), np.int64))


def woven(case: Case) -> tuple[Ids, set[int]]:
    """The rows of the merge, one by one, and those that ours does not have."""
    rows = [row for row in case.ours if row in case.theirs or row not in case.base or row in case.saved]
    places = {row: number for number, row in enumerate(case.ours)}
    brought = [row for row in case.theirs if row not in case.ours and (row not in case.base or row in case.saved)]
    at_least = 0
    before: dict[int, Ids] = {}
    for row in brought:
        at_least = max(at_least, place_of(case, row, places))
        before.setdefault(at_least, []).append(row)
    result: Ids = []
    for number, row in enumerate(case.ours):
        result += before.get(number, [])
        result += [row] if row in rows else []
    return result + before.get(len(case.ours), []), {*brought}


def place_of(case: Case, row: int, places: dict[int, int]) -> int:
    """The row of ours before which a row of theirs would stand."""
    anchor = next((other for other in case.theirs[case.theirs.index(row) :] if other in case.base), None)
    if anchor is None:
        return len(case.ours)
    if anchor in places:
        return places[anchor]
    earlier = [other for other in case.base[: case.base.index(anchor)] if other in places]
    return places[earlier[-1]] + 1 if earlier else 0


@given(cases())
@example(Case([0, 1], [0, 1, 10], [0, 20, 1, 21]))
@example(Case([0, 1, 2], [0, 10, 2], [0, 20, 1, 2], frozenset({1})))
@example(Case([0, 1], [1, 0], [0, 20, 1, 21]))
@example(Case([0, 1], [0, 1], [1, 20, 0, 21]))
@example(Case([0, 1], [1, 0], [20, 0, 21, 1]))
def test_rows_are_woven_one_by_one(case: Case) -> None:
    alignments = [
        aligned(*pair) for pair in ((case.base, case.ours), (case.base, case.theirs), (case.ours, case.theirs))
    ]
    weaver = Weaver(Sides(len(case.base), len(case.ours), len(case.theirs), *alignments))
    saved = [ints([number for number, row in enumerate(side) if row in case.saved and row not in other])
             for side, other in ((case.ours, case.theirs), (case.theirs, case.ours))]  # fmt: skip
    found = weaver.weave(*saved)
    rows, brought = woven(case)
    assert found.rows == len(rows)
    for alignment, side in ((found.from_ours, case.ours), (found.from_theirs, case.theirs)):
        assert alignment.map(np.arange(len(side))).tolist() == [rows.index(row) if row in rows else -1 for row in side]
    assert {*found.brought.map(np.arange(len(case.theirs))).tolist()} - {-1} == {rows.index(row) for row in brought}
    assert found.from_ours.ordered
    assert found.brought.ordered
    kept = found.kept_of_theirs
    assert kept.ordered
    assert kept.within(found.brought).rows == len(brought)


@given(cases())
def test_what_one_side_deleted(case: Case) -> None:
    alignments = [
        aligned(*pair) for pair in ((case.base, case.ours), (case.base, case.theirs), (case.ours, case.theirs))
    ]
    weaver = Weaver(Sides(len(case.base), len(case.ours), len(case.theirs), *alignments))
    for found, side, other in (
        (weaver.deleted_by_theirs, case.ours, case.theirs),
        (weaver.deleted_by_ours, case.theirs, case.ours),
    ):
        rows = found.map(np.arange(len(side))).tolist()
        assert [number for number in rows if number >= 0] == [
            number for number, row in enumerate(side) if row in case.base and row not in other
        ]
