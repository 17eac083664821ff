"""Rows on two sides, against a dictionary of the rows themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import png

from cas.dataset.dataset import Dataset
from cas.errors import ColumnNotFoundError, InvalidInputError
from cas.history.refs import MAIN
from cas.repo import identical
from cas.repo.commit import create_dataset
from cas.repo.config import ONE_DATASET, write_config
from cas.repo.identical import ColumnContent, read_content
from cas.repo.leaks import NO_SIDE, Leaks, leaks_between, leaks_within
from cas.repo.repository import Repository
from cas.store.gate import Gate
from cas.store.memory import MemoryStore
from cas.types import Array, Bytes, Image, Nullable, Text, Type
from cas.types import Sequence as Items

PIECE = 262_080
RANDOM = np.random.default_rng(12).bytes(2 * PIECE)
POOL = [
    b"",
    b"a",
    RANDOM[:100],
    RANDOM[:PIECE],
    RANDOM[: PIECE + 1000] + b"!",
    RANDOM[: PIECE + 1000] + b"?",
    RANDOM[PIECE:] + RANDOM[:PIECE],
    RANDOM,
    None,
]
FLAT = np.frombuffer(RANDOM[:8192], np.uint8)
SHAPES = [(64, 128), (128, 64), (1, 8192), (8192, 1)]
Group = dict[int, list[int]]


def content_of(type_: Type, values: Sequence[Any]) -> ColumnContent:
    """The rows of a column in a store of its own."""
    store = MemoryStore()
    store.write(lambda txn: write_config(txn, ONE_DATASET))
    repository = Repository(store, Path("memory"))
    dataset = Dataset(repository, create_dataset(repository, "", "me"), "", MAIN)
    dataset.add_column("x", type_)
    dataset.append({"x": values})
    dataset.commit()
    return read_content(repository, repository.tree(bytes.fromhex(dataset.version.tree)), "x")


def by_hand(values: Sequence[tuple[int, int, Any]]) -> list[tuple[Group, int]]:
    """Groups of equal values, given as side, row and value, with the bytes of one, in the order promised."""
    groups: dict[Any, list[tuple[int, int]]] = {}
    sizes: dict[Any, int] = {}
    for side, row, value in values:
        if value is not None and side != NO_SIDE:
            key = (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
            groups.setdefault(key, []).append((side, row))
            sizes[key] = value.nbytes if isinstance(value, np.ndarray) else len(value)
    found = [(sorted(members), sizes[key]) for key, members in groups.items() if len({side for side, _ in members}) > 1]
    found.sort(key=lambda group: (group[0][0][1], group[0][0][0]))
    return [
        ({side: [row for of, row in members if of == side] for side, _ in members}, size) for members, size in found
    ]


def as_lists(found: Leaks) -> list[tuple[Group, int]]:
    return [({side: rows.tolist() for side, rows in group.by_side().items()}, group.size_bytes) for group in found]


def check_parts(found: Leaks) -> None:
    """The arrays of a side are those of the groups, one after the other."""
    groups = [group.by_side() for group in found]
    for side in {*found.sides.tolist(), 7}:
        here = [(row, group) for group in groups for row in group.get(side, np.empty(0, np.int64)).tolist()]
        assert found.rows_of(side).tolist() == [row for row, _ in here]
        others = [next(int(rows[0]) for other, rows in sorted(group.items()) if other != side) for _, group in here]
        assert found.counterparts(side).tolist() == others


def check_between(type_: Type, first: Sequence[Any], second: Sequence[Any]) -> Leaks:
    found = leaks_between(content_of(type_, first), content_of(type_, second))
    numbered = [(side, row, value) for side, values in enumerate((first, second)) for row, value in enumerate(values)]
    assert as_lists(found) == by_hand(numbered)
    check_parts(found)
    return found


def check_within(type_: Type, values: Sequence[Any], sides: Sequence[int]) -> Leaks:
    found = leaks_within(content_of(type_, values), np.array(sides, np.int64))
    assert as_lists(found) == by_hand(list(zip(sides, range(len(values)), values, strict=True)))
    check_parts(found)
    return found


picks = st.lists(st.integers(0, len(POOL) - 1), max_size=16)


@settings(max_examples=30)
@given(picks, picks)
def test_rows_of_all_sizes_in_two_stores_some_missing(first: list[int], second: list[int]) -> None:
    check_between(Nullable(Bytes(dedup="row")), [POOL[pick] for pick in first], [POOL[pick] for pick in second])


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, len(POOL) - 1), st.integers(NO_SIDE, 3)), max_size=24))
def test_rows_of_one_column_with_sides_or_none(rows: list[tuple[int, int]]) -> None:
    check_within(Nullable(Bytes(dedup="row")), [POOL[pick] for pick, _ in rows], [side for _, side in rows])


shapes = st.lists(st.integers(0, len(SHAPES)), max_size=8)


@settings(max_examples=20)
@given(shapes, shapes)
def test_shapes_must_be_equal_too(first: list[int], second: list[int]) -> None:
    values = [*(FLAT.reshape(shape) for shape in SHAPES), None]
    type_ = Nullable(Array("uint8", (None, None), dedup="row"))
    check_between(type_, [values[pick] for pick in first], [values[pick] for pick in second])
    sides = [row % 2 for row in range(len(first + second))]
    check_within(type_, [values[pick] for pick in first + second], sides)


def test_images() -> None:
    found = check_between(Image(), [png(1), png(2), png(1), png(3)], [png(4), png(1), png(3), png(3)])
    assert as_lists(found) == [({0: [0, 2], 1: [1]}, len(png(1))), ({0: [3], 1: [2, 3]}, len(png(3)))]
    assert found.rows_of(0).tolist() == [0, 2, 3]
    assert found.counterparts(0).tolist() == [1, 1, 2]


def test_copies_on_one_side_do_not_leak() -> None:
    assert len(check_between(Image(), [png(1), png(1)], [png(2), png(2)])) == 0
    assert len(check_within(Image(), [png(1), png(1)], [4, 4])) == 0


def test_zeros_are_not_a_missing_value() -> None:
    zeros = np.zeros(4096, np.uint8)
    type_ = Nullable(Array("uint8", (4096,)))
    assert as_lists(check_between(type_, [None, zeros], [zeros, None, None])) == [({0: [1], 1: [0]}, 4096)]


def test_a_side_without_rows() -> None:
    for first, second in (([], []), ([png(1)], []), ([], [png(1)])):
        assert len(check_between(Image(), first, second)) == 0


def test_values_that_may_be_missing_are_compared_with_others() -> None:
    found = leaks_between(content_of(Nullable(Image()), [None, png(1)]), content_of(Image(), [png(1)]))
    assert as_lists(found) == [({0: [1], 1: [0]}, len(png(1)))]


def test_columns_of_different_types_are_refused() -> None:
    image, raw = content_of(Image(), [png(1)]), content_of(Image("uint8", None), [np.zeros((2, 2), np.uint8)])
    with pytest.raises(InvalidInputError, match=r"of type image in .* image\[raw, uint8\] in the second") as caught:
        leaks_between(image, raw)
    assert caught.value.column == "x"
    rows = np.zeros((1, 4096), np.uint8)
    plain, alone = content_of(Array("uint8", (4096,)), rows), content_of(Array("uint8", (4096,), dedup="row"), rows)
    with pytest.raises(InvalidInputError, match=r"dedup='row'\), not Array\("):
        leaks_between(plain, alone)


@pytest.mark.parametrize("type_", [Text(), Nullable(Text())])
def test_rows_that_share_chunks_are_refused(type_: Type) -> None:
    with pytest.raises(InvalidInputError, match="keeps several small rows in one chunk"):
        content_of(type_, ["a", "b"])


def test_sequences_of_items_with_shapes_are_refused() -> None:
    items = [[np.zeros((2, 2), np.uint8)], []]
    with pytest.raises(InvalidInputError, match="cannot be compared: its items have shapes") as caught:
        content_of(Items(Array("uint8", (None, None))), items)
    assert caught.value.column == "x"


def test_the_dataset_of_an_unknown_column_can_be_named() -> None:
    content = content_of(Image(), [png(1)])
    tree = content.repository.tree(content.repository.version(next(iter(versions_of(content)))).tree)
    with pytest.raises(ColumnNotFoundError, match=r"^'?lake: there is no column 'y'; the columns are: 'x'"):
        read_content(content.repository, tree, "y", "lake: ")


def versions_of(content: ColumnContent) -> list[bytes]:
    with content.repository.store.read() as view:
        versions = {key: content.repository.version(key) for key, _ in view.scan("versions")}
    return [key for key, version in versions.items() if content.repository.tree(version.tree).columns]


def test_small_batches_of_shapes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identical, "_BATCH_ROWS", 2)
    values = [FLAT.reshape(SHAPES[row % 3]) for row in range(11)]
    check_between(Array("uint8", (None, None)), values, values[:5])


def test_no_data_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = content_of(Image(), [png(1), png(2)]), content_of(Image(), [png(2)])

    def fail(*args: object) -> None:
        raise AssertionError("a chunk is read")

    monkeypatch.setattr(Gate, "read_chunks", fail)
    assert as_lists(leaks_between(first, second)) == [({0: [1], 1: [0]}, len(png(2)))]
