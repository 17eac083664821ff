"""How commands print: sizes, counts, tables, JSON, progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")

Report = Callable[[int, int, int, int], None]
"""Is told of progress: items done, items in all, bytes done, bytes in all (0 while unknown)."""


def print_json(value: Any) -> None:
    """Prints a value as JSON, indented."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def format_bytes(size: float) -> str:
    """Returns a size in bytes with a binary unit.

    >>> format_bytes(999), format_bytes(123456)
    ('999 B', '120.6 KiB')
    """
    if size < 1024:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size /= 1024
        if size < 1024 or unit == "TiB":
            break
    return f"{size:.1f} {unit}"


def printable(text: str) -> str:
    """Returns text that is safe on a terminal: control characters are shown as escapes.

    >>> printable("cat\\x1b[2J")
    'cat\\\\x1b[2J'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def console() -> Console:
    """Returns a console on standard output, wide where the output is no terminal."""
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 10_000, soft_wrap=True)


@contextmanager
def progress(what: str, *, quiet: bool) -> Iterator[Report]:
    """Shows a progress bar with rate and time left on standard error, if that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total, size, size_total: None
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        files = bar.add_task(what, total=None)

        def report(done: int, total: int, size: int, size_total: int) -> None:
            bar.update(files, completed=size, total=size_total or None, description=f"{what} {done:,} of {total:,}")

        yield report
