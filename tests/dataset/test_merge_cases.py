"""Small merges and diffs that random programs once found to go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pictures import png

import cas
from cas.errors import ConflictError
from cas.types import Array, Sequence


@pytest.fixture
def main(tmp_path: Path) -> Iterator[cas.Dataset]:
    with cas.create(tmp_path / "ds") as ds:
        yield ds


def test_versions_without_rows_and_columns_are_compared(main: cas.Dataset) -> None:
    first = main.version
    main.metadata["k"] = 1
    main.commit()
    assert [change.key for change in main.diff(first).metadata] == ["k"]
    with main.branch("side", version=first.id).open() as side:
        side.metadata["j"] = 2
        side.commit()
        main.merge("side")
    assert main.metadata.to_dict() == {"j": 2, "k": 1}


def test_rows_that_only_theirs_has_stay_the_same_rows_when_others_are_in_another_order(main: cas.Dataset) -> None:
    """The row map to theirs cannot keep all rows then; those of ours are known otherwise, these are not."""
    main.add_column("x", "int64")
    main.append({"x": [1]})
    main.commit()
    with main.branch("side").open() as side:
        main.append({"x": list(range(100, 110))})
        ours = main.commit()
        side.append({"x": [200]})
        theirs = side.commit()
        main.merge(theirs)
        side.merge(ours)
        side.insert(1, [{"x": 300}])
        side.commit()
        main.merge("side")
        assert main["x"][:].tolist() == [1, *range(100, 110), 300, 200]
        side["x"][1] = 301
        side.commit()
        main.merge("side")
        assert main["x"][:].tolist() == [1, *range(100, 110), 301, 200]


@pytest.mark.parametrize(("on_conflict", "names"), [("ours", "be"), ("theirs", "eb")])
def test_columns_that_only_theirs_has_come_last(main: cas.Dataset, on_conflict: str, names: str) -> None:
    with main.branch("side").open() as side:
        main.add_column("b", "int64")
        main.add_column("e", "int64")
        main.commit()
        side.add_column("b", Array("uint8", (2,)))
        side.commit()
        main.merge("side", on_conflict=on_conflict)
    assert "".join(main.schema) == names


def test_any_number_of_columns_may_conflict(main: cas.Dataset) -> None:
    names = [f"c{number}" for number in range(130)]
    with main.branch("side").open() as side:
        for name in names:
            main.add_column(name, "int64")
            side.add_column(name, "text")
        main.commit()
        side.commit()
        with pytest.raises(ConflictError) as raised:
            main.merge("side")
        assert [conflict.column for conflict in raised.value.conflicts] == names
        main.merge("side", on_conflict="theirs")
        assert main.schema == side.schema


def test_a_row_that_ours_deleted_is_in_conflict_under_the_name_that_ours_has_for_the_column(main: cas.Dataset) -> None:
    main.add_column("a", "int64")
    main.append({"a": [1, 2]})
    main.commit()
    with main.branch("side").open() as side:
        main.rename_column("a", "b")
        main.delete(0)
        main.commit()
        side["a"][0] = 5
        side.commit()
        with pytest.raises(ConflictError) as raised:
            main.merge("side")
    assert [(found.kind, found.column, found.theirs) for found in raised.value.conflicts] == [("row", "b", 5)]


def test_what_two_of_three_bases_disagree_about_stays_in_question(main: cas.Dataset) -> None:
    """The bases are merged two at a time; what conflicts between the first two must be known when the third comes."""
    main.add_column("x", "int64")
    main.append({"x": [0, 0]})
    main.metadata["k"] = 0
    main.commit()
    with main.branch("p").open() as p, main.branch("q").open() as q, main.branch("r").open() as r:
        for side, number in ((p, 1), (q, 2)):
            side["x"][0] = number
            side.metadata["k"] = number
            side.commit()
        bases = [p.version.id, q.version.id]
        last = _commit_with_last_id(r, bases)
        for side, other in ((p, bases[1]), (q, bases[0])):
            side.merge(other, on_conflict="ours")
            side.merge(last)
        with pytest.raises(ConflictError) as raised:
            p.merge("q")
    found = [(conflict.kind, conflict.ours, conflict.theirs) for conflict in raised.value.conflicts]
    assert sorted(found) == [("cell", 1, 2), ("metadata", 1, 2)]


def _commit_with_last_id(ds: cas.Dataset, others: list[str]) -> str:
    """Changes row 1, with message after message, until the version's id is after those of the others."""
    for number in range(1000):
        ds["x"][1] = 9
        if ds.commit(str(number)) > max(others):
            return ds.version.id
        ds.undo()
    raise AssertionError(others)


def test_conflicts_show_plain_values(main: cas.Dataset) -> None:
    main.add_column("x", "int64")
    main.append({"x": [1]})
    main.commit()
    with main.branch("side").open() as side:
        for ds, number in ((main, 2), (side, 3)):
            ds["x"][0] = number
            ds.commit()
        with pytest.raises(ConflictError, match=r"row 0, column 'x': base 1, ours 2, theirs 3\."):
            main.merge("side")


def test_images_that_do_not_decode_are_in_conflict_as_their_bytes(tmp_path: Path) -> None:
    whole = png(1)
    ours, theirs = (whole[:-30] + bytes([byte]) * 8 + whole[-22:] for byte in (1, 2))
    with cas.create(tmp_path / "pictures", schema={"photo": "image"}) as ds:
        ds.append({"photo": [whole]})
        ds.commit("one")
        with ds.branch("fixes").open() as fixes:
            fixes["photo"][0] = theirs
            fixes.commit("broken")
        ds["photo"][0] = ours
        ds.commit("broken otherwise")
        with pytest.raises(ConflictError) as caught:
            ds.merge("fixes")
        (conflict,) = caught.value.conflicts
        assert (conflict.ours, conflict.theirs) == (ours, theirs)
        ds.merge("fixes", on_conflict="theirs")
        assert ds["photo"].bytes(0) == theirs


def test_a_value_that_no_base_has_is_missing_in_a_conflict(main: cas.Dataset) -> None:
    """Of two bases one has the row and the other the column; nothing that could be decoded stands in their merge."""
    main.add_column("a", "int64")
    main.add_column("b", Sequence("int64"))
    main.append([{"a": 1, "b": [1]}])
    main.commit()
    with main.branch("side").open() as side:
        side["b"][0] = [2]
        column = side.commit()
        main.remove_column("b")
        main.insert(0, [{"a": 2}])
        row = main.commit()
        main.merge(column, on_conflict=lambda conflict: [5] if conflict.kind == "value" else conflict.theirs)
        side.merge(row, on_conflict=lambda conflict: [6] if conflict.kind == "value" else conflict.ours)
        with pytest.raises(ConflictError) as raised:
            main.merge("side")
    (conflict,) = raised.value.conflicts
    assert (conflict.kind, conflict.row, conflict.theirs_row, conflict.base) == ("cell", 0, 0, cas.MISSING)
    assert (conflict.ours.tolist(), conflict.theirs.tolist()) == ([5], [6])
