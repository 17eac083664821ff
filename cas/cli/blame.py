"""``cas blame``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click
import numpy as np
from rich.cells import cell_len, set_cell_size

from cas.cli.changes import counted, print_more
from cas.cli.opened import SHORT_DIGITS, Opened, open_version, version_facts
from cas.cli.output import format_time, json_option, print_json, print_table, printable, to_json
from cas.cli.row_groups import format_row, paths_or_none
from cas.codec.rows import Ints
from cas.dataset.blame import Blame, blame
from cas.dataset.column import ReadOnlyColumn
from cas.dataset.history import Version
from cas.dataset.indexing import check_row
from cas.dataset.read_only import ReadOnlyDataset
from cas.dataset.summary import format_runs
from cas.integrations.values import describe_value, read_values
from cas.tree.alignment import runs_of_numbers

_VERSIONS: Final = 20
_BATCH_ROWS: Final = 256

Runs = tuple[Ints, Ints]


class _RowsType(click.ParamType[list[int | slice]]):
    """Row numbers and ranges of them, such as ``0:10,17,-1``; the ends of a range are not in it, as in Python."""

    name = "rows"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int | slice]:
        try:
            return [_parse(part) for part in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} names no rows; expected numbers and ranges, such as 0:10,17,-1", param, ctx)


def _parse(text: str) -> int | slice:
    begin, colon, end = text.partition(":")
    return slice(int(begin) if begin else None, int(end) if end else None) if colon else int(text)


@click.command("blame", epilog="Example: cas blame lake/photos@v1.0 --column label --rows 0:5,17")
@click.argument("url", metavar="URL[@REV]")
@click.option("--column", metavar="NAME", required=True, help="Tell of the values of this column.")
@click.option("--rows", type=_RowsType(), metavar="A:B,N,...", help="Tell of each of these rows, a line a row.")
@click.option(
    "--limit",
    type=click.IntRange(0),
    help=f"Show so many versions, {_VERSIONS} by default, or with --rows so many rows; with --json all.",
)
@json_option
def command(url: str, column: str, rows: list[int | slice] | None, limit: int | None, as_json: bool) -> None:
    """Show which version made each value of a column what it is, followed through merges.

    Without --rows: the versions, newest first, each with the count of rows that have their value from it, and the first
    of these. With --rows a line a row: the version, its time and author, the row, named by the column path where there
    is one, and the value.
    """
    with open_version(url) as opened, opened.version.open() as dataset:
        if rows is None:
            found = blame(opened.repository, opened.version, column, None)
            _show_versions(opened, column, found, limit, as_json)
            return
        numbers = _numbers(rows, len(dataset))[:limit]
        found = blame(opened.repository, opened.version, column, numbers)
        if as_json:
            print_json(_facts(opened, column, len(found)) | {"rows": _row_facts(dataset, column, found)})
        else:
            _print_rows(dataset, column, found)


def _numbers(rows: list[int | slice], count: int) -> Ints:
    parts = [
        np.arange(*each.indices(count), dtype=np.int64)
        if isinstance(each, slice)
        else np.array([check_row(each, count)], np.int64)
        for each in rows
    ]
    return np.concatenate(parts)


# Versions


def _show_versions(opened: Opened, column: str, found: Blame, limit: int | None, as_json: bool) -> None:
    if as_json:
        refs = opened.refs()
        versions = [
            version_facts(version, refs)
            | {"row_count": int(lengths.sum()), "runs": np.column_stack((starts, starts + lengths)).tolist()}
            for version, (starts, lengths) in _runs(found, limit)
        ]
        print_json(_facts(opened, column, len(found)) | {"versions": versions})
        return
    limit = _VERSIONS if limit is None else limit
    rows = [_version_row(version, *runs) for version, runs in _runs(found, limit)]
    if rows:
        print_table(("version", "time", "author", "count", "message", "rows"), rows, right=("count",))
    print_more(len(found.versions), limit, "version")
    click.echo(f"{counted(len(found), 'row')} from {counted(len(found.versions), 'version')}")


def _runs(found: Blame, limit: int | None) -> Iterator[tuple[Version, Runs]]:
    """The first versions with the runs of rows that they made what they are. Cost: a sort of the rows."""
    order = np.argsort(found.numbers, kind="stable")
    ends = np.cumsum(np.bincount(found.numbers, minlength=len(found.versions)))
    begin = 0
    for version, end in zip(found.versions[:limit], ends.tolist(), strict=False):
        yield version, runs_of_numbers(found.rows[order[begin:end]])
        begin = end


def _version_row(version: Version, starts: Ints, lengths: Ints) -> tuple[str, ...]:
    first_line = next(iter(version.message.splitlines()), "")
    count = f"{int(lengths.sum()):,}"
    return (*_signature(version), count, first_line, format_runs(starts, lengths))


def _signature(version: Version) -> tuple[str, str, str]:
    return version.id[:SHORT_DIGITS], format_time(version.timestamp), printable(version.author)


def _facts(opened: Opened, column: str, count: int) -> dict[str, Any]:
    return {"dataset": opened.where, "version": opened.version.id, "column": column, "row_count": count}


# Rows


def _row_facts(dataset: ReadOnlyDataset, column: str, found: Blame) -> list[dict[str, Any]]:
    return [
        {"row": row, "version": version.id, "timestamp": format_time(version.timestamp, "microseconds")}
        | {"author": version.author, "message": version.message}
        | ({} if path is None else {"path": path})
        | {"value": to_json(value)}
        for batch in _batches(dataset, column, found)
        for version, row, path, value in batch
    ]


def _print_rows(dataset: ReadOnlyDataset, column: str, found: Blame) -> None:
    """Prints a line a row, aligned within a batch, so that the first ones come at once."""
    signatures = {version: _signature(version) for version in found.versions}
    widest = max((cell_len(author) for _, _, author in signatures.values()), default=0)
    type_ = dataset[column].type
    for batch in _batches(dataset, column, found):
        rows = [
            (signatures[version], format_row(row, path), describe_value(type_, value))
            for version, row, path, value in batch
        ]
        width = max(cell_len(name) for _, name, _ in rows)
        for (id_, time, author), name, value in rows:
            click.echo(f"{id_} {time} {set_cell_size(author, widest)} {set_cell_size(name, width)}  {value}")


def _batches(dataset: ReadOnlyDataset, name: str, found: Blame) -> Iterator[list[tuple[Version, int, str | None, Any]]]:
    """The rows in the order they were asked for, some at a time: version, row, path and value."""
    column = dataset[name]
    assert isinstance(column, ReadOnlyColumn)
    for start in range(0, len(found), _BATCH_ROWS):
        rows = found.rows[start : start + _BATCH_ROWS]
        versions = found[start : start + _BATCH_ROWS]
        paths, values = paths_or_none(dataset, rows), read_values(column, rows)
        yield list(zip(versions, rows.tolist(), paths, values, strict=True))
