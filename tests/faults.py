"""Tries all faults and prints what came of them: ``python tests/faults.py [--full] [NAME...]``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import fault_deaths  # noqa: F401  enters its faults
import fault_kills  # noqa: F401
import fault_power  # noqa: F401
from fault_matrix import FAULTS, table

# In memory where there is room: how a process dies does not depend on a disk, and losses of power are simulated.
PLACE = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def main() -> int:
    """Prints the matrix; 1 where data was wrong or an acknowledged commit was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="try only the faults whose name has one of these in it")
    parser.add_argument("--full", action="store_true", help="try each at every point, which takes minutes")
    options = parser.parse_args()
    results = {}
    for name, trial in FAULTS.items():
        if options.names and not any(part in name for part in options.names):
            continue
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="cas-faults-", dir=PLACE) as place:
            results[name] = trial(Path(place), options.full)
        sys.stderr.write(f"{name}: {time.monotonic() - begun:.1f} s\n")
    sys.stdout.write(table(results) + "\n")
    return int(any(counts.wrong or counts.lost for counts in results.values()))


if __name__ == "__main__":
    sys.exit(main())
