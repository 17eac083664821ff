"""Recognising encoded images by their bytes, without a decoder.

The checks follow the formats' specifications: PNG (W3C, third edition), JPEG (ITU-T T.81), GIF89a, WebP and
AVIF/HEIF containers (RIFF, ISO/IEC 14496-12), BMP, TIFF 6.0 and JPEG 2000. They look at signatures and at the end
where the format marks it; they do not decode. Width and height are read where the format has them in a header.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final

from cas.hashing import Bytes

_SIGNATURES: Final[Mapping[str, tuple[bytes, ...]]] = {
    "png": (b"\x89PNG\r\n\x1a\n",),
    "jpeg": (b"\xff\xd8\xff",),
    "gif": (b"GIF87a", b"GIF89a"),
    "tiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "jpeg2000": (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xffO\xffQ"),
    "jpegxl": (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
    "ico": (b"\0\0\x01\0",),
}
_PNM: Final = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7")
_BMP_CORE_HEADER: Final = 12
# SOF0 to SOF15, without DHT, JPG and DAC, which stand among them.
_JPEG_FRAMES: Final = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_HEIF_BRANDS: Final = {b"avif": "avif", b"avis": "avif", b"heic": "heif", b"heix": "heif", b"mif1": "heif"}


_WHOLE: Final = (
    ("png", _SIGNATURES["png"][0], b"IEND\xaeB`\x82"),
    ("jpeg", _SIGNATURES["jpeg"][0], b"\xff\xd9"),
)


class NotAnImageError(ValueError):
    """The bytes are no image of a known format, or an incomplete one; the message says why."""


def image_format(data: Bytes) -> str:
    """Returns the format of an encoded image, in lower case: ``png``, ``jpeg``, ``gif``, ...

    Raises :class:`NotAnImageError` where the bytes begin like no image, or end too early.
    """
    for name, begin, end in _WHOLE:  # most images, in a fifth of the time
        if data[: len(begin)] == begin and data[-len(end) :] == end:
            return name
    if not data:
        raise NotAnImageError("the file is empty")
    head = bytes(data[:32])
    name = recognise(head)
    missing = _missing_end(name, head, data)
    if missing:
        raise NotAnImageError(f"the {name} image is cut off before {missing}")
    return name


def recognise(head: bytes) -> str:
    """Returns the format that the first 32 bytes of an image name; raises :class:`NotAnImageError` for others."""
    name = _by_signature(head)
    if name is None:
        raise NotAnImageError("it does not begin like an image of a known format")
    return name


def _by_signature(head: bytes) -> str | None:
    for name, signatures in _SIGNATURES.items():
        if head.startswith(signatures):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        return _HEIF_BRANDS.get(head[8:12])
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return "bmp"
    if head[:2] in _PNM and head[2:3].isspace():
        return "pnm"
    return None


def _missing_end(name: str, head: bytes, data: Bytes) -> str | None:
    """What an image of a format that marks its end lacks there."""
    match name:
        case "png" if bytes(data).rfind(b"IEND\xaeB`\x82") < 0:
            return "its IEND chunk"
        case "jpeg" if bytes(data).rfind(b"\xff\xd9") < 0:
            return "its end-of-image marker"
        case "gif" if b"\x3b" not in bytes(data[-512:]):
            return "its trailer"
        case "webp" if len(data) < 8 + struct.unpack_from("<I", head, 4)[0]:
            return "the length it declares"
        case "bmp" if len(head) < 18 or len(data) < struct.unpack_from("<I", head, 2)[0]:
            return "the length it declares"
    return None


def image_size(data: Bytes) -> tuple[int, int] | None:
    """Returns the width and height that the header of an image tells, or None: of another format, or damaged.

    Known are PNG, GIF, BMP, JPEG and WebP. Neither is checked against the pixels.

    >>> image_size(b"GIF89a" + bytes([3, 0, 2, 1]))
    (3, 258)
    """
    try:
        reader = _SIZE_READERS.get(recognise(bytes(data[:32])))
        return None if reader is None else reader(bytes(data))
    except (NotAnImageError, struct.error):
        return None


def _png_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _gif_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _bmp_size(data: bytes) -> tuple[int, int]:
    """A height below zero says that rows go from the top; the first header there was has 16 bits."""
    short = struct.unpack_from("<I", data, 14)[0] == _BMP_CORE_HEADER
    width, height = struct.unpack_from("<HH" if short else "<ii", data, 18)
    return width, abs(height)


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Goes from segment to segment up to the start of a frame."""
    at = 2
    while True:
        fill, marker, length = struct.unpack_from(">BBH", data, at)
        if fill != 0xFF:
            return None
        if marker == 0xFF:
            at += 1  # a fill byte
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        else:
            at += 2 + length


def _webp_size(data: bytes) -> tuple[int, int] | None:
    match data[12:16]:
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            bits = struct.unpack_from("<I", data, 21)[0]
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8X":
            low, high, low_height, high_height = struct.unpack_from("<HBHB", data, 24)
            return 1 + (high << 16 | low), 1 + (high_height << 16 | low_height)
    return None


_SIZE_READERS: Final[Mapping[str, Callable[[bytes], tuple[int, int] | None]]] = {
    "png": _png_size,
    "gif": _gif_size,
    "bmp": _bmp_size,
    "jpeg": _jpeg_size,
    "webp": _webp_size,
}
