"""What is measured, one file a question; :data:`WORKLOADS` has them all, by name."""

from __future__ import annotations

from workloads.checkpoints import CHECKPOINTS
from workloads.commits import COMMIT, HISTORY
from workloads.edits import INSERT, UPDATE
from workloads.imports import IMPORTS
from workloads.ingest import INGEST, INGEST_PLAIN
from workloads.names import METADATA, TAGS
from workloads.numbers import CHANGE_NUMBERS, DIFF, NUMBERS, READ_NUMBERS
from workloads.pictures import REAL_PICTURES
from workloads.reads import FIRST_ROW, RANDOM_ROWS, SCAN
from workloads.streams import STREAM
from workloads.workload import Workload

WORKLOADS: dict[str, Workload] = {
    "imports": IMPORTS,
    "ingest-plain": INGEST_PLAIN,
    "ingest": INGEST,
    "pictures": REAL_PICTURES,
    "update": UPDATE,
    "insert": INSERT,
    "commits": COMMIT,
    "history": HISTORY,
    "first-row": FIRST_ROW,
    "random-rows": RANDOM_ROWS,
    "scan": SCAN,
    "tags": TAGS,
    "metadata": METADATA,
    "numbers": NUMBERS,
    "numbers-read": READ_NUMBERS,
    "numbers-changed": CHANGE_NUMBERS,
    "diff": DIFF,
    "checkpoints": CHECKPOINTS,
    "stream": STREAM,
}
