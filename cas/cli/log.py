"""``cas log``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import click

from cas.cli.opened import SHORT_DIGITS, Refs, format_refs, open_version, version_facts
from cas.cli.output import format_time, json_option, print_json, printable
from cas.dataset.history import History, Version

_SIGNS: Final = {"added": "+", "changed": "~", "removed": "-"}


@click.command("log", epilog="Example: cas log lake/photos@v1.0 -n 10")
@click.argument("url", metavar="URL[@REV]")
@click.option("-n", "--limit", type=click.IntRange(1), help="Show so many of the newest versions.")
@click.option("--reverse", is_flag=True, help="Show the oldest first.")
@json_option
def command(url: str, limit: int | None, reverse: bool, as_json: bool) -> None:
    """List the versions that lead to a revision, newest first, along first parents.

    Each line has the id, the time by the storage's clock, the author, the branches and tags that name the version, the
    counts of an import (added, changed, removed), and the first line of the message.
    """
    with open_version(url) as opened:
        refs = opened.refs()
        history = History(opened.repository, opened.dataset, opened.location.name, bytes.fromhex(opened.version.id))
        versions = _select(history, limit, reverse)
        if as_json:
            print_json([_facts(version, refs) for version in versions])
            return
        for version in versions:
            click.echo(_line(version, refs))


def _select(history: History, limit: int | None, reverse: bool) -> Iterator[Version]:
    if not reverse:
        return islice(reversed(history), limit)
    oldest = 0 if limit is None else max(0, len(history) - limit)
    return (history[number] for number in range(oldest, len(history)))


def _import_counts(version: Version) -> dict[str, int]:
    """What an import noted; details come from whoever made the version, so anything else is passed over."""
    counts = version.details.get("import")
    if not isinstance(counts, dict):
        return {}
    return {name: count for name, count in counts.items() if isinstance(name, str) and type(count) is int}


def _facts(version: Version, refs: Refs) -> dict[str, Any]:
    counts = _import_counts(version)
    return version_facts(version, refs) | ({"import": counts} if counts else {})


def _line(version: Version, refs: Refs) -> str:
    parts = [version.id[:SHORT_DIGITS], format_time(version.timestamp), version.author]
    names = format_refs(version, refs)
    if names:
        parts.append(f"({names})")
    counts = _import_counts(version)
    parts += [f"{sign}{counts[name]}" for name, sign in _SIGNS.items() if name in counts]
    parts += version.message.splitlines()[:1]
    return printable(" ".join(parts))
