"""How fast do 20,000 images and labels become durable, without compression and as it comes? How many bytes are they?"""

from __future__ import annotations

from functools import partial

import numpy as np
from systems.contract import Verbs

from workloads.case import Case, check_table
from workloads.data import image_labels, images, in_batches
from workloads.workload import IMAGES, Measure, Target, Workload

IMAGE_COUNT = 20_000


def warm(system: Verbs) -> None:
    """A few rows."""
    system.ingest([{"image": np.zeros((10, *IMAGES["image"].shape), np.uint8), "label": np.arange(10)}])
    system.open()


def run(case: Case, system: Verbs, plain: bool) -> None:
    """Ingests from memory, and reads all of it back."""
    count = case.count(IMAGE_COUNT, 20)
    table = {"image": images(case, count), "label": image_labels(count)}
    size = table["image"].nbytes + table["label"].nbytes
    seconds = case.timed(lambda: system.ingest(in_batches(table), plain=plain), much=True)
    case.report("ingest", size / seconds / 1e6)
    case.report("stored / source", case.stored() / size)
    for name, expected in table.items():
        check_table(case, system, name, expected)


INGEST_PLAIN = Workload(
    "ingest, no compression",
    ("ingest", "open"),
    (
        Measure("ingest", "MB/s", Target(1.0, "deeplake"), Target(0.7, "npy"), "npy"),
        Measure("stored / source", "x"),
    ),
    partial(run, plain=True),
    IMAGES,
    warm=warm,
)

INGEST = Workload(
    "ingest, default settings",
    ("ingest", "open"),
    (
        Measure("ingest", "MB/s", Target(2.5, "icechunk"), Target(4, "icechunk"), "blake3"),
        Measure("stored / source", "x", Target(1.0, "icechunk")),
    ),
    partial(run, plain=False),
    IMAGES,
    warm=warm,
)
