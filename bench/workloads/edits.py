"""What do 1 % of rows cost, updated at random or inserted in the middle: time, and bytes grown a byte changed?"""

from __future__ import annotations

import numpy as np
from systems.contract import Verbs

from workloads.case import Case, check_table
from workloads.data import image_labels, images, in_batches, noise
from workloads.ingest import IMAGE_COUNT, warm
from workloads.workload import IMAGES, Measure, Target, Workload


def prepare(case: Case, system: Verbs, *, plain: bool = False) -> None:
    """The table of the ingest."""
    count = case.count(IMAGE_COUNT, 100)
    system.ingest(in_batches({"image": images(case, count), "label": image_labels(count)}), plain=plain)


def update(case: Case, system: Verbs) -> None:
    """New values for images here and there."""
    expected = images(case, case.count(IMAGE_COUNT, 100))
    numbers = np.sort(np.random.default_rng(4).choice(len(expected), len(expected) // 100, replace=False))
    values = noise(case, len(numbers), seed=5)
    before = case.stored()
    system.open()
    case.report("time", case.timed(lambda: system.update("image", numbers, values)) * 1e3)
    case.report("grown / changed", (case.stored() - before) / values.nbytes)
    expected[numbers] = values
    check_table(case, system, "image", expected)


def warm_update(system: Verbs) -> None:
    """A row of a few."""
    warm(system)
    system.update("image", np.array([5]), np.ones((1, 64, 64, 3), np.uint8))


def warm_insert(system: Verbs) -> None:
    """A row among a few."""
    warm(system)
    system.insert(5, {"image": np.ones((1, 64, 64, 3), np.uint8), "label": np.arange(1)})


def insert(case: Case, system: Verbs) -> None:
    """Rows in front of the middle one."""
    old = images(case, case.count(IMAGE_COUNT, 100))
    values, at = noise(case, len(old) // 100, seed=5), len(old) // 2
    before = case.stored()
    system.open()
    batch = {"image": values, "label": image_labels(len(values))}
    case.report("time", case.timed(lambda: system.insert(at, batch)) * 1e3)
    case.report("grown / changed", (case.stored() - before) / values.nbytes)
    check_table(case, system, "image", np.concatenate([old[:at], values, old[at:]]))


def _measures(milliseconds: float) -> tuple[Measure, ...]:
    return (
        Measure("grown / changed", "x", Target(1.4), Target(1.1)),
        Measure("time", "ms", Target(milliseconds)),
    )


UPDATE = Workload(
    "1 % of rows updated", ("ingest", "open", "update", "versions"), _measures(45), update, IMAGES, prepare, warm_update
)
INSERT = Workload(
    "1 % of rows inserted",
    ("ingest", "open", "insert", "versions"),
    _measures(60),
    insert,
    IMAGES,
    prepare,
    warm_insert,
)
