"""Payloads as their first byte planes: parts of them, and what has no such form."""

from __future__ import annotations

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cas.codec import compression
from cas.codec.planes import Planes, memory_bytes, payload_bytes
from cas.errors import CorruptedError

SIZES = (2, 4, 8)


def numbers(element_bytes: int, count: int, below: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).integers(0, below, count).astype(f"<u{element_bytes}").tobytes()


def as_planes(payload: bytes, element_bytes: int) -> Planes:
    blob = compression.encode(payload, element_bytes=element_bytes)
    planes = compression.decode_planes(blob, len(payload))
    assert planes is not None
    return planes


@pytest.mark.parametrize(("element_bytes", "below", "used"), [(2, 200, 1), (4, 200, 1), (4, 2**16, 2), (8, 2**24, 3)])
def test_only_planes_that_are_not_zero_take_memory(element_bytes: int, below: int, used: int) -> None:
    payload = numbers(element_bytes, 4000, below)
    planes = as_planes(payload, element_bytes)
    assert len(planes) == len(payload)
    assert used * 4000 < memory_bytes(planes) < used * 4000 + 500
    assert payload_bytes(planes) == payload


@given(st.sampled_from(SIZES), st.integers(100, 5000), st.integers(0, 2**15), st.data())
def test_parts_are_those_of_the_payload(element_bytes: int, count: int, below: int, data: st.DataObject) -> None:
    payload = numbers(element_bytes, count, below + 1, seed=below)
    planes = compression.decode_planes(compression.encode(payload, element_bytes=element_bytes), len(payload))
    if planes is None:  # both bytes of two are used, or another form is smaller
        return
    begin = data.draw(st.integers(0, len(payload)))
    end = data.draw(st.integers(begin, len(payload)))
    assert planes[begin:end] == payload[begin:end]
    at = data.draw(st.integers(0, count - 1)) * element_bytes
    assert planes[at : at + element_bytes] == payload[at : at + element_bytes]
    unpacked = np.empty(len(payload), np.uint8)
    planes.write(unpacked)
    assert unpacked.tobytes() == payload


def test_nothing_but_zeros() -> None:
    planes = compression.decode_planes(compression._compress_planes(bytes(8 * 4000), 8), 8 * 4000)
    assert planes is not None
    assert memory_bytes(planes) < 4500  # zstd writes no first block of repeated bytes
    assert planes[8:24] == bytes(16)
    assert planes[16:24] == bytes(8)
    assert payload_bytes(planes) == bytes(8 * 4000)


@pytest.mark.parametrize("element_bytes", SIZES)
@pytest.mark.parametrize("below", [1, 2, 250, 2**9, 2**15])
def test_a_frame_whose_zeros_were_not_looked_at_is_that_of_zstd(element_bytes: int, below: int) -> None:
    payload = numbers(element_bytes, 4000, below)
    frame = compression._compress_planes(payload, element_bytes)[12:]
    expected = np.frombuffer(payload, np.uint8).reshape(-1, element_bytes).T.tobytes()
    assert zstandard.ZstdDecompressor().decompress(frame) == expected
    by_zstd = compression._planes_compressor().compressobj(size=len(expected))
    blocks = [
        by_zstd.compress(expected[at : at + 4000]) + by_zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        for at in range(0, len(expected), 4000)
    ]
    assert frame == b"".join(blocks) + by_zstd.flush()


def test_no_planes_at_all() -> None:
    planes = Planes(b"", 3, 4)
    assert (len(planes), planes[4:8], planes[2:11], payload_bytes(planes)) == (12, bytes(4), bytes(9), bytes(12))


def test_unaligned_memory() -> None:
    payload = numbers(8, 4000, 1000)
    memory = np.full(8 * 4000 + 1, 255, np.uint8)
    as_planes(payload, 8).write(memory[1:])
    assert memory[1:].tobytes() == payload


@pytest.mark.parametrize(
    ("payload", "element_bytes"),
    [
        (np.arange(-2000, 2000).tobytes(), 8),
        (np.random.default_rng(0).normal(size=4000).astype("<f4").tobytes(), 4),
        (numbers(8, 4000, 200) + b"rest", 8),
        (numbers(8, 5, 200), 8),
        (numbers(8, 4000, 200), 1),
    ],
    ids=["negative", "floats", "bytes left over", "raw", "no planes"],
)
def test_what_has_no_such_form(payload: bytes, element_bytes: int) -> None:
    blob = compression.encode(payload, element_bytes=element_bytes)
    assert compression.decode_planes(blob, len(payload)) is None
    assert bytes(compression.decode(blob, len(payload))) == payload


def test_another_declared_size() -> None:
    payload = numbers(8, 4000, 200)
    blob = compression.encode(payload, element_bytes=8)
    for size in (len(payload) - 8, len(payload) + 8, 8, 0):
        assert compression.decode_planes(blob, size) is None


def test_planes_that_others_wrote_in_one_block_are_unpacked_as_well() -> None:
    payload = numbers(8, 4000, 200)
    planes = np.frombuffer(payload, np.uint8).reshape(-1, 8).T.tobytes()
    ours = bytes(compression.encode(payload, element_bytes=8))
    blob = ours[:12] + zstandard.ZstdCompressor().compress(planes)
    assert compression.decode_planes(blob, len(payload)) is None
    unpacked = np.empty(len(payload), np.uint8)
    assert compression.decode_into(blob, unpacked) is None
    assert unpacked.tobytes() == payload


@given(st.data())
def test_damage_is_told_or_changes_what_comes_out(data: st.DataObject) -> None:
    """Whoever takes planes knows the blob to be right, or compares the payload with its hash."""
    payload = numbers(8, 500, 200)
    blob = bytearray(compression.encode(payload, element_bytes=8))
    at = data.draw(st.integers(0, len(blob) - 1))
    blob[at] ^= data.draw(st.integers(1, 255))
    if blob[:4] != compression.PLANES_MAGIC or blob[4:12] != bytes(compression.encode(payload, element_bytes=8))[4:12]:
        return
    unpacked = np.empty(len(payload), np.uint8)
    try:
        planes = compression.decode_into(bytes(blob), unpacked)
    except CorruptedError:
        return
    if planes is not None:
        assert payload_bytes(planes) == unpacked.tobytes()
