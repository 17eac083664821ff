"""Staged changes are written by themselves after a while, so that a program that is killed loses little of them.

One daemon thread a process does it. It begins with the first staged change, ends when nothing is planned any more, and
begins again when something is; handles that are only read from never begin it.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

# Their hooks, registered when they are imported, must run after those of this module: a fork first lets the thread
# finish and then keeps transactions from beginning; at the end the thread stops before what is left is kept.
import cas.dataset.abandoned
import cas.store.environment  # noqa: F401

if TYPE_CHECKING:
    from cas.dataset.dataset import Dataset

_RETRY_SECONDS: Final = 1.0
_FORK_SECONDS: Final = 10.0

_planned: dict[weakref.ref[Dataset], float] = {}
_changed = threading.Condition()
_working = threading.Lock()
_thread: threading.Thread | None = None
_ending = False


def plan_flush(dataset: Dataset, at: float) -> None:
    """Sees to it that what a dataset has staged is written once the monotonic clock shows ``at``."""
    global _thread
    ref = weakref.ref(dataset)
    with _changed:
        if ref in _planned or _ending:
            return
        _planned[ref] = at
        if _thread is None:
            _thread = threading.Thread(target=_run, name="cas flush", daemon=True)
            _thread.start()
        else:
            _changed.notify()


def _run() -> None:
    while (due := _next_due()) is not None:
        # A fork waits for this lock: a child would inherit a table that is half written.
        with _working:
            again = _flush(due)
        if again is not None:
            with _changed:
                _planned[due] = again


def _next_due() -> weakref.ref[Dataset] | None:
    """Waits for the next dataset that is due; None, and the thread is let go of, where none is planned."""
    global _thread
    with _changed:
        while _planned and not _ending:
            ref = min(_planned, key=_planned.__getitem__)
            wait_seconds = _planned[ref] - time.monotonic()
            if ref() is None or wait_seconds <= 0:
                del _planned[ref]
                return ref
            _changed.wait(wait_seconds)
        _thread = None
        return None


def _flush(ref: weakref.ref[Dataset]) -> float | None:
    """Writes what a dataset has staged, if it is time to; returns when to look again, if at all.

    A dataset that is busy is left alone for the moment. Errors stay here, for nobody could catch them: what is staged
    stays so, it is tried again, and the next edit or commit meets the error itself.
    """
    dataset = ref()
    if dataset is None or dataset._closed:
        return None
    if not dataset._lock.acquire(blocking=False):
        return time.monotonic() + _RETRY_SECONDS
    try:
        draft = dataset._holder.draft
        at = draft.flush_at
        if at is not None and at <= time.monotonic() and not dataset._closed:
            draft.flush({})
            at = None
        return at
    except Exception:
        return time.monotonic() + _RETRY_SECONDS
    finally:
        dataset._lock.release()


def _at_exit() -> None:
    """Lets the thread finish what it is at; what is staged still is kept after that, by ``abandoned``."""
    global _ending
    with _changed:
        _ending = True
        thread = _thread
        _changed.notify()
    if thread is not None:
        thread.join()


_held_for_fork = False


def _before_fork() -> None:
    global _held_for_fork
    _held_for_fork = _working.acquire(timeout=_FORK_SECONDS)


def _after_fork_in_parent() -> None:
    if _held_for_fork:
        _working.release()


def _after_fork_in_child() -> None:
    """Nothing is planned in a child: what is staged belongs to the parent until the child goes on from there."""
    global _thread, _changed, _working
    _planned.clear()
    _thread = None
    _changed = threading.Condition()
    _working = threading.Lock()


atexit.register(_at_exit)
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
