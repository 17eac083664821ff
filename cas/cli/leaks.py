"""``cas leaks``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import Any

import click
import numpy as np

from cas.cli.delete_list import write_delete_list
from cas.cli.main import EXIT_INCOMPLETE
from cas.cli.opened import Opened, open_version
from cas.cli.output import json_option, print_json, printable
from cas.cli.paths import BATCH_ROWS, has_paths, null_option
from cas.cli.row_groups import (
    GROUPS,
    check_options,
    column_option,
    format_row,
    image_column,
    limit_option,
    paths_or_none,
    print_hidden,
)
from cas.codec.rows import Ints
from cas.dataset.read_only import ReadOnlyDataset
from cas.dataset.summary import format_bytes
from cas.errors import InvalidInputError
from cas.integrations.values import plain_type
from cas.repo.identical import ColumnContent, read_content
from cas.repo.leaks import NO_SIDE, LeakGroup, Leaks, leaks_between, leaks_within
from cas.types import ClassLabel, Scalar, Text, Type


@dataclass(frozen=True, slots=True)
class _Source:
    """One of the datasets, as the user named it."""

    url: str
    opened: Opened
    dataset: ReadOnlyDataset

    def content(self, column: str) -> ColumnContent:
        """The rows of a column by their hashes."""
        return read_content(self.opened.repository, self.opened.tree, column, f"{self.url}: ")

    def facts(self) -> dict[str, str]:
        """Which version it is."""
        return {"dataset": self.opened.where, "version": self.opened.version.id}


@dataclass(frozen=True, slots=True)
class _Found:
    """The leaks, what each side is called, and the one dataset that has all of them, or one for each."""

    leaks: Leaks
    sides: list[str]
    sources: list[_Source]
    column: str
    by: str | None

    @property
    def row_count(self) -> int:
        """How many rows leak: of the first dataset, or of all sides where there is one dataset."""
        return len(self.leaks.rows if self.by is not None else self.leaks.rows_of(0))

    def source_of(self, side: int) -> int:
        """The number of the dataset that a side is in."""
        return side if len(self.sources) > 1 else 0

    def named(self, limit: int | None) -> Iterator[tuple[LeakGroup, list[tuple[int, Ints, list[str | None]]]]]:
        """Yields the first groups, each with its sides, their rows and the paths of these; reads many at a time."""
        leaks = self.leaks
        count = len(leaks) if limit is None else min(limit, len(leaks))
        end = int(leaks.ends[count - 1]) if count else 0
        rows, sides = leaks.rows[:end], leaks.sides[:end]
        several = len(self.sources) > 1
        paths = [
            paths_or_none(source.dataset, rows[sides == number] if several else rows)
            for number, source in enumerate(self.sources)
        ]
        for group in map(leaks.__getitem__, range(count)):
            yield (
                group,
                [
                    (side, members, list(islice(paths[self.source_of(side)], len(members))))
                    for side, members in group.by_side().items()
                ],
            )


@click.command("leaks", epilog="Example: cas leaks lake/photos --by label --limit 3")
@click.argument("url", metavar="A[@REV]")
@click.argument("other", metavar="[B[@REV]]", required=False)
@column_option
@click.option("--by", metavar="COLUMN", help="Compare rows of A that have different values in this column.")
@limit_option
@click.option(
    "--delete-list",
    metavar="FILE",
    help="Write the paths of the rows of A that leak to FILE, or print them for -.",
)
@click.option("--delete-from", metavar="VALUE", help="With --by: list the rows with this value in COLUMN.")
@null_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    url: str,
    other: str | None,
    column: str | None,
    by: str | None,
    limit: int | None,
    delete_list: str | None,
    delete_from: str | None,
    null: bool,
    as_json: bool,
) -> None:
    """List rows of dataset A whose content stands in dataset B too, such as pictures for training and testing.

    Or, with --by and without B, rows of A that are identical but have different values in a column, such as split.
    Rows are compared by their hashes, and no image is decoded; missing values never leak. Rows are named by the column
    path where there is one, otherwise by number. --limit does not shorten the list for deletion.

    The exit code is 0 if there are no leaks, and 1 if there are some.
    """
    check_options(delete_list=delete_list, null=null, as_json=as_json)
    _check_sides(other=other, by=by, delete_list=delete_list, delete_from=delete_from)
    with ExitStack() as stack:
        sources = [_open(stack, each) for each in (url, other) if each is not None]
        column = column or image_column(sources[0].dataset)
        found = _find(sources, column, by)
        if delete_list is not None:
            _write_list(found, delete_list, delete_from, null=null)
        if as_json:
            print_json(_facts(found, limit))
        elif delete_list != "-":
            _print(found, GROUPS if limit is None else limit)
    if len(found.leaks):
        ctx.exit(EXIT_INCOMPLETE)


def _check_sides(*, other: str | None, by: str | None, delete_list: str | None, delete_from: str | None) -> None:
    if other is None and by is None:
        raise click.UsageError("name a second dataset, or with --by a column of the one")
    if other is not None and by is not None:
        raise click.UsageError("--by compares rows of one dataset; leave out the second one, or --by")
    if delete_from is not None and (by is None or delete_list is None):
        raise click.UsageError("--delete-from goes with --by and --delete-list")
    if by is not None and delete_list is not None and delete_from is None:
        raise click.UsageError("--delete-list and --by need --delete-from, which says whose rows are to go")


def _open(stack: ExitStack, url: str) -> _Source:
    opened = stack.enter_context(open_version(url))
    return _Source(url, opened, stack.enter_context(opened.version.open()))


def _find(sources: list[_Source], column: str, by: str | None) -> _Found:
    contents = [source.content(column) for source in sources]
    if by is None:
        return _Found(leaks_between(*contents), [source.url for source in sources], sources, column, by)
    sides, names = _read_sides(sources[0].dataset, by)
    return _Found(leaks_within(contents[0], sides), names, sources, column, by)


def _read_sides(dataset: ReadOnlyDataset, by: str) -> tuple[Ints, list[str]]:
    """The number of each row's value among the distinct ones of a column, and these as text."""
    column = dataset[by]
    kind = plain_type(column.type)
    if not _tells_sides(kind):
        raise InvalidInputError(
            f"column {by!r} of type {column.type} does not tell rows apart; expected text, classes, integers or bool",
            column=by,
        )
    numbers: dict[Any, int] = {}
    sides = np.full(len(dataset), NO_SIDE, np.int64)
    for start in range(0, len(dataset), BATCH_ROWS):
        values = column[start : start + BATCH_ROWS]
        for row, value in enumerate(values.tolist() if isinstance(values, np.ndarray) else values, start):
            if value is not None:
                sides[row] = numbers.setdefault(value, len(numbers))
    names = kind.int2str(list(map(int, numbers))) if isinstance(kind, ClassLabel) else list(map(str, numbers))
    return sides, names


def _tells_sides(type_: Type) -> bool:
    if isinstance(type_, Scalar):
        return type_.numpy_dtype.kind in "biu"
    return isinstance(type_, (Text, ClassLabel))


def _write_list(found: _Found, target: str, value: str | None, *, null: bool) -> None:
    dataset = found.sources[0].dataset
    if value is None:
        _check_two_datasets(*found.sources)
        # Their content stays in the other dataset.
        rows, staying = found.leaks.rows_of(0), np.empty(0, np.int64)
    else:
        if value not in found.sides:
            known = ", ".join(map(repr, found.sides[:10])) or "none"
            raise InvalidInputError(f"no row has {value!r} in column {found.by!r}; its values are: {known}")
        side = found.sides.index(value)
        rows, staying = found.leaks.rows_of(side), found.leaks.counterparts(side)
    write_delete_list(dataset, rows, target, staying=staying, null=null)


def _check_two_datasets(one: _Source, two: _Source) -> None:
    """Refuses versions of one dataset, in which a path may be the one file of both rows."""
    if (one.opened.repository.path, one.opened.dataset) == (two.opened.repository.path, two.opened.dataset):
        raise InvalidInputError(
            f"{one.url} and {two.url} are versions of one dataset, so a path may name one file for the rows of both, "
            f"and deleting by it would leave none; no list is made"
        )


def _facts(found: _Found, limit: int | None) -> dict[str, Any]:
    with_paths = [has_paths(source.dataset) for source in found.sources]
    return {
        **found.sources[0].facts(),
        "other": found.sources[1].facts() if len(found.sources) > 1 else None,
        "column": found.column,
        "by": found.by,
        "group_count": len(found.leaks),
        "leaking_rows": found.row_count,
        "groups": [
            {
                "size_bytes": group.size_bytes,
                "sides": [
                    {"side": found.sides[side], "rows": rows.tolist()}
                    | ({"paths": paths} if with_paths[found.source_of(side)] else {})
                    for side, rows, paths in members
                ],
            }
            for group, members in found.named(limit)
        ],
    }


def _print(found: _Found, limit: int) -> None:
    for group, members in found.named(limit):
        click.echo(f"{len(group.rows):,} rows of {format_bytes(group.size_bytes)}")
        for side, rows, paths in members:
            for row, path in zip(rows.tolist(), paths, strict=True):
                click.echo(f"    {printable(found.sides[side])}: {format_row(row, path)}")
    print_hidden(len(found.leaks), limit)
    groups = f"{len(found.leaks):,} groups, {found.row_count:,} rows"
    if found.by is None:
        click.echo(printable(f"{groups} of {found.sides[0]} that stand in {found.sides[1]} too"))
    else:
        click.echo(f"{groups} that are identical but differ in {found.by!r}")
