"""Groups of rows whose images look alike, as arrays, and what of each stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cas.codec.rows import Ints
from cas.repo.identical import GroupSequence

THRESHOLD: Final = 8
COLOUR: Final = 32


class Unreadable(NamedTuple):
    """A row whose image cannot be decoded, and why."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """Rows with their images: numbers, Hamming distances to the first row of the group, bytes, widths, heights (int64).

    ``images`` are numbers that rows of identical images share.
    """

    rows: Ints
    distances: Ints
    images: Ints
    sizes: Ints
    widths: Ints
    heights: Ints

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: Ints | slice) -> Members:
        """Returns the members at some positions."""
        return Members(*(getattr(self, name)[positions] for name in Members.__slots__))


@dataclass(frozen=True, slots=True, eq=False)
class NearGroup:
    """Rows whose images look like that of the first one, which is the one to keep: nearest first, at least two."""

    members: Members

    @property
    def rows(self) -> Ints:
        """The numbers of the rows (int64)."""
        return self.members.rows

    @property
    def distances(self) -> Ints:
        """The bits in which the hash of each differs from that of the first, 0 to the threshold (int64)."""
        return self.members.distances

    @property
    def identical(self) -> NDArray[np.bool_]:
        """Which rows have the very content of the first one, as itself."""
        same: NDArray[np.bool_] = self.members.images == self.members.images[0]
        return same

    @property
    def wasted_bytes(self) -> int:
        """The bytes of all rows but the first."""
        return int(self.members.sizes[1:].sum())

    def to_dict(self) -> dict[str, Any]:
        """Returns the rows with distances and sizes, and which are identical to the first."""
        return {
            "rows": self.rows.tolist(),
            "distances": self.distances.tolist(),
            "identical": self.identical.tolist(),
            "sizes_bytes": self.members.sizes.tolist(),
            "widths": self.members.widths.tolist(),
            "heights": self.members.heights.tolist(),
            "wasted_bytes": self.wasted_bytes,
        }


@dataclass(frozen=True, slots=True, eq=False)
class NearDuplicates(GroupSequence[NearGroup]):
    """Groups of rows whose images look alike, by wasted bytes descending, then by first row.

    The first row of a group is the one to keep: of most pixels, then of most bytes, then the first. Held as arrays, so
    that millions of groups take 50 bytes a row: ``members`` of all groups one after the other, and where each group
    ends in them. ``threshold`` and ``colour`` are what was asked for; ``unreadable`` lists rows that are in no group,
    for their images cannot be decoded; ``images`` counts those that can, equal ones once, and ``looked_at`` how many
    of them were decoded for it, the others being known from before.
    """

    members: Members
    ends: Ints
    column: str
    threshold: int
    colour: int
    unreadable: tuple[Unreadable, ...]
    images: int
    looked_at: int

    def _group(self, number: int, start: int, stop: int) -> NearGroup:
        return NearGroup(self.members.take(slice(start, stop)))

    @property
    def wasted_bytes(self) -> int:
        """The bytes of all rows but the first of each group."""
        return int(self.members.sizes[~self._is_first()].sum())

    def repeats(self) -> Ints:
        """Returns all rows but the first of each group, group by group: what may be removed."""
        return self.members.rows[~self._is_first()]

    def firsts(self) -> Ints:
        """Returns for each row of :meth:`repeats` the first row of its group, which stays."""
        return np.repeat(self.members.rows[self._is_first()], np.diff(self.ends, prepend=0) - 1)

    def _is_first(self) -> NDArray[np.bool_]:
        first = np.zeros(len(self.members), np.bool_)
        first[self.ends - np.diff(self.ends, prepend=0)] = True
        return first

    def __repr__(self) -> str:
        return (
            f"<NearDuplicates of {self.column!r} within {self.threshold} bits: {len(self):,} groups, "
            f"{len(self.repeats()):,} repeated rows, {len(self.unreadable):,} unreadable>"
        )
