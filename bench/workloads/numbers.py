"""What do 10,000,000 labels cost: to ingest, to keep, to read, to change in ten places, and to compare?"""

from __future__ import annotations

import numpy as np
from systems.contract import Array, Ints, Verbs

from workloads.case import Case, check_equal, check_table
from workloads.data import in_batches, labels
from workloads.workload import LABELS, Measure, Target, Workload

LABEL_COUNT = 10_000_000
BATCH_ROWS = 1_000_000
CHANGED = 10
READS = 1_000
BATCHES = 20


def _labels(case: Case) -> Array:
    return labels(case, case.count(LABEL_COUNT, 1000))


def prepare(case: Case, system: Verbs) -> None:
    """The table."""
    system.ingest(in_batches({"label": _labels(case)}, BATCH_ROWS))
    system.close()


def warm(system: Verbs) -> None:
    """A few."""
    system.ingest([{"label": np.arange(10)}])
    system.open()


def warm_change(system: Verbs) -> None:
    """One of a few."""
    warm(system)
    system.update("label", np.array([5]), np.array([-1]))


def warm_diff(system: Verbs) -> None:
    """One of a few."""
    warm_change(system)
    system.changed_rows("label")


def ingest(case: Case, system: Verbs) -> None:
    """All of them, from memory."""
    table = {"label": _labels(case)}
    size = table["label"].nbytes
    case.report("ingest", size / case.timed(lambda: system.ingest(in_batches(table, BATCH_ROWS)), much=True) / 1e6)
    case.report("stored / source", case.stored() / size)
    check_table(case, system, "label", table["label"])


def read(case: Case, system: Verbs) -> None:
    """One here and there, batches, and all."""
    expected = _labels(case)
    random = np.random.default_rng(9)
    numbers = random.integers(0, len(expected), case.count(READS, 20)).tolist()
    batches = [random.integers(0, len(expected), 256) for _ in range(case.count(BATCHES, 2))]
    system.open()
    found: list[object] = []
    case.report("read all", expected.nbytes / case.timed(lambda: found.append(system.whole("label")), much=True) / 1e9)
    check_equal("all", found.pop(), expected)
    seconds = case.timed(lambda: found.extend(system.row("label", number) for number in numbers))
    case.report("single row", seconds / len(numbers) * 1e6)
    check_equal("rows", np.array(found), expected[numbers])
    del found[:]
    seconds = case.timed(lambda: found.extend(system.rows("label", batch) for batch in batches))
    case.report("batch of 256", seconds / len(batches) * 1e3)
    for batch, values in zip(batches, found, strict=True):
        check_equal("batch", values, expected[batch])


def _changed(count: int) -> Ints:
    return np.sort(np.random.default_rng(10).choice(count, CHANGED, replace=False))


def change(case: Case, system: Verbs) -> None:
    """Ten of them get another value."""
    expected = _labels(case)
    numbers, values = _changed(len(expected)), np.full(CHANGED, -1)
    system.open()
    before = case.stored()
    case.report("time", case.timed(lambda: system.update("label", numbers, values)) * 1e3)
    case.report("grown", (case.stored() - before) / 1e3)
    expected[numbers] = values
    system.close()
    system.open()
    check_equal("number of rows, and values", np.sort(system.whole("label")), np.sort(expected))


def prepare_change(case: Case, system: Verbs) -> None:
    """The table, and a second version in which ten are changed."""
    prepare(case, system)
    count = system.open()
    system.update("label", _changed(count), np.full(CHANGED, -1))
    system.close()


def diff(case: Case, system: Verbs) -> None:
    """Which rows differ, in a process that just began."""
    count = system.open()
    found: list[Ints] = []
    case.report("diff", case.timed(lambda: found.append(system.changed_rows("label"))) * 1e3)
    check_equal("changed rows", np.sort(found[0]), _changed(count))


NUMBERS = Workload(
    "10,000,000 labels",
    ("ingest", "open", "whole"),
    (
        Measure("ingest", "MB/s", Target(400), Target(600), "npy"),
        Measure("stored / source", "x", Target(0.12)),
    ),
    ingest,
    LABELS,
    warm=warm,
)

READ_NUMBERS = Workload(
    "10,000,000 labels, read",
    ("ingest", "open", "row", "rows", "whole"),
    (
        Measure("single row", "us", Target(15), Target(6), "npy"),
        Measure("batch of 256", "ms", Target(0.5), Target(0.2), "npy"),
        Measure("read all", "GB/s", Target(2.1), Target(3.5), "npy"),
    ),
    read,
    LABELS,
    prepare,
    keeps=True,
)

CHANGE_NUMBERS = Workload(
    "10 of 10,000,000 labels changed",
    ("ingest", "open", "update", "whole", "versions"),
    (Measure("time", "ms", Target(4), Target(2)), Measure("grown", "kB", Target(100), Target(40))),
    change,
    LABELS,
    prepare,
    warm_change,
)

DIFF = Workload(
    "diff of 10 in 10,000,000 rows",
    ("ingest", "open", "update", "changed_rows"),
    (Measure("diff", "ms", Target(50), Target(10)),),
    diff,
    LABELS,
    prepare_change,
    warm_diff,
    keeps=True,
)
