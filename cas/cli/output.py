"""How commands print: sizes, counts, tables, JSON, progress."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from cas.codec.json_terms import to_json as to_json
from cas.integrations.values import printable as printable

json_option = click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")

_ANY_WIDTH: Final = 10_000
_MOST_RANGES: Final = 8

Report = Callable[[int, int, int, int], None]
"""Is told of progress: items done, items in all, bytes done, bytes in all (0 while unknown)."""

CountReport = Callable[[str, int, int], None]
"""Is told of progress: what is done, how much of it, and of how much in all (0 while unknown)."""


def print_json(value: Any) -> None:
    """Prints a value as JSON, indented."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def format_time(time: dt.datetime, timespec: str = "seconds") -> str:
    """Returns a UTC time in ISO 8601, to the second or, for ``timespec`` "microseconds", in full.

    >>> format_time(dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC))
    '2026-11-01T12:00:00Z'
    """
    return time.astimezone(dt.UTC).isoformat(timespec=timespec).removesuffix("+00:00") + "Z"


def format_ranges(ranges: Iterable[tuple[int, int]]) -> str:
    """Returns rows, half open, as text; of many ranges the first eight.

    >>> format_ranges([(3, 4), (10, 2000)])
    '3 10-1,999'
    """
    runs = [f"{start:,}-{stop - 1:,}" if stop - start > 1 else f"{start:,}" for start, stop in ranges]
    more = ["..."] if len(runs) > _MOST_RANGES else []
    return " ".join(runs[:_MOST_RANGES] + more)


def console() -> Console:
    """Returns a console on standard output, wide where the output is no terminal."""
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _ANY_WIDTH, soft_wrap=True)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: Collection[str] = ()) -> None:
    """Prints rows of text under headings; the columns named in ``right`` are aligned to the right.

    Control characters are shown as escapes. A line that is wider than the terminal runs on: nothing is cut off, and no
    line ends in spaces.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(Text(printable(heading)), justify="right" if heading in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    screen = console()
    screen.width = _ANY_WIDTH
    lines = screen.render_lines(table, pad=False)
    screen.print(Segments([segment for line in lines for segment in (*_without_end(line), Segment.line())]), end="")


def _without_end(line: list[Segment]) -> list[Segment]:
    """A line without the spaces at its end, which would begin another one on a narrow terminal."""
    while line and not line[-1].text.strip():
        line.pop()
    return [*line[:-1], Segment(line[-1].text.rstrip(), line[-1].style)] if line else line


def _counted(what: str, done: int, total: int) -> str:
    return f"{what} {done:,} of {total:,}" if total else f"{what} {done:,}, counting"


@contextmanager
def _bar(*columns: ProgressColumn, quiet: bool) -> Iterator[Progress | None]:
    """A bar on standard error that goes at the end; None where that is no terminal, or quiet is wanted."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    shown = [TextColumn("{task.description}"), BarColumn(), *columns, TimeRemainingColumn()]
    with Progress(*shown, console=Console(stderr=True), transient=True) as bar:
        yield bar


@contextmanager
def progress(what: str, *, quiet: bool) -> Iterator[Report | None]:
    """Shows a progress bar with rate and time left on standard error; gives None where that is no terminal."""
    with _bar(DownloadColumn(binary_units=True), TransferSpeedColumn(), quiet=quiet) as bar:
        if bar is None:
            yield None
            return
        files = bar.add_task(what, total=None)

        def report(done: int, total: int, size: int, size_total: int) -> None:
            bar.update(files, completed=size, total=size_total or None, description=_counted(what, done, total))

        yield report


@contextmanager
def count_progress(*, quiet: bool) -> Iterator[CountReport | None]:
    """Shows what is being done, and how much of it; gives None where standard error is no terminal."""
    with _bar(quiet=quiet) as bar:
        if bar is None:
            yield None
            return
        task = bar.add_task("", total=None)

        def report(what: str, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None, description=f"{what} {done:,}")

        yield report
