"""The search among codes: compared with looking at every pair, for every threshold and kind of codes."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noisy_codes import noisy_codes

from cas.integrations.near import hamming
from cas.integrations.near.hamming import Codes, HammingIndex

Found = set[tuple[int, int, int]]


def every_pair(codes: Codes, asked: Codes, distance: int) -> Found:
    distances = np.bitwise_count(asked[:, None] ^ codes[None])
    rows, columns = np.nonzero(distances <= distance)
    return set(zip(rows.tolist(), columns.tolist(), distances[rows, columns].tolist(), strict=True))


def found(index: HammingIndex, asked: Codes) -> Found:
    listed = [
        triple
        for pairs in index.near(asked)
        for triple in zip(pairs.asked.tolist(), pairs.found.tolist(), pairs.distances.tolist(), strict=True)
    ]
    assert len(listed) == len(set(listed)), "a pair is given twice"
    return set(listed)


@pytest.fixture(params=["tables", "scan"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes one of the two ways to search look free."""
    monkeypatch.setattr(hamming, "_SCAN_COST", 1e12 if request.param == "tables" else 0.0)
    monkeypatch.setattr(hamming, "_CANDIDATES", 5000)
    return request.param


@pytest.mark.parametrize("distance", [*range(13), 16, 63, 64])
def test_no_pair_is_missed_and_none_made_up(distance: int, way: str) -> None:
    codes = noisy_codes(distance, 1500, 300, min(distance // 2 + 1, 8))
    index = HammingIndex(codes, distance)
    assert bool(index._bands) == (way == "tables")
    assert found(index, codes[:300]) == every_pair(codes, codes[:300], distance)


@given(st.integers(0, 12), st.lists(st.integers(0, 63), max_size=14, unique=True), st.integers(0, (1 << 64) - 1))
@settings(max_examples=200)
def test_any_bits_may_differ(distance: int, bits: list[int], code: int) -> None:
    """Two codes, wherever they differ: found if they are close, whatever bands the bits are in."""
    changed = code ^ sum(1 << bit for bit in bits)
    for count in range(3, 13):
        bands = hamming._cut(distance, count)
        difference = np.array([code ^ changed], np.uint64)
        admitted = any(bool(band.admits(difference)[0]) for band in bands)
        assert admitted or len(bits) > distance


@pytest.mark.parametrize("count", range(3, 13))
def test_bands_take_all_bits(count: int) -> None:
    bands = hamming._cut(64, count)
    assert sum(band.width for band in bands) == 64
    assert all(low.shift + low.width == high.shift for low, high in pairwise(bands))
    assert all(len(band.flips()) == band.lookups == len(set(band.flips())) for band in hamming._cut(8, count))


def test_nothing_among_nothing(way: str) -> None:
    nothing = np.empty(0, np.uint64)
    some = np.array([1, 2], np.uint64)
    assert found(HammingIndex(nothing, 4), some) == set()
    assert found(HammingIndex(some, 4), nothing) == set()


def test_the_way_is_chosen_by_what_the_codes_are() -> None:
    """Of random codes tables find few candidates; of codes that are all alike they find all, so it scans."""
    assert HammingIndex(noisy_codes(1, 100_000, 100_000, 0), 8)._bands
    assert not HammingIndex(noisy_codes(1, 100_000, 1, 1), 8)._bands
    assert HammingIndex(np.append(noisy_codes(1, 50_000, 50_000, 0), np.zeros(50_000, np.uint64)), 8)._bands
    assert not HammingIndex(noisy_codes(1, 500, 500, 0), 8)._bands


def test_memory_is_bounded_however_many_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hamming, "_SCAN_COST", 1e12)
    codes = np.zeros(20_000, np.uint64)
    parts = [len(pairs) for pairs in HammingIndex(codes, 2).near(codes[:300])]
    assert sum(parts) == 300 * 20_000
    assert max(parts) <= hamming._CANDIDATES + 20_000


def test_many_codes_in_moments() -> None:
    """Looking at every pair of these would take some 8 seconds."""
    codes = noisy_codes(2, 100_000, 50_000, 2)
    begun = time.perf_counter()
    index = HammingIndex(codes, 4)
    pairs = sum(len(pairs) for part in np.split(codes, 4) for pairs in index.near(part))
    assert time.perf_counter() - begun < 6
    sample = np.random.default_rng(3).choice(100_000, 200)
    assert found(index, codes[sample]) == every_pair(codes, codes[sample], 4)
    assert pairs > 200_000
