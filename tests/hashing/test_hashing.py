"""Hashes: the published vectors, one domain per kind, any buffer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.hashing import HASH_BYTES, HEX_DIGITS, Kind, hash_blob, hash_chunk, hash_name

# From the test vectors of BLAKE3: inputs of 0, 1 and 1025 bytes counting 0 to 250 over and over.
VECTORS = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    1025: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
}


@pytest.mark.parametrize("length", VECTORS)
def test_chunks_have_the_plain_hash(length: int) -> None:
    payload = bytes(i % 251 for i in range(length))
    assert hash_chunk(payload).hex() == VECTORS[length]
    assert hash_blob(Kind.CHUNK, payload) == hash_chunk(payload)
    assert len(hash_chunk(payload)) == HASH_BYTES == HEX_DIGITS // 2


@given(st.binary(max_size=300))
def test_a_blob_of_one_kind_never_passes_for_another(payload: bytes) -> None:
    assert len({hash_blob(kind, payload) for kind in Kind}) == len(Kind)


@pytest.mark.parametrize("kind", list(Kind))
def test_any_buffer_and_any_order_of_calls(kind: Kind) -> None:
    first = hash_blob(kind, b"some bytes")
    assert hash_blob(kind, b"other bytes") != first
    assert hash_blob(kind, bytearray(b"some bytes")) == hash_blob(kind, memoryview(b"-some bytes")[1:]) == first


def test_names_are_hashed_to_16_bytes_with_zeros_between() -> None:
    assert hash_name(b"main", b"d") == hash_chunk(b"main\0d")[:16]
    assert hash_name(b"ab", b"c") != hash_name(b"a", b"bc")
