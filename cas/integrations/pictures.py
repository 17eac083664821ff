"""Encoded images and arrays of pixels as pictures to be looked at: upright, in colours, small; drawn by Pillow."""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cas.errors import UnsupportedError

try:
    from PIL import Image, ImageOps
except ImportError:
    raise UnsupportedError("drawing images needs Pillow; install it with: pip install 'tensor-cas[images]'") from None

Picture = bytes | NDArray[Any] | None
"""An encoded image, pixels of shape (height, width) or (height, width, channels), or none."""

# What Pillow says of a file in memory, which differs each time.
_ADDRESS: Final = re.compile(r" ?<[^<>]* at 0x[0-9a-f]+>")
_SMALL_SIDE: Final = 48
"""Icons up to here keep their pixels as they are, in a PNG, which is smaller than a JPEG of them."""


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silences what Pillow says of large images, and of odd fields beside the pixels; for the threads of a block too.

    To be entered by one thread, for Python's filters are those of the process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def reason_of(error: Exception) -> str:
    """Returns why a picture cannot be decoded, the same each time."""
    return _ADDRESS.sub("", str(error)) or type(error).__name__


def open_picture(picture: bytes | NDArray[Any], side: int) -> tuple[Image.Image, tuple[int, int]]:
    """Returns a picture upright in RGB, or RGBA where it may be seen through, and the width and height that it has.

    Of several frames it is the first. A JPEG may be decoded at a fraction of its size that is at least ``side`` wide
    and high. 16 bits are taken by their upper half, other numbers from the least to the greatest. Decoders raise
    errors of many kinds for what they cannot read.
    """
    if not isinstance(picture, bytes):
        return _coloured(Image.fromarray(_displayed(picture))), (picture.shape[1], picture.shape[0])
    with Image.open(io.BytesIO(picture)) as image:
        size = image.size
        image.draft("RGB", (side, side))
        return _coloured(ImageOps.exif_transpose(image)), size


def _coloured(image: Image.Image) -> Image.Image:
    if image.mode[0] in "IF":
        image = Image.fromarray(_displayed(np.asarray(image)))
    transparent = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    return image.convert("RGBA" if transparent else "RGB")


def _displayed(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels as 8 bits: those of 16 bits by their upper half, other numbers from the least to the greatest."""
    if pixels.ndim == 3 and pixels.shape[2] not in (3, 4):
        pixels = pixels[:, :, 0]
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2:  # in either byte order
        return (pixels >> 8).astype(np.uint8)
    values = np.nan_to_num(pixels.astype(np.float64))
    low, high = values.min(initial=0.0), values.max(initial=0.0)
    spread: NDArray[np.uint8] = ((values - low) * (255.0 / ((high - low) or 1.0))).astype(np.uint8)
    return spread


def over(image: Image.Image, ground: int) -> Image.Image:
    """Returns a picture that may be seen through on a ground of one grey, in RGB."""
    below = Image.new("RGBA", image.size, (ground, ground, ground, 255))
    return Image.alpha_composite(below, image).convert("RGB")


def thumbnail(picture: bytes | NDArray[Any], side: int, most_enlarged: int = 1) -> Image.Image:
    """Returns a picture that fits a square, RGB or RGBA; small ones are enlarged by whole pixels, so often at most."""
    image, _ = open_picture(picture, 2 * side)
    larger = max(image.size)
    if larger > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        return image
    factor = min(side // larger, most_enlarged)
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def data_uri(image: Image.Image) -> str:
    """Returns a small picture as a ``data:`` address: JPEG, or PNG for icons and what may be seen through."""
    exact = image.mode == "RGBA" or max(image.size) <= _SMALL_SIDE
    buffer = io.BytesIO()
    if exact:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=75)
    return f"data:image/{'png' if exact else 'jpeg'};base64,{base64.b64encode(buffer.getvalue()).decode()}"
