"""What an import reads: columns of known types, batch by batch, as often as it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cas.codec.image_format import NotAnImageError, recognise
from cas.integrations.folder.scan import Skipped
from cas.integrations.values import plain_type
from cas.types import Bytes, Image, Nullable, Sequence, Type

BATCH_ROWS: Final = 1024
BATCH_BYTES: Final = 8 << 20

Table = dict[str, Any]
"""Values by column, as many of each: what ``Dataset.append`` takes, also arrays of Arrow.

Encoded images are a list of bytes or :class:`Unusable`.
"""

ReadFile = Callable[[str], Any]
"""Gives the bytes of the image that a path names, or :class:`Unusable`."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """Stands for an image that is not there or is none: what names it, and the reason."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Source:
    """Rows to be imported.

    ``batches`` yields them from the beginning each time it is called. Rows with the same value in the column ``key``
    are the same row in two imports; without a key those of equal content are. ``metadata`` goes to the dataset.
    ``skipped`` lists what was left out when the source was opened.
    """

    schema: Mapping[str, Type]
    batches: Callable[[], Iterator[Table]]
    key: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)


def is_image(type_: Type) -> bool:
    """Whether a column is of encoded images, perhaps with missing ones."""
    inner = plain_type(type_)
    return isinstance(inner, Image) and not inner.raw


def encoded_type(type_: Type) -> Type:
    """Returns a type whose values are those of another one, with images as the bytes of their files."""
    match type_:
        case Image(raw=False):
            return Bytes()
        case Nullable():
            return Nullable(encoded_type(type_.of))
        case Sequence():
            return Sequence(encoded_type(type_.of))
    return type_


def begins_as_image(content: bytes) -> bool:
    """Whether bytes begin like an image of a known format."""
    try:
        recognise(content[:32])
    except NotAnImageError:
        return False
    return True


class Collector:
    """Rows one by one to batches of at most 1,024 rows and, with the sizes that are told, about 8 MiB."""

    def __init__(self, columns: list[str]) -> None:
        self._columns = columns
        self._clear()

    def _clear(self) -> None:
        self._table: dict[str, list[Any]] = {name: [] for name in self._columns}
        self._rows = self._bytes = 0

    def add(self, row: Mapping[str, Any], size_bytes: int = 0) -> Iterator[Table]:
        """Adds a row, columns left out being missing, and yields the batch that it fills."""
        for name, values in self._table.items():
            values.append(row.get(name))
        self._rows += 1
        self._bytes += size_bytes
        if self._rows >= BATCH_ROWS or self._bytes >= BATCH_BYTES:
            yield from self.rest()

    def rest(self) -> Iterator[Table]:
        """Yields the rows that are left, if there are any."""
        if self._rows:
            table = self._table
            self._clear()
            yield table
