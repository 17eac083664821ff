"""Runs of an experiment side by side: ``cas log --experiments``."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import click

from cas.cli.opened import SHORT_DIGITS, Refs, version_facts
from cas.cli.output import print_json, print_table, printable, to_json
from cas.integrations.experiment.reading import RecordedRun
from cas.integrations.experiment.record import RunInput

_COMMIT_DIGITS: Final = 8
_CELL_CHARACTERS: Final = 24
_GAP: Final = 2
_Cells = Sequence[str]


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table; those of a higher rank go first where the terminal is too narrow."""

    heading: str
    cells: _Cells
    rank: int
    right: bool = False

    @property
    def width(self) -> int:
        """How wide it is."""
        return max(map(len, (self.heading, *self.cells)))


def select_runs(
    runs: Iterable[RecordedRun], limit: int | None, sort: str | None, *, reverse: bool
) -> list[RecordedRun]:
    """Returns runs that come newest first, at most ``limit``: the newest, or those that come first by a metric.

    Runs without the metric come last, either way. Raises a usage error where none of them has it.
    """
    if sort is None:
        newest = list(islice(runs, limit))
        return newest[::-1] if reverse else newest
    found = list(runs)
    with_metric = [run for run in found if _is_number(run.metrics.get(sort))]
    if found and not with_metric:
        names = ", ".join(sorted({name for run in found for name in run.metrics})) or "none"
        raise click.UsageError(f"no run has a number as metric {sort!r}; the metrics are: {names}")
    with_metric.sort(key=lambda run: float(run.metrics[sort]), reverse=reverse)
    without = [run for run in found if not _is_number(run.metrics.get(sort))]
    return [*with_metric, *without][:limit]


def _is_number(value: Any) -> bool:
    """Whether a value can be ordered: no text, and not NaN."""
    try:
        return not isinstance(value, (str, bytes)) and not math.isnan(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def print_runs_json(runs: Iterable[RecordedRun], refs: Refs) -> None:
    """Prints all that was noted of runs."""
    print_json([{**version_facts(run.version, refs), "run": to_json(run.record.to_dict())} for run in runs])


def print_runs(runs: Sequence[RecordedRun], sort: str | None) -> None:
    """Prints a table of runs: what is the same in all of them is left out.

    On a terminal it is made to fit: long values are cut, and where that is not enough, columns are left out and named.
    """
    if not runs:
        return
    columns = _columns(runs, sort)
    left_out: list[str] = []
    if sys.stdout.isatty():
        columns, left_out = _fit([_shortened(column) for column in columns], shutil.get_terminal_size().columns)
    right = [column.heading for column in columns if column.right]
    print_table(
        [column.heading for column in columns], zip(*(column.cells for column in columns), strict=True), right=right
    )
    if left_out:
        click.echo(printable(f"left out, for the terminal is narrow: {', '.join(left_out)}"), err=True)


def _columns(runs: Sequence[RecordedRun], sort: str | None) -> list[_Column]:
    def fixed(heading: str, rank: int, show: Callable[[RecordedRun], str], *, right: bool = False) -> _Column:
        return _Column(heading, [show(run) for run in runs], rank, right)

    params = [_flat(run.params) for run in runs]
    inputs = [{name: _show_input(found) for name, found in run.inputs.items()} for run in runs]
    seeds = [{_seed_heading(name): seed for name, seed in run.record.seeds.items()} for run in runs]
    metrics = [run.metrics for run in runs]
    names = sorted(_names(metrics), key=lambda name: name != sort)
    found = [
        fixed("run", 0, lambda run: run.version.id[:SHORT_DIGITS]),
        fixed("started", 4, lambda run: f"{run.record.started:%Y-%m-%d %H:%M}"),
        fixed("status", 1, _show_status),
        fixed("took", 5, lambda run: _show_duration(run.record.seconds), right=True),
        *(_column(name, [_show(each.get(name)) for each in params], 2) for name in _differing(params)),
        *(_column(name, [_show(each.get(name)) for each in seeds], 3) for name in _differing(seeds)),
        *(_column(name, [_show(each.get(name)) for each in metrics], int(name != sort)) for name in names),
        fixed("commit", 6, _show_commit),
        *(_Column(f"input {name}", [each.get(name, "") for each in inputs], 7) for name in _differing(inputs)),
    ]
    return [column for column in found if any(column.cells)]


def _column(heading: str, cells: _Cells, rank: int) -> _Column:
    return _Column(heading, cells, rank, right=all(map(_looks_like_number, filter(None, cells))))


def _looks_like_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one: ``{"optimiser.name": "adam"}``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _seed_heading(name: str) -> str:
    return name if name == "seed" else f"seed {name}"


def _names(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted({name for mapping in mappings for name in mapping})


def _differing(mappings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names that do not have one and the same value in all."""
    return [name for name in _names(mappings) if len({_identity(mapping, name) for mapping in mappings}) > 1]


def _identity(mapping: Mapping[str, Any], name: str) -> str | None:
    return json.dumps(to_json(mapping[name]), sort_keys=True) if name in mapping else None


def _show(value: Any) -> str:
    value = to_json(value)
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _show_input(found: RunInput) -> str:
    short = found.version[:_COMMIT_DIGITS]
    return short if found.revision is None else f"{found.revision} {short}"


def _show_status(run: RecordedRun) -> str:
    error = run.record.error
    return run.status if error is None else f"{run.status}: {error.rpartition('.')[2]}"


def _show_commit(run: RecordedRun) -> str:
    """The commit of the code, with a star where files differed from it, or a question mark where git could not tell."""
    code = run.record.code or {}
    commit = code.get("commit")
    mark = {True: "*", None: "?"}.get(code.get("dirty"), "")
    return f"{str(commit)[:_COMMIT_DIGITS]}{mark}" if commit else ""


def _show_duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}m"


def _shortened(column: _Column) -> _Column:
    cells = [cell if len(cell) <= _CELL_CHARACTERS else f"{cell[: _CELL_CHARACTERS - 1]}…" for cell in column.cells]
    return _Column(column.heading, cells, column.rank, column.right)


def _fit(columns: list[_Column], width: int) -> tuple[list[_Column], list[str]]:
    """Leaves out columns, the last of the highest rank first, until the others fit; returns them, and those names."""
    kept, left_out = list(columns), []
    while len(kept) > 1 and sum(column.width + _GAP for column in kept) - _GAP > width:
        worst = max(range(len(kept)), key=lambda at: (kept[at].rank, at))
        left_out.append(kept.pop(worst).heading)
    return kept, left_out[::-1]
