"""A table of what is remembered grows with it, up to its bound."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cas.store.slots import Numbers, Records, SlotTable

RECORD = np.dtype([("number", "<u8"), ("value", "<u8")])


def table(most_slots: int) -> SlotTable:
    return SlotTable(RECORD, most_slots, lambda records: records["number"], lambda records: records["number"] != 0)


def records(numbers: Numbers) -> Records:
    found = np.empty(len(numbers), RECORD)
    found["number"] = numbers
    found["value"] = numbers ^ np.uint64(99)
    return found


def spread(count: int, seed: int) -> Numbers:
    return np.random.default_rng(seed).integers(1, 2**63, count, dtype=np.uint64)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=8), st.sampled_from([1 << 10, 1 << 14, 1 << 18]))
def test_what_is_found_was_put_and_most_is_found(counts: list[int], most_slots: int) -> None:
    made = table(most_slots)
    numbers = [spread(count, seed) for seed, count in enumerate(counts)]
    for part in numbers:
        made.put(records(part))
        assert (made.get(part)["number"] == part).mean() > 0.2
    everything = np.concatenate(numbers)
    found = made.get(everything)
    mine = found["number"] == everything
    assert (found["value"][mine] == everything[mine] ^ np.uint64(99)).all()
    if 16 * len(everything) <= most_slots:
        assert mine.mean() > 0.9
    absent = spread(1000, 1_000_000)
    assert not (made.get(absent)["number"] == absent).any()


def test_it_is_small_at_first_and_bounded() -> None:
    made = table(1 << 16)
    assert made._slots.nbytes <= 1 << 16
    made.put(records(spread(10, 0)))
    assert made._slots.nbytes <= 1 << 16
    for seed in range(20):
        made.put(records(spread(5000, seed)))
    assert len(made._slots) == 1 << 16
