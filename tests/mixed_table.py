"""A table with a column of each plain kind, for tests that need some."""

from pathlib import Path

import numpy as np
from pictures import png

import cas
from cas import types

SCHEMA = {
    "x": "int64",
    "text": str,
    "maybe": types.Nullable(types.Text()),
    "picture": "image",
    "fixed": types.Array("float32", (2, 3)),
    "free": types.Array("uint8", (None, 2)),
}


def batch(start: int, stop: int) -> dict[str, object]:
    """Rows that can be told apart, for the numbers ``start`` to ``stop``."""
    numbers = range(start, stop)
    return {
        "x": list(numbers),
        "text": [f"row {n}" for n in numbers],
        "maybe": [None if n % 3 else f"third {n}" for n in numbers],
        "picture": [png(n) for n in numbers],
        "fixed": np.arange(6 * start, 6 * stop, dtype=np.float32).reshape(-1, 2, 3),
        "free": [np.full((n % 4, 2), n, np.uint8) for n in numbers],
    }


def ten_rows(url: Path) -> cas.Dataset:
    """A dataset of the first ten rows, committed."""
    dataset = cas.create(url, schema=SCHEMA)
    dataset.append(batch(0, 10))
    dataset.commit("ten")
    return dataset
