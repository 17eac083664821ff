"""What importing costs, as whole processes beside `import numpy`: ``python bench/import_time.py [RUNS]``."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

CASES = ("import numpy, cas", "import cas; cas.open", "from cas import *")


def seconds(statement: str) -> float:
    """Returns how long a fresh interpreter takes to run a statement."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def main() -> None:
    """Prints the median ratios, the cases interleaved."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    ratios: dict[str, list[float]] = {case: [] for case in CASES}
    for _ in range(runs):
        numpy = seconds("import numpy")
        for case in CASES:
            ratios[case].append(seconds(case) / numpy)
    print("| statement | times `import numpy` |\n|---|---|")
    for case, found in ratios.items():
        print(f"| `{case}` | {statistics.median(found):.2f} |")


if __name__ == "__main__":
    main()
