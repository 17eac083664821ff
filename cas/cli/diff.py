"""``cas diff``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from cas.cli.changes import (
    Changes,
    change_facts,
    count_changes,
    count_lines,
    print_rows,
    print_schema_and_metadata,
    print_updates,
)
from cas.cli.main import EXIT_INCOMPLETE
from cas.cli.opened import SHORT_DIGITS, OpenedDataset, Refs, format_refs, open_dataset, version_facts
from cas.cli.output import format_time, json_option, print_json, printable
from cas.dataset.diff import Diff
from cas.dataset.history import Version
from cas.errors import InvalidInputError
from cas.history.refs import MAIN

_ROWS: Final = 10


@click.command("diff", epilog="Example: cas diff lake/photos@main~1 @v1.0 --contact-sheet changes.png")
@click.argument("url", metavar="A[@REV]")
@click.argument("other", metavar="[B]", required=False)
@click.option("--limit", type=click.IntRange(0), default=_ROWS, show_default=True, help="Show so many rows of each.")
@click.option("--stat", is_flag=True, help="Count only, as --limit 0.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 where there are differences.")
@click.option("--contact-sheet", "sheet", metavar="FILE.png", help="Draw the images that differ, side by side.")
@click.option("--column", metavar="NAME", help="Draw this column; by default the first one of images.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    url: str,
    other: str | None,
    limit: int,
    stat: bool,
    exit_code: bool,
    sheet: str | None,
    column: str | None,
    as_json: bool,
) -> None:
    """Show what changed from version A to version B of a dataset: schema, metadata, rows and values.

    B is a revision, as in: cas diff lake/photos@v1 @v2, or a URL of the same dataset. Without B: what changed from A to
    the head of main; and where A names no revision, what the last version of main changed.

    Rows and columns are followed by identity, through edits and merges. Counts come first, then the first rows of each
    kind, named by the column path where there is one. Images are not decoded: they show as format, size and first
    digits of their BLAKE3 hash (b3sum). With --json all rows are listed, and of the first ones the values.

    A contact sheet has up to 200 images: old beside new, then those inserted and those deleted. It needs Pillow.
    """
    if column is not None and sheet is None:
        raise click.UsageError("--column goes with --contact-sheet")
    with open_dataset(url) as opened:
        old, new = _versions(opened, other)
        diff = Diff(opened.repository, old, new)
        with old.open() as before, new.open() as after:
            changes = Changes(diff, before, after)
            write_sheet = None if sheet is None else _prepare_sheet(changes, column, sheet)
            if as_json:
                print_json(_facts(opened, changes, 0 if stat else limit))
            else:
                _print(opened.refs(), changes, 0 if stat else limit)
            if write_sheet is not None:
                click.echo(printable(f"wrote {sheet}: {write_sheet()}"), err=as_json)
        different = bool(diff)
    if exit_code and different:
        ctx.exit(EXIT_INCOMPLETE)


def _versions(opened: OpenedDataset, other: str | None) -> tuple[Version, Version]:
    """The two versions to compare."""
    revision = opened.location.revision
    if other is not None:
        return opened.find(revision or MAIN), opened.find(opened.revision_of(other))
    head = opened.find(MAIN)
    if revision is not None:
        return opened.find(revision), head
    if not head.parents:
        raise InvalidInputError(
            f"version {head.id[:SHORT_DIGITS]} is the first one, so there is none to compare it with"
        )
    return opened.find(head.parents[0]), head


def _prepare_sheet(changes: Changes, column: str | None, target: str) -> Callable[[], str]:
    """Refuses, before anything is printed, what cannot be drawn; what it returns writes the file."""
    from cas.cli.image_sheet import image_changes, write_sheet  # needs Pillow

    images = image_changes(changes, column)
    return lambda: write_sheet(images, target)


def _facts(opened: OpenedDataset, changes: Changes, limit: int) -> dict[str, Any]:
    refs = opened.refs()
    return {
        "dataset": opened.where,
        "a": version_facts(changes.diff.a, refs),
        "b": version_facts(changes.diff.b, refs),
        "counts": count_changes(changes.diff),
        **change_facts(changes, limit),
    }


def _print(refs: Refs, changes: Changes, limit: int) -> None:
    diff = changes.diff
    for word, version in (("from", diff.a), ("to  ", diff.b)):
        click.echo(printable(f"{word} {_version_line(version, refs)}"))
    click.echo()
    if not diff:
        click.echo("no differences")
        return
    print_schema_and_metadata(diff)
    for line in count_lines(diff):
        click.echo(printable(line))
    print_rows(changes.new, diff.inserted, "inserted", limit)
    print_rows(changes.old, diff.deleted, "deleted", limit)
    print_updates(changes, limit)


def _version_line(version: Version, refs: Refs) -> str:
    names = format_refs(version, refs)
    parts = [version.id[:SHORT_DIGITS], format_time(version.timestamp), f"({names})" if names else ""]
    parts += version.message.splitlines()[:1]
    return " ".join(part for part in parts if part)
