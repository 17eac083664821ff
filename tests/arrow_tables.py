"""A dataset with a column of each kind, for what reads it by Arrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pictures import png

import cas
from cas import types

SCHEMA = {
    "number": "int64",
    "half": "float16",
    "flag": "bool",
    "maybe": types.Nullable("int32"),
    "word": "text",
    "blob": "bytes",
    "label": types.ClassLabel(["cat", "dog", "owl"]),
    "time": "datetime",
    "photo": "image",
    "matrix": types.Array("int16", (2, 3)),
    "vector": types.Embedding(4),
    "free": types.Array("float32", dimensions=2),
    "boxes": types.BoundingBox(),
    "tags": types.Sequence("text"),
    "facts": "dict",
}


def rows(count: int) -> dict[str, Any]:
    """Values of so many rows, all different where that is possible."""
    numbers = np.arange(count)
    return {
        "number": numbers,
        "half": numbers.astype(np.float16),
        "flag": numbers % 3 == 0,
        "maybe": [None if number % 4 == 1 else int(number) for number in numbers],
        "word": [f"word {number} ä" for number in numbers],
        "blob": [bytes(range(number % 5)) for number in numbers],
        "label": numbers % 3,
        "time": numbers.astype("M8[s]"),
        "photo": [png(int(number) % 6) for number in numbers],
        "matrix": np.arange(6 * count, dtype=np.int16).reshape(count, 2, 3),
        "vector": np.arange(4 * count, dtype=np.float32).reshape(count, 4),
        "free": [np.full((number % 3, 2), number, np.float32) for number in numbers],
        "boxes": [np.full((number % 2, 4), number, np.float32) for number in numbers],
        "tags": [["a"] * (number % 3) for number in numbers],
        "facts": [{"id": int(number), "raw": b"x"} for number in numbers],
    }


def make(path: Path, count: int = 10) -> cas.Dataset:
    """A dataset of so many rows, committed."""
    ds = cas.create(path, SCHEMA)
    ds.append(rows(count))
    ds.commit("rows")
    return ds
