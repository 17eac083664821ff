"""Encoded images to arrays and back, with Pillow where it is installed."""

from __future__ import annotations

import io
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cas.codec.image_format import NotAnImageError, image_format
from cas.errors import InvalidInputError, InvalidTypeError, UnsupportedError
from cas.hashing import Bytes


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError:
        raise UnsupportedError(
            "decoding and encoding images needs Pillow; install it with: pip install 'tensor-cas[images]'"
        ) from None
    return Image


def decode_image(data: Bytes) -> NDArray[Any]:
    """Returns the pixels of an encoded image: (height, width) or (height, width, channels), as Pillow gives them.

    Palettes are expanded to RGB or RGBA. Raises :class:`~cas.errors.InvalidInputError` for bytes that Pillow cannot
    decode.
    """
    pillow = _pillow()
    try:
        with pillow.open(io.BytesIO(data)) as image:
            if image.mode == "P":
                image = image.convert("RGBA" if "transparency" in image.info else "RGB")
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        raise InvalidInputError(f"the image cannot be decoded: {error}; its bytes are in Column.bytes") from error


def encode_image(value: object) -> Bytes:
    """Returns the encoded form of an image: bytes as they are, an array of pixels as PNG.

    Raises :class:`~cas.errors.InvalidInputError` for bytes that are no image, and for arrays that PNG does not hold
    exactly.
    """
    if isinstance(value, memoryview):
        value = value.tobytes()
    if isinstance(value, (bytes, bytearray)):
        try:
            image_format(value)
        except NotAnImageError as error:
            raise InvalidInputError(f"the bytes are not an encoded image: {error}") from None
        return value
    if not isinstance(value, np.ndarray):
        raise InvalidTypeError(
            f"an image is given as {type(value).__name__}; expected encoded bytes or an array of pixels"
        )
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
