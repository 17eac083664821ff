"""Tries all faults and prints what came of them: ``python tests/faults.py [--full] [--jobs 2] [NAME...]``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[1] / "fixtures"))

import fault_crowd  # noqa: F401  enters its faults
import fault_damage  # noqa: F401
import fault_deaths  # noqa: F401
import fault_kills  # noqa: F401
import fault_power  # noqa: F401
import fault_upkeep  # noqa: F401
from fault_matrix import FAULTS, Counts, table

# In memory where there is room: how a process dies does not depend on a disk, and losses of power are simulated.
PLACE = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def tried(name: str, full: bool) -> Counts:
    """Tries one fault, and says how long it took."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cas-faults-", dir=PLACE) as place:
        counts = FAULTS[name](Path(place), full)
    sys.stderr.write(f"{name}: {time.monotonic() - begun:.1f} s\n")
    return counts


def main() -> int:
    """Prints the matrix; 1 where data was wrong or an acknowledged commit was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="try only the faults whose name has one of these in it")
    parser.add_argument("--full", action="store_true", help="try each at every point, which takes minutes")
    parser.add_argument("--jobs", type=int, default=1, help="try so many faults at once")
    options = parser.parse_args()
    names = [name for name in FAULTS if not options.names or any(part in name for part in options.names)]
    # Each in a fresh process, so that what one has opened is not there when another forks.
    with ProcessPoolExecutor(options.jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
        results = dict(zip(names, pool.map(tried, names, repeat(options.full)), strict=True))
    sys.stdout.write(table(results) + "\n")
    return int(any(counts.wrong or counts.lost for counts in results.values()))


if __name__ == "__main__":
    sys.exit(main())
