"""Rows against a plain list of byte strings, and the framing of groups."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.codec.rows import Rows, frame_group, unframe_group
from cas.errors import CorruptedError

row_lists = st.lists(st.binary(max_size=9), max_size=12)


@st.composite
def rows_and_list(draw: st.DrawFn) -> tuple[Rows, list[bytes]]:
    """Rows of one length, or of varying ones, and the same as a list."""
    size = draw(st.none() | st.integers(0, 5))
    if size is None:
        rows = draw(row_lists)
        return Rows.from_list(rows), rows
    rows = draw(st.lists(st.binary(min_size=size, max_size=size), max_size=12))
    return Rows.fixed(np.frombuffer(b"".join(rows), np.uint8), len(rows), size), rows


def as_list(rows: Rows) -> list[bytes]:
    return [bytes(row) for row in rows]


@given(rows_and_list())
def test_reading(given_rows: tuple[Rows, list[bytes]]) -> None:
    rows, expected = given_rows
    assert as_list(rows) == expected
    assert len(rows) == rows.count == len(expected)
    assert rows.nbytes == sum(map(len, expected))
    assert rows.lengths().tolist() == list(map(len, expected))
    assert [bytes(rows.row(i)) for i in range(len(expected))] == expected
    assert [rows.offset(i) for i in range(len(expected) + 1)] == [
        len(b"".join(expected[:i])) for i in range(len(expected) + 1)
    ]


@given(rows_and_list(), st.data())
def test_slice_of_slice(given_rows: tuple[Rows, list[bytes]], data: st.DataObject) -> None:
    rows, expected = given_rows
    for _ in range(2):
        start = data.draw(st.integers(0, len(expected)))
        stop = data.draw(st.integers(start, len(expected)))
        rows, expected = rows.slice(start, stop), expected[start:stop]
        assert as_list(rows) == expected
        assert rows.nbytes == sum(map(len, expected))


@given(rows_and_list(), st.data())
def test_take(given_rows: tuple[Rows, list[bytes]], data: st.DataObject) -> None:
    rows, expected = given_rows
    limit = max(len(expected) - 1, 0)
    indices = data.draw(st.lists(st.integers(0, limit), max_size=8 if expected else 0))
    taken = rows.take(np.array(indices, np.int64))
    assert as_list(taken) == [expected[i] for i in indices]
    assert taken.row_bytes == rows.row_bytes


@given(st.lists(row_lists, max_size=4))
def test_concat(parts: list[list[bytes]]) -> None:
    joined = Rows.concat([Rows.from_list(part) for part in parts], None)
    assert as_list(joined) == [row for part in parts for row in part]


@given(rows_and_list(), st.data())
def test_frame_and_unframe(given_rows: tuple[Rows, list[bytes]], data: st.DataObject) -> None:
    rows, expected = given_rows
    if not expected:
        return
    start = data.draw(st.integers(0, len(expected) - 1))
    stop = data.draw(st.integers(start + 1, len(expected)))
    payload = bytes(frame_group(rows, start, stop))
    assert as_list(unframe_group(payload, stop - start, rows.row_bytes)) == expected[start:stop]


def test_framing_of_varying_rows() -> None:
    rows = Rows.from_list([b"ab", b"", b"c"])
    assert frame_group(rows, 0, 3) == struct.pack("<3I", 2, 2, 3) + b"abc"
    assert frame_group(rows, 0, 1) == b"ab"


BROKEN = {
    "ends missing": (b"\0\0\0", 2),
    "the last end is short": (struct.pack("<2I", 1, 2) + b"abc", 2),
    "the last end is long": (struct.pack("<2I", 1, 4) + b"abc", 2),
    "ends that fall": (struct.pack("<3I", 2, 1, 3) + b"abc", 3),
    "an end beyond 2^31": (struct.pack("<2I", 2**32 - 1, 3) + b"abc", 2),
}


@pytest.mark.parametrize(("payload", "count"), BROKEN.values(), ids=BROKEN)
def test_broken_groups_are_refused(payload: bytes, count: int) -> None:
    with pytest.raises(CorruptedError):
        unframe_group(payload, count, None)


@pytest.mark.parametrize("length", [0, 7, 9])
def test_a_fixed_group_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(CorruptedError):
        unframe_group(bytes(length), 2, 4)
