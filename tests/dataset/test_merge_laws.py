"""What holds of every merge and every diff, whatever was edited."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from version_programs import Calls, edit, edits
from version_twins import Twins, kept_rows, plain

import cas
from cas.errors import ConflictError
from cas.types import Array, Nullable

TYPES = {"a": "int64", "b": Nullable("text"), "c": Array("uint8", (2,))}
EXAMPLES = 16

counts = st.sampled_from([4, 7, 0, 300])
Rows = list[dict[str, Any]]


@contextmanager
def diverged(count: int, ours: Calls, theirs: Calls) -> Iterator[tuple[cas.Dataset, cas.Dataset]]:
    """A dataset whose branches ``main`` and ``side`` were edited after they parted, open on both."""
    twins = Twins()
    try:
        first = twins.handles[0]
        for name, type_ in TYPES.items():
            first.add_column(name, cas.types.as_type(type_), None)
        if count:
            first.append(range(count))
        first.commit()
        twins.branch("side", first.model.base)
        for handle, changes in zip(twins.handles, (ours, theirs), strict=True):
            edit(handle, changes)
            handle.commit()
        yield twins.handles[0].ds, twins.handles[1].ds
    finally:
        twins.close()


def rows_of(ds: cas.ReadOnlyDataset) -> Rows:
    """All rows as plain dicts."""
    columns = {name: [plain(value) for value in ds[name][:]] for name in ds.schema}
    return [{name: values[number] for name, values in columns.items()} for number in range(len(ds))]


def content(ds: cas.ReadOnlyDataset) -> tuple[Any, ...]:
    """Columns, rows and metadata without any order."""
    metadata = [(name, ds[name].metadata.to_dict()) for name in ds.schema]
    rows = [sorted(row.items()) for row in rows_of(ds)]
    return dict(ds.schema), sorted(rows, key=repr), ds.metadata.to_dict(), sorted(metadata)


def merged(ds: cas.Dataset, revision: str, on_conflict: Any) -> cas.ReadOnlyDataset:
    """The dataset as it is after a merge; what cannot be resolved is left out."""
    try:
        return ds.history[ds.merge(revision, on_conflict=on_conflict)].open()
    except ConflictError as error:
        if {conflict.kind for conflict in error.conflicts} != {"value"}:
            raise
    return reject()


@settings(max_examples=EXAMPLES)
@given(counts, edits, edits, st.sampled_from(["ours", "theirs"]))
def test_merging_what_was_merged_changes_nothing(count: int, ours: Calls, theirs: Calls, mode: str) -> None:
    with diverged(count, ours, theirs) as (main, side):
        before = main.version.id
        version = merged(main, "side", mode).version
        moves = len(main.reflog)
        for revision in ("side", before, side.version.id, "main", version.id, "main~1"):
            assert main.merge(revision) == version.id
        assert len(main.reflog) == moves
        assert side.merge("main") == version.id  # the other branch only follows
        assert side.version.id == main.version.id


@settings(max_examples=EXAMPLES)
@given(counts, edits, edits, st.sampled_from([("ours", "theirs"), ("theirs", "ours")]))
def test_ours_and_theirs_swap_sides(count: int, ours: Calls, theirs: Calls, modes: tuple[str, str]) -> None:
    with diverged(count, ours, theirs) as (main, side):
        left, right = main.version.id, side.version.id
        assert content(merged(main, right, modes[0])) == content(merged(side, left, modes[1]))


@settings(max_examples=EXAMPLES)
@given(count=st.sampled_from([4, 7, 300]), rows=st.lists(st.integers(0, 300), min_size=1, max_size=6), data=st.data())
def test_edits_of_different_cells_and_places_commute(count: int, rows: list[int], data: st.DataObject) -> None:
    """One side changes and appends, the other one changes another column, inserts in front and describes."""
    ours = [("update", 0, rows, data.draw(st.integers(0, 2))), ("append", [5, 6])]
    theirs = [
        ("update", 1, rows, data.draw(st.integers(0, 2))),
        ("insert", 0, [7]),
        ("describe", 0, "k", 1),
        ("add_column", "d", cas.types.as_type("int64"), 1),
    ]
    with diverged(count, ours, theirs) as (main, side):
        left, right = main.version.id, side.version.id
        assert merged(main, right, "raise").version.tree == merged(side, left, "raise").version.tree


@settings(max_examples=EXAMPLES)
@given(counts, edits, edits)
def test_appends_of_both_commute_but_for_their_order(count: int, first: Calls, second: Calls) -> None:
    ours, theirs = ([("append", change[1]) for change in side if change[0] == "append"] for side in (first, second))
    with diverged(count, [*ours, ("append", [1])], [*theirs, ("append", [2])]) as (main, side):
        left, right = main.version.id, side.version.id
        assert content(merged(main, right, "raise")) == content(merged(side, left, "raise"))


@settings(max_examples=EXAMPLES)
@given(counts, edits)
def test_equal_changes_are_no_conflict(count: int, both: Calls) -> None:
    """Rows that both insert are different rows, however equal; so nothing is inserted here."""
    changes = [change for change in both if change[0] not in ("append", "insert", "insert_run")]
    with diverged(count, changes, changes) as (main, side):
        tree = main.version.tree
        assert side.version.tree == tree
        assert merged(main, "side", "raise").version.tree == tree


@settings(max_examples=EXAMPLES)
@given(st.sampled_from([4, 300, 3000]), edits, edits)
def test_a_merge_has_the_tree_of_a_new_dataset_with_its_rows(count: int, ours: Calls, theirs: Calls) -> None:
    with diverged(count, ours, theirs) as (main, _), tempfile.TemporaryDirectory() as folder:
        merge = merged(main, "side", "theirs")
        assume(merge.schema)
        with cas.create(Path(folder) / "again", schema=dict(merge.schema)) as again:
            again.append({name: merge[name][:] for name in merge.schema})
            again.metadata.update(merge.metadata.to_dict())
            for name in merge.schema:
                again[name].metadata.update(merge[name].metadata.to_dict())
            again.commit()
            assert again.version.tree == merge.version.tree


def applied(rows: Rows, found: Any, new: Rows) -> Rows:
    """The rows of a version, changed as a diff says; of columns that it adds there are only the values of new rows."""
    names = {name: found.schema.renamed.get(name, name) for name in found.a.open().schema}
    result = [{names[name]: row[name] for name in row if name not in found.schema.removed} for row in rows]
    for name, changes in found.updated.items():
        for change in changes:
            assert result[change.old_row][name] == plain(change.old)
            result[change.old_row][name] = plain(change.new)
    deleted = set(found.deleted.rows.tolist())
    result = [row for number, row in enumerate(result) if number not in deleted]
    for row in found.inserted:
        result.insert(row.number, new[row.number])
    return result


@settings(max_examples=EXAMPLES)
@given(counts, edits, edits)
def test_a_diff_leads_from_one_version_to_the_other(count: int, ours: Calls, theirs: Calls) -> None:
    with diverged(count, ours, theirs) as (main, side):
        versions = [main.version, side.version, main.version.open().history[1]]
        for a in versions:
            for b in versions:
                found = main.diff(a, b)
                shared = [name for name in b.open().schema if name not in found.schema.added]
                rows, new = rows_of(a.open()), rows_of(b.open())
                wanted = [{name: row[name] for name in shared} for row in new]
                assert [{name: row[name] for name in shared} for row in applied(rows, found, new)] == wanted
                assert found or a.tree == b.tree


def cells_of(found: Any) -> list[Any]:
    """All updated cells of a diff."""
    return [cell for changes in found.updated.values() for cell in changes]


@settings(max_examples=EXAMPLES)
@given(counts, edits, edits)
def test_a_diff_turned_round(count: int, ours: Calls, theirs: Calls) -> None:
    with diverged(count, ours, theirs) as (main, side):
        there, back = main.diff(main.version, side.version), main.diff(side.version, main.version)
        assert there.inserted.rows.tolist() == back.deleted.rows.tolist()
        assert there.deleted.rows.tolist() == back.inserted.rows.tolist()
        assert there.schema.added == back.schema.removed
        assert {new: old for old, new in there.schema.renamed.items()} == dict(back.schema.renamed)
        cells = [
            (each.old_row, plain(each.old), plain(each.new)) for name in there.updated for each in there.updated[name]
        ]
        turned = [(each.row, plain(each.new), plain(each.old)) for name in back.updated for each in back.updated[name]]
        assert sorted(cells, key=repr) == sorted(turned, key=repr)


@settings(max_examples=EXAMPLES)
@given(counts, edits, edits)
def test_the_row_maps_of_a_merge_keep_rows_of_both_sides(count: int, ours: Calls, theirs: Calls) -> None:
    """What a row map keeps of a side that won all conflicts is there with all values that the other side left alone."""
    with diverged(count, ours, theirs) as (main, side):
        parents = [main.version, side.version]
        assume(len({main.history[1], *parents}) == 3)
        version = merged(main, "side", "ours").version
        assert list(version.parents) == [parent.id for parent in parents]
        kept = [kept_rows(row_map) for row_map in version.row_maps]
        assert {number for pairs in kept for _, number in pairs} == set(range(len(main)))
