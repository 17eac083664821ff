"""What does a checkpoint of 90 MB cost to save and to load, and what do derivatives of it that share most tensors?"""

from __future__ import annotations

import statistics

import numpy as np
from systems.contract import Array, Verbs

from workloads.case import Case, check_equal
from workloads.data import derive, make_checkpoint, size_bytes
from workloads.workload import Measure, Target, Workload

DERIVATIVES = 3


def _check(name: str, found: dict[str, Array], expected: dict[str, Array]) -> None:
    check_equal(f"tensors of {name}", sorted(found), sorted(expected))
    for key, tensor in expected.items():
        check_equal(f"{name}: {key}", found[key], tensor)


def warm(system: Verbs) -> None:
    """A small one."""
    system.save("small", {"weight": np.zeros((4, 4), np.float32)})
    system.load("small")


def run(case: Case, system: Verbs) -> None:
    """Saves, loads, and saves derivatives whole."""
    tensors = make_checkpoint(case.scale)
    size = size_bytes(tensors)
    case.report("save", size / case.timed(lambda: system.save("base", tensors), much=True) / 1e6)
    stored = case.stored()
    case.report("stored / source", stored / size)
    times: list[float] = []
    new_bytes = 0
    for number in range(DERIVATIVES):
        derived = derive(tensors, number)
        new_bytes += sum(derived[name].nbytes for name in tensors if derived[name] is not tensors[name])
        times.append(case.timed(lambda: system.save(f"derived-{number}", derived)))  # noqa: B023
    case.report("a derivative saved", statistics.median(times))
    case.report("grown / new bytes", (case.stored() - stored) / new_bytes)
    loaded: list[dict[str, Array]] = []
    system.close()
    case.report("load", size / case.timed(lambda: loaded.append(system.load("base")), much=True) / 1e6)
    _check("base", loaded.pop(), tensors)
    for number in range(DERIVATIVES):
        _check(f"derived-{number}", system.load(f"derived-{number}"), derive(tensors, number))


CHECKPOINTS = Workload(
    "checkpoint of 90 MB",
    ("save", "load"),
    (
        Measure("save", "MB/s", Target(350), Target(600), "npy"),
        Measure("stored / source", "x", Target(0.90)),
        Measure("load", "MB/s", Target(1200), Target(2500), "npy"),
        Measure("grown / new bytes", "x", Target(0.95), Target(0.90)),
        Measure("a derivative saved", "s", Target(0.1), Target(0.05)),
    ),
    run,
    {},
    warm=warm,
)
