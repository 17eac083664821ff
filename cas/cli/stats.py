"""``cas stats``."""

from __future__ import annotations

import click

from cas.cli.opened import SHORT_DIGITS, open_version
from cas.cli.output import json_option, print_json, print_table
from cas.dataset.summary import format_bytes
from cas.repo.stats import Usage, VersionStats, version_stats

_COLUMNS = ("column", "type", "rows", "bytes", "unique", "stored", "chunks", "unique chunks", "dedup", "compression")


@click.command("stats", epilog="Example: cas stats lake/photos@v1.0 --json")
@click.argument("url", metavar="URL[@REV]")
@json_option
def command(url: str, as_json: bool) -> None:
    """Count rows and bytes of a version, by column and in total, and what deduplication and compression save.

    The column bytes counts all chunks, as often as they occur; unique each distinct chunk once; stored these as they
    are kept, compressed or not. dedup is bytes by unique, compression is unique by stored. The last line is what the
    whole store takes on disk: all its datasets, versions and free space.
    """
    with open_version(url) as opened:
        stats = version_stats(opened.repository, opened.tree)
        if as_json:
            print_json({"dataset": opened.where, "version": opened.version.id, **stats.to_dict()})
        else:
            _print(stats)
            click.echo(f"version {opened.version.id[:SHORT_DIGITS]}")
            click.echo(f"the store takes {format_bytes(stats.store_bytes)} on disk")


def _print(stats: VersionStats) -> None:
    rows = [(column.name, column.type, *_cells(column.usage)) for column in stats.columns]
    print_table(_COLUMNS, [*rows, ("total", "", *_cells(stats.total))], right=_COLUMNS[2:])


def _cells(usage: Usage) -> tuple[str, ...]:
    sizes = (usage.logical_bytes, usage.unique_bytes, usage.stored_bytes)
    return (
        f"{usage.rows:,}",
        *map(format_bytes, sizes),
        f"{usage.chunks:,}",
        f"{usage.unique_chunks:,}",
        f"{usage.dedup:.2f}x",
        f"{usage.compression:.2f}x",
    )
