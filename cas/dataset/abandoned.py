"""Handles that are gone although changes were staged: what they staged is kept, to be recovered."""

from __future__ import annotations

import atexit
import os
import warnings
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cas.errors import CasError, UncommittedChangesWarning

if TYPE_CHECKING:
    from cas.dataset.dataset import Dataset
    from cas.dataset.draft import Draft


@dataclass(eq=False, slots=True, weakref_slot=True)
class Holder:
    """What a handle leaves behind: its draft of the moment, and how the dataset is called."""

    draft: Draft
    where: str
    pid: int = field(default_factory=os.getpid)


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
    if holder.pid != os.getpid():
        return  # a copy of the parent's, who keeps it
    try:
        if not holder.draft.leave():
            return
        kept = "they are kept: recover() on the open dataset brings them back"
    except CasError as error:
        kept = f"they could not be kept: {error}"
    warnings.warn(
        f"the dataset {holder.where} {how} with uncommitted changes; {kept}", UncommittedChangesWarning, stacklevel=3
    )


def _at_exit() -> None:
    keep_left()
    for holder in list(_open):
        keep(holder, "was still open at the end")


atexit.register(_at_exit)
