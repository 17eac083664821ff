"""The root depends on the rows alone, whatever edits led to them; and an edit costs what it changes."""

import itertools
import random

import pytest
import second_reader
from hypothesis import given, settings
from hypothesis import strategies as st
from row_mixes import LAYOUTS, layouts_and_rows, row_lists
from workbench import Edit, Workbench

from cas.tree.read import EMPTY_STREAM
from cas.types import Layout


def reference_of(rows: list[bytes], layout: Layout) -> list[object]:
    return second_reader.reference_of(rows, second_reader.Layout(layout.row_bytes, layout.alone))


def apply(rows: list[bytes], edits: list[Edit]) -> list[bytes]:
    for start, stop, new in reversed(edits):
        rows = rows[:start] + new + rows[stop:]
    return rows


@st.composite
def edits_of(draw: st.DrawFn, rows: list[bytes], layout: Layout) -> list[Edit]:
    """One to three ascending replacements, some of which only insert or only delete."""
    count = draw(st.integers(1, 3))
    places = sorted(draw(st.lists(st.integers(0, len(rows)), min_size=2 * count, max_size=2 * count)))
    small = row_lists(layout, total_bytes=40_000, max_rows=300)
    again = st.integers(0, len(rows)).map(lambda at: rows[at : at + 40])
    edits = []
    for start, stop in zip(places[::2], places[1::2], strict=True):
        stop = draw(st.sampled_from([start, min(start + 1, stop), stop]))
        edits.append((start, stop, draw(st.one_of(st.just([]), small, again))))
    return edits


@settings(deadline=None, max_examples=200)
@given(layouts_and_rows, st.data())
def test_edits_lead_to_the_tree_of_the_rows(drawn: tuple[Layout, list[bytes]], data: st.DataObject) -> None:
    layout, rows = drawn
    bench = Workbench(layout)
    ref = bench.build(rows)
    for _ in range(data.draw(st.integers(1, 3))):
        edits = data.draw(edits_of(rows, layout))
        rows = apply(rows, edits)
        ref = bench.edit(ref, edits)
        assert ref.to_record() == Workbench(layout).build(rows).to_record()
        assert bench.rows(ref) == rows
    assert ref.to_record() == reference_of(rows, layout)


@settings(deadline=None, max_examples=60)
@given(layouts_and_rows, st.data())
def test_appends_lead_to_the_tree_of_the_rows(drawn: tuple[Layout, list[bytes]], data: st.DataObject) -> None:
    layout, rows = drawn
    places = [0, *sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=6))), len(rows)]
    bench, ref = Workbench(layout), EMPTY_STREAM
    for start, stop in itertools.pairwise(places):
        ref = bench.edit(ref, [(ref.rows, ref.rows, rows[start:stop])])
    assert ref.to_record() == Workbench(layout).build(rows).to_record()


@pytest.mark.parametrize("seed", range(12))
def test_edits_of_trees_of_several_levels(seed: int) -> None:
    """Many chunks a stream, so that nodes split and join on two levels and more."""
    layout = [Layout(None, alone=True), Layout(4, alone=True), Layout(4100)][seed % 3]
    random_ = random.Random(seed)
    size = layout.row_bytes or 6
    rows = [random_.randbytes(size) for _ in range(6000 if size < 100 else 1500)]
    bench = Workbench(layout)
    ref = bench.build(rows)
    assert bench.reader(ref).tree.level >= 1
    for _ in range(8):
        places = sorted(random_.sample(range(len(rows) + 1), 4))
        if random_.random() < 0.5:
            places[1] = min(places[0] + 1, places[2])
        new = [[random_.randbytes(size) for _ in range(random_.choice([0, 1, 30]))] for _ in range(2)]
        edits = [(*places[:2], new[0]), (*places[2:], new[1])]
        rows, ref = apply(rows, edits), bench.edit(ref, edits)
        assert ref.to_record() == reference_of(rows, layout)
    assert bench.rows(ref) == rows


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_no_rows(layout: Layout) -> None:
    bench = Workbench(layout)
    assert bench.build([]) == EMPTY_STREAM
    assert bench.rows(EMPTY_STREAM) == []
    full = bench.build([bytes(layout.row_bytes or 0)] * 3)
    assert bench.edit(full, [(0, 3, [])]) == EMPTY_STREAM
    assert bench.edit(EMPTY_STREAM, [(0, 0, [bytes(layout.row_bytes or 0)] * 3)]) == full
    assert bench.edit(full, []) == full


# --- cost -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large() -> tuple[Workbench, list[bytes]]:
    """100,000 rows, each a chunk: a tree of three levels."""
    rows = [b"%06d" % (i * 7919 % 100_000) for i in range(100_000)]
    return Workbench(Layout(None, alone=True)), rows


@pytest.mark.parametrize("at", [0, 50_000, 99_999])
@pytest.mark.parametrize("change", ["update", "insert", "delete"])
def test_an_edit_of_one_row_adds_few_blobs(large: tuple[Workbench, list[bytes]], change: str, at: int) -> None:
    bench, rows = large
    ref = bench.build(rows)
    levels = bench.reader(ref).tree.level + 1
    before = bench.blobs()
    new = [] if change == "delete" else [b"new %s %d" % (change.encode(), at)]
    changed = bench.edit(ref, [(at, at + (change != "insert"), new)])
    added = bench.blobs().keys() - before.keys()
    assert levels >= 3
    assert changed != ref
    # One chunk, and on each level the node around it; seldom a neighbour, where the end of a node moves.
    assert levels <= len(added) <= 1 + 3 * levels


def test_an_edit_reads_few_blobs(large: tuple[Workbench, list[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    bench, rows = large
    ref = bench.build(rows)
    fresh = bench.damaged(bytes(32), None)
    loads = []
    load = type(fresh.nodes).load
    monkeypatch.setattr(type(fresh.nodes), "load", lambda self, hash_: loads.append(hash_) or load(self, hash_))
    fresh.edit(ref, [(50_000, 50_001, [b"new"])])
    assert 1 <= len(set(loads)) <= 15


def test_an_edit_back_leads_back(large: tuple[Workbench, list[bytes]]) -> None:
    bench, rows = large
    ref = bench.build(rows)
    there = bench.edit(ref, [(10, 20, []), (70_000, 70_000, [b"x"] * 5)])
    before = bench.blobs()
    assert bench.edit(there, [(10, 10, rows[10:20]), (69_990, 69_995, [])]) == ref
    assert bench.blobs() == before, "what was there is written again"
