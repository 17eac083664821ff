"""What is done about the conflicts of a merge: collected to be raised, or decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cas.errors import ConflictError, InvalidInputError, shown
from cas.history.conflicts import OURS, RAISE, THEIRS, CellConflicts, Conflict, Conflicts, OnConflict

VIRTUAL: Final = "virtual"
"""The choice for a base that is itself a merge: nothing is decided, what conflicts becomes uncertain."""


@dataclass(frozen=True, slots=True, eq=False)
class CellChoices:
    """For conflicts in one column, whether theirs is taken, and values given instead of both, by number of conflict."""

    theirs: NDArray[np.bool_]
    given: dict[int, Any] = field(default_factory=dict)


class Chooser:
    """Decides conflicts as asked: "ours", "theirs", "virtual", or by a function; "raise" collects them."""

    def __init__(self, on_conflict: OnConflict) -> None:
        self._on_conflict = on_conflict
        self._open: list[Sequence[Conflict]] = []

    @property
    def virtual(self) -> bool:
        """Whether nothing is decided."""
        return self._on_conflict == VIRTUAL

    def side(self, conflict: Conflict) -> str:
        """Returns whose column, or name of one, is taken: "ours" or "theirs"."""
        if not callable(self._on_conflict):
            self._collect([conflict])
            return THEIRS if self._on_conflict == THEIRS else OURS
        given = self._on_conflict(conflict)
        if given is conflict.ours or given == conflict.ours:
            return OURS
        if given is conflict.theirs or given == conflict.theirs:
            return THEIRS
        raise InvalidInputError(
            f"on_conflict gave {shown(given, 80)} for {conflict}; expected conflict.ours or conflict.theirs",
            column=conflict.column,
        )

    def value(self, conflict: Conflict) -> Any:
        """Returns the value that is taken."""
        if callable(self._on_conflict):
            return self._on_conflict(conflict)
        self._collect([conflict])
        return conflict.theirs if self._on_conflict == THEIRS else conflict.ours

    def cells(self, conflicts: CellConflicts) -> CellChoices:
        """Returns what is taken for each of many conflicts."""
        if not callable(self._on_conflict):
            self._collect(conflicts)
            return CellChoices(np.full(len(conflicts), self._on_conflict == THEIRS))
        choices = CellChoices(np.zeros(len(conflicts), np.bool_))
        for number, conflict in enumerate(conflicts):
            given = self._on_conflict(conflict)
            if given is conflict.theirs:
                choices.theirs[number] = True
            elif given is not conflict.ours:
                choices.given[number] = given
        return choices

    def values(self, conflicts: CellConflicts) -> list[Any]:
        """Returns values for cells of which neither side has one; only a function can give them."""
        if callable(self._on_conflict):
            return [self._on_conflict(conflict) for conflict in conflicts]
        self._open.append(conflicts)
        return []

    def _collect(self, conflicts: Sequence[Conflict]) -> None:
        if self._on_conflict == RAISE:
            self._open.append(conflicts)

    def finish(self) -> None:
        """Raises :class:`~cas.errors.ConflictError`, with all conflicts, where some are not decided."""
        conflicts = Conflicts(self._open)
        if len(conflicts) and not self.virtual:
            what = "1 conflict" if len(conflicts) == 1 else f"{len(conflicts):,} conflicts"
            raise ConflictError(
                f"{what}; nothing was changed. {conflicts}. Decide with on_conflict: "
                f'"ours", "theirs", or a function that is given each conflict and returns a value',
                conflicts=conflicts,
            )
