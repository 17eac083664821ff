"""A table of records that a process remembers, as large as it needs to be up to a bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_FIRST_SLOTS: Final = 1 << 10
_GROWTH: Final = 4
_SLOTS_PER_RECORD: Final = 16
"""With so many slots for each record hardly any two share one."""

Numbers = NDArray[np.uint64]
Records = NDArray[Any]


class SlotTable:
    """Keeps records under numbers that are spread evenly; of two that share a slot the later one stays.

    It begins small: each page of memory that is touched first costs more than many look-ups. ``number_of`` gives the
    numbers of records, ``is_used`` tells them from the zeros that empty slots hold.
    """

    def __init__(
        self,
        dtype: np.dtype[Any],
        most_slots: int,
        number_of: Callable[[Records], Numbers],
        is_used: Callable[[Records], NDArray[np.bool_]],
    ) -> None:
        self._slots: Records = np.zeros(_FIRST_SLOTS, dtype)
        self._most_slots = most_slots
        self._number_of = number_of
        self._is_used = is_used
        self._put_count = 0

    def get(self, numbers: Any) -> Any:
        """Returns what lies in the slots of numbers; zeros where there is nothing."""
        slots = self._slots
        return slots[numbers & np.uint64(len(slots) - 1)]

    def get_one(self, number: int) -> Any:
        """Returns what lies in the slot of one number, in a fraction of the time."""
        slots = self._slots
        return slots[number & len(slots) - 1]

    def put_one(self, number: int, record: Any) -> None:
        """Keeps one record, likewise."""
        self._make_room(1)
        slots = self._slots
        slots[number & len(slots) - 1] = record

    def put(self, records: Records) -> None:
        """Keeps records."""
        self._make_room(len(records))
        _fill(self._slots, records, self._number_of(records))

    def _make_room(self, more: int) -> None:
        self._put_count += more
        if len(self._slots) < min(_SLOTS_PER_RECORD * self._put_count, self._most_slots):
            self._grow()

    def _grow(self) -> None:
        count = len(self._slots)
        while count < min(_SLOTS_PER_RECORD * self._put_count, self._most_slots):
            count *= _GROWTH
        used = self._slots[self._is_used(self._slots)]
        grown = np.zeros(min(count, self._most_slots), self._slots.dtype)
        _fill(grown, used, self._number_of(used))
        self._slots = grown


def _fill(slots: Records, records: Records, numbers: Numbers) -> None:
    slots[numbers & np.uint64(len(slots) - 1)] = records
