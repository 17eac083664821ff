"""How much memory does it take to ingest 4 GiB that come in batches?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from systems.contract import Batch, Verbs

from workloads.case import Case, check_equal
from workloads.data import images
from workloads.ingest import warm
from workloads.workload import IMAGES, Measure, Target, Workload

STREAM_BYTES = 4 << 30
BATCH_ROWS = 1024
ROW_BYTES = 64 * 64 * 3
STEP = 97  # bytes further into the same memory for each batch, so that no two rows are alike


def stream(base: np.ndarray[tuple[int], np.dtype[np.uint8]], batches: int) -> Iterator[Batch]:
    """Batches that lie in one piece of memory, each a little further on."""
    for number in range(batches):
        rows = base[number * STEP :][: BATCH_ROWS * ROW_BYTES].reshape(BATCH_ROWS, 64, 64, 3)
        yield {"image": rows, "label": np.arange(BATCH_ROWS) + number * BATCH_ROWS}


def run(case: Case, system: Verbs) -> None:
    """Ingests the stream; one row of every batch is read back."""
    batches = case.count(STREAM_BYTES // (BATCH_ROWS * ROW_BYTES), 2)
    base = images(case, 2 * BATCH_ROWS, seed=11).reshape(-1)
    size = batches * BATCH_ROWS * ROW_BYTES
    case.rebase()
    seconds = case.timed(lambda: system.ingest(stream(base, batches)), much=True)
    case.report("memory added", case.memory_bytes / 2**20)
    case.report("ingest", size / seconds / 1e6)
    case.report("stored / source", case.stored() / size)
    system.close()
    check_equal("number of rows", system.open(), batches * BATCH_ROWS)
    for number, batch in enumerate(stream(base, batches)):
        row = number % BATCH_ROWS
        check_equal("a row", np.asarray(system.row("image", number * BATCH_ROWS + row)), batch["image"][row])


STREAM = Workload(
    "streamed ingest of 4 GiB",
    ("ingest", "open", "row"),
    (
        Measure("memory added", "MiB", Target(300), Target(150)),
        Measure("ingest", "MB/s", None, None, "npy"),
        Measure("stored / source", "x"),
    ),
    run,
    IMAGES,
    warm=warm,
)
