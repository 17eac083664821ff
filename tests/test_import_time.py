"""What `import cas` costs beside `import numpy`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time


def seconds(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def test_import_costs_at_most_a_third_more_than_numpy() -> None:
    ratios = []
    for _ in range(7):
        numpy = seconds("import numpy")
        ratios.append(seconds("import numpy, cas") / numpy)
    assert statistics.median(ratios) < 1.3
