"""One system under one workload in one process: times, memory, bytes on disk, and the check of what was read."""

from __future__ import annotations

import mmap
import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from systems.contract import System, Verbs, file_sizes

PAGE_BYTES = 4096
SETTLED_BYTES = 1 << 29


class WrongAnswerError(Exception):
    """Reports that a system gave back something else than what it was given."""


def resident_bytes(which: str) -> int:
    """A figure of this process from the kernel: ``VmRSS`` is the memory it holds now, ``VmHWM`` the most so far."""
    if not os.path.exists("/proc/self/status"):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(which))


def settle_memory() -> None:
    """Uses memory and gives it back.

    A virtual machine gets memory that it has not used for some seconds from its host, which takes several times as
    long as writing to it: what ran before would decide who is fast.
    """
    # Private, for shared memory has no huge pages on most systems.
    with mmap.mmap(-1, SETTLED_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        for page in range(0, SETTLED_BYTES, PAGE_BYTES):
            memory[page] = 1


@dataclass
class Case:
    """Collects what a run finds.

    Memory is the most that is resident during the timed sections, less what was at the beginning of the run, or when
    the workload said so; pages of mapped files count while they are mapped. Bytes on disk are blocks, so holes in
    sparse files cost nothing and small files whole blocks.
    """

    scale: float
    kept: Path  # a folder for data that is made once
    found: dict[str, float] = field(default_factory=dict)
    memory_bytes: int = 0
    stored_bytes: int = 0

    def count(self, full: int, least: int = 1) -> int:
        """A number of things at this scale."""
        return max(least, round(full * self.scale))

    def report(self, measure: str, value: float) -> None:
        """Notes a figure."""
        self.found[measure] = float(value)

    def begin(self, system: System) -> Verbs:
        """Takes the system on; memory counts from here."""
        self._system = system
        self._files = file_sizes(system.place)
        self.rebase()
        return system  # type: ignore[return-value]

    def rebase(self) -> None:
        """Counts memory from here: what a workload has made before is not the system's."""
        self._before = resident_bytes("VmRSS")

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watches memory."""
        with suppress(OSError), open("/proc/self/clear_refs", "w") as clear:
            clear.write("5")  # VmHWM begins anew
        yield
        self.memory_bytes = max(self.memory_bytes, resident_bytes("VmHWM") - self._before)

    def timed(self, operation: Callable[[], Any], *, much: bool = False) -> float:
        """Seconds that an operation takes, until it is on disk; ``much`` says that it is one of many megabytes."""
        if much:
            settle_memory()
        return self.each([operation])[0]

    def each(self, operations: Iterable[Callable[[], Any]]) -> list[float]:
        """Seconds of each of several operations."""
        with self.watched():
            return [self._durably(operation) for operation in operations]

    def _durably(self, operation: Callable[[], Any]) -> float:
        begin = time.perf_counter()
        operation()
        seconds = time.perf_counter() - begin
        if self._system.durable:
            return seconds
        changed = self._changed()  # looking for them is not the system's work
        begin = time.perf_counter()
        for path in changed:
            sync(path)
        return seconds + time.perf_counter() - begin

    def _changed(self) -> list[str]:
        """Files that changed since the last time, then their folders."""
        before, self._files = self._files, file_sizes(self._system.place)
        files = [path for path, facts in self._files.items() if before.get(path) != facts]
        gone = [path for path in before if path not in self._files]
        return files + sorted({os.path.dirname(path) for path in files + gone if os.path.isdir(os.path.dirname(path))})

    def stored(self) -> int:
        """Bytes on disk now."""
        self.stored_bytes = sum(size for size, _, _ in file_sizes(self._system.place).values())
        return self.stored_bytes


def sync(path: str) -> None:
    """Waits until a file or folder is on disk, if it is still there."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(place: Path) -> None:
    """Waits until all files of a place are on disk."""
    for path in file_sizes(place):
        sync(path)


def touch(values: Any) -> int:
    """Reads a byte of every page, so that views of memory nobody has read do not count as read."""
    if isinstance(values, np.ndarray) and values.flags.c_contiguous:
        return int(values.reshape(-1).view(np.uint8)[::PAGE_BYTES].sum(dtype=np.int64))
    return 0


def check_equal(what: str, found: Any, expected: Any) -> None:
    """Compares bit for bit; raises :class:`WrongAnswerError`."""
    if isinstance(expected, np.ndarray):
        found = np.asarray(found)
        same = found.dtype == expected.dtype and np.array_equal(found, expected)
    else:
        same = found == expected
    if not same:
        raise WrongAnswerError(f"{what}: what was read is not what was written")


def check_table(case: Case, system: Any, column: str, expected: Any) -> None:
    """Opens a table anew and compares a whole column in the way that the system can read it."""
    system.close()
    check_equal("number of rows", system.open(), len(expected))
    if hasattr(system, "whole"):
        check_equal(column, system.whole(column), expected)
    elif hasattr(system, "scan"):
        found = [row for batch in system.scan(column, 256) for row in batch]
        check_equal(column, found, list(expected))
    else:
        for start in range(0, len(expected), 1000):
            part = expected[start : start + 1000]
            check_equal(column, system.rows(column, np.arange(start, start + len(part))), part)
