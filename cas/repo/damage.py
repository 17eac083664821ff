"""What a check of a store finds, and the places in datasets that it touches."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

ERROR: Final = "error"
"""Data is lost or wrong."""
WARNING: Final = "warning"
"""Nothing that a dataset shows is touched."""

DAMAGED: Final = "damaged blob"
MISSING: Final = "missing blob"
WRONG_NODE: Final = "wrong node"
TABLE: Final = "table row"
VERSION_ROW: Final = "versions row"
RECORD: Final = "record"
DATABASE: Final = "database"

Ranges = tuple[tuple[int, int], ...]
"""Rows, half open, ascending."""


@dataclass(frozen=True, slots=True)
class Place:
    """One use of a blob: in the versions of a dataset that a ref leads to, a part of these, and the rows it holds.

    ``part`` is "column", "metadata", "row map", "defaults", "tree" or "version"; rows are those of ``version``, the
    newest of the versions. ``count`` tells how many versions there are, ``others`` lists some of them.
    """

    dataset: str
    ref: str
    version: str
    part: str
    column: str | None = None
    stream: str | None = None
    rows: Ranges = ()
    count: int = 1
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it must be: ``what`` it is, and the blob, or the table and key, that it is about."""

    severity: str
    what: str
    message: str
    blob: str | None = None
    table: str | None = None
    key: str | None = None
    places: tuple[Place, ...] = ()

    @property
    def subject(self) -> tuple[str | None, ...]:
        """What tells it from other findings of a check."""
        return self.what, self.blob, self.table, self.key

    def to_dict(self) -> dict[str, Any]:
        """Returns all facts by name."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check looked at, what it found, and what a repair did."""

    blobs: int
    stored_bytes: int
    versions: int
    findings: tuple[Finding, ...] = ()
    repaired: tuple[Finding, ...] = ()

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity == ERROR for finding in self.findings)

    @property
    def warnings(self) -> int:
        """How many findings are harmless."""
        return len(self.findings) - self.errors

    def to_dict(self) -> dict[str, Any]:
        """Returns all facts by name."""
        return dataclasses.asdict(self) | {"errors": self.errors, "warnings": self.warnings}
