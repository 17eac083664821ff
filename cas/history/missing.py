"""What stands for a value that is not there, where None may be one that is."""

from __future__ import annotations

import enum
from typing import Final


class Missing(enum.Enum):
    """The type of :data:`MISSING`."""

    MISSING = "MISSING"

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing.MISSING
"""A value that is not there: of a deleted row, a removed key, a column that one side does not have."""
