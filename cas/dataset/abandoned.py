"""Handles that are gone although changes were staged: what they staged is kept, to be recovered."""

from __future__ import annotations

import atexit
import os
import warnings
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cas.errors import UncommittedChangesWarning

if TYPE_CHECKING:
    from cas.dataset.dataset import Dataset
    from cas.dataset.draft import Draft


@dataclass(eq=False, slots=True, weakref_slot=True)
class Holder:
    """What a handle leaves behind: its draft of the moment, and how the dataset is called."""

    draft: Draft
    where: str


_open: weakref.WeakSet[Holder] = weakref.WeakSet()
_left: deque[Holder] = deque()


def watch(dataset: Dataset, holder: Holder) -> Callable[[], object]:
    """Keeps what ``holder`` has once the handle is gone or the interpreter ends; returns what ends the watch."""
    _open.add(holder)
    finalizer = weakref.finalize(dataset, _note, holder)
    finalizer.atexit = False

    def unwatch() -> None:
        finalizer.detach()
        _open.discard(holder)

    return unwatch


def _note(holder: Holder) -> None:
    if holder.draft.changed:
        _left.append(holder)


def keep_left() -> None:
    """Keeps what handles left that are gone.

    The garbage collector may drop a handle at any moment, also inside of a transaction, so it only takes a note; this
    is called wherever a dataset is opened or recovered, and at the end.
    """
    while _left:
        keep(_left.popleft(), "was dropped")


def keep(holder: Holder, how: str) -> None:
    """Makes what a handle has staged recoverable, and says so."""
    try:
        if not holder.draft.leave():
            return
        kept = "they are kept: recover() on the open dataset brings them back"
    except Exception as error:
        # Whatever is wrong with this one, others must be kept too, and the caller has nothing to do with it.
        kept = f"they could not be kept: {error}"
    warnings.warn(
        f"the dataset {holder.where} {how} with uncommitted changes; {kept}", UncommittedChangesWarning, stacklevel=4
    )


def warn_of_others(mine: Holder) -> None:
    """Says so where another handle of this process, which cannot be taken from, has changes of the same dataset."""
    for holder in list(_open):
        if holder is not mine and holder.draft.changed and holder.draft.is_of(mine.draft):
            warnings.warn(
                f"another handle on {holder.where} is open in this process with uncommitted changes; close it, or let "
                f"go of what refers to it, such as the traceback of an error, to recover them",
                UncommittedChangesWarning,
                stacklevel=3,
            )


def _at_exit() -> None:
    failed: Exception | None = None
    ends = dict.fromkeys(_open, "was still open at the end") | dict.fromkeys(_left, "was dropped")
    for holder, how in ends.items():
        try:
            keep(holder, how)
        except Exception as error:
            failed = error  # a warning, where those are errors; the others are kept all the same
    if failed is not None:
        raise failed


def _after_fork_in_child() -> None:
    """What is staged belongs to the parent, who keeps it; a child that goes on from there has a session of its own."""
    _left.clear()
    for holder in list(_open):
        holder.draft.part_from_parent()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork_in_child)
