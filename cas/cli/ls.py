"""``cas ls``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click

from cas.cli.main import EXIT_INCOMPLETE
from cas.cli.opened import SHORT_DIGITS, open_store, open_version
from cas.cli.output import format_time, json_option, print_json, print_table, to_json
from cas.cli.paths import check_has_paths, encode_path, null_option, paths_of, print_bytes
from cas.dataset.column import ReadOnlyColumn
from cas.dataset.history import Version
from cas.dataset.read_only import ReadOnlyDataset
from cas.history.refs import MAIN
from cas.integrations.values import read_values, show_value
from cas.repo.config import MANY_DATASETS
from cas.repo.location import Location
from cas.repo.repository import Repository, find_ref

_TABLE_ROWS: Final = 20


@click.command("ls", epilog="Example: cas ls lake/photos@v1.0 --columns path,label --limit 50")
@click.argument("url", metavar="URL[@REV]")
@click.option("--limit", type=click.IntRange(0), help=f"Show so many rows; {_TABLE_ROWS}, or with --paths all.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Leave out so many rows first.")
@click.option("--columns", metavar="NAME,...", help="Show these columns only.")
@click.option("--paths", is_flag=True, help="Print the column path only, one path a line.")
@null_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    url: str,
    limit: int | None,
    offset: int,
    columns: str | None,
    paths: bool,
    null: bool,
    as_json: bool,
) -> None:
    """List the datasets of a store, or the rows of a dataset.

    Images show as format and size; they are not decoded. With --paths, rows that have no path are counted on standard
    error, and the exit code is 1.
    """
    _check_options(paths=paths, null=null, columns=columns, as_json=as_json)
    with open_store(url) as (repository, location):
        if repository.config.layout == MANY_DATASETS and not location.name and location.revision is None:
            _list_datasets(repository, location, as_json)
            return
    with open_version(url) as opened, opened.version.open() as dataset:
        count = limit if limit is not None else len(dataset) if paths else _TABLE_ROWS
        rows = range(len(dataset))[offset : offset + count]
        if paths:
            missing = _print_paths(dataset, rows, null)
            if missing:
                click.echo(f"left out {missing:,} rows without a path", err=True)
                ctx.exit(EXIT_INCOMPLETE)
            return
        names = list(dataset.schema) if columns is None else columns.split(",")
        shown = {name: _column(dataset, name) for name in names}
        if as_json:
            print_json(_rows_facts(opened.where, opened.version, shown, rows, len(dataset)))
        else:
            _print_rows(opened.version, shown, rows, len(dataset))


def _check_options(*, paths: bool, null: bool, columns: str | None, as_json: bool) -> None:
    if null and not paths:
        raise click.UsageError("-0 goes with --paths")
    if paths and (as_json or columns is not None):
        raise click.UsageError("--paths prints nothing but paths; leave out --json and --columns")


# Datasets


def _list_datasets(repository: Repository, location: Location, as_json: bool) -> None:
    heads = {name: _head(repository, name) for name in repository.dataset_names()}
    if as_json:
        facts = [{"name": name, **_head_facts(repository, head)} for name, head in heads.items()]
        print_json({"store": str(location.path), "datasets": facts})
        return
    rows = [
        (name, "", "no branch main", "")
        if head is None
        else (name, f"{_count_rows(repository, head):,}", head.id[:SHORT_DIGITS], format_time(head.timestamp))
        for name, head in heads.items()
    ]
    print_table(("dataset", "rows", "version", "time"), rows, right=("rows",))


def _head(repository: Repository, name: str) -> Version | None:
    """The head of ``main`` of a dataset."""
    dataset = repository.dataset_id(name)
    with repository.store.read() as view:
        ref = find_ref(view, dataset, MAIN)
    return None if ref is None else Version(repository, dataset, name, ref.version)


def _count_rows(repository: Repository, version: Version) -> int:
    return repository.tree(bytes.fromhex(version.tree)).rows


def _head_facts(repository: Repository, head: Version | None) -> dict[str, Any]:
    if head is None:
        return {"rows": None, "version": None, "timestamp": None}
    return {
        "rows": _count_rows(repository, head),
        "version": head.id,
        "timestamp": format_time(head.timestamp, "microseconds"),
    }


# Paths


def _print_paths(dataset: ReadOnlyDataset, rows: range, null: bool) -> int:
    """Prints paths, and returns how many rows have none."""
    check_has_paths(dataset)
    missing = 0

    def lines() -> Iterator[bytes]:
        nonlocal missing
        for row, path in paths_of(dataset, rows):
            if path is None:
                missing += 1
            else:
                yield encode_path(row, path, null=null)

    print_bytes(lines())
    return missing


# Rows


def _column(dataset: ReadOnlyDataset, name: str) -> ReadOnlyColumn:
    column = dataset[name]
    assert isinstance(column, ReadOnlyColumn)
    return column


def _rows_facts(
    where: str, version: Version, columns: dict[str, ReadOnlyColumn], rows: range, total: int
) -> dict[str, Any]:
    values = {name: [to_json(value) for value in read_values(column, rows)] for name, column in columns.items()}
    return {
        "dataset": where,
        "version": version.id,
        "rows": total,
        "offset": rows.start,
        "columns": {name: str(column.type) for name, column in columns.items()},
        "items": [{name: values[name][index] for name in columns} for index in range(len(rows))],
    }


def _print_rows(version: Version, columns: dict[str, ReadOnlyColumn], rows: range, total: int) -> None:
    cells = [[show_value(column.type, value) for value in read_values(column, rows)] for column in columns.values()]
    table = zip(map(str, rows), *cells, strict=True)
    print_table(("row", *columns), table, right=("row",))
    shown = f"rows {rows.start:,} to {rows.stop - 1:,}" if rows else "no rows"
    click.echo(f"{shown} of {total:,}, version {version.id[:SHORT_DIGITS]}")
