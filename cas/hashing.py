"""BLAKE3 hashes, one domain per kind of blob (FORMAT section 1)."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final, NewType

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

Bytes = bytes | bytearray | memoryview
Hashes = NDArray[np.uint8]
"""Hashes, of shape (count, 32)."""

ChunkHash = NewType("ChunkHash", bytes)
NodeHash = NewType("NodeHash", bytes)
TreeHash = NewType("TreeHash", bytes)
VersionHash = NewType("VersionHash", bytes)

HASH_BYTES: Final = 32
HEX_DIGITS: Final = 2 * HASH_BYTES


class Kind(enum.Enum):
    """What a blob is; the value is the derive-key context, empty for plain hashing."""

    CHUNK = ""
    NODE = "cas 2026-11 format 1 node"
    TREE = "cas 2026-11 format 1 tree"
    VERSION = "cas 2026-11 format 1 version"


_DERIVERS: Final = {kind: blake3(derive_key_context=kind.value) for kind in Kind if kind is not Kind.CHUNK}


def hash_chunk(payload: Bytes) -> bytes:
    """Returns the plain BLAKE3 hash of a chunk, as ``b3sum`` prints it (32 bytes)."""
    return blake3(payload).digest()


def hash_chunks(payloads: Iterable[Bytes]) -> list[bytes]:
    """Returns the hash of each chunk, as :func:`hash_chunk` does, one after the other."""
    return [blake3(payload).digest() for payload in payloads]


def hash_blob(kind: Kind, payload: Bytes) -> bytes:
    """Returns the 32-byte hash of a payload of the given kind; releases the GIL on long ones."""
    if kind is Kind.CHUNK:
        return blake3(payload).digest()
    hasher = _DERIVERS[kind].copy()
    hasher.update(payload)
    return hasher.digest()


def split_hashes(hashes: Hashes) -> list[bytes]:
    """Returns the rows of a (count, 32) array of hashes as byte strings."""
    joined = hashes.tobytes()
    return [joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)]


def hash_named(name: str | None) -> bytes | None:
    """Returns the hash that an error names, in hexadecimal digits; None where it names something else."""
    if name is None or len(name) != HEX_DIGITS or not set(name) <= set("0123456789abcdef"):
        return None
    return bytes.fromhex(name)


def hash_name(*parts: bytes, size: int = 16) -> bytes:
    """Returns the first bytes of the hash of parts joined by a zero byte, for table keys and seals."""
    return blake3(b"\0".join(parts)).digest(size)
