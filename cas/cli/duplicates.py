"""``cas duplicates``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import click

from cas.cli.delete_list import write_delete_list
from cas.cli.opened import Opened, open_version
from cas.cli.output import json_option, print_json, printable
from cas.cli.paths import has_paths, null_option, paths_of
from cas.dataset.read_only import ReadOnlyDataset
from cas.dataset.summary import format_bytes
from cas.errors import InvalidInputError
from cas.repo.duplicates import DuplicateGroup, Duplicates, find_duplicates
from cas.types import DATA, MASK, SHAPE, Image, Nullable

_GROUPS = 20


@click.command(
    "duplicates", epilog="Example: cas duplicates lake/photos --delete-list - -0 | (cd photos && xargs -0 rm --)"
)
@click.argument("url", metavar="URL[@REV]")
@click.option("--column", metavar="NAME", help="Compare this column; by default the first one of images.")
@click.option("--limit", type=click.IntRange(0), help=f"Show so many groups; by default {_GROUPS}, with --json all.")
@click.option(
    "--delete-list",
    metavar="FILE",
    help="Write the paths of all but the first row of each group to FILE, or print them for -.",
)
@null_option
@json_option
def command(
    url: str, column: str | None, limit: int | None, delete_list: str | None, null: bool, as_json: bool
) -> None:
    """List groups of rows whose content is identical, those that waste most first.

    The store keeps such content once; a folder it came from, or is written to, does not. Rows are named by the column
    path where there is one, otherwise by number. --limit does not shorten the list for deletion.
    """
    if null and delete_list is None:
        raise click.UsageError("-0 goes with --delete-list")
    if as_json and delete_list == "-":
        raise click.UsageError("--json and --delete-list - both print; write the list to a file")
    with open_version(url) as opened, opened.version.open() as dataset:
        column = column or _image_column(dataset)
        _check_comparable(dataset, column)
        found = find_duplicates(opened.repository, opened.tree, column)
        if delete_list is not None:
            write_delete_list(dataset, found, delete_list, null=null)
            if delete_list == "-":
                return
        if as_json:
            print_json(_facts(opened, dataset, column, found, limit))
        else:
            _print(dataset, found, _GROUPS if limit is None else limit)


def _check_comparable(dataset: ReadOnlyDataset, column: str) -> None:
    """Refuses sequences whose items have shapes or may be missing, for rows are compared by their data alone."""
    type_ = dataset.schema.get(column)
    if type_ is not None and not type_.layouts().keys() <= {DATA, SHAPE, MASK}:
        raise InvalidInputError(
            f"the rows of column {column!r} of type {type_} cannot be compared: its items have shapes of their own, or "
            f"may be missing",
            column=column,
        )


def _image_column(dataset: ReadOnlyDataset) -> str:
    for name, type_ in dataset.schema.items():
        if isinstance(type_.of if isinstance(type_, Nullable) else type_, Image):
            return name
    names = ", ".join(map(repr, dataset.schema)) or "none"
    raise InvalidInputError(f"the dataset has no column of images; name one with --column: {names}")


def _named(
    dataset: ReadOnlyDataset, found: Duplicates, limit: int | None
) -> Iterator[tuple[DuplicateGroup, list[str | None]]]:
    """Yields the first groups, each with the paths of its rows, None where there is none; reads many at a time."""
    count = len(found) if limit is None else min(limit, len(found))
    rows = found.rows[: int(found.ends[count - 1]) if count else 0]
    paths = paths_of(dataset, rows) if has_paths(dataset) else ((row, None) for row in rows.tolist())
    for group in map(found.__getitem__, range(count)):
        yield group, [path for _, path in islice(paths, len(group.rows))]


def _facts(
    opened: Opened, dataset: ReadOnlyDataset, column: str, found: Duplicates, limit: int | None
) -> dict[str, Any]:
    with_paths = has_paths(dataset)
    return {
        "dataset": opened.where,
        "version": opened.version.id,
        "column": column,
        "group_count": len(found),
        "repeated_rows": len(found.repeats()),
        "wasted_bytes": found.wasted_bytes,
        "groups": [
            group.to_dict() | ({"paths": paths} if with_paths else {}) for group, paths in _named(dataset, found, limit)
        ],
    }


def _print(dataset: ReadOnlyDataset, found: Duplicates, limit: int) -> None:
    for group, paths in _named(dataset, found, limit):
        size, count = format_bytes(group.size_bytes), len(group.rows)
        click.echo(f"{format_bytes(group.wasted_bytes)} wasted: {count:,} rows of {size}")
        for row, path in zip(group.rows.tolist(), paths, strict=True):
            click.echo(f"    row {row}" if path is None else printable(f"    {path}"))
    hidden = len(found) - limit
    if hidden > 0:
        click.echo(f"and {hidden:,} more groups; show them with --limit")
    click.echo(
        f"{len(found):,} groups, {len(found.repeats()):,} repeated rows, {format_bytes(found.wasted_bytes)} wasted"
    )
