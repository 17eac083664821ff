"""What was found as one Markdown table, with the date, the machine and the versions above it."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import statistics
from collections.abc import Iterable
from pathlib import Path

from systems import SYSTEMS, system_class
from workloads import WORKLOADS
from workloads.workload import Measure, Target

# By workload, system and measure: a figure a round.
Results = dict[str, dict[str, dict[str, list[float]]]]

OURS = "cas"
HEADER = (
    "workload",
    "measure",
    "cas",
    "best peer",
    "ratio",
    "limit",
    "ratio to it",
    "must",
    "aim",
    "reached",
    "memory",
    "on disk",
)
PACKAGES = ("tensor-cas", "numpy", "lmdb", "deeplake", "pylance", "icechunk", "zarr", "arcticdb", "tensorstore")


def number(value: float) -> str:
    """A figure with three digits that matter."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def mebibytes(values: list[float] | None) -> str:
    """Bytes, the median, in MiB."""
    return "-" if not values else f"{number(statistics.median(values) / 2**20)} MiB"


def _medians(results: dict[str, dict[str, list[float]]], measure: str) -> dict[str, float]:
    return {name: statistics.median(found[measure]) for name, found in results.items() if found.get(measure)}


def _is_limit(name: str) -> bool:
    try:
        return system_class(name).limit
    except ImportError:
        return False


def best_peer(medians: dict[str, float], measure: Measure) -> str | None:
    """The name of the peer that does it best."""
    peers = {name: value for name, value in medians.items() if name != OURS and not _is_limit(name)}
    choose = max if measure.more_is_better else min
    return choose(peers, key=lambda name: peers[name]) if peers else None


def reaches(ours: float, target: Target | None, medians: dict[str, float], measure: Measure) -> bool | None:
    """Whether a target is reached; None where there is none, or the system it names was not measured."""
    if target is None or (target.of and target.of not in medians):
        return None
    wanted = target.value * (medians[target.of] if target.of else 1)
    return ours >= wanted if measure.more_is_better else ours <= wanted


def wanted(measure: Measure, target: Target | None) -> str:
    """A target with its direction."""
    return "-" if target is None else f"{'>=' if measure.more_is_better else '<='} {target}"


def verdict(ours: float, measure: Measure, medians: dict[str, float]) -> str:
    """Whether what must be and what should be was reached, in a word."""
    if measure.aim and reaches(ours, measure.aim, medians, measure):
        return "aim"
    reached = reaches(ours, measure.must, medians, measure)
    return "-" if reached is None else "yes" if reached else "**no**"


def _ratio(ours: float, other: float | None) -> str:
    return "-" if not other else number(ours / other)


def row(workload: str, measure: Measure, results: dict[str, dict[str, list[float]]], first: bool) -> list[str]:
    """The cells of a measure."""
    medians = _medians(results, measure.name)
    ours = medians.get(OURS)
    if ours is None:
        return [workload, f"{measure.name}, {measure.unit}", *["-"] * (len(HEADER) - 2)]
    peer = best_peer(medians, measure)
    limit = medians.get(measure.limit)
    mine = results[OURS]
    return [
        workload if first else "",
        f"{measure.name}, {measure.unit}",
        number(ours),
        f"{peer} {number(medians[peer])}" if peer else "-",
        _ratio(ours, medians[peer] if peer else None),
        f"{measure.limit} {number(limit)}" if limit else "-",
        _ratio(ours, limit),
        wanted(measure, measure.must),
        wanted(measure, measure.aim),
        verdict(ours, measure, medians),
        mebibytes(mine.get("memory")) if first else "",
        mebibytes(mine.get("stored")) if first else "",
    ]


def machine() -> str:
    """The processor, how many of it, memory, and system."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = platform.system()
    return f"{os.cpu_count()} x {model}, {memory:.0f} GiB, {system}, Python {platform.python_version()}"


def versions(packages: Iterable[str] = (*PACKAGES, "datasets", "h5py")) -> str:
    """The versions of what is installed."""
    found = []
    for name in packages:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def markdown(results: Results, failures: dict[str, str], scale: float, rounds: int) -> str:
    """The table, and what failed."""
    date = dt.datetime.now(dt.UTC).date().isoformat()
    lines = [f"{date}; {machine()}; {versions()}; medians of {rounds}, scale {scale:g}.", ""]
    lines += ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    for name, found in results.items():
        workload = WORKLOADS[name]
        for position, measure in enumerate(workload.measures):
            lines.append("| " + " | ".join(row(workload.name, measure, found, position == 0)) + " |")
    return "\n".join(lines + everything(results) + [f"\nFailed: {who}: {why}" for who, why in failures.items()])


def everything(results: Results) -> list[str]:
    """A second table: the median of every system."""
    systems = [name for name in SYSTEMS if any(name in found for found in results.values())]
    lines = ["", "| workload | measure | " + " | ".join(systems) + " |", "|" + "---|" * (len(systems) + 2)]
    for name, found in results.items():
        for measure in WORKLOADS[name].measures:
            medians = _medians(found, measure.name)
            cells = [number(medians[system]) if system in medians else "-" for system in systems]
            lines.append(f"| {name} | {measure.name}, {measure.unit} | " + " | ".join(cells) + " |")
    return lines
