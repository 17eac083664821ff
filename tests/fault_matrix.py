"""The faults that are tried, by name, and what came of each: others add theirs with ``@fault``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Counts:
    """How often a fault was tried and survived, how often data was wrong, and acknowledged commits were lost."""

    tried: int = 0
    survived: int = 0
    wrong: int = 0
    lost: int = 0

    def add(self, *, wrong: bool = False, lost: bool = False, died: bool = False) -> None:
        """Counts one trial; ``died``: a process ended or hung that should not have, but nothing was wrong or lost."""
        self.tried += 1
        self.survived += not (wrong or lost or died)
        self.wrong += wrong
        self.lost += lost


Trial = Callable[[Path, bool], Counts]
"""Tries a fault in an empty directory, many times where the flag is set, otherwise a sample of some seconds."""

FAULTS: dict[str, Trial] = {}


def fault(name: str) -> Callable[[Trial], Trial]:
    """Enters a fault in the matrix."""

    def enter(trial: Trial) -> Trial:
        FAULTS[name] = trial  # again, where a module is imported under two names
        return trial

    return enter


def table(results: dict[str, Counts]) -> str:
    """The matrix as text."""
    rows = [("fault", "tried", "survived", "wrong data", "lost commits")]
    rows += [(name, *(f"{n:,}" for n in (c.tried, c.survived, c.wrong, c.lost))) for name, c in results.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    return "\n".join(lines)
