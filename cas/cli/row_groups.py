"""Groups of identical rows on the command line: which column is compared, how many show, and what rows are called."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, repeat
from typing import Final

import click
import numpy as np

from cas.cli.output import printable
from cas.cli.paths import has_paths, paths_of
from cas.codec.rows import Ints
from cas.dataset.read_only import ReadOnlyDataset
from cas.errors import InvalidInputError
from cas.integrations.values import plain_type
from cas.repo.identical import Group, GroupSequence
from cas.types import Image

GROUPS: Final = 20

column_option = click.option(
    "--column", metavar="NAME", help="Compare this column; by default the first one of images."
)
limit_option = click.option(
    "--limit", type=click.IntRange(0), help=f"Show so many groups; by default {GROUPS}, with --json all."
)


def check_options(*, delete_list: str | None, null: bool, as_json: bool) -> None:
    """Raises a usage error for options of the list for deletion that do not go together."""
    if null and delete_list is None:
        raise click.UsageError("-0 goes with --delete-list")
    if as_json and delete_list == "-":
        raise click.UsageError("--json and --delete-list - both print; write the list to a file")


def image_column(dataset: ReadOnlyDataset) -> str:
    """Returns the first column of images; raises :class:`~cas.errors.InvalidInputError` where there is none."""
    for name, type_ in dataset.schema.items():
        if isinstance(plain_type(type_), Image):
            return name
    names = ", ".join(map(repr, dataset.schema)) or "none"
    raise InvalidInputError(f"the dataset has no column of images; name one with --column: {names}")


def paths_or_none(dataset: ReadOnlyDataset, rows: Ints) -> Iterator[str | None]:
    """Yields the paths of rows, None where a row, or the whole dataset, has none; reads many at a time."""
    if not has_paths(dataset):
        return repeat(None, len(rows))
    return (path for _, path in paths_of(dataset, rows))


def named_groups(
    dataset: ReadOnlyDataset, groups: GroupSequence[Group], rows: Ints, limit: int | None
) -> Iterator[tuple[Group, list[str | None]]]:
    """Yields the first groups, each with the paths of its rows, None where there is none; reads many at a time.

    ``rows`` are those of all groups one after the other.
    """
    count = len(groups) if limit is None else min(limit, len(groups))
    paths = paths_or_none(dataset, rows[: int(groups.ends[count - 1]) if count else 0])
    for number, size in enumerate(np.diff(groups.ends[:count], prepend=0).tolist()):
        yield groups[number], list(islice(paths, size))


def format_row(row: int, path: str | None) -> str:
    """Returns what a row is called, safe on a terminal: its path, or where it has none its number."""
    return f"row {row}" if path is None else printable(path)


def print_hidden(count: int, limit: int) -> None:
    """Says how many groups are not shown."""
    if count > limit:
        click.echo(f"and {count - limit:,} more groups; show them with --limit")
