"""What does importing it cost, beside NumPy alone?"""

from __future__ import annotations

import statistics

from import_time import seconds
from systems.contract import System

from workloads.case import Case
from workloads.workload import IMAGES, Measure, Target, Workload

RUNS = 7


def run(case: Case, system: System) -> None:
    """Whole processes, with and without it by turns."""
    pairs = [(seconds(f"import numpy, {system.module}"), seconds("import numpy")) for _ in range(case.count(RUNS, 3))]
    both, alone = (statistics.median(times) for times in zip(*pairs, strict=True))
    case.report("import", both / alone)


IMPORTS = Workload(
    "imports", ("module",), (Measure("import", "x numpy alone", Target(1.3), Target(1.15)),), run, IMAGES
)
