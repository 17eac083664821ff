"""What all column types have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cas.types.layout import Layout


@dataclass(frozen=True, slots=True)
class Type:
    """The base of all column types: an immutable value, equal to others by its fields."""

    name: ClassVar[str]

    def layouts(self) -> dict[str, Layout]:
        """Returns the layout of every stream of the type, by stream name."""
        raise NotImplementedError

    def to_record(self) -> dict[str, Any]:
        """Returns the map that stands for the type in the stored schema."""
        return {"name": self.name}

    @property
    def nullable(self) -> bool:
        """Whether a row may be missing (``None``)."""
        return False

    @property
    def numpy_dtype(self) -> np.dtype[Any] | None:
        """The NumPy dtype of the values, or None where they are no arrays of one dtype."""
        return None

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        """The shape of a row with None where it is free; empty for single values, and where the axes are free too."""
        return ()

    def __str__(self) -> str:
        return self.name
