"""The streams that hold the rows of a column, and how the rows of a stream are cut and kept (FORMAT section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DATA: Final = "data"
SHAPE: Final = "shape"
MASK: Final = "mask"


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows of one stream are cut into chunks and kept.

    ``row_bytes`` is the length of every row, or None where rows vary; ``alone`` makes each row a chunk;
    ``element_bytes`` is the size of one number, for the byte-plane filter; ``compress`` is False for
    bytes that are compressed already.
    """

    row_bytes: int | None
    alone: bool = False
    element_bytes: int = 1
    compress: bool = True
