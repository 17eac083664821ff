"""What an image looks like in 24 bytes: a perceptual hash of 64 bits, its mean colour, its size in pixels.

The hash is that of ``imagehash.phash``, bit for bit on the same 32 x 32 grey pixels: the signs of the lowest 8 x 8
frequencies of a discrete cosine transform, relative to their median. It is made here, by two products of matrices for a
batch of images, since that library brings SciPy and PyWavelets along, and decodes every JPEG in full.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cas.errors import InvalidInputError
from cas.integrations.near.hamming import Codes
from cas.integrations.pictures import open_picture, over, reason_of

_SIDE: Final = 32
_LOW: Final = 8
_DECODED_SIDE: Final = 4 * _SIDE
_FLAT: Final = 1.5
"""Below this standard deviation of its 1,024 greys, of 255, an image is flat: a JPEG makes 0.5 to 1.3 of one colour,
and the hash of a picture so pale changes by 12 bits when it is compressed."""
_NOISE: Final = 1e-6
_WHITE: Final = 255
_BLACK: Final = 0
# The numbers that Pillow has for its filters.
_LANCZOS: Final = 1
_BOX: Final = 4

WORDS: Final = 3
Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """An image on its way to a hash: 32 x 32 greys, mean red, green and blue, width and height."""

    greys: NDArray[np.uint8]
    colour: tuple[int, int, int]
    size: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """What images look like, packed in words (uint64) of shape (images, 3): hash, width and height, flat and colour."""

    words: Words

    @property
    def codes(self) -> Codes:
        """The perceptual hashes; 0 of flat images, which are alike as their colours are."""
        return self.words[:, 0]

    @property
    def widths(self) -> NDArray[np.int64]:
        """The widths in pixels."""
        return (self.words[:, 1] >> np.uint64(32)).astype(np.int64)

    @property
    def heights(self) -> NDArray[np.int64]:
        """The heights in pixels."""
        return (self.words[:, 1] & np.uint64(0xFFFFFFFF)).astype(np.int64)

    @property
    def flat(self) -> NDArray[np.bool_]:
        """Which images are of one grey."""
        return (self.words[:, 2] >> np.uint64(24)).astype(np.bool_)

    @property
    def colours(self) -> NDArray[np.int16]:
        """The mean red, green and blue, shape (images, 3)."""
        shifts = np.array([16, 8, 0], np.uint64)
        return ((self.words[:, 2, None] >> shifts) & np.uint64(255)).astype(np.int16)


def look_at(picture: bytes | NDArray[Any]) -> Look:
    """Looks at an encoded image, or at pixels of shape (height, width) or (height, width, channels).

    It is turned as its EXIF data say; of several frames the first counts. What may be seen through lies on white, or
    where nothing of it shows there, on black. Raises :class:`~cas.errors.InvalidInputError` with the reason for what
    cannot be decoded. Cost: decoding; of a JPEG at the least size that is above 128 pixels.
    """
    try:
        image, size = open_picture(picture, _DECODED_SIDE)
        look = _shrink(image if image.mode == "RGB" else over(image, _WHITE), size)
        if image.mode == "RGBA" and look.greys.std() < _FLAT:
            look = _shrink(over(image, _BLACK), size)
        return look
    except MemoryError:
        raise
    except Exception as error:
        # Decoders of many formats, each with errors of its own, meet bytes of strangers here.
        raise InvalidInputError(reason_of(error)) from error


def _shrink(image: Any, size: tuple[int, int]) -> Look:
    greys = image.convert("L").resize((_SIDE, _SIDE), _LANCZOS)
    red, green, blue = image.resize((1, 1), _BOX).getpixel((0, 0))
    return Look(np.asarray(greys), (red, green, blue), size)


def pack_looks(looks: list[Look]) -> Looks:
    """Hashes images that were looked at."""
    if not looks:
        return Looks(np.empty((0, WORDS), np.uint64))
    greys = np.stack([look.greys for look in looks])
    flat = greys.std(axis=(1, 2)) < _FLAT
    colours = np.array([look.colour for look in looks], np.uint64)
    sizes = np.array([look.size for look in looks], np.uint64)
    tints = colours[:, 0] << np.uint64(16) | colours[:, 1] << np.uint64(8) | colours[:, 2]
    return Looks(
        np.column_stack(
            (
                np.where(flat, np.uint64(0), hash_greys(greys)),
                sizes[:, 0] << np.uint64(32) | sizes[:, 1],
                flat.astype(np.uint64) << np.uint64(24) | tints,
            )
        )
    )


def hash_greys(greys: NDArray[np.uint8]) -> Codes:
    """Returns the perceptual hash of images of shape (images, 32, 32).

    Frequencies that are nought but for rounding, as in symmetric images, count as nought.
    """
    angles = np.pi / (2 * _SIDE) * np.outer(np.arange(_LOW), 2 * np.arange(_SIDE) + 1)
    waves = 2 * np.cos(angles)
    low = (waves @ greys.astype(np.float64) @ waves.T).reshape(-1, _LOW * _LOW)
    low[np.abs(low) < _NOISE] = 0.0
    bits = low > np.median(low, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8").astype(np.uint64).reshape(-1)
