"""What ingest, commit, random read, open and diff cost as a dataset grows, as a table and a plot.

``python bench/growth.py [--rows 1e4 1e5 ...] [--rounds 5] [--work DIR] [--plot FILE]``, by default 10,000 to
100,000,000 rows of a label (int64), with a plot in ``growth.png`` (this needs ``pip install -e '.[bench]'``). Each size
has a store of its own, and each round a process that just began, with the files in the page cache: it opens the
dataset, reads rows at random, each once, changes ten rows and compares the versions, and commits ten new rows. The
commit, open and random read must not cost more than 1.5 times what they cost at 100,000 rows; the exit code is 1 if
they do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from systems.cas_dataset import Cas
from systems.contract import Batch
from workloads.case import check_equal
from workloads.workload import LABELS

BATCH_ROWS = 1_000_000
CHANGED = 10
COMMITS = 21
READS = 300
FLAT_FROM = 100_000
FLAT = 1.5
UNITS = {"ingest": "ns a row", "open": "ms", "random read": "us", "diff": "ms", "commit": "ms"}
FLAT_MEASURES = ("commit", "open", "random read")

# By measure, and number of rows.
Figures = dict[str, dict[int, float]]


def label_of(numbers: Any) -> Any:
    """The label of a row: one of a thousand, which its number tells."""
    return (numbers * 2654435761 >> 7) % 1000


def batches(rows: int) -> Iterator[Batch]:
    """All labels."""
    for start in range(0, rows, BATCH_ROWS):
        yield {"label": label_of(np.arange(start, min(start + BATCH_ROWS, rows)))}


def seconds(operation: Callable[[], Any]) -> float:
    """Seconds that an operation takes."""
    begin = time.perf_counter()
    operation()
    return time.perf_counter() - begin


def warm(place: Path) -> None:
    """Uses everything once elsewhere, so that what is imported late does not count."""
    system = Cas(place, LABELS)
    system.ingest(batches(1000))
    system.open()
    system.row("label", 1)
    system.update("label", np.array([5]), np.array([-1]))
    system.changed_rows("label")
    system.close()


def ingest(system: Cas, rows: int) -> dict[str, float]:
    """Fills the dataset."""
    return {"ingest": seconds(lambda: system.ingest(batches(rows))) / rows * 1e9}


def use(system: Cas, rows: int) -> dict[str, float]:
    """Does everything else; rows that were appended by an earlier round stand behind."""
    random = np.random.default_rng()
    opening = seconds(system.open)
    numbers = random.integers(0, rows, READS).tolist()
    reads = [seconds(partial(system.row, "label", number)) for number in numbers]
    changed = np.sort(random.choice(rows, CHANGED, replace=False))
    system.update("label", changed, np.arange(-CHANGED, 0) - random.integers(10**9))
    rows_found: list[Any] = []
    diffing = seconds(lambda: rows_found.append(system.changed_rows("label")))
    check_equal("changed rows", rows_found[0], changed)
    system.update("label", changed, label_of(changed))
    check_equal("rows", [system.row("label", number) for number in numbers], label_of(np.array(numbers)).tolist())
    more = {"label": np.arange(10)}
    commits = [seconds(lambda: system.append(more)) for _ in range(COMMITS)]
    return {
        "open": opening * 1e3,
        "random read": statistics.median(reads) * 1e6,
        "diff": diffing * 1e3,
        "commit": statistics.median(commits) * 1e3,
    }


STAGES = {"ingest": ingest, "use": use}


def worker(stage: str, place: Path, rows: int) -> None:
    """Runs a stage in this process, and prints what was found."""
    with tempfile.TemporaryDirectory(dir=place.parent) as other:
        warm(Path(other, "warm"))
    print(json.dumps(STAGES[stage](Cas(place, LABELS), rows)))


def process(stage: str, place: Path, rows: int) -> dict[str, float]:
    """Runs a stage in a process of its own."""
    command = [sys.executable, __file__, "--stage", stage, "--work", str(place), "--rows", str(rows)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(printed)
    return found


def measure(sizes: list[int], rounds: int, work: Path) -> Figures:
    """All figures, medians of the rounds."""
    found: Figures = {name: {} for name in UNITS}
    for rows in sizes:
        print(f"{rows:,} rows", file=sys.stderr)
        place = work / str(rows)
        found["ingest"][rows] = process("ingest", place, rows)["ingest"]
        each = [process("use", place, rows) for _ in range(rounds)]
        for name in each[0]:
            found[name][rows] = statistics.median(figures[name] for figures in each)
    return found


def growth(figures: dict[int, float]) -> float | None:
    """The most that it costs from 100,000 rows on, by what it costs at the first of these sizes."""
    large = [figures[rows] for rows in sorted(figures) if rows >= FLAT_FROM]
    return max(large) / large[0] if large else None


def report(found: Figures) -> str:
    """The table."""
    sizes = sorted(found["ingest"])
    lines = ["| | " + " | ".join(f"{rows:,} rows" for rows in sizes) + " | growth | must |"]
    lines.append("|---|" + "---|" * (len(sizes) + 2))
    for name, figures in found.items():
        grown = growth(figures)
        cells = [f"{figures[rows]:.3g}" for rows in sizes] + ["-" if grown is None else f"{grown:.2f}"]
        must = f"{FLAT:g}" if name in FLAT_MEASURES else "-"
        lines.append(f"| {name}, {UNITS[name]} | " + " | ".join(cells) + f" | {must} |")
    return "\n".join(lines)


def plot(found: Figures, path: Path) -> None:
    """Draws a panel for each figure, both axes logarithmic; the band is what is flat."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot, ticker

    drawing, panels = pyplot.subplots(1, len(found), figsize=(3.2 * len(found), 3.2), layout="constrained")
    for panel, (name, figures) in zip(panels, found.items(), strict=True):
        sizes = sorted(figures)
        panel.plot(sizes, [figures[rows] for rows in sizes], marker="o")
        first = next((rows for rows in sizes if rows >= FLAT_FROM), None)
        if name in FLAT_MEASURES and first is not None:
            panel.fill_between([first, sizes[-1]], figures[first] / FLAT, figures[first] * FLAT, alpha=0.15)
        panel.set(xscale="log", yscale="log", title=f"{name}, {UNITS[name]}", xlabel="rows")
        panel.set_ylim(min(figures.values()) / 3, max(figures.values()) * 3)
        panel.yaxis.set_minor_formatter(ticker.NullFormatter())
        panel.grid(alpha=0.3)
    drawing.savefig(path, dpi=110)


def main() -> None:
    """Runs the command line, or one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, nargs="+", default=[10.0**power for power in range(4, 9)])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, help="a folder for the stores; by default a temporary one")
    parser.add_argument("--plot", type=Path, default=Path("growth.png"))
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        worker(options.stage, options.work, int(options.rows[0]))
        return
    with tempfile.TemporaryDirectory(prefix="growth-") as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        found = measure([int(rows) for rows in options.rows], options.rounds, work)
    print(report(found))
    plot(found, options.plot)
    sys.exit(any((growth(found[name]) or 0) > FLAT for name in FLAT_MEASURES))


if __name__ == "__main__":
    main()
