"""How fast rows are cut into chunks, in memory, one thread: ``python bench/cutting.py [MEGABYTES]``."""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np

from cas.chunking.cut import find_cuts
from cas.codec.rows import Rows
from cas.types import Layout

ROW_BYTES = (1, 8, 100, 784, 3072)


def main() -> None:
    """Prints the median rate over five rounds for rows of several sizes, interleaved."""
    total = int(float(sys.argv[1]) * 1e6) if len(sys.argv) > 1 else 80_000_000
    data = np.random.default_rng(0).integers(0, 256, total, dtype=np.uint8)
    rates: dict[int, list[float]] = {size: [] for size in ROW_BYTES}
    counts: dict[int, int] = {}
    for _ in range(5):
        for size in ROW_BYTES:
            count = total // size
            rows = Rows.fixed(data[: count * size], count, size)
            start = time.perf_counter()
            cuts = find_cuts(rows, Layout(size), final=True)
            rates[size].append(count * size / (time.perf_counter() - start) / 1e9)
            counts[size] = count * size // len(cuts)
    print("| row bytes | GB/s | bytes a chunk |\n|---|---|---|")
    for size in ROW_BYTES:
        print(f"| {size:,} | {statistics.median(rates[size]):.2f} | {counts[size]:,} |")


if __name__ == "__main__":
    main()
