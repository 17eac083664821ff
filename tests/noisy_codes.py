"""Codes of 64 bits in families, as hashes of images and their copies are."""

from __future__ import annotations

import numpy as np

from cas.integrations.near.hamming import Codes


def noisy_codes(seed: int, count: int, kinds: int, flips: int) -> Codes:
    """Codes around some others, from which they differ in a few bits."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(rng.integers(0, 1 << 64, kinds, np.uint64), count)
    for _ in range(flips):
        codes = codes ^ (np.uint64(1) << rng.integers(0, 64, count, np.uint64))
    return codes
