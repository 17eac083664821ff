"""Blobs at rest: raw, zstd, or zstd of byte planes, told apart by their first bytes (FORMAT section 2)."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import numpy as np
import zstandard
from numpy.typing import NDArray

from cas.codec.planes import Planes, count_used, from_planes, whole_elements
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
_PROBE_BYTES: Final = 4096
_LEAST_BYTES: Final = 64
MANY: Final = 32
"""From here on payloads are compressed together."""
_TOGETHER_BYTES: Final = 2 << 20
_NOISE_BYTES: Final = 2 * _PROBE_BYTES
_NOISE_PROBE_BYTES: Final = 512
_SCRATCH_FROM_BYTES: Final = 32 << 10
_MOST_SCRATCH_BYTES: Final = 1 << 20
_LAST_BLOCK: Final = 1
_BLOCK_KIND_SHIFT: Final = 1
_BLOCK_SIZE_SHIFT: Final = 3
_REPEATED_BYTE: Final = 1
_EMPTY_LAST_BLOCK: Final = b"\1\0\0"
_MOST_BLOCK_BYTES: Final = 128 << 10
_local = threading.local()
T = TypeVar("T")


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
    tries byte planes, on a probe first; what looks like noise on a probe is left; ``compress=False`` tries nothing.
    """
    if is_framed(payload):
        return _compress(payload)
    if not compress or len(payload) < _LEAST_BYTES:
        return payload
    limit = _most_kept(payload)
    if element_bytes in _PLANE_SIZES and _planes_win(payload, element_bytes):
        framed = _compress_planes(payload, element_bytes)
    elif _is_noise(payload):
        return payload
    else:
        framed = _compress(payload)
    return framed if len(framed) <= limit else payload


def encode_many(payloads: Sequence[Bytes], *, compress: bool = True) -> list[Bytes]:
    """Returns the forms at rest of payloads without elements, as :func:`encode` does; zstd uses all processors.

    It takes them all at once, without the interpreter: for some kilobytes each, threads that are handed one payload
    after the other wait for each other most of the time.
    """
    few = len(payloads) < MANY or "multi_compress_to_buffer" not in zstandard.backend_features
    if few or not compress:
        return [encode(payload, compress=compress) for payload in payloads]
    blobs = list(payloads)
    chosen = [number for number, payload in enumerate(payloads) if len(payload) >= _LEAST_BYTES or is_framed(payload)]
    mean = sum(map(len, payloads)) // len(payloads)
    step = max(MANY, _TOGETHER_BYTES // max(1, mean))  # as much memory as all of them take is needed besides
    for start in range(0, len(chosen), step):
        some = chosen[start : start + step]
        frames = _compressor().multi_compress_to_buffer([payloads[number] for number in some], threads=-1)
        for index, number in enumerate(some):
            payload, frame = payloads[number], frames[index]
            if len(frame) <= _most_kept(payload) or is_framed(payload):
                blobs[number] = frame.tobytes()
    return blobs


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
    planes = np.frombuffer(_decompress(blob[_PLANES_FRAME.size :], size, exact), np.uint8)
    payload = np.empty(len(planes), np.uint8)
    _join_planes(planes, element_bytes, payload)
    return payload.data


def decode_planes(blob: Bytes, size: int) -> Planes | None:
    """Returns the payload of a blob at rest, of its declared length, as planes; None where none of them is zero.

    It costs less than :func:`decode`, but not all of the blob is looked at: its content should be known to be right.
    """
    if bytes(blob[:4]) != PLANES_MAGIC:
        return None
    element_bytes, frame = _planes_element(blob), blob[_PLANES_FRAME.size :]
    used = _used_planes(frame, element_bytes, size)
    if used is None:
        return None
    count = size // element_bytes
    planes = np.empty(used * count, np.uint8)
    _read_exactly(frame, planes)
    return Planes(planes.tobytes(), count, element_bytes)


def decode_into(blob: Bytes, payload: Flat) -> Planes | None:
    """Writes the payload of a blob at rest to memory of its declared length; raises as :func:`decode` does.

    Returns the payload as planes too, where it was unpacked from a few.
    """
    if not is_framed(blob):
        if len(blob) != len(payload):
            raise CorruptedError(f"a blob holds {len(blob)} bytes where {len(payload)} are declared")
        payload.data[:] = blob
    elif bytes(blob[:4]) == ZSTD_MAGIC:
        _decompress_into(blob, payload)
    else:
        planes = decode_planes(blob, len(payload))
        if planes is not None:
            planes.write(payload)
            return planes
        scratch = _scratch(len(payload))
        _decompress_into(blob[_PLANES_FRAME.size :], scratch)
        _join_planes(scratch, _planes_element(blob), payload)
    return None


def _scratch(size: int) -> Flat:
    """Memory of this thread, which is used again: new memory costs more than what is done in it."""
    scratch: Flat | None = getattr(_local, "scratch", None)
    if scratch is None or len(scratch) < size:
        scratch = np.empty(size, np.uint8)
        if size <= _MOST_SCRATCH_BYTES:
            _local.scratch = scratch
    return scratch[:size]


def _planes_element(blob: Bytes) -> int:
    if len(blob) < _PLANES_FRAME.size:
        raise CorruptedError("a blob ends inside its filter frame")
    magic, length, kind, element_bytes, zero1, zero2 = _PLANES_FRAME.unpack_from(blob)
    known = (PLANES_MAGIC, 4, _BYTE_PLANES, 0, 0)
    if (magic, length, kind, zero1, zero2) != known or element_bytes not in _PLANE_SIZES:
        raise UnsupportedError("a blob uses a filter that this version does not know; install a newer one")
    return int(element_bytes)


def _most_kept(payload: Bytes) -> int:
    return len(payload) - len(payload) // 8


def _compress(payload: Bytes) -> bytes:
    return _compressor().compress(payload)


def _of_this_thread(name: str, make: Callable[[], T]) -> T:
    """What each thread has one of, made when it is first wanted."""
    found: T | None = getattr(_local, name, None)
    if found is None:
        found = make()
        setattr(_local, name, found)
    return found


def _compressor() -> zstandard.ZstdCompressor:
    return _of_this_thread("compressor", partial(zstandard.ZstdCompressor, level=DEFAULT_LEVEL))


def _prober() -> zstandard.ZstdCompressor:
    """A compressor for probes alone: after long payloads another one takes several times as long for a short one."""
    return _of_this_thread("prober", partial(zstandard.ZstdCompressor, level=DEFAULT_LEVEL))


def _decompressor() -> zstandard.ZstdDecompressor:
    return _of_this_thread("decompressor", zstandard.ZstdDecompressor)


def _decompress(frame: Bytes, size: int, exact: bool) -> bytes:
    try:
        declared = zstandard.frame_content_size(frame)
        if declared < 0 or declared > size or (exact and declared != size):
            raise CorruptedError(f"a blob unpacks to {declared} bytes where {size} are declared")
        payload = _decompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptedError(f"a blob cannot be unpacked: {error}") from error
    if len(payload) != declared:
        raise CorruptedError(f"a blob unpacks to {len(payload)} bytes where {declared} are declared")
    return payload


def _decompress_into(frame: Bytes, payload: Flat) -> None:
    """Unpacks a frame whose content is as long as the payload."""
    if len(payload) < _SCRATCH_FROM_BYTES:
        payload.data[:] = _decompress(frame, len(payload), exact=True)
        return
    try:
        declared = zstandard.frame_content_size(frame)
        if declared != len(payload):
            raise CorruptedError(f"a blob unpacks to {declared} bytes where {len(payload)} are declared")
        if _frame_end(frame) != len(frame):
            raise CorruptedError("a blob holds more or less than one frame")
    except zstandard.ZstdError as error:
        raise CorruptedError(f"a blob cannot be unpacked: {error}") from error
    _read_exactly(frame, payload)


def _read_exactly(frame: Bytes, content: Flat) -> None:
    """Unpacks the first bytes of a frame."""
    done = 0
    try:
        reader = _decompressor().stream_reader(frame)
        while done < len(content) and (count := reader.readinto(content.data[done:])):
            done += count
    except zstandard.ZstdError as error:
        raise CorruptedError(f"a blob cannot be unpacked: {error}") from error
    if done != len(content):
        raise CorruptedError(f"a blob unpacks to {done} bytes where {len(content)} are declared")


def _frame_end(frame: Bytes) -> int:
    """Where a frame ends, by the sizes of its blocks (RFC 8878, section 3.1.1): the reader passes over what follows."""
    at, header = zstandard.frame_header_size(frame), 0
    while not header & _LAST_BLOCK and at + 3 <= len(frame):
        header = int.from_bytes(frame[at : at + 3], "little")
        at += _block_bytes(header)
    if not header & _LAST_BLOCK:
        return -1
    return at + (4 if zstandard.get_frame_parameters(frame).has_checksum else 0)


def _block_bytes(header: int) -> int:
    """The length of a block, with its header."""
    return 4 if header >> _BLOCK_KIND_SHIFT & 3 == _REPEATED_BYTE else 3 + (header >> _BLOCK_SIZE_SHIFT)


def _used_planes(frame: Bytes, element_bytes: int, size: int) -> int | None:
    """How many planes of a frame come before those that are zero, each a block, as :func:`_compress_planes` writes it.

    None where no plane is zero, the frame has another form, as where a plane is in two blocks, or it is not one of this
    content size: then it is unpacked as any other. What is in the blocks is not looked at.
    """
    count, rest = divmod(size, element_bytes)
    if rest or not 0 < count <= _MOST_BLOCK_BYTES or _content_size(frame) != size:
        return None
    zeros = _zeros_block(count)
    at = zstandard.frame_header_size(frame)
    for used in range(element_bytes):
        # What comes before the zeros has what they leave of the content size, so it is as many planes.
        if frame[at:] == zeros * (element_bytes - used) + _EMPTY_LAST_BLOCK:
            return used
        header = int.from_bytes(frame[at : at + 3], "little")
        if header & _LAST_BLOCK:
            break
        at += _block_bytes(header)
    return None


def _zeros_block(count: int) -> bytes:
    """A block, not the last, of so many zeros."""
    return (count << _BLOCK_SIZE_SHIFT | _REPEATED_BYTE << _BLOCK_KIND_SHIFT).to_bytes(3, "little") + b"\0"


def _content_size(frame: Bytes) -> int:
    try:
        return int(zstandard.frame_content_size(frame))
    except zstandard.ZstdError:
        return -1  # what is wrong with it the decoder will say


def _planes_win(payload: Bytes, element_bytes: int) -> bool:
    """Whether byte planes come out smaller, by a probe: zstd is slowest on the elements as they are."""
    probe = memoryview(payload)[:_PROBE_BYTES]
    return len(_compress_planes(probe, element_bytes)) < len(_prober().compress(probe))


def _is_noise(payload: Bytes) -> bool:
    """Whether what stands at the front and in the middle of a long payload, by a probe, does not shrink at all."""
    if len(payload) < _NOISE_BYTES:
        return False
    view, middle = memoryview(payload), len(payload) // 2
    half = _NOISE_PROBE_BYTES // 2
    probe = b"".join((view[:half], view[middle : middle + half]))
    return len(_prober().compress(probe)) >= _NOISE_PROBE_BYTES


def _compress_planes(payload: Bytes, element_bytes: int) -> bytes:
    """Returns the frame that names the filter, and that of the byte-plane form, each plane in blocks of its own.

    One block has one table of codes: where exponents share one with random bits of mantissas, nothing is saved.
    """
    elements, rest = whole_elements(payload, element_bytes)
    frame = _planes_compressor().compressobj(size=len(payload))
    blocks = [_PLANES_FRAME.pack(PLANES_MAGIC, 4, _BYTE_PLANES, element_bytes, 0, 0)]
    easy = not rest and 0 < len(elements) <= _MOST_BLOCK_BYTES
    used = count_used(elements) if easy else element_bytes
    for number in range(used):
        plane = np.ascontiguousarray(elements[:, number])
        blocks += frame.compress(plane.data), frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    if used < element_bytes:
        # What zstd makes of planes of zeros behind others, without a look at each.
        blocks += [_zeros_block(len(elements))] * (element_bytes - used)
        blocks.append(_EMPTY_LAST_BLOCK)
    else:
        blocks += frame.compress(rest), frame.flush()
    return b"".join(blocks)


def _planes_compressor() -> zstandard.ZstdCompressor:
    """What codes bytes by how often they are: planes of numbers hardly repeat, and a search for matches finds chance.

    The smallest table of matches still finds runs, which planes of small or equal numbers are.
    """
    return _of_this_thread("planes", _make_planes_compressor)


def _make_planes_compressor() -> zstandard.ZstdCompressor:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        DEFAULT_LEVEL, strategy=zstandard.STRATEGY_FAST, hash_log=6, min_match=7
    )
    return zstandard.ZstdCompressor(compression_params=parameters)


def _join_planes(planes: Flat, element_bytes: int, payload: Flat) -> None:
    """Writes the elements of planes, and the bytes left over behind them, to a payload of the same length."""
    whole = len(planes) // element_bytes * element_bytes
    from_planes(planes[:whole].reshape(element_bytes, -1), element_bytes, payload)
    payload[whole:] = planes[whole:]
