"""Byte planes: bytes of like weight of all elements together, as one plane after the other (FORMAT section 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cas.codec.rows import Flat
from cas.hashing import Bytes

_OBJECTS_BYTES: Final = 300
_WIDE: Final[dict[int, np.dtype[Any]]] = {size: np.dtype(f"<u{size}") for size in (2, 4, 8)}


@dataclass(frozen=True, slots=True)
class Planes:
    """A payload of ``count`` elements as its first planes; all others are zero, as they are of small numbers.

    It stands for the payload where that is asked for in parts, and takes only as much memory as its planes.
    """

    planes: bytes
    count: int
    element_bytes: int

    def __len__(self) -> int:
        """The length of the payload."""
        return self.count * self.element_bytes

    def __getitem__(self, part: slice) -> bytes:
        """Bytes of the payload; only slices from a start to a stop are taken."""
        size = self.element_bytes
        first, last = part.start // size, -(-part.stop // size)
        if part.start == first * size and part.stop == (first + 1) * size:
            return self.planes[first :: self.count].ljust(size, b"\0")
        payload = np.empty((last - first) * size, np.uint8)
        from_planes(self._table()[:, first:last], size, payload)
        return payload.tobytes()[part.start - first * size : part.stop - first * size]

    def write(self, payload: Flat) -> None:
        """Writes the payload to memory of its length."""
        from_planes(self._table(), self.element_bytes, payload)

    def _table(self) -> Flat:
        return np.frombuffer(self.planes, np.uint8).reshape(-1, self.count)


Payload = Bytes | Planes
"""A payload in either form."""


def payload_bytes(payload: Payload) -> Bytes:
    """Returns a payload as bytes."""
    return payload[0 : len(payload)] if isinstance(payload, Planes) else payload


def write_payload(payload: Payload, memory: Flat) -> None:
    """Writes a payload to memory of its length."""
    if isinstance(payload, Planes):
        payload.write(memory)
    else:
        memory.data[:] = payload


def memory_bytes(payload: Payload) -> int:
    """Returns the memory that a payload takes, with the objects around it."""
    return _OBJECTS_BYTES + (len(payload.planes) if isinstance(payload, Planes) else len(payload))


def from_planes(planes: Flat, element_bytes: int, payload: Flat) -> None:
    """Writes the elements of planes, of shape (planes, elements), to a payload; planes that are missing are zero."""
    count = planes.shape[1]
    elements = payload[: count * element_bytes].reshape(count, element_bytes)
    wide = _WIDE.get(element_bytes)
    if wide is not None and len(planes) and payload.__array_interface__["data"][0] % element_bytes == 0:
        # The first plane, widened, is all there is to elements whose other bytes are zero.
        elements.reshape(-1).view(wide)[:] = planes[0]
        written = 1
    else:
        elements[:, len(planes) :] = 0
        written = 0
    for number in range(written, len(planes)):
        elements[:, number] = planes[number]


def count_used(elements: Flat) -> int:
    """Returns how many planes of elements, of shape (elements, element_bytes), come before those that are zero; at
    least one."""
    element_bytes: int = elements.shape[1]
    wide = _WIDE.get(element_bytes)
    if wide is None:
        return element_bytes
    every_bit = int(np.bitwise_or.reduce(np.ndarray(len(elements), wide, elements)))
    return max(1, -(-every_bit.bit_length() // 8))


def whole_elements(payload: Bytes, element_bytes: int) -> tuple[Flat, memoryview]:
    """Returns the bytes of the elements, of shape (elements, element_bytes), and those that are left over."""
    view = memoryview(payload)
    whole = len(view) // element_bytes * element_bytes
    return np.frombuffer(view, np.uint8, whole).reshape(-1, element_bytes), view[whole:]
