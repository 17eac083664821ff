"""``cas duplicates --near``: images that look alike, in words, as JSON, and as a page to be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from cas.cli.delete_list import checked_lines, write_delete_list
from cas.cli.opened import Opened, open_version_to_keep
from cas.cli.output import count_progress, print_json, printable
from cas.cli.paths import has_paths
from cas.cli.row_groups import GROUPS, format_row, image_column, named_groups, paths_or_none, print_hidden
from cas.cli.whole_file import replacing
from cas.dataset.read_only import ReadOnlyDataset
from cas.dataset.summary import format_bytes
from cas.errors import InvalidInputError
from cas.integrations.near.groups import THRESHOLD, NearDuplicates

if TYPE_CHECKING:
    from cas.integrations.near.report import RemovalList


@dataclass(frozen=True, slots=True)
class NearOptions:
    """What was asked for on the command line; None where it was left out."""

    url: str
    column: str | None
    limit: int | None
    threshold: int | None
    page: str | None
    delete_list: str | None
    null: bool
    as_json: bool


def run_near(options: NearOptions) -> None:
    """Lists images that look alike; exits with 1 where some cannot be decoded."""
    from cas.integrations.near.search import find_near_duplicates  # it needs Pillow

    with open_version_to_keep(options.url) as opened, opened.version.open() as dataset:
        column = options.column or image_column(dataset)
        threshold = THRESHOLD if options.threshold is None else options.threshold
        with count_progress(quiet=options.as_json) as report:
            told = None if report is None else lambda done, total: report("Images looked at:", done, total)
            found = find_near_duplicates(dataset, column, threshold, report=told)
        if options.page is not None:
            _write_page(opened, dataset, found, options)
        _write_lists(opened, dataset, found, options)
        _tell_left_out(dataset, found)
    if found.unreadable:
        click.get_current_context().exit(1)


def _write_lists(opened: Opened, dataset: ReadOnlyDataset, found: NearDuplicates, options: NearOptions) -> None:
    target = options.delete_list
    if target is not None:
        write_delete_list(dataset, found.repeats(), target, staying=found.firsts(), null=options.null)
    if options.as_json:
        print_json(_facts(opened, dataset, found, options.limit))
    elif target != "-":
        _print(dataset, found, GROUPS if options.limit is None else options.limit)


def _facts(opened: Opened, dataset: ReadOnlyDataset, found: NearDuplicates, limit: int | None) -> dict[str, Any]:
    named, with_paths = named_groups(dataset, found, found.members.rows, limit), has_paths(dataset)
    return {
        "dataset": opened.where,
        "version": opened.version.id,
        "column": found.column,
        "threshold": found.threshold,
        "colour": found.colour,
        "image_count": found.images,
        "group_count": len(found),
        "repeated_rows": len(found.repeats()),
        "wasted_bytes": found.wasted_bytes,
        "unreadable": [{"row": row, "reason": reason} for row, reason in found.unreadable],
        "groups": [group.to_dict() | ({"paths": paths} if with_paths else {}) for group, paths in named],
    }


def _print(dataset: ReadOnlyDataset, found: NearDuplicates, limit: int) -> None:
    for group, paths in named_groups(dataset, found, found.members.rows, limit):
        click.echo(f"{format_bytes(group.wasted_bytes)} wasted: {len(group.rows):,} rows")
        members = group.members
        for index, (row, path) in enumerate(zip(group.rows.tolist(), paths, strict=True)):
            extent = f"{members.widths[index]}x{members.heights[index]}, {format_bytes(int(members.sizes[index]))}"
            same = "identical" if group.identical[index] else f"distance {members.distances[index]}"
            click.echo(f"    {format_row(row, path)}  {extent}, {same if index else 'stays'}")
    print_hidden(len(found), limit)
    click.echo(
        f"{len(found):,} groups, {len(found.repeats()):,} repeated rows, {format_bytes(found.wasted_bytes)} wasted; "
        f"{found.images:,} different images, {found.looked_at:,} of them looked at now"
    )


def _tell_left_out(dataset: ReadOnlyDataset, found: NearDuplicates) -> None:
    for name, (_, reason) in zip(_names(dataset, found), found.unreadable, strict=True):
        click.echo(f"left out {printable(name)}: {printable(reason)}", err=True)


def _names(dataset: ReadOnlyDataset, found: NearDuplicates) -> list[str]:
    """What the rows that cannot be decoded are called."""
    rows = np.array([row for row, _ in found.unreadable], np.int64)
    return [format_row(row, path) for row, path in zip(rows.tolist(), paths_or_none(dataset, rows), strict=True)]


# The page


def _write_page(opened: Opened, dataset: ReadOnlyDataset, found: NearDuplicates, options: NearOptions) -> None:
    from cas.integrations.near.report import SHOWN_GROUPS, make_report

    assert options.page is not None
    limit = SHOWN_GROUPS if options.limit is None else options.limit
    names = [
        format_row(row, path)
        for group, paths in named_groups(dataset, found, found.members.rows, limit)
        for row, path in zip(group.rows.tolist(), paths, strict=True)
    ]
    removal = _removal(dataset, found, null=options.null)
    page = make_report(dataset, opened.where, found, names, _names(dataset, found), removal, limit)
    with replacing(options.page) as file:
        file.write(page)


def _removal(dataset: ReadOnlyDataset, found: NearDuplicates, *, null: bool) -> RemovalList:
    """The list for deletion by paths, if they can be deleted by, or of row numbers where there are no paths."""
    from cas.integrations.near.report import RemovalList

    if not has_paths(dataset):
        lines = "".join(f"{row}\n" for row in found.repeats().tolist())
        return RemovalList(lines.encode(), "numbers of rows, as Dataset.delete takes them")
    try:
        paths = checked_lines(dataset, found.repeats(), staying=found.firsts(), null=null)
        return RemovalList(b"".join(paths), "paths, as --delete-list writes them")
    except InvalidInputError as error:
        return RemovalList(None, "", f"There is no list of paths: {error}.")
