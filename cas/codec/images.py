"""Encoded images to arrays and back, with Pillow where it is installed; JPEG with simplejpeg where that is."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cas.codec.image_format import NotAnImageError, image_format
from cas.codec.masked import is_masked
from cas.errors import InvalidInputError, InvalidTypeError, UnsupportedError
from cas.hashing import Bytes

# Those whose arrays of pixels are grey, grey and alpha, or red, green, blue and alpha, as a decoded file gives them.
_PIXEL_MODES: Final = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16", "I", "F")
_DEEP: Final = ("I", "F")
_WEBP_SIDE: Final = 16_383
_JPEG: Final = b"\xff\xd8\xff"
_MOST_PIXELS: Final = 1 << 26
"""Of larger images Pillow decides: it warns of those that are made to fill the memory."""
# By the colours of the file and the mode that is wanted, where the pixels are as Pillow's: grey of colours is not.
_JPEG_SPACES: Final[Mapping[tuple[str, str | None], str]] = {
    ("Gray", None): "GRAY",
    ("Gray", "L"): "GRAY",
    ("Gray", "RGB"): "RGB",
    ("Gray", "RGBA"): "RGBA",
    ("YCbCr", None): "RGB",
    ("YCbCr", "RGB"): "RGB",
    ("YCbCr", "RGBA"): "RGBA",
    ("RGB", None): "RGB",
    ("RGB", "RGB"): "RGB",
    ("RGB", "RGBA"): "RGBA",
}


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError:
        raise UnsupportedError(
            "decoding and encoding images needs Pillow; install it with: pip install 'tensor-cas[images]'"
        ) from None
    return Image


def decode_image(data: Bytes, mode: str | None = None) -> NDArray[Any]:
    """Returns the pixels of an encoded image: (height, width) or (height, width, channels), as Pillow gives them.

    Palettes are expanded to RGB or RGBA. With ``mode``, one of ``"L"``, ``"RGB"`` and ``"RGBA"``, all images have its
    channels. JPEG is decoded by simplejpeg where that is installed, to the same pixels in two thirds of the time.
    Raises :class:`~cas.errors.InvalidInputError` for bytes that Pillow cannot decode, and for pixels of more than 8
    bits that a mode would cut.
    """
    pixels = _decode_jpeg(data, mode) if bytes(data[:3]) == _JPEG else None
    return _decode_with_pillow(data, mode) if pixels is None else pixels


def _decode_with_pillow(data: Bytes, mode: str | None) -> NDArray[Any]:
    pillow = _pillow()
    try:
        with pillow.open(io.BytesIO(data)) as image:
            if mode is None or image.mode == mode:
                return _pixels(image)
            if image.mode.startswith(_DEEP):
                raise ValueError(f"its mode {image.mode} has more than 8 bits, which {mode} would cut")
            return np.asarray(image.convert(mode))
    except MemoryError:
        raise
    except Exception as error:
        # Decoders of many formats, each with errors of its own, meet bytes of strangers here.
        raise InvalidInputError(f"the image cannot be decoded: {error}; its bytes are in Column.bytes") from error


@cache
def _simplejpeg() -> ModuleType | None:
    try:
        import simplejpeg
    except ImportError:
        return None
    module: ModuleType = simplejpeg
    return module


def _decode_jpeg(data: Bytes, mode: str | None) -> NDArray[Any] | None:
    """The pixels of a plain JPEG; None for others, and for what Pillow has to complain of."""
    simplejpeg = _simplejpeg()
    if simplejpeg is None:
        return None
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        wanted = _JPEG_SPACES.get((space, mode))
        if wanted is None or height * width > _MOST_PIXELS:
            return None
        pixels: NDArray[Any] = simplejpeg.decode_jpeg(data, wanted)
    except ValueError:
        return None
    return pixels[:, :, 0] if wanted == "GRAY" else pixels


def is_pillow_image(value: object) -> bool:
    """Tells whether a value is an image of Pillow, without importing it."""
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(value).__mro__)


def pixels_of(value: Any) -> Any:
    """Returns the array of pixels of an image of Pillow, as :func:`decode_image` would; other values as they are."""
    if not is_pillow_image(value):
        return value
    if value.mode not in _PIXEL_MODES:
        raise InvalidInputError(
            f"an image of Pillow's mode {value.mode} has no array of pixels that says its colours; "
            f'convert it first, as with image.convert("RGB")'
        )
    try:
        return _pixels(value)
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidInputError(f"the image cannot be decoded: {error}") from error


def _pixels(image: Any) -> NDArray[Any]:
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    return np.asarray(image)


def encode_image(value: object, compression: str = "png") -> Bytes:
    """Returns the encoded form of an image: bytes as they are, pixels without loss as ``compression`` says.

    ``png`` and ``webp`` encode an array or an image of Pillow; ``jpeg`` refuses them. An array of one channel reads
    back without that axis. Raises :class:`~cas.errors.InvalidInputError` for bytes that are no image, and for arrays
    that the format does not hold exactly.
    """
    if isinstance(value, memoryview):
        value = value.tobytes()
    if isinstance(value, (bytes, bytearray)):
        try:
            image_format(value)
        except NotAnImageError as error:
            raise InvalidInputError(f"the bytes are not an encoded image: {error}") from None
        return value
    value = pixels_of(value)
    if not isinstance(value, np.ndarray) or is_masked(value):
        raise InvalidTypeError(
            f"an image is given as {type(value).__name__}; expected encoded bytes or an array of pixels"
        )
    if compression == "jpeg":
        raise InvalidInputError(
            "an array of pixels would not read back from JPEG as it was; give the bytes of the encoded image, or use "
            "an image column with sample_compression png, webp or None"
        )
    return _encode_webp(value) if compression == "webp" else _encode_png(value)


def _encode_png(value: NDArray[Any]) -> bytes:
    channels = value.shape[2] if value.ndim == 3 else 1
    if value.dtype not in (np.uint8, np.uint16, np.bool_) or value.ndim not in (2, 3) or channels not in (1, 2, 3, 4):
        raise InvalidInputError(
            f"an array of shape {value.shape} and dtype {value.dtype} is no image; expected uint8 pixels of shape "
            f"(height, width) or (height, width, 1 to 4)"
        )
    if 0 in value.shape or (value.dtype != np.uint8 and channels > 1):
        raise InvalidInputError(
            f"a {value.dtype} array of shape {value.shape} has no exact PNG form; use an array column"
        )
    pixels = value[:, :, 0] if value.ndim == 3 and channels == 1 else value
    buffer = io.BytesIO()
    _pillow().fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _encode_webp(value: NDArray[Any]) -> bytes:
    """The lossless form; it is decoded again, for WebP has no grey pixels and no large images."""
    colours = value.ndim == 3 and value.shape[2] in (3, 4)
    if not colours or value.dtype != np.uint8 or 0 in value.shape or max(value.shape) > _WEBP_SIDE:
        raise InvalidInputError(
            f"a {value.dtype} array of shape {value.shape} has no exact WebP form; expected uint8 pixels of shape "
            f"(height, width, 3 or 4), of at most {_WEBP_SIDE} in height and width"
        )
    buffer = io.BytesIO()
    image = _pillow().fromarray(value)
    try:
        image.save(buffer, "WEBP", lossless=True, exact=True)
    except (KeyError, OSError, ValueError) as error:
        raise UnsupportedError(f"this Pillow does not write WebP: {error}; install one that does") from error
    if not np.array_equal(decode_image(buffer.getvalue()), value):
        raise InvalidInputError("the array does not read back from WebP as it was; use sample_compression png or None")
    return buffer.getvalue()
