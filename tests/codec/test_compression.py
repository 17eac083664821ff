"""Blobs at rest: exact round trips, and a decoder that cannot be made to allocate, crash or accept a cut blob."""

import contextlib
import struct
import tracemalloc

import numpy as np
import pytest
import second_reader
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cas.codec import compression
from cas.errors import CorruptedError, UnsupportedError

ZSTD = bytes.fromhex("28b52ffd")
PLANES = bytes.fromhex("5c2a4d18")
OTHER_SKIPPABLE = bytes.fromhex("502a4d18")
ELEMENT_SIZES = [1, 2, 3, 4, 8, 16]

smooth = st.builds(
    lambda count, seed: np.cumsum(np.random.default_rng(seed).standard_normal(count)).tobytes(),
    st.integers(0, 2000),
    st.integers(0, 9),
)
repeated = st.builds(lambda word, times: word * times, st.binary(max_size=40), st.integers(0, 100))
bodies = st.one_of(st.binary(max_size=300), repeated, smooth)
payloads = st.builds(lambda head, body: head + body, st.sampled_from([b"", ZSTD, PLANES, OTHER_SKIPPABLE]), bodies)


def zstd_frame(payload: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(payload)


def planes_frame(payload: bytes, *, element: int = 4, version: int = 1, length: int = 4, zero: int = 0) -> bytes:
    return PLANES + struct.pack("<IBBH", length, version, element, zero) + zstd_frame(payload)


@given(payloads, st.sampled_from(ELEMENT_SIZES), st.booleans())
def test_round_trip(payload: bytes, element_bytes: int, compress: bool) -> None:
    blob = bytes(compression.encode(payload, element_bytes=element_bytes, compress=compress))
    assert compression.decode(blob, len(payload)) == payload
    assert compression.decode(memoryview(blob), len(payload) + 1, exact=False) == payload
    assert second_reader.payload_at_rest(blob, len(payload), len(payload)) == payload


@given(payloads, st.sampled_from(ELEMENT_SIZES), st.booleans())
def test_what_is_kept(payload: bytes, element_bytes: int, compress: bool) -> None:
    blob = compression.encode(payload, element_bytes=element_bytes, compress=compress)
    if compression.is_framed(payload):
        assert bytes(blob[:4]) == ZSTD, "a payload that looks like a frame must be in one"
    elif blob != payload:
        assert compress
        assert len(blob) <= len(payload) - len(payload) // 8


def test_byte_planes_are_chosen_where_they_help() -> None:
    numbers = np.cumsum(np.random.default_rng(1).standard_normal(10_000)).astype(np.float32).tobytes()
    with_planes, without = compression.encode(numbers, element_bytes=4), compression.encode(numbers)
    assert bytes(with_planes[:4]) == PLANES
    assert len(with_planes) < len(without)
    text = b"a text, not a number; " * 1000
    assert bytes(compression.encode(text, element_bytes=4)[:4]) == ZSTD


@pytest.mark.parametrize(("dtype", "top", "row", "distinct"), [("<i8", 1 << 32, 4, 50), ("<u2", 256, 16, 50)])
def test_rows_that_come_again_are_not_torn_into_planes(dtype: str, top: int, row: int, distinct: int) -> None:
    """Small numbers have planes of zeros, but what is alike in the elements as they are may be worth more."""
    random = np.random.default_rng(2)
    rows = random.integers(0, top, (distinct, row)).astype(dtype)
    payload = rows[random.integers(0, distinct, 8192 // row)].tobytes()
    assert len(compression.encode(payload, element_bytes=np.dtype(dtype).itemsize)) <= len(zstd_frame(payload)) * 1.1


def test_noise_is_left_and_what_is_no_noise_somewhere_is_not() -> None:
    noise = np.random.default_rng(1).bytes(100_000)
    assert compression.encode(noise) is noise
    half = 50_000
    for payload in (bytes(half) + noise[:half], noise[: half - 2_000] + bytes(half)):
        blob = compression.encode(payload)
        assert len(blob) < 0.6 * len(payload)
        assert compression.decode(blob, len(payload)) == payload


@pytest.mark.parametrize("element_bytes", [2, 4, 8, 16])
@pytest.mark.parametrize("offset", [0, 1, 3])
@pytest.mark.parametrize("top", [1, 200, 2**14, 2**15 - 1])
@pytest.mark.parametrize("extra", [0, 1])
def test_planes_are_unpacked_in_place(element_bytes: int, offset: int, top: int, extra: int) -> None:
    """Numbers of which many bytes are zero, at any address, with bytes left over."""
    numbers = np.random.default_rng(2).integers(0, top, 3_000)
    payload = numbers.astype(f"<i{min(element_bytes, 8)}").repeat(max(1, element_bytes // 8)).tobytes() + b"x" * extra
    blob = compression.encode(payload, element_bytes=element_bytes)
    memory = np.full(len(payload) + 8, 255, np.uint8)
    compression.decode_into(blob, memory[offset : offset + len(payload)])
    assert memory[offset : offset + len(payload)].tobytes() == payload
    assert (memory[:offset] == 255).all()
    assert (memory[offset + len(payload) :] == 255).all()
    with pytest.raises(CorruptedError):
        compression.decode_into(blob, memory[: len(payload) + 1])


def test_a_buffer_that_is_not_bytes() -> None:
    payload = memoryview(np.arange(5000, dtype=np.int64)).cast("B")
    for element_bytes in ELEMENT_SIZES:
        blob = compression.encode(payload, element_bytes=element_bytes)
        assert len(blob) < len(payload)
        assert compression.decode(blob, len(payload)) == payload


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("size", [0, 99])
def test_a_larger_payload_than_declared_is_refused(size: int, exact: bool) -> None:
    for blob in (b"\1" * 100, zstd_frame(b"\1" * 100), planes_frame(b"\1" * 100)):
        with pytest.raises(CorruptedError):
            compression.decode(blob, size, exact=exact)


def test_a_smaller_payload_is_refused_where_the_size_is_exact() -> None:
    for blob in (b"\1" * 100, zstd_frame(b"\1" * 100), planes_frame(b"\1" * 100)):
        assert compression.decode(blob, 101, exact=False) == b"\1" * 100
        with pytest.raises(CorruptedError):
            compression.decode(blob, 101)


@pytest.mark.parametrize("declared", [2**31, 2**40, 2**62])
@pytest.mark.parametrize("head", [b"", PLANES + struct.pack("<IBBH", 4, 1, 4, 0)])
def test_a_bomb_is_refused_before_anything_is_allocated(head: bytes, declared: int) -> None:
    # A single segment, a content size of eight bytes, and one last raw block that is empty.
    bomb = head + ZSTD + b"\xe0" + declared.to_bytes(8, "little") + b"\x01\x00\x00"
    tracemalloc.start()
    try:
        for exact in (True, False):
            with pytest.raises(CorruptedError, match=str(declared)):
                compression.decode(bomb, 262_080, exact=exact)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("blob", [zstd_frame(b"abc" * 99), planes_frame(b"abc" * 99)], ids=["zstd", "planes"])
def test_every_truncation_is_refused(blob: bytes) -> None:
    for length in range(len(blob)):
        with pytest.raises(CorruptedError):
            compression.decode(blob[:length], 297)


@pytest.mark.parametrize("tail", [b"\0", ZSTD, zstd_frame(b""), OTHER_SKIPPABLE + bytes(4)])
def test_bytes_after_the_frame_are_refused(tail: bytes) -> None:
    for blob in (zstd_frame(b"abc" * 99), planes_frame(b"abc" * 99)):
        with pytest.raises(CorruptedError):
            compression.decode(blob + tail, 297)


def test_a_frame_without_content_size_is_refused() -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(b"abc" * 99)
    for exact in (True, False):
        with pytest.raises(CorruptedError):
            compression.decode(frame, 297, exact=exact)


def test_a_frame_that_needs_a_dictionary_is_refused() -> None:
    words = zstandard.ZstdCompressionDict(b"some words that occur again " * 40)
    frame = zstandard.ZstdCompressor(dict_data=words).compress(b"some words that occur again")
    trained = zstandard.get_frame_parameters(frame).dict_id
    assert trained == 0, "raw content dictionaries have no id, so the content is what gives them away"
    with pytest.raises(CorruptedError):
        compression.decode(frame, 27)


RESERVED = {
    "another magic": OTHER_SKIPPABLE + bytes(12),
    "the last magic": bytes.fromhex("5f2a4d18") + bytes(12),
    "another filter": planes_frame(b"x" * 99, version=2),
    "another length": planes_frame(b"x" * 99, length=5),
    "an element of 3 bytes": planes_frame(b"x" * 99, element=3),
    "an element of 0 bytes": planes_frame(b"x" * 99, element=0),
    "a flag": planes_frame(b"x" * 99, zero=1),
}


@pytest.mark.parametrize("blob", RESERVED.values(), ids=RESERVED)
def test_reserved_forms_are_refused_as_unsupported(blob: bytes) -> None:
    with pytest.raises(UnsupportedError):
        compression.decode(blob, 99)


@given(st.binary(min_size=1, max_size=200), st.data())
def test_a_changed_byte_never_crashes_nor_grows(body: bytes, data: st.DataObject) -> None:
    payload = body * 3
    blob = bytearray(data.draw(st.sampled_from([zstd_frame(payload), planes_frame(payload)])))
    at = data.draw(st.integers(0, len(blob) - 1))
    blob[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(CorruptedError, UnsupportedError):
        assert len(compression.decode(bytes(blob), len(payload))) == len(payload)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_weights_are_stored_in_less_than_seven_eighths(dtype: str) -> None:
    """Exponents repeat while mantissas are noise: they are coded apart, for one table of codes would save nothing."""
    weights = np.random.default_rng(2).standard_normal(262_080 // np.dtype(dtype).itemsize) * 0.05
    payload = weights.astype(dtype).tobytes()
    blob = bytes(compression.encode(payload, element_bytes=np.dtype(dtype).itemsize))
    most = {"float16": 0.85, "float32": 0.84, "float64": 1.0}[dtype]
    assert len(blob) <= most * len(payload)
    assert second_reader.payload_at_rest(blob, len(payload), len(payload)) == payload


@given(payloads, st.sampled_from(ELEMENT_SIZES))
def test_a_payload_is_put_where_it_is_wanted(payload: bytes, element_bytes: int) -> None:
    blob = compression.encode(payload, element_bytes=element_bytes)
    place = np.empty(len(payload), np.uint8)
    compression.decode_into(blob, place)
    assert place.tobytes() == payload
    for length in {0, len(payload) + 1} - {len(payload)}:
        with pytest.raises(CorruptedError):
            compression.decode_into(blob, np.empty(length, np.uint8))


LARGE = np.random.default_rng(3).standard_normal(60_000).astype(np.float32).tobytes()
LARGE_FRAMES = {
    "zstd": zstd_frame(LARGE),
    "planes": planes_frame(LARGE),
    "planes in blocks": bytes(compression.encode(LARGE, element_bytes=4)),
    "with a checksum": zstandard.ZstdCompressor(write_checksum=True).compress(LARGE),
    "one byte repeated": zstd_frame(bytes(len(LARGE))),
}


@pytest.mark.parametrize("blob", LARGE_FRAMES.values(), ids=LARGE_FRAMES)
def test_a_large_frame_must_be_whole_and_alone(blob: bytes) -> None:
    """It is unpacked in another way, which would pass over what follows it."""
    place = np.empty(len(LARGE), np.uint8)
    compression.decode_into(blob, place)
    assert place.tobytes() == compression.decode(blob, len(LARGE))
    for tail in (b"\0", ZSTD, zstd_frame(b""), OTHER_SKIPPABLE + bytes(4)):
        with pytest.raises(CorruptedError):
            compression.decode_into(blob + tail, place)
    for length in {*range(20), len(blob) // 2, *range(len(blob) - 9, len(blob))} - {len(blob)}:
        with pytest.raises((CorruptedError, UnsupportedError)):
            compression.decode_into(blob[:length], place)
    for other in (len(LARGE) - 1, len(LARGE) + 1):
        with pytest.raises(CorruptedError):
            compression.decode_into(blob, np.empty(other, np.uint8))
    head = bytes(blob[:12]) if blob.startswith(PLANES) else b""
    with pytest.raises(CorruptedError):
        compression.decode_into(head + zstandard.ZstdCompressor(write_content_size=False).compress(LARGE), place)


@given(st.sampled_from(list(LARGE_FRAMES.values())), st.data())
def test_a_changed_byte_of_a_large_frame_never_crashes(blob: bytes, data: st.DataObject) -> None:
    changed = bytearray(blob)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.one_of(st.integers(0, 40), st.integers(0, len(blob) - 1)))
        changed[min(at, len(blob) - 1)] ^= data.draw(st.integers(1, 255))
    place = np.empty(len(LARGE), np.uint8)
    with contextlib.suppress(CorruptedError, UnsupportedError):
        compression.decode_into(bytes(changed), place)
