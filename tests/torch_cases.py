"""What tests of datasets for PyTorch share; also what spawned workers of a DataLoader import by name."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import cas

ROWS = 300
WORKERS = [(0, None), (1, "fork"), (4, "fork"), (1, "spawn"), (4, "spawn")]
FEW = [(0, None), (4, "fork"), (1, "spawn")]
# PyTorch's advice about the number of processors; what Python 3.12 says of forks where there are threads.
QUIET = ("ignore:This DataLoader will create", "ignore:This process .* is multi-threaded")


def encoded(pixels: Any, kind: str = "PNG", mode: str | None = None) -> bytes:
    """An image file of an array of pixels."""
    buffer = io.BytesIO()
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    (image.convert(mode) if mode else image).save(buffer, kind)
    return buffer.getvalue()


def pixels_of_row(row: int) -> np.ndarray[Any, Any]:
    """Pixels that tell their row."""
    return np.full((6, 5, 3), (row % 256, row // 256, 7), np.uint8)


def make(url: Path, rows: int = ROWS) -> cas.Dataset:
    """A dataset of numbered rows: ``n``, ``x`` of three numbers, an image, and text."""
    schema = {"n": "int64", "x": cas.types.Array("float32", (3,)), "image": "image", "name": "text"}
    ds = cas.create(url, schema=schema)
    ds.append(
        {
            "n": np.arange(rows),
            "x": np.arange(3 * rows, dtype=np.float32).reshape(rows, 3),
            "image": [encoded(pixels_of_row(row)) for row in range(rows)],
            "name": [f"row {row}" for row in range(rows)],
        }
    )
    ds.commit("rows")
    return ds


def check_batch(batch: dict[str, Any]) -> list[int]:
    """The numbers of the rows of a batch, all of whose columns must be of these rows."""
    numbers: list[int] = batch["n"].tolist()
    assert batch["name"] == [f"row {number}" for number in numbers]
    assert batch["x"].tolist() == [[3.0 * number, 3.0 * number + 1, 3.0 * number + 2] for number in numbers]
    expected = np.stack([pixels_of_row(number) for number in numbers]).transpose(0, 3, 1, 2)
    assert batch["image"].dtype == torch.uint8
    assert np.array_equal(batch["image"].numpy(), expected)
    return numbers


def number_of(row: dict[str, Any]) -> int:
    """A transform."""
    return int(row["n"]) * 2
