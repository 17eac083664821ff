"""What does it cost to open a table and read its first row, rows at random, and all of it?"""

from __future__ import annotations

import numpy as np
from systems.contract import Verbs

from workloads.case import Case, check_equal, touch
from workloads.data import images
from workloads.edits import prepare
from workloads.ingest import IMAGE_COUNT
from workloads.workload import IMAGES, Measure, Target, Workload

ROWS = 10_000
BATCH_ROWS = 256


def prepare_plain(case: Case, system: Verbs) -> None:
    """The table of the ingest, not compressed."""
    prepare(case, system, plain=True)


def first_row(case: Case, system: Verbs) -> None:
    """From nothing to the first row; the system is imported."""
    found: list[object] = []

    def read() -> None:
        system.open()
        found.append(system.row("image", 0))

    case.report("open and first row", case.timed(read) * 1e3)
    check_equal("first row", found[0], images(case, case.count(IMAGE_COUNT, 100))[0])


def random_rows(case: Case, system: Verbs) -> None:
    """Rows one by one, and in batches; then the same again, compared."""
    expected = images(case, case.count(IMAGE_COUNT, 100))
    random = np.random.default_rng(7)
    numbers = random.integers(0, len(expected), case.count(ROWS, 50))
    batches = [random.integers(0, len(expected), BATCH_ROWS) for _ in range(case.count(ROWS // BATCH_ROWS, 2))]
    system.open()
    system.row("image", 0)
    seconds = case.timed(lambda: [touch(system.row("image", number)) for number in numbers.tolist()])
    case.report("single rows", seconds / len(numbers) * 1e6)
    seconds = case.timed(lambda: [touch(system.rows("image", batch)) for batch in batches])
    case.report("batches of 256, a row", seconds / len(batches) / BATCH_ROWS * 1e6)
    for number in numbers[:50].tolist():
        check_equal(f"row {number}", system.row("image", number), expected[number])
    for batch in batches:
        check_equal("batch", system.rows("image", batch), expected[batch])


def scan(case: Case, system: Verbs) -> None:
    """All images in batches, the first time in this process and again, and as one array."""
    expected = images(case, case.count(IMAGE_COUNT, 100))
    system.open()
    for name in ("first pass", "warm"):
        seconds = case.timed(lambda: [touch(batch) for batch in system.scan("image", BATCH_ROWS)], much=True)
        case.report(name, expected.nbytes / seconds / 1e9)
    found: list[object] = []
    seconds = case.timed(lambda: found.append(system.whole("image")), much=True)
    case.report("one array", expected.nbytes / seconds / 1e9)
    check_equal("whole", found.pop(), expected)
    start = 0
    for batch in system.scan("image", BATCH_ROWS):
        check_equal(f"batch at {start}", batch, expected[start : start + len(batch)])
        start += len(batch)
    check_equal("rows scanned", start, len(expected))


FIRST_ROW = Workload(
    "open and first row",
    ("ingest", "open", "row"),
    (Measure("open and first row", "ms", Target(2.0), Target(1.0), "npy"),),
    first_row,
    IMAGES,
    prepare_plain,
    keeps=True,
    repeats=3,
)

RANDOM_ROWS = Workload(
    "random rows of 12 KB",
    ("ingest", "open", "row", "rows"),
    (
        Measure("single rows", "us", Target(28), Target(12), "npy"),
        Measure("batches of 256, a row", "us", Target(8), Target(4.5), "npy"),
    ),
    random_rows,
    IMAGES,
    prepare_plain,
    keeps=True,
)

SCAN = Workload(
    "full scan",
    ("ingest", "open", "scan", "whole"),
    (
        Measure("first pass", "GB/s", Target(1.6), Target(3), "npy"),
        Measure("warm", "GB/s", Target(4), Target(11), "npy"),
        Measure("one array", "GB/s", Target(2.6), Target(6), "npy"),
    ),
    scan,
    IMAGES,
    prepare_plain,
    keeps=True,
)
