"""Equal hashes side by side, also where hashes differ only in their last bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.repo import distinct
from cas.repo.distinct import DistinctHashes, group_hashes
from cas.store.gate import Hashes


def hashes_of(values: list[tuple[int, int]]) -> Hashes:
    """Hashes that differ in their first byte, their last byte, both or not at all."""
    array = np.zeros((len(values), 32), np.uint8)
    for row, (first, last) in enumerate(values):
        array[row, 0], array[row, 31] = first, last
    return array


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=40))
def test_groups_are_those_of_a_dictionary(values: list[tuple[int, int]]) -> None:
    order, begins = group_hashes(hashes_of(values))
    found = [group.tolist() for group in np.split(order, begins[1:])] if values else []
    expected: dict[tuple[int, int], list[int]] = {}
    for row, value in enumerate(values):
        expected.setdefault(value, []).append(row)
    # Each group in the order given; the groups in any order.
    assert sorted(found) == sorted(expected.values())
    assert len(begins) == len(expected)


@pytest.mark.parametrize("byte", range(32))
def test_every_byte_counts(byte: int) -> None:
    array = np.zeros((3, 32), np.uint8)
    array[1, byte] = 1
    order, begins = group_hashes(array)
    groups = {tuple(group.tolist()) for group in np.split(order, begins[1:])}
    assert groups == {(0, 2), (1,)}


def test_hashes_may_be_a_part_of_a_larger_array() -> None:
    wide = np.random.default_rng(0).integers(0, 256, (6, 40), dtype=np.uint8)
    wide[4] = wide[1]
    order, begins = group_hashes(wide[:, 3:35])
    assert sorted(group.tolist() for group in np.split(order, begins[1:])) == [[0], [1, 4], [2], [3], [5]]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 9)), max_size=60), st.integers(1, 20))
def test_numbers_of_equal_hashes_are_merged(rows: list[tuple[int, int, int]], limit: int) -> None:
    expected: dict[bytes, tuple[int, int, int]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distinct, "_PENDING_HASHES", limit)
        gathered = DistinctHashes(np.minimum, np.maximum, np.bitwise_or)
        for first, last, number in rows:
            hashes, numbers = hashes_of([(first, last)]), np.array([number])
            gathered.add(hashes, numbers, numbers, numbers)
            low, high, bits = expected.get(hashes.tobytes(), (number, number, number))
            expected[hashes.tobytes()] = (min(low, number), max(high, number), bits | number)
        hashes, columns = gathered.merged()
    found = zip(*(column.tolist() for column in columns), strict=True)
    assert dict(zip(map(bytes, hashes), found, strict=True)) == expected
    assert len(hashes) == len(expected)


def test_memory_follows_the_distinct_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distinct, "_PENDING_HASHES", 10)
    gathered = DistinctHashes(np.maximum)
    ones = np.ones((4, 32), np.uint8)
    for _ in range(1000):
        gathered.add(ones, np.full(4, 9))
        assert len(gathered._parts) < 10
    hashes, (numbers,) = gathered.merged()
    assert (len(hashes), numbers.tolist()) == (1, [9])
