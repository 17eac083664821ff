"""Types with pixels a row: encoded and raw images, masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from cas.errors import InvalidInputError, shown
from cas.types.arrays import checked_dtype
from cas.types.base import Type
from cas.types.dtypes import native_dtype, plane_bytes
from cas.types.layout import DATA, SHAPE, Layout

RAW_IMAGE: Final = "raw_image"
_PIXEL_SHAPE_BYTES: Final = 24
_COMPRESSIONS: Final = {"png": "png", "webp": "webp", "jpeg": "jpeg", "jpg": "jpeg"}


def pixel_layouts(dtype: str, *, alone: bool = False) -> dict[str, Layout]:
    """Returns the streams of pixel arrays: elements, and height, width and channels."""
    return {
        DATA: Layout(None, alone=alone, element_bytes=plane_bytes(dtype)),
        SHAPE: Layout(_PIXEL_SHAPE_BYTES, element_bytes=8),
    }


@dataclass(frozen=True, slots=True)
class SegmentMask(Type):
    """An array of class numbers a row, of shape (height, width) or (height, width, channels), free in each row.

    ``dtype`` is an integer dtype. Reads as a list of arrays.

    >>> from cas import types
    >>> str(types.SegmentMask("uint16"))
    'segment_mask[uint16]'
    """

    dtype: str = "uint8"
    name: ClassVar[str] = "segment_mask"

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", checked_dtype(self.dtype, "iu", "segment masks"))

    def layouts(self) -> dict[str, Layout]:
        return pixel_layouts(self.dtype)

    def to_record(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        return native_dtype(self.dtype)

    def __str__(self) -> str:
        return f"{self.name}[{self.dtype}]"


@dataclass(frozen=True, slots=True)
class BinaryMask(Type):
    """An array of booleans a row, of shape (height, width) or (height, width, channels), free in each row.

    Reads as a list of arrays.

    >>> from cas import types
    >>> types.as_type("binary_mask")
    BinaryMask()
    """

    name: ClassVar[str] = "binary_mask"

    @property
    def dtype(self) -> str:
        """The dtype of the elements."""
        return "bool"

    def layouts(self) -> dict[str, Layout]:
        return pixel_layouts(self.dtype)

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        return native_dtype(self.dtype)


@dataclass(frozen=True, slots=True)
class Image(Type):
    """An image a row: encoded, its bytes kept verbatim, or with ``sample_compression=None`` raw, an array of pixels.

    Encoded images take the bytes of an image file of any known format. ``sample_compression`` says what becomes of
    arrays of pixels, and of images of Pillow: ``"png"`` and ``"webp"`` encode them, without loss, or refuse them;
    ``"jpeg"`` refuses them, for they would not read back as they were. Raw images take arrays of ``dtype`` and shape
    (height, width) or (height, width, channels), and no bytes. Each image is one chunk, so that equal ones are always
    found. Reads as a list of arrays of pixels.

    >>> from cas import types
    >>> str(types.Image()), str(types.Image("uint16", None))
    ('image', 'image[raw, uint16]')
    """

    dtype: str = "uint8"
    sample_compression: str | None = "png"
    name: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", checked_dtype(self.dtype, "biuf", "images"))
        given = self.sample_compression
        known = _COMPRESSIONS.get(given.lower()) if isinstance(given, str) else None
        if given is not None and known is None:
            raise InvalidInputError(
                f"sample_compression {shown(given)} is unknown; expected 'png', 'webp', 'jpeg', or None for raw pixels"
            )
        object.__setattr__(self, "sample_compression", known)
        if known is not None and self.dtype != "uint8":
            raise InvalidInputError(
                f"images of dtype {self.dtype} are not kept as {known}; sample_compression=None keeps them raw"
            )

    @property
    def raw(self) -> bool:
        """Whether arrays are kept as they are, not as encoded images."""
        return self.sample_compression is None

    def layouts(self) -> dict[str, Layout]:
        if self.raw:
            return pixel_layouts(self.dtype, alone=True)
        return {DATA: Layout(None, alone=True, compress=False)}

    def to_record(self) -> dict[str, Any]:
        if self.raw:
            return {"name": RAW_IMAGE, "dtype": self.dtype}
        return {"name": self.name} | (
            {} if self.sample_compression == "png" else {"sample_compression": self.sample_compression}
        )

    @property
    def numpy_dtype(self) -> np.dtype[Any] | None:
        # An encoded image has the dtype that its file says.
        return native_dtype(self.dtype) if self.raw else None

    def __str__(self) -> str:
        if self.raw:
            return f"{self.name}[raw, {self.dtype}]"
        return self.name if self.sample_compression == "png" else f"{self.name}[{self.sample_compression}]"
