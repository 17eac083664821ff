"""What do 1,000 tags and 1,000 metadata keys cost, each durable, and do they get slower?"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

from systems.contract import Verbs

from workloads.case import Case, check_equal
from workloads.data import image_labels, images
from workloads.workload import IMAGES, Measure, Target, Workload

COUNT = 1_000
ROWS = 10


def prepare(case: Case, system: Verbs) -> None:
    """A small table."""
    system.ingest([{"image": images(case, ROWS, seed=8), "label": image_labels(ROWS)}])
    system.close()


def _names(case: Case) -> list[str]:
    return [f"name-{number:04}" for number in range(case.count(COUNT, 20))]


def _each(verb: Callable[..., object], given: list[tuple[object, ...]]) -> Iterator[Callable[[], object]]:
    for arguments in given:
        yield lambda arguments=arguments: verb(*arguments)  # type: ignore[misc]


def _report(case: Case, times: list[float]) -> None:
    some = max(1, len(times) // 10)
    case.report("made", statistics.median(times) * 1e3)
    case.report("last / first 100", statistics.median(times[-some:]) / statistics.median(times[:some]))


def tag(case: Case, system: Verbs) -> None:
    """Tags of one version; then all opened, and listed."""
    names = _names(case)
    system.open()
    _report(case, case.each(_each(system.tag, [(name,) for name in names])))
    counts: list[int] = []
    times = case.each(_each(lambda name: counts.append(system.tagged(name)), [(name,) for name in names]))
    case.report("resolved and opened", statistics.median(times) * 1e3)
    check_equal("rows of tags", counts, [ROWS] * len(names))
    listed: list[str] = []
    case.report("listed", case.timed(lambda: listed.extend(system.tags())) * 1e3)
    check_equal("names of tags", sorted(listed), names)


def set_metadata(case: Case, system: Verbs) -> None:
    """Keys one after the other."""
    names = _names(case)
    system.open()
    _report(case, case.each(_each(system.set, [(name, {"value": name}) for name in names])))
    case.stored()
    system.close()
    system.open()
    check_equal("metadata", [dict(system.get(name)) for name in names], [{"value": name} for name in names])


_FLAT = Measure("last / first 100", "x", Target(1.2))

TAGS = Workload(
    "1,000 tags",
    ("ingest", "open", "tag", "tagged", "tags"),
    (
        Measure("made", "ms", Target(0.6), Target(0.35), "npy"),
        _FLAT,
        Measure("resolved and opened", "ms", Target(0.17), Target(0.1)),
        Measure("listed", "ms", Target(0.6), Target(0.3)),
    ),
    tag,
    IMAGES,
    prepare,
)

METADATA = Workload(
    "1,000 metadata sets",
    ("ingest", "open", "set", "get"),
    (Measure("made", "ms", Target(0.6), Target(0.35), "npy"), _FLAT),
    set_metadata,
    IMAGES,
    prepare,
)
