"""The moves of branches and tags, for people."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from cas.dataset.history import to_datetime
from cas.repo.reflog import all_moves
from cas.store.contract import View


@dataclass(frozen=True, slots=True)
class ReflogEntry:
    """One move of a branch or tag, by what command and when (storage clock).

    ``old`` and ``new`` are version ids; None where it did not exist before, or does not any more.
    """

    name: str
    timestamp: dt.datetime
    command: str
    message: str
    old: str | None
    new: str | None


def read_reflog(view: View, dataset: bytes) -> list[ReflogEntry]:
    """Returns the moves of all branches and tags of a dataset, newest first."""
    return [
        ReflogEntry(
            move.name,
            to_datetime(move.timestamp),
            move.record.command,
            move.record.message,
            None if move.record.old is None else move.record.old.hex(),
            None if move.record.new is None else move.record.new.hex(),
        )
        for move in all_moves(view, dataset)
    ]
