"""What is asked for ahead of a read that goes through the map."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from cas.store import prefetch
from cas.store.prefetch import WINDOW_BYTES, ReadAhead


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(prefetch, "_madvise", lambda: lambda begin, size, advice: found.append((begin, size)))
    monkeypatch.setattr(prefetch, "_faults", None)
    return found


class Faults:
    """What the system counts of pages that were read from the disk."""

    ru_majflt = 0


def test_where_all_is_in_memory_hardly_anything_is_asked_for(
    asked: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resource.getrusage", lambda who: Faults)
    data = np.zeros(64 << 20, np.uint8)

    def read() -> int:
        before = len(asked)
        ahead = ReadAhead()
        for at in range(0, len(data), 256 << 10):
            ahead.follow(data.data[at : at + (256 << 10)])
        return len(asked) - before

    assert 0 < read() < 4
    assert read() == 0
    monkeypatch.setattr(Faults, "ru_majflt", 1)
    assert read() > 20


def test_a_read_from_front_to_back_asks_a_window_at_a_time(
    asked: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch, "_FIRST_ASKS", 1000)
    data = np.zeros(64 << 20, np.uint8)
    base = data.__array_interface__["data"][0]
    ahead = ReadAhead()
    step = 256 << 10
    for at in range(0, len(data), step):
        ahead.follow(data.data[at : at + step])
        begin, size = asked[-1]
        assert begin <= base + at + step <= begin + size - WINDOW_BYTES // 2 + mmap.PAGESIZE, "asked in time"
    assert len(asked) <= 2 * len(data) // WINDOW_BYTES + 1
    assert all(begin % mmap.PAGESIZE == 0 for begin, _ in asked)


def test_single_rows_ask_for_nothing(asked: list[tuple[int, int]]) -> None:
    ahead = ReadAhead()
    for _ in range(10):
        ahead.follow(bytes(12_288))
    assert asked == []


def test_the_system_takes_the_question() -> None:
    memory = mmap.mmap(-1, 8 << 20)
    view = memoryview(memory)
    assert prefetch._madvise() is not None
    ReadAhead().follow(view[: 1 << 20])
    view.release()
    memory.close()
