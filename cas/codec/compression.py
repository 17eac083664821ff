"""Blobs at rest: raw, zstd, or zstd of byte planes, told apart by their first bytes (FORMAT section 2)."""

from __future__ import annotations

import struct
import threading
from typing import Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from cas.codec.rows import Flat, Ints
from cas.errors import CorruptedError, UnsupportedError
from cas.hashing import Bytes

DEFAULT_LEVEL: Final = 1
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
PLANES_MAGIC: Final = b"\x5c\x2a\x4d\x18"
_PLANES_FRAME: Final = struct.Struct("<4sIBBBB")
_ZSTD_WORD: Final = int.from_bytes(ZSTD_MAGIC, "little")
_SKIPPABLE_WORD: Final = int.from_bytes(PLANES_MAGIC, "little")
_BYTE_PLANES: Final = 1
_PLANE_SIZES: Final = (2, 4, 8, 16)
_PROBE_BYTES: Final = 8192
_local = threading.local()


def is_framed(blob: Bytes) -> bool:
    """Whether the first bytes are those of a zstd frame or of a skippable frame."""
    head = bytes(blob[:4])
    return head == ZSTD_MAGIC or (head[1:] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F)


def are_framed(flat: Flat, begins: Ints) -> NDArray[np.bool_]:
    """Tells of blobs that begin at some offsets of ``flat`` whether their first bytes are those of a frame."""
    words = np.ndarray((max(0, len(flat) - 3),), "<u4", flat, 0, (1,))  # one at every offset
    found = np.zeros(len(begins), np.bool_)
    inside = begins < len(words)
    heads = words[begins[inside]]
    found[inside] = (heads == _ZSTD_WORD) | (heads >> 4 == _SKIPPABLE_WORD >> 4)
    return found


def encode(payload: Bytes, *, element_bytes: int = 1, compress: bool = True) -> Bytes:
    """Returns the form at rest of a payload: the smallest tried, or the payload itself.

    A compressed form is kept only where it saves at least one eighth. ``element_bytes`` above 1 also
    tries byte planes, on a probe first; ``compress=False`` tries nothing.
    """
    if is_framed(payload):
        return _compress(payload)
    if not compress or len(payload) < 64:
        return payload
    limit = len(payload) - len(payload) // 8
    if element_bytes in _PLANE_SIZES and _planes_win(payload, element_bytes):
        framed = _compress_planes(payload, element_bytes)
    else:
        framed = _compress(payload)
    return framed if len(framed) <= limit else payload


def decode(blob: Bytes, size: int, *, exact: bool = True) -> Bytes:
    """Returns the payload of a blob at rest; ``size`` is its declared length, or its bound.

    Nothing larger than ``size`` is ever allocated. Raises :class:`~cas.errors.CorruptedError` where the blob
    does not fit, :class:`~cas.errors.UnsupportedError` for a filter of a later format.
    """
    if not is_framed(blob):
        if len(blob) > size or (exact and len(blob) != size):
            raise CorruptedError(f"a blob holds {len(blob)} bytes where {size} are declared")
        return blob
    if bytes(blob[:4]) == ZSTD_MAGIC:
        return _decompress(blob, size, exact)
    element_bytes = _planes_element(blob)
    planes = _decompress(blob[_PLANES_FRAME.size :], size, exact)
    payload = bytearray(len(planes))
    _from_planes(planes, element_bytes, memoryview(payload))
    return payload


def decode_into(blob: Bytes, payload: memoryview) -> None:
    """Puts the payload of a blob at rest where it is wanted, which must be as long; raises as :func:`decode` does."""
    if is_framed(blob) and bytes(blob[:4]) != ZSTD_MAGIC:
        element_bytes = _planes_element(blob)
        _from_planes(_decompress(blob[_PLANES_FRAME.size :], len(payload), exact=True), element_bytes, payload)
    else:
        payload[:] = decode(blob, len(payload))


def _planes_element(blob: Bytes) -> int:
    if len(blob) < _PLANES_FRAME.size:
        raise CorruptedError("a blob ends inside its filter frame")
    magic, length, kind, element_bytes, zero1, zero2 = _PLANES_FRAME.unpack_from(blob)
    known = (PLANES_MAGIC, 4, _BYTE_PLANES, 0, 0)
    if (magic, length, kind, zero1, zero2) != known or element_bytes not in _PLANE_SIZES:
        raise UnsupportedError("a blob uses a filter that this version does not know; install a newer one")
    return int(element_bytes)


def _compress(payload: Bytes) -> bytes:
    compressor: zstandard.ZstdCompressor | None = getattr(_local, "compressor", None)
    if compressor is None:
        compressor = _local.compressor = zstandard.ZstdCompressor(level=DEFAULT_LEVEL)
    return compressor.compress(payload)


def _decompress(frame: Bytes, size: int, exact: bool) -> bytes:
    decompressor: zstandard.ZstdDecompressor | None = getattr(_local, "decompressor", None)
    if decompressor is None:
        decompressor = _local.decompressor = zstandard.ZstdDecompressor()
    try:
        declared = zstandard.frame_content_size(frame)
        if declared < 0 or declared > size or (exact and declared != size):
            raise CorruptedError(f"a blob unpacks to {declared} bytes where {size} are declared")
        payload = decompressor.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptedError(f"a blob cannot be unpacked: {error}") from error
    if len(payload) != declared:
        raise CorruptedError(f"a blob unpacks to {len(payload)} bytes where {declared} are declared")
    return payload


def _planes_win(payload: Bytes, element_bytes: int) -> bool:
    probe = memoryview(payload)[:_PROBE_BYTES]
    return len(_compress_planes(probe, element_bytes)) < len(_compress(probe))


def _compress_planes(payload: Bytes, element_bytes: int) -> bytes:
    """Returns the frame that names the filter, and that of the byte-plane form, each plane in blocks of its own.

    One block has one table of codes: where exponents share one with random bits of mantissas, nothing is saved.
    """
    whole = len(payload) // element_bytes * element_bytes
    elements = np.frombuffer(payload, np.uint8, whole).reshape(-1, element_bytes)
    frame = _planes_compressor().compressobj(size=len(payload))
    blocks = [_PLANES_FRAME.pack(PLANES_MAGIC, 4, _BYTE_PLANES, element_bytes, 0, 0)]
    for number in range(element_bytes):
        plane = np.ascontiguousarray(elements[:, number])
        blocks += frame.compress(plane.data), frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    blocks += frame.compress(memoryview(payload)[whole:]), frame.flush()
    return b"".join(blocks)


def _planes_compressor() -> zstandard.ZstdCompressor:
    """What codes bytes by how often they are: planes of numbers hardly repeat, and a search for matches finds chance.

    The smallest table of matches still finds runs, which planes of small or equal numbers are.
    """
    compressor: zstandard.ZstdCompressor | None = getattr(_local, "planes", None)
    if compressor is None:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            DEFAULT_LEVEL, strategy=zstandard.STRATEGY_FAST, hash_log=6, min_match=7
        )
        compressor = _local.planes = zstandard.ZstdCompressor(compression_params=parameters)
    return compressor


def _from_planes(planes: Bytes, element_bytes: int, payload: memoryview) -> None:
    whole = len(planes) // element_bytes * element_bytes
    elements = np.frombuffer(payload, np.uint8, whole).reshape(-1, element_bytes)
    for number, plane in enumerate(np.frombuffer(planes, np.uint8, whole).reshape(element_bytes, -1)):
        elements[:, number] = plane
    payload[whole:] = memoryview(planes)[whole:]
