"""Measures how many samples a second a DataLoader of PyTorch gets, decoded images and raw arrays, of `cas` and others.

``python bench/loaders.py [KIND ...] [--systems cas,webdataset] [--workers 0,2] [--rounds 3] [--scale 1] [--work DIR]
[--markdown FILE]``; kinds are ``array``, ``png`` and ``jpeg``. Each system writes the samples once and reads them
shuffled, in batches of 64, in a process of its own, the systems by turns in each round; figures are medians of the
rounds. A first epoch is not timed: every sample must come once with the pixels that Pillow gives; so files are in the
page cache, and workers have started. Peers are those that are installed:
``pip install -e '.[bench,torch,images,jpeg]'``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.util
import json
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from loader_data import ARRAY, JPEG, PNG, Samples, check, samples_of
from loader_systems import OURS, SYSTEMS
from table import machine, number, versions

KINDS = (ARRAY, PNG, JPEG)
PACKAGES = ("tensor-cas", "torch", "numpy", "pillow", "simplejpeg", "deeplake", "datasets", "webdataset")
_SECONDS = 1.5
"""Epochs are timed until so much time has passed."""

Found = dict[tuple[str, int], dict[str, list[float]]]


def measure(system: str, place: Path, samples: Samples, workers: int) -> float:
    """Samples a second, after an epoch that is checked."""
    batches = SYSTEMS[system]().batches(place, samples, workers)
    check(samples, iter(batches))
    count, begin = 0, time.perf_counter()
    while not count or time.perf_counter() - begin < _SECONDS:
        count += check(samples, iter(batches), rows=False)
    return count / (time.perf_counter() - begin)


@dataclass
class Runner:
    """Starts the processes and keeps what they found."""

    work: Path
    timeout: float
    found: Found = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    failures: dict[str, str] = field(default_factory=dict)

    def process(self, what: str, *arguments: str) -> str | None:
        """What this file printed last in a process of its own; None, and a failure noted, where it did not end well."""
        command = [sys.executable, "-W", "ignore", __file__, "--work", str(self.work), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=self.timeout)
        except subprocess.TimeoutExpired:
            self.failures[what] = f"took more than {self.timeout:g} s"
            return None
        if done.returncode or not done.stdout.strip():
            self.failures[what] = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200]
            return None
        return done.stdout.strip().splitlines()[-1]

    def round(self, kind: str, system: str, workers: int) -> None:
        """One figure."""
        what = f"{kind}, {workers} workers, {system}"
        if what in self.failures or f"{kind}, {system}" in self.failures:
            return
        printed = self.process(what, "--stage", "read", kind, "--systems", system, "--workers", str(workers))
        if printed is not None:
            self.found[kind, workers][system].append(json.loads(printed))


def stage(options: argparse.Namespace) -> None:
    """Writes, or reads and prints a figure: what a process of its own does."""
    warnings.simplefilter("ignore")
    kind, system = options.kinds[0], options.systems
    samples: Samples = pickle.loads((options.work / f"{kind}.pickle").read_bytes())
    place = options.work / kind / SYSTEMS[system].__name__.removesuffix("Iterable")
    if options.stage == "write":
        if not place.exists():
            SYSTEMS[system]().write(place, samples)
        print("written", flush=True)
    else:
        print(json.dumps(measure(system, place, samples, int(options.workers))), flush=True)
    os._exit(0)  # the threads of some systems take their time to end


def report(found: Found, failures: dict[str, str], whats: dict[str, str], rounds: int) -> str:
    """One Markdown table."""
    systems = [name for name in SYSTEMS if any(name in figures for figures in found.values())]
    lines = [
        f"{dt.datetime.now(dt.UTC).date().isoformat()}; {machine()}; {versions(PACKAGES)}; samples a second, "
        f"medians of {rounds}.",
        "",
        "| samples | workers | " + " | ".join(systems) + " | best of cas / best peer |",
        "|---|---|" + "---|" * (len(systems) + 1),
    ]
    for (kind, workers), figures in found.items():
        medians = {name: statistics.median(values) for name, values in figures.items()}
        ours = max((value for name, value in medians.items() if name in OURS), default=0.0)
        peers = max((value for name, value in medians.items() if name not in OURS), default=0.0)
        cells = [number(medians[name]) if name in medians else "-" for name in systems]
        ratio = number(ours / peers) if ours and peers else "-"
        lines.append(f"| {whats[kind]} | {workers} | {' | '.join(cells)} | {ratio} |")
    return "\n".join(lines + [f"\nFailed: {who}: {why}" for who, why in failures.items()])


def compare(options: argparse.Namespace, work: Path) -> tuple[Runner, dict[str, str]]:
    """Runs everything, round by round."""
    wanted = options.systems.split(",") if options.systems else list(SYSTEMS)
    systems = [name for name in wanted if importlib.util.find_spec(SYSTEMS[name].module)]
    runner, whats = Runner(work, options.timeout), {}
    for kind in options.kinds or KINDS:
        samples = samples_of(kind, options.scale, options.corpus or work)
        whats[kind] = samples.what
        (work / f"{kind}.pickle").write_bytes(pickle.dumps(samples))
        for system in systems:
            runner.process(f"{kind}, {system}", "--stage", "write", kind, "--systems", system)
        for turn in range(options.rounds):
            for workers in map(int, options.workers.split(",")):
                for system in systems:
                    print(f"{kind}: round {turn + 1}, {workers} workers, {system}", file=sys.stderr)
                    runner.round(kind, system, workers)
        shutil.rmtree(work / kind, ignore_errors=True)
    return runner, whats


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"by default all: {', '.join(KINDS)}")
    parser.add_argument("--systems", default="", help=f"separated by commas; by default all of {', '.join(SYSTEMS)}")
    parser.add_argument("--workers", default="0,2", help="numbers of workers, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of samples")
    parser.add_argument("--corpus", type=Path, help="a folder for real pictures, kept afterwards")
    parser.add_argument("--markdown", type=Path, help="a file for the table")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for a process")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--stage", choices=("write", "read"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name, known in [*((kind, KINDS) for kind in options.kinds)]:
        if name not in known:
            parser.error(f"there is no kind {name!r}; they are {', '.join(KINDS)}")
    return options


def main() -> None:
    """Runs the command line, or one of its processes."""
    options = parse()
    if options.stage:
        stage(options)
        return
    with tempfile.TemporaryDirectory(prefix="loaders-") as temporary:
        runner, whats = compare(options, Path(temporary))
    text = report(runner.found, runner.failures, whats, options.rounds)
    if options.markdown:
        options.markdown.write_text(text + "\n")
    print(text)
    sys.exit(1 if runner.failures else 0)


if __name__ == "__main__":
    main()
