"""Identical rows by their hashes, against a dictionary of the rows themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import png

import cas
from cas.dataset.dataset import Dataset
from cas.errors import ColumnNotFoundError, InvalidInputError
from cas.hashing import hash_chunk
from cas.history.refs import MAIN
from cas.repo.commit import create_dataset
from cas.repo.config import ONE_DATASET, write_config
from cas.repo.duplicates import Duplicates, find_duplicates
from cas.repo.repository import Repository
from cas.store.gate import Gate
from cas.store.memory import MemoryStore
from cas.types import Array, Bytes, Image, Nullable, Text, Type

PIECE = 262_080
RANDOM = np.random.default_rng(11).bytes(3 * PIECE)


def store_rows(type_: Type, values: Any) -> tuple[Repository, Any]:
    """A dataset in memory with the one column ``x``, and its tree."""
    store = MemoryStore()
    store.write(lambda txn: write_config(txn, ONE_DATASET))
    repository = Repository(store, Path("memory"))
    dataset = Dataset(repository, create_dataset(repository, "", "me"), "", MAIN)
    dataset.add_column("x", type_)
    dataset.append({"x": values})
    dataset.commit()
    return repository, repository.tree(bytes.fromhex(dataset.version.tree))


def find(type_: Type, values: Any) -> Duplicates:
    return find_duplicates(*store_rows(type_, values), "x")


def rows_of(found: Duplicates) -> list[list[int]]:
    return [group.rows.tolist() for group in found]


def by_hand(values: list[Any]) -> list[tuple[list[int], int]]:
    """Groups of equal values with the bytes of one, in the order promised."""
    groups: dict[Any, list[int]] = {}
    sizes: dict[Any, int] = {}
    for row, value in enumerate(values):
        if value is None:
            continue
        array = isinstance(value, np.ndarray)
        key = (value.shape, value.tobytes()) if array else value
        groups.setdefault(key, []).append(row)
        sizes[key] = value.nbytes if array else len(value)
    found = [(rows, sizes[key]) for key, rows in groups.items() if len(rows) > 1]
    return sorted(found, key=lambda group: (-group[1] * (len(group[0]) - 1), group[0]))


def check(type_: Type, values: list[Any]) -> Duplicates:
    """Compares with the groups by hand and returns what was found."""
    found = find(type_, values)
    expected = by_hand(values)
    assert [(group.rows.tolist(), group.size_bytes) for group in found] == expected
    assert [group.wasted_bytes for group in found] == [size * (len(rows) - 1) for rows, size in expected]
    assert found.wasted_bytes == sum(size * (len(rows) - 1) for rows, size in expected)
    assert found.repeats().tolist() == [row for rows, _ in expected for row in rows[1:]]
    assert found.firsts().tolist() == [rows[0] for rows, _ in expected for _ in rows[1:]]
    return found


POOL = [
    b"",
    b"a",
    RANDOM[:100],
    RANDOM[:4096],
    RANDOM[:PIECE],
    RANDOM[: PIECE + 1],
    RANDOM[: 2 * PIECE],
    RANDOM[: PIECE + 1000] + b"!",  # as long as the next one, and equal up to the last piece
    RANDOM[: PIECE + 1000] + b"?",
    RANDOM[PIECE : 2 * PIECE] + RANDOM[:PIECE],  # the pieces of another one in another order
    RANDOM,
]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, len(POOL)), max_size=24))
def test_rows_of_all_sizes_some_missing(picks: list[int]) -> None:
    values = [None if pick == len(POOL) else POOL[pick] for pick in picks]
    check(Nullable(Bytes(dedup="row")), values)
    check(Bytes(dedup="row"), [value for value in values if value is not None])


def test_many_rows() -> None:
    """Several leaves, so that rows in pieces stand across the end of one."""
    rng = np.random.default_rng(3)
    values = [POOL[pick] if pick < len(POOL) else rng.bytes(20) for pick in rng.integers(0, 100, 1500)]
    found = check(Bytes(dedup="row"), values)
    assert len(found) == len(POOL)


def test_images() -> None:
    images = [png(1), png(2), png(1), png(3, 40), png(1), png(3, 40), png(4)]
    assert rows_of(check(Image(), images)) == [[3, 5], [0, 2, 4]]
    assert rows_of(check(Nullable(Image()), [None, *images, None])) == [[4, 6], [1, 3, 5]]


def test_large_fixed_rows() -> None:
    values = np.zeros((6, 4096), np.uint8)
    values[[1, 4], 7] = 1
    values[2, 9] = 1
    assert rows_of(check(Array("uint8", (4096,)), list(values))) == [[0, 3, 5], [1, 4]]


def test_a_missing_row_is_not_a_row_of_zeros() -> None:
    zeros = np.zeros(4096, np.uint8)
    assert rows_of(check(Nullable(Array("uint8", (4096,))), [None, zeros, None, zeros, None])) == [[1, 3]]
    assert rows_of(check(Nullable(Bytes(dedup="row")), [None, b"", None])) == []


def test_rows_made_alone_by_the_type() -> None:
    values = [np.array([number], np.int64) for number in (5, 6, 5, 7, 6, 5)]
    assert rows_of(check(Array("int64", (1,), dedup="row"), values)) == [[0, 2, 5], [1, 4]]
    with pytest.raises(InvalidInputError):
        find(Array("int64", (1,)), values)


def test_empty_rows_waste_nothing_and_come_last() -> None:
    found = check(Bytes(dedup="row"), [b"", b"a", b"", b"a"])
    assert rows_of(found) == [[1, 3], [0, 2]]
    assert [group.wasted_bytes for group in found] == [1, 0]


def test_the_same_bytes_in_another_shape_are_another_row() -> None:
    flat = np.frombuffer(RANDOM[:8192], np.uint8)
    shapes = [(64, 128), (128, 64), (64, 128), (8192, 1), (128, 64), (1, 8192), (64, 128)]
    values = [flat.reshape(shape) for shape in shapes]
    type_ = Array("uint8", (None, None))
    assert rows_of(check(type_, values)) == [[0, 2, 6], [1, 4]]
    assert rows_of(check(Nullable(type_), [values[0], None, *values[:2], None])) == [[0, 2]]


def test_varying_rows_that_are_all_large() -> None:
    a, b = "a" * 4096, "b" * 5000
    assert rows_of(check(Text(), [a, b, a, b + "c", b])) == [[1, 4], [0, 2]]


def test_equal_waste_is_ordered_by_first_row() -> None:
    values = [b"b", b"a", b"c", b"c", b"a", b"b"]
    assert rows_of(check(Bytes(dedup="row"), values)) == [[0, 5], [1, 4], [2, 3]]


def test_a_row_that_spells_the_hashes_of_pieces_is_no_copy_of_them() -> None:
    large = RANDOM[: 2 * PIECE]
    spelled = hash_chunk(large[:PIECE]) + hash_chunk(large[PIECE:])
    assert rows_of(check(Bytes(dedup="row"), [large, spelled, hash_chunk(spelled)])) == []


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        (Text(), ["a", "b"]),
        (Nullable(Text()), [None, "b", "c"]),
        (cas.types.Int64, [1]),
        (Array("uint8", (4095,)), np.zeros((1, 4095), np.uint8)),
        (Bytes(), [b"x" * 5000] * 300 + [b"a", b"b"]),
    ],
)
def test_rows_that_share_chunks_are_refused(type_: Type, values: Any) -> None:
    with pytest.raises(
        InvalidInputError, match=r"column 'x' of type .* keeps several small rows .* dedup=\"row\""
    ) as e:
        find(type_, values)
    assert e.value.column == "x"


def test_an_unknown_column_is_not_found() -> None:
    with pytest.raises(ColumnNotFoundError, match="no column 'y'; the columns are: 'x'"):
        find_duplicates(*store_rows(Image(), [png(1)]), "y")


def test_no_rows() -> None:
    found = check(Nullable(Image()), [])
    assert len(found) == 0
    assert found.wasted_bytes == 0


def test_no_image_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    repository, tree = store_rows(Image(), [png(1), png(1)])

    def fail(*args: object) -> None:
        raise AssertionError("a chunk is read")

    monkeypatch.setattr(Gate, "read_chunks", fail)
    assert rows_of(find_duplicates(repository, tree, "x")) == [[0, 1]]


def test_groups_are_a_sequence() -> None:
    found = find(Bytes(dedup="row"), [b"aaa", b"b", b"aaa", b"b", b"b"])
    assert found[0].to_dict() == {"rows": [0, 2], "size_bytes": 3, "wasted_bytes": 3}
    assert found[-1].rows.tolist() == [1, 3, 4]
    assert found[-1].rows.dtype == np.int64
    assert [group.size_bytes for group in found[1:]] == [1]
    assert found[5:] == []
    with pytest.raises(IndexError):
        found[2]
