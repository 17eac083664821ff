"""What was asked for last, kept by hash."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from cas.store.forks import renewed_in_children

T = TypeVar("T")


class Latest(Generic[T]):
    """Keeps what was asked for last, as much as fits: ``weigh`` tells how much of ``limit`` something takes.

    For any threads. What a hash names never changes, so nothing here is ever out of date.
    """

    def __init__(self, limit: int, weigh: Callable[[T], int]) -> None:
        self._limit = limit
        self._weigh = weigh
        self._weight = 0
        self._items: OrderedDict[bytes, T] = OrderedDict()
        self._lock = renewed_in_children(self, threading.Lock)

    def get(self, hash_: bytes) -> T | None:
        """Returns what is kept under a hash, if it is still there."""
        with self._lock:
            item = self._items.get(hash_)
            if item is not None:
                self._items.move_to_end(hash_)
            return item

    def get_many(self, hashes: Sequence[bytes]) -> list[T | None]:
        """Returns what is kept under each hash."""
        with self._lock:
            found = [self._items.get(hash_) for hash_ in hashes]
            for hash_, item in zip(hashes, found, strict=True):
                if item is not None:
                    self._items.move_to_end(hash_)
            return found

    def put(self, hash_: bytes, item: T) -> None:
        """Keeps something in place of what was not asked for longest; what is there already stays."""
        with self._lock:
            if hash_ not in self._items:
                self._items[hash_] = item
                self._weight += self._weigh(item)
            while self._weight > self._limit:
                _, oldest = self._items.popitem(last=False)
                self._weight -= self._weigh(oldest)

    def put_if_room(self, hash_: bytes, item: T) -> None:
        """Keeps something where nothing has to go for it."""
        with self._lock:
            weight = self._weight + self._weigh(item)
            if weight <= self._limit and hash_ not in self._items:
                self._items[hash_] = item
                self._weight = weight
