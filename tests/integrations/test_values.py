"""Values in short form: what differs looks different."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest
from pictures import png, png_facts

from cas import types
from cas.hashing import hash_chunk
from cas.history.missing import MISSING
from cas.integrations.values import CHARACTERS, describe_value, image_facts, named_value

LABEL = types.ClassLabel(["cat", "dog"])
IMAGE = png(1)


def digits(data: bytes) -> str:
    return hash_chunk(data).hex()[:8]


@pytest.mark.parametrize(
    ("type_", "value", "text"),
    [
        (types.Int64, MISSING, "-"),
        (types.Nullable(types.Int64), None, "null"),
        (types.Nullable(types.Image()), None, "null"),
        (types.Int64, np.int64(-5), "-5"),
        (types.Bool, np.True_, "True"),
        (types.Float32, np.float32(0.1), "0.1"),
        (types.Text(), "a\x1b\n", '"a\\x1b\\n"'),
        (types.Text(), "null", '"null"'),
        (types.Nullable(types.Text()), "", '""'),
        (LABEL, "cat", "cat"),
        (types.Bytes(), b"ab", f"2 B, {digits(b'ab')}"),
        (types.Image(), png_facts(IMAGE), f"png 8x8, {len(IMAGE)} B, {digits(IMAGE)}"),
        (types.Image(), image_facts(b"BM"), f"unknown, 2 B, {digits(b'BM')}"),
        (types.Array("int64", (2,)), np.array([1, 2]), "[1, 2]"),
        (types.Array("uint8", (3, 4)), np.zeros((3, 4), np.uint8), f"uint8[3, 4], {digits(bytes(12))}"),
        (types.Sequence("int64"), np.array([1, 2]), "[1, 2]"),
        (types.Sequence("int64"), list(range(9)), f"9 items, {digits(b'[0, 1, 2, 3, 4, 5, 6, 7, 8]')}"),
        (types.Dict(), {"a": [1, None]}, '{"a": [1, null]}'),
        (types.DateTime(), dt.datetime(2026, 11, 1, tzinfo=dt.UTC), "2026-11-01T00:00:00+00:00"),
        (None, "licence", '"licence"'),
        (None, {"a": 1}, '{"a": 1}'),
        (None, [1, "x"], '[1, "x"]'),
        (None, b"ab", f"2 B, {digits(b'ab')}"),
        (None, np.float32(0.5), "0.5"),
        (None, dt.datetime(2026, 11, 1, tzinfo=dt.UTC), "2026-11-01T00:00:00+00:00"),
        (None, np.zeros(9), f"float64[9], {digits(bytes(72))}"),
    ],
)
def test_short_forms(type_: types.Type | None, value: Any, text: str) -> None:
    assert describe_value(type_, value) == text


def test_pixels_are_told_by_their_shape_and_hash() -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    raw = named_value(types.Nullable(types.Image("uint8", None)), pixels)
    assert describe_value(types.Image("uint8", None), raw) == f"raw uint8[2, 3], 6 B, {digits(pixels.tobytes())}"
    decoded = named_value(types.Image(), pixels)
    assert describe_value(types.Image(), decoded).startswith("pixels uint8[2, 3], ")
    assert named_value(LABEL, np.int64(1)) == "dog"
    assert named_value(LABEL, MISSING) is MISSING


def test_long_text_that_differs_at_its_end_looks_different() -> None:
    whole, one, two = "x" * CHARACTERS, "x" * CHARACTERS + "1", "x" * CHARACTERS + "2"
    assert describe_value(types.Text(), whole) == f'"{whole}"'
    cut = '"' + "x" * (CHARACTERS - 1) + '…"'
    assert describe_value(types.Text(), one) == f"{cut}, {digits(one.encode())}"
    assert describe_value(types.Text(), one) != describe_value(types.Text(), two)
    assert describe_value(types.Dict(), {"a": one}) != describe_value(types.Dict(), {"a": two})
    assert describe_value(types.Sequence("text"), [one]) != describe_value(types.Sequence("text"), [two])
    assert describe_value(types.Sequence("image"), [png_facts(png(1))]) != describe_value(
        types.Sequence("image"), [png_facts(png(2))]
    )
