"""Recognising encoded images by their bytes, without a decoder.

The checks follow the formats' specifications: PNG (W3C, third edition), JPEG (ITU-T T.81), GIF89a, WebP and
AVIF/HEIF containers (RIFF, ISO/IEC 14496-12), BMP, TIFF 6.0 and JPEG 2000. They look at signatures and at the end
where the format marks it; they do not decode.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
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
_HEIF_BRANDS: Final = {b"avif": "avif", b"avis": "avif", b"heic": "heif", b"heix": "heif", b"mif1": "heif"}


class NotAnImageError(ValueError):
    """The bytes are no image of a known format, or an incomplete one; the message says why."""


def image_format(data: Bytes) -> str:
    """Returns the format of an encoded image, in lower case: ``png``, ``jpeg``, ``gif``, ...

    Raises :class:`NotAnImageError` where the bytes begin like no image, or end too early.
    """
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
