"""What `import cas` costs beside `import numpy`."""

from __future__ import annotations

import subprocess
import sys
import time


def seconds(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def test_import_costs_at_most_a_third_more_than_numpy() -> None:
    # The least of several interleaved runs, for whatever else the machine does only adds to them.
    numpy, both = zip(*((seconds("import numpy"), seconds("import numpy, cas")) for _ in range(7)), strict=True)
    assert min(both) < 1.3 * min(numpy)
