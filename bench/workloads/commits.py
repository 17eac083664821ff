"""What do 1,000 durable commits of 10 rows cost, do they get slower, and what does the history cost then?"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import numpy as np
from systems.contract import Array, Batch, Verbs

from workloads.case import Case, check_equal, check_table
from workloads.data import image_labels, noise
from workloads.workload import IMAGES, Measure, Target, Workload

COMMITS = 1_000
ROWS = 10
FIRST_ROWS = 10


def _rows(case: Case) -> tuple[Array, list[Batch]]:
    """All images, and the batches that are committed after the first rows."""
    commits = case.count(COMMITS, 20)
    found = noise(case, FIRST_ROWS + commits * ROWS, seed=6)
    numbers = image_labels(len(found))
    starts = range(FIRST_ROWS, len(found), ROWS)
    return found, [{"image": found[start : start + ROWS], "label": numbers[start : start + ROWS]} for start in starts]


def _begin(system: Verbs, rows: Array) -> None:
    system.ingest([{"image": rows[:FIRST_ROWS], "label": image_labels(len(rows))[:FIRST_ROWS]}])
    system.open()


def _appends(system: Verbs, batches: list[Batch]) -> Iterator[Callable[[], None]]:
    for batch in batches:
        yield lambda batch=batch: system.append(batch)  # type: ignore[misc]


def commit(case: Case, system: Verbs) -> None:
    """One commit after the other, on one handle."""
    rows, batches = _rows(case)
    _begin(system, rows)
    times = case.each(_appends(system, batches))
    some = max(1, len(times) // 10)
    case.report("commit", statistics.median(times) * 1e3)
    case.report("last / first 100", statistics.median(times[-some:]) / statistics.median(times[:some]))
    case.report("stored / payload", case.stored() / (rows.nbytes + 8 * len(rows)))
    check_table(case, system, "image", rows)


def prepare(case: Case, system: Verbs) -> None:
    """The same, not measured."""
    rows, batches = _rows(case)
    _begin(system, rows)
    for append in _appends(system, batches):
        append()
    system.close()


def history(case: Case, system: Verbs) -> None:
    """What one waits for in a process that just began, as in that of ``reads.first_row``: nothing is done before."""
    rows, batches = _rows(case)
    opened: list[int] = []
    case.report("open", case.timed(lambda: opened.append(system.open())) * 1e3)
    check_equal("number of rows", opened, [len(rows)])
    listed: list[object] = []
    case.report("history listed", case.timed(lambda: listed.extend(system.versions())) * 1e3)
    check_equal("number of versions", len(listed) >= len(batches), True)
    steps = np.linspace(len(batches) // 2, len(batches) // 2 + len(batches) // 10, 5, dtype=int)
    times: list[float] = []
    for step in steps.tolist():
        found: list[object] = []
        row = FIRST_ROWS + (len(batches) - step) * ROWS - 1  # the last row that this version has
        version = listed[len(listed) - 1 - step]
        times.append(case.timed(lambda: found.append(system.row_at(version, "image", row))))  # noqa: B023
        check_equal(f"row {row} of version {version}", np.asarray(found[0]), rows[row])
    case.report("version 500 with a row", statistics.median(times) * 1e3)


COMMIT = Workload(
    "1,000 commits of 10 rows",
    ("ingest", "open", "append"),
    (
        Measure("commit", "ms", Target(1.5), Target(0.9), "npy"),
        Measure("last / first 100", "x", Target(1.2)),
        Measure("stored / payload", "x", Target(1.10), Target(1.05)),
    ),
    commit,
    IMAGES,
)

HISTORY = Workload(
    "after 1,000 commits",
    ("ingest", "open", "append", "versions", "row_at"),
    (
        Measure("open", "ms", Target(2), Target(0.5)),
        Measure("history listed", "ms", Target(2), Target(0.5)),
        Measure("version 500 with a row", "ms", Target(1.5), Target(0.5)),
    ),
    history,
    IMAGES,
    prepare,
    keeps=True,
    repeats=3,
)
