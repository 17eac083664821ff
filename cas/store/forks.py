"""Locks in forked children: another thread of the parent may have held one, which nobody there would ever give back."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

Lock = TypeVar("Lock")
_owners: weakref.WeakKeyDictionary[Any, Callable[[], Any]] = weakref.WeakKeyDictionary()


def renewed_in_children(owner: object, make: Callable[[], Lock]) -> Lock:
    """Returns a lock for ``owner._lock``, which is made anew there in every forked child."""
    _owners[owner] = make
    return make()


def _after_fork_in_child() -> None:
    for owner, make in list(_owners.items()):
        owner._lock = make()


os.register_at_fork(after_in_child=_after_fork_in_child)
