"""``cas reflog``."""

from __future__ import annotations

from itertools import islice
from typing import Any

import click

from cas.cli.opened import SHORT_DIGITS, open_store, refuse_revision
from cas.cli.output import format_time, json_option, print_json, print_table, printable
from cas.dataset.reflog import ReflogEntry, read_reflog


@click.command("reflog", epilog="Example: cas reflog lake/photos --ref main -n 5")
@click.argument("url", metavar="URL")
@click.option("--ref", "name", metavar="NAME", help="Show the moves of one branch or tag.")
@click.option("-n", "--limit", type=click.IntRange(1), help="Show so many of the newest moves.")
@json_option
def command(url: str, name: str | None, limit: int | None, as_json: bool) -> None:
    """List where the branches and tags of a dataset have been, newest first.

    Line N of a branch, counted from 0, is where NAME@{N} leads; so a deleted branch or tag is found again.
    """
    with open_store(url) as (repository, location):
        refuse_revision(location)
        dataset = repository.dataset_id(location.name)
        with repository.store.read() as view:
            entries = read_reflog(view, dataset)
    shown = list(islice((entry for entry in entries if name in (None, entry.name)), limit))
    if as_json:
        print_json([_facts(entry) for entry in shown])
    elif shown:
        print_table(("ref", "time", "command", "from", "to", "message"), [_row(entry) for entry in shown])


def _row(entry: ReflogEntry) -> tuple[str, ...]:
    moved = ((version or "")[:SHORT_DIGITS] for version in (entry.old, entry.new))
    first_line = entry.message.partition("\n")[0]
    return (printable(entry.name), format_time(entry.timestamp), entry.command, *moved, printable(first_line))


def _facts(entry: ReflogEntry) -> dict[str, Any]:
    return {
        "ref": entry.name,
        "timestamp": format_time(entry.timestamp, "microseconds"),
        "command": entry.command,
        "message": entry.message,
        "old": entry.old,
        "new": entry.new,
    }
