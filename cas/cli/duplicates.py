"""``cas duplicates``."""

from __future__ import annotations

from typing import Any

import click

from cas.cli.delete_list import write_delete_list
from cas.cli.near_duplicates import NearOptions, run_near
from cas.cli.opened import Opened, open_version
from cas.cli.output import json_option, print_json
from cas.cli.paths import has_paths, null_option
from cas.cli.row_groups import (
    GROUPS,
    check_options,
    column_option,
    format_row,
    image_column,
    limit_option,
    named_groups,
    print_hidden,
)
from cas.dataset.read_only import ReadOnlyDataset
from cas.dataset.summary import format_bytes
from cas.repo.duplicates import Duplicates, find_duplicates


@click.command(
    "duplicates",
    epilog="""Example: cas duplicates lake/photos --delete-list - -0 | (cd photos && xargs -0 rm --)

Images that look alike, to be looked at: cas duplicates lake/photos --near --html report.html""",
)
@click.argument("url", metavar="URL[@REV]")
@column_option
@limit_option
@click.option("--near", is_flag=True, help="List images that look alike too, not only identical rows.")
@click.option(
    "--threshold",
    metavar="BITS",
    type=click.IntRange(0, 64),
    help="With --near: so many of 64 bits may differ; by default 8.",
)
@click.option(
    "--html",
    "page",
    metavar="FILE",
    help="With --near: write a page with thumbnails, and the list of what to remove, to FILE.",
)
@click.option(
    "--delete-list",
    metavar="FILE",
    help="Write the paths of all but the first row of each group to FILE, or print them for -.",
)
@null_option
@json_option
def command(
    url: str,
    column: str | None,
    limit: int | None,
    near: bool,
    threshold: int | None,
    page: str | None,
    delete_list: str | None,
    null: bool,
    as_json: bool,
) -> None:
    """List groups of rows whose content is identical, those that waste most first.

    The store keeps such content once; a folder it came from, or is written to, does not. Rows are named by the column
    path where there is one, otherwise by number. --limit does not shorten the list for deletion.

    With --near, images that look alike are grouped around the best of them, which is listed first and stays: that of
    most pixels, then of most bytes. Each image is decoded once; the store keeps its hash for the next time.
    """
    check_options(delete_list=delete_list, null=null, as_json=as_json)
    if near:
        run_near(NearOptions(url, column, limit, threshold, page, delete_list, null, as_json))
        return
    if threshold is not None or page is not None:
        raise click.UsageError(f"{'--html' if threshold is None else '--threshold'} goes with --near")
    with open_version(url) as opened, opened.version.open() as dataset:
        column = column or image_column(dataset)
        found = find_duplicates(opened.repository, opened.tree, column)
        if delete_list is not None:
            write_delete_list(dataset, found.repeats(), delete_list, staying=found.firsts(), null=null)
            if delete_list == "-":
                return
        if as_json:
            print_json(_facts(opened, dataset, column, found, limit))
        else:
            _print(dataset, found, GROUPS if limit is None else limit)


def _facts(
    opened: Opened, dataset: ReadOnlyDataset, column: str, found: Duplicates, limit: int | None
) -> dict[str, Any]:
    named, with_paths = named_groups(dataset, found, found.rows, limit), has_paths(dataset)
    return {
        "dataset": opened.where,
        "version": opened.version.id,
        "column": column,
        "group_count": len(found),
        "repeated_rows": len(found.repeats()),
        "wasted_bytes": found.wasted_bytes,
        "groups": [group.to_dict() | ({"paths": paths} if with_paths else {}) for group, paths in named],
    }


def _print(dataset: ReadOnlyDataset, found: Duplicates, limit: int) -> None:
    for group, paths in named_groups(dataset, found, found.rows, limit):
        size, count = format_bytes(group.size_bytes), len(group.rows)
        click.echo(f"{format_bytes(group.wasted_bytes)} wasted: {count:,} rows of {size}")
        for row, path in zip(group.rows.tolist(), paths, strict=True):
            click.echo(f"    {format_row(row, path)}")
    print_hidden(len(found), limit)
    click.echo(
        f"{len(found):,} groups, {len(found.repeats()):,} repeated rows, {format_bytes(found.wasted_bytes)} wasted"
    )
