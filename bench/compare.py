"""Measures `cas` beside other systems and beside what the machine allows, and prints one Markdown table.

``python bench/compare.py [WORKLOAD ...] [--systems cas,deeplake] [--rounds 3] [--scale 1] [--work DIR] [--json FILE]
[--markdown FILE]``. Each workload (``--list`` names them) runs for each system in a process of its own, the systems by
turns in each round; figures are medians of the rounds. Every run reads back what it wrote and compares; one that finds
something else, or fails, is listed under the table, and the exit code is 1. Peers are those that are installed:
``pip install -e '.[bench]'``, and DVC, whose package goes with few others, as a command on the path.

A time ends when the data is on disk: where a system does not sync its files, those that changed are synced within the
time. Files are in the page cache when they are read, and memory is there when much is asked for.
Memory and bytes on disk: see workloads/case.py.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from systems import SYSTEMS, system_class
from systems.contract import System, can
from table import Results, markdown
from workloads import WORKLOADS
from workloads.case import Case, sync_all
from workloads.workload import Workload

PREPARE, RUN = "prepare", "run"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Packages that are installed have their bytecode, so this one may write its own."""


def execute(workload: Workload, system: type[System], stage: str, place: Path, case: Case) -> None:
    """Runs a stage of a workload in this process."""
    made = system(place, workload.columns)
    if stage == PREPARE and workload.prepare is not None:
        workload.prepare(case, made)
        made.close()
        sync_all(place)
        return
    if workload.warm is not None:
        with tempfile.TemporaryDirectory(dir=case.kept.parent) as other:
            warmed = system(Path(other, "warm"), workload.columns)
            workload.warm(warmed)
            warmed.close()
    workload.run(case, case.begin(made))
    made.close()


def worker(options: argparse.Namespace) -> None:
    """Runs a stage, and prints what was found as a line of JSON."""
    case = Case(options.scale, options.work / "data")
    (name,) = options.workloads
    execute(WORKLOADS[name], system_class(options.systems), options.stage, options.place, case)
    facts = {"found": case.found, "memory_bytes": case.memory_bytes, "stored_bytes": case.stored_bytes}
    print(json.dumps(facts), flush=True)
    os._exit(0)  # the threads of some systems take their time to end


@dataclass
class Runner:
    """Starts the processes."""

    scale: float
    work: Path
    places: Path
    timeout: float
    results: Results = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def process(self, name: str, system: str, stage: str, place: Path) -> dict[str, Any] | None:
        """What a stage found; None, and a failure noted, where it did not end well."""
        command = [sys.executable, "-W", "ignore", __file__, name, "--systems", system, "--scale", str(self.scale)]
        command += ["--stage", stage, "--place", str(place), "--work", str(self.work)]
        try:
            done = subprocess.run(
                command, env=ENVIRONMENT, capture_output=True, text=True, errors="replace", timeout=self.timeout
            )
        except subprocess.TimeoutExpired:
            self.failures[f"{name}, {system}"] = f"took more than {self.timeout:g} s"
            return None
        if done.returncode or not done.stdout.strip():
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            self.failures[f"{name}, {system}"] = lines[-1][:200]
            return None
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found

    def round(self, name: str, system: str) -> None:
        """Runs a workload for a system, with what has to be there before."""
        workload = WORKLOADS[name]
        place = self.places / (self.shared(workload) if workload.keeps else name) / system
        if workload.prepare is not None and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            if self.process(name, system, PREPARE, place) is None:
                return
        for _ in range(workload.repeats):
            facts = self.process(name, system, RUN, place)
            if facts is not None:
                self.note(name, system, facts)
        if not workload.keeps:
            shutil.rmtree(place, ignore_errors=True)

    @staticmethod
    def shared(workload: Workload) -> str:
        """A name for what workloads that change nothing find at their place."""
        return f"{workload.prepare.__module__}.{workload.prepare.__name__}" if workload.prepare else workload.name

    def note(self, name: str, system: str, facts: dict[str, Any]) -> None:
        """Adds what a process found."""
        figures = self.results.setdefault(name, {}).setdefault(system, defaultdict(list))
        for measure, value in facts["found"].items():
            figures[measure].append(value)
        figures["memory"].append(facts["memory_bytes"])
        if facts["stored_bytes"]:
            figures["stored"].append(facts["stored_bytes"])


def able(name: str, systems: Iterable[str]) -> list[str]:
    """The systems that are installed and have the verbs of a workload."""
    found = []
    for system in systems:
        try:
            if can(system_class(system), WORKLOADS[name].needs, WORKLOADS[name].columns):
                found.append(system)
        except ImportError:
            continue
    return found


def compare(options: argparse.Namespace, work: Path) -> Runner:
    """Runs everything, round by round."""
    places = Path(tempfile.mkdtemp(prefix="places-", dir=work))  # of this run alone
    runner = Runner(options.scale, work, places, options.timeout)
    for name in options.workloads or WORKLOADS:
        systems = able(name, options.systems.split(",") if options.systems else SYSTEMS)
        for number in range(options.rounds):
            for system in systems:
                if f"{name}, {system}" not in runner.failures:
                    print(f"{name}: round {number + 1} of {options.rounds}, {system}", file=sys.stderr)
                    runner.round(name, system)
        if options.json:
            options.json.write_text(json.dumps(runner.results, indent=1) + "\n")
    shutil.rmtree(places, ignore_errors=True)
    return runner


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="by default all; see --list")
    parser.add_argument("--list", action="store_true", help="names the workloads")
    parser.add_argument("--systems", default="", help=f"separated by commas; by default all of {', '.join(SYSTEMS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of all numbers of things; 1 is what names say")
    parser.add_argument("--work", type=Path, help="a folder for data, kept afterwards; by default a temporary one")
    parser.add_argument("--json", type=Path, help="a file for every figure")
    parser.add_argument("--markdown", type=Path, help="a file for the table")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for a process")
    parser.add_argument("--stage", choices=(PREPARE, RUN), help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name in {*options.workloads} - {*WORKLOADS}:
        parser.error(f"there is no workload {name!r}; they are {', '.join(WORKLOADS)}")
    return options


def main() -> None:
    """Runs the command line, or one of its processes."""
    options = parse()
    if options.list:
        print("\n".join(WORKLOADS))
        return
    if options.stage:
        worker(options)
        return
    with tempfile.TemporaryDirectory(prefix="compare-") as temporary:
        work = (options.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        runner = compare(options, work)
    text = markdown(runner.results, runner.failures, options.scale, options.rounds)
    if options.markdown:
        options.markdown.write_text(text + "\n")
    print(text)
    sys.exit(1 if runner.failures else 0)


if __name__ == "__main__":
    main()
