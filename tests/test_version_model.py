"""The model that merges are judged by, against what was worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from merge_model import MISSING, Conflict, ConflictsError, longest_ascending, three_way
from version_model import (
    Dataset,
    Handle,
    NothingToUndoError,
    StagedError,
    Version,
    best_common_ancestors,
    blame,
    diff,
)

from cas.types import Nullable, Text, as_type


def numbers(handle: Handle, column: str = "x") -> list[Any]:
    """The values of a column."""
    return [row.cells[handle.state.named(column).id] for row in handle.rows]


def started(*values: int) -> tuple[Handle, Handle]:
    """Handles of two branches of a dataset with a column ``x``."""
    dataset = Dataset()
    main = dataset.open()
    main.add_column("x", "int64")
    main.append([{"x": value} for value in values])
    dataset.add_branch("b", main.commit("base"))
    return main, dataset.open("b")


def conflicts_of(main: Handle, theirs: Version) -> list[Conflict]:
    with pytest.raises(ConflictsError) as raised:
        main.merge(theirs)
    return raised.value.conflicts


def test_three_way() -> None:
    assert [three_way(0, *sides) for sides in ((0, 0), (1, 0), (0, 1), (1, 1))] == [0, 1, 1, 1]
    assert three_way(0, 1, 0, uncertain=True) is three_way(0, 1, 2)
    assert three_way(0, 1, 1, uncertain=True) == 1


def test_longest_ascending() -> None:
    assert longest_ascending([3, 0, 1, 2]) == [1, 2, 3]
    assert longest_ascending([]) == []


def test_appends_stand_ours_first_and_insertions_before_their_row() -> None:
    main, b = started(1, 2, 3)
    main.append([{"x": 10}])
    main.insert(1, [{"x": 11}])
    main.commit()
    b.append([{"x": 20}])
    b.insert(1, [{"x": 21}])
    b.insert(0, [{"x": 22}])
    b.delete([3])
    merge = main.merge(b.commit())
    assert numbers(main) == [22, 1, 11, 21, 3, 10, 20]
    assert merge.parents == (main.dataset.versions[2], b.base)
    assert [blame(merge, "x", row).id for row in range(7)] == ["0003", "base", "0002", "0003", "base", "0002", "0003"]
    assert main.merge(b.base) is merge


def test_a_row_inserted_before_a_row_that_ours_deleted_stands_where_that_was() -> None:
    main, b = started(1, 2, 3)
    main.delete([1])
    main.insert(1, [{"x": 10}])  # before the row 3
    main.commit()
    b.insert(1, [{"x": 20}])  # before the row 2
    main.merge(b.commit())
    assert numbers(main) == [1, 20, 10, 3]


def test_cells_merge_by_column_and_equal_changes_agree() -> None:
    main, b = started(1, 2, 3)
    main.update("x", {0: 10, 2: 7})
    b.update("x", {1: 20, 2: 7})
    b.add_column("y", Nullable(Text()))
    b.update("y", {0: "new"})
    main.append([{"x": 4}])
    main.commit()
    main.merge(b.commit())
    assert numbers(main) == [10, 20, 7, 4]
    assert numbers(main, "y") == ["new", None, None, None]


def test_conflicts_of_cells_and_of_rows_deleted_by_one() -> None:
    main, b = started(1, 2, 3)
    main.update("x", {0: 10, 1: 11})
    main.delete([2])
    ours = main.commit()
    b.update("x", {0: 20, 2: 22})
    b.delete([1])
    b.insert(0, [{"x": 0}])
    theirs = b.commit()
    assert conflicts_of(main, theirs) == [
        Conflict("row", "x", 1, None, None, 2, 11, MISSING),
        Conflict("row", "x", None, 2, None, 3, MISSING, 22),
        Conflict("cell", "x", 0, 1, None, 1, 10, 20),
    ]
    assert main.branch.head is ours
    for resolve, values in (
        ("ours", [0, 10, 11]),
        ("theirs", [0, 20, 22]),
        (lambda conflict: 99 if conflict.kind == "cell" else MISSING, [0, 99]),
    ):
        main.merge(theirs, resolve=resolve)
        assert numbers(main) == values
        main.undo()


def test_a_criss_cross_with_swapped_appends_has_each_row_once() -> None:
    main, b = started(1)
    main.append([{"x": 10}])
    b.append([{"x": 20}])
    ours, theirs = main.commit("p"), b.commit("q")
    main.merge(theirs)
    b.merge(ours)
    assert (numbers(main), numbers(b)) == ([1, 10, 20], [1, 20, 10])
    assert best_common_ancestors(main.base, b.base) == [ours, theirs]
    assert len(diff(main.base, b.base).pairs) == 2
    b.update("x", {1: 21})
    b.insert(1, [{"x": 30}])
    main.merge(b.commit())
    assert numbers(main) == [1, 10, 30, 21]


def test_what_two_bases_disagree_about_is_asked_again() -> None:
    main, b = started(1, 2)
    main.update("x", {0: 10, 1: 10})
    b.update("x", {0: 20, 1: 20})
    ours, theirs = main.commit("p"), b.commit("q")
    main.merge(theirs, resolve="ours")
    b.merge(ours, resolve="ours")
    b.update("x", {1: 10})
    assert conflicts_of(main, b.commit()) == [Conflict("cell", "x", 0, 0, None, 10, 10, 20)]


def test_columns_are_renamed_removed_and_added_by_one_side() -> None:
    main, b = started(1)
    main.add_column("y", "int64", 5)
    main.rename_column("x", "z")
    main.commit()
    b.add_column("w", "int64", 6)
    b.append([{"x": 2, "w": 7}])
    main.append([{"z": 3, "y": 4}])
    main.commit()
    main.merge(b.commit())
    assert [column.name for column in main.columns] == ["z", "y", "w"]
    assert [numbers(main, name) for name in "zyw"] == [[1, 3, 2], [5, 4, 5], [6, 6, 7]]
    b.remove_column("w")
    main.merge(b.commit())
    assert [column.name for column in main.columns] == ["z", "y"]


def test_conflicts_of_columns() -> None:
    main, b = started(1)
    main.rename_column("x", "a")
    main.add_column("y", "int64", 5)
    main.commit()
    b.rename_column("x", "b")
    b.add_column("y", "text", "5")
    b.add_column("a", "int64", 6)
    theirs = b.commit()
    int64, text = as_type("int64"), as_type("text")
    assert conflicts_of(main, theirs) == [
        Conflict("column", "a", base="x", ours="a", theirs="b"),
        Conflict("column", "a", ours=int64, theirs=int64),
        Conflict("column", "y", ours=int64, theirs=text),
    ]
    main.merge(theirs, resolve="ours")
    assert [(column.name, column.type) for column in main.columns] == [("a", int64), ("y", int64)]
    main.undo()
    main.merge(theirs, resolve="theirs")
    assert [(column.name, column.type) for column in main.columns] == [("b", int64), ("y", text), ("a", int64)]


def test_a_column_that_one_side_removed_and_the_other_changed() -> None:
    main, b = started(1)
    b.update("x", {0: 2})
    theirs = b.commit()
    main.add_column("y", "int64", 0)
    main.remove_column("x")
    main.append([{"y": 3}])
    main.commit()
    int64 = as_type("int64")
    assert conflicts_of(main, theirs) == [Conflict("column", "x", base=int64, ours=MISSING, theirs=int64)]
    with pytest.raises(ConflictsError) as raised:
        main.merge(theirs, resolve="theirs")
    assert raised.value.conflicts == [Conflict("value", "x", 1)]
    main.merge(theirs, resolve=lambda conflict: 9 if conflict.kind == "value" else conflict.theirs)
    assert [numbers(main, name) for name in "yx"] == [[0, 3], [2, 9]]


def test_both_sides_add_one_column() -> None:
    main, b = started(1, 2)
    main.add_column("y", "int64", 5)
    main.metadata("y")["k"] = 1
    main.commit()
    b.add_column("y", "int64", 5)
    b.update("y", {1: 6})
    b.metadata("y")["j"] = 2
    theirs = b.commit()
    assert conflicts_of(main, theirs) == [Conflict("cell", "y", 1, 1, None, MISSING, 5, 6)]
    merge = main.merge(theirs, resolve="theirs")
    assert numbers(main, "y") == [5, 6]
    assert main.metadata("y") == {"j": 2, "k": 1}
    b.rename_column("y", "z")
    assert diff(merge, b.commit()).renamed == {"y": "z"}


def test_metadata_is_merged_by_key_and_live() -> None:
    main, b = started(1)
    b.metadata()["k"] = 1
    b.metadata("x")["k"] = 1
    theirs = b.commit()
    main.metadata()["k"] = 2
    main.metadata("x")["j"] = 3
    assert conflicts_of(main, theirs) == [Conflict("metadata", None, None, None, "k", MISSING, 2, 1)]
    main.merge(theirs, resolve="ours")
    assert main.branch.head is theirs
    assert (main.metadata(), main.metadata("x")) == ({"k": 2}, {"j": 3, "k": 1})
    assert main.commit().state.metadata == {"k": 2}


def test_a_commit_on_a_branch_that_moved_is_merged_into_it() -> None:
    main, _ = started(1, 2)
    other = main.dataset.open()
    main.append([{"x": 10}])
    main.update("x", {0: 5})
    head = main.commit()
    other.append([{"x": 20}])
    other.update("x", {0: 6})
    with pytest.raises(ConflictsError):
        other.commit()
    assert numbers(other) == [6, 2, 20]
    with pytest.raises(StagedError):
        other.merge(head)
    version = other.commit(resolve="theirs")
    assert numbers(other) == [6, 2, 10, 20]
    assert version.parents == (head,)


def test_reverting_brings_rows_back_as_new_ones_and_undoing_goes_back() -> None:
    main, _ = started(1, 2)
    first = main.base
    main.delete([0])
    second = main.commit()
    third = main.revert_to(first)
    assert numbers(main) == [1, 2]
    assert [blame(third, "x", row) for row in range(2)] == [third, first]
    assert diff(first, third).inserted == [0]
    assert main.revert_to(first) is third
    assert [main.undo() for _ in range(3)] == [second, first, main.dataset.versions[0]]
    with pytest.raises(NothingToUndoError):
        main.undo()
