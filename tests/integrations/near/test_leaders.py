"""Groups around leaders: as the rule says it, one code after the other, and quick where much is alike."""

from __future__ import annotations

import time

import numpy as np
import pytest
from noisy_codes import noisy_codes
from numpy.typing import NDArray

from cas.integrations.near import leaders
from cas.integrations.near.hamming import Codes
from cas.integrations.near.leaders import find_leaders

Numbers = NDArray[np.int64]


def all_alike(first: Numbers, second: Numbers) -> NDArray[np.bool_]:
    return np.ones(len(first), np.bool_)


def one_by_one(codes: Codes, distance: int, colours: Numbers) -> tuple[list[int], list[int]]:
    """The rule as it is told."""
    leader = [-1] * len(codes)
    distances = [0] * len(codes)
    for number, code in enumerate(codes):
        if leader[number] >= 0:
            continue
        leader[number] = number
        bits = np.bitwise_count(codes ^ code)
        for other in np.flatnonzero((bits <= distance) & (colours == colours[number])).tolist():
            if other > number and leader[other] < 0:
                leader[other], distances[other] = number, int(bits[other])
    return leader, distances


@pytest.mark.parametrize("kinds", [1, 3, 200, 2000])
@pytest.mark.parametrize("distance", [0, 2, 5, 8, 20])
@pytest.mark.parametrize("limits", [(1 << 15, 1 << 21, 1 << 18), (7, 40, 11), (64, 3000, 1)])
def test_as_the_rule_says(
    kinds: int, distance: int, limits: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked for at a time, and however often what is settled is taken out."""
    for name, limit in zip(("_MOST_ASKED", "_MANY_PAIRS", "_FEW_PAIRS"), limits, strict=True):
        monkeypatch.setattr(leaders, name, limit)
    codes = noisy_codes(kinds + distance, 2000, kinds, 4)
    colours = np.random.default_rng(5).integers(0, 3, len(codes))
    led = find_leaders(codes, distance, lambda first, second: colours[first] == colours[second])
    expected, distances = one_by_one(codes, distance, colours)
    assert led.leaders.tolist() == expected
    assert led.distances.tolist() == distances


def test_a_chain_joins_nothing_that_is_unlike() -> None:
    """Each differs from the one before in 4 bits: all are connected, and the last differs from the first in 64."""
    codes = np.array([(1 << 4 * step) - 1 for step in range(17)], np.uint64)
    led = find_leaders(codes, 8, all_alike)
    assert led.leaders.tolist() == [0, 0, 0, 3, 3, 3, 6, 6, 6, 9, 9, 9, 12, 12, 12, 15, 15]
    assert np.bitwise_count(codes ^ codes[led.leaders]).max() <= 8


def test_nothing() -> None:
    assert len(find_leaders(np.empty(0, np.uint64), 8, all_alike).leaders) == 0


DENSE = {
    "all the same": np.zeros(300_000, np.uint64),
    "all near one": noisy_codes(1, 300_000, 1, 3),
    "a few families": noisy_codes(2, 300_000, 20, 3),
    "half alone, half the same": np.append(noisy_codes(3, 100_000, 100_000, 0), np.zeros(200_000, np.uint64)),
}


@pytest.mark.parametrize("case", DENSE)
def test_much_that_is_alike_takes_no_longer(case: str) -> None:
    """There are up to 45 billion pairs of these, of which few are ever made."""
    codes = DENSE[case]
    begun = time.perf_counter()
    led = find_leaders(codes, 8, all_alike)
    assert time.perf_counter() - begun < 20
    assert (led.leaders[led.leaders] == led.leaders).all()
    assert (np.bitwise_count(codes ^ codes[led.leaders]) <= 8).all()


def test_flat_images_of_many_colours() -> None:
    """The same code with colours that are alike to a few others only: each leader takes these out."""
    tints = np.random.default_rng(4).integers(0, 256, (100_000, 3)).astype(np.int16)

    def alike(first: Numbers, second: Numbers) -> NDArray[np.bool_]:
        near: NDArray[np.bool_] = np.abs(tints[first] - tints[second]).max(axis=1, initial=0) <= 32
        return near

    begun = time.perf_counter()
    led = find_leaders(np.zeros(len(tints), np.uint64), 8, alike)
    assert time.perf_counter() - begun < 20
    assert len(np.unique(led.leaders)) < 400
