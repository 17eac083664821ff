"""What changed between two versions, as commands count it and show it, never reading more values than are shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from cas.cli.output import print_table, printable, to_json
from cas.cli.row_groups import format_row, paths_or_none
from cas.codec.rows import Ints
from cas.dataset.column import ReadOnlyColumn
from cas.dataset.diff import Diff, DiffRows, MetadataChange
from cas.dataset.read_only import ReadOnlyDataset
from cas.history.missing import MISSING
from cas.integrations.values import describe_value, read_values


@dataclass(frozen=True, slots=True)
class Changes:
    """The differences of two versions that are open."""

    diff: Diff
    old: ReadOnlyDataset
    new: ReadOnlyDataset

    def old_name(self, column: str) -> str | None:
        """Returns the name in the old version of a column of the new one, or None where it is not compared."""
        if column in self.diff.schema.added:
            return None
        before = {new: old for old, new in self.diff.schema.renamed.items()}
        return before.get(column, column)

    def updated_rows(self, column: str, limit: int) -> tuple[Ints, Ints]:
        """Returns the first rows in which a column was updated, by their numbers in the old and the new version."""
        changes = self.diff.updated[column]
        return changes.old_rows[:limit], changes.rows[:limit]


# Counts


def count_changes(diff: Diff) -> dict[str, Any]:
    """Returns how much changed, for JSON."""
    schema = diff.schema
    return {
        "rows_inserted": len(diff.inserted),
        "rows_deleted": len(diff.deleted),
        "values_updated": {name: len(changes) for name, changes in diff.updated.items()},
        "columns_added": len(schema.added),
        "columns_removed": len(schema.removed),
        "columns_renamed": len(schema.renamed),
        "metadata_changes": len(diff.metadata),
    }


def counted(count: int, word: str) -> str:
    """Returns a count with a word for one of what is counted.

    >>> counted(1, "row"), counted(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def count_lines(diff: Diff) -> list[str]:
    """Returns in words how many rows and values changed."""
    lines = [
        f"{counted(len(rows), 'row')} {what}"
        for rows, what in ((diff.inserted, "inserted"), (diff.deleted, "deleted"))
        if len(rows)
    ]
    return lines + [f"{counted(len(changes), 'value')} of {name!r} updated" for name, changes in diff.updated.items()]


def summarise_changes(diff: Diff) -> str:
    """Returns in one line how much changed."""
    schema, lines = diff.schema, count_lines(diff)
    columns = (("added", schema.added), ("removed", schema.removed), ("renamed", schema.renamed))
    lines += [f"{counted(len(names), 'column')} {what}" for what, names in columns if names]
    if schema.reordered:
        lines.append("columns in another order")
    if diff.metadata:
        lines.append(f"{counted(len(diff.metadata), 'key')} of metadata changed")
    return ", ".join(lines) or "no differences"


# Text


def print_schema_and_metadata(diff: Diff) -> None:
    """Prints what was added, removed and changed of columns and metadata, a line each."""
    schema = diff.schema
    lines = [f"+ column {name!r}: {type_}" for name, type_ in schema.added.items()]
    lines += [f"- column {name!r}: {type_}" for name, type_ in schema.removed.items()]
    lines += [f"~ column {old!r} renamed to {new!r}" for old, new in schema.renamed.items()]
    if schema.reordered:
        lines.append("~ columns in another order")
    for line in [*lines, *map(_metadata_line, diff.metadata)]:
        click.echo(printable(line))


def _metadata_line(change: MetadataChange) -> str:
    where = "metadata" if change.column is None else f"metadata of {change.column!r}"
    old, new = describe_value(None, change.old), describe_value(None, change.new)
    if change.old is MISSING:
        return f"+ {where} {change.key!r}: {new}"
    return f"- {where} {change.key!r}: {old}" if change.new is MISSING else f"~ {where} {change.key!r}: {old} to {new}"


def print_rows(dataset: ReadOnlyDataset, rows: DiffRows, heading: str, limit: int) -> None:
    """Prints the first of rows that only one version has, with their values."""
    if not len(rows) or not limit:
        return
    click.echo(f"\n{heading}:")
    numbers = rows.first(limit)
    cells = [[describe_value(column.type, value) for value in values] for column, values in _read(dataset, numbers)]
    print_table(("row", *dataset.schema), zip(map(str, numbers), *cells, strict=True), right=("row",))
    print_more(len(rows), limit, "row")


def print_updates(changes: Changes, limit: int) -> None:
    """Prints for each column the first values that were updated, old and new."""
    for name, found in changes.diff.updated.items():
        if limit:
            click.echo("\n" + printable(f"values of {name!r} updated:"))
            type_ = changes.new[name].type
            rows = [
                (format_row(row, path), describe_value(type_, old), describe_value(type_, new))
                for row, _, path, old, new in read_updates(changes, name, limit)
            ]
            print_table(("row", "old", "new"), rows)
            print_more(len(found), limit, "value")


def print_more(count: int, limit: int, word: str) -> None:
    """Says how many are not shown."""
    if count > limit:
        click.echo(f"and {counted(count - limit, f'more {word}')}; show them with --limit")


# Values


def _read(dataset: ReadOnlyDataset, rows: Ints) -> Iterator[tuple[ReadOnlyColumn, Iterator[Any]]]:
    for name in dataset.schema:
        column = dataset[name]
        assert isinstance(column, ReadOnlyColumn)
        yield column, read_values(column, rows)


def read_updates(changes: Changes, name: str, limit: int) -> Iterator[tuple[int, int, str | None, Any, Any]]:
    """Yields of the first updated values of a column the row, its old number, its path, the old and the new value."""
    old_rows, rows = changes.updated_rows(name, limit)
    before = changes.old_name(name)
    assert before is not None
    paths = paths_or_none(changes.new, rows)
    old, new = read_values(changes.old[before], old_rows), read_values(changes.new[name], rows)
    yield from zip(rows.tolist(), old_rows.tolist(), paths, old, new, strict=True)


def change_facts(changes: Changes, limit: int) -> dict[str, Any]:
    """Returns what changed for JSON: rows as runs, and the first of each with their values as ``items``."""
    facts: dict[str, Any] = to_json(changes.diff.to_dict())
    del facts["a"], facts["b"]
    facts["inserted"]["items"] = _row_facts(changes.new, changes.diff.inserted.first(limit))
    facts["deleted"]["items"] = _row_facts(changes.old, changes.diff.deleted.first(limit))
    for name, found in facts["updated"].items():
        found["items"] = [
            {"row": row, "old_row": old_row}
            | ({} if path is None else {"path": path})
            | {"old": to_json(old), "new": to_json(new)}
            for row, old_row, path, old, new in read_updates(changes, name, limit)
        ]
    return facts


def _row_facts(dataset: ReadOnlyDataset, rows: Ints) -> list[dict[str, Any]]:
    values = {column.name: [to_json(value) for value in found] for column, found in _read(dataset, rows)}
    return [
        {"row": row, "values": {name: found[index] for name, found in values.items()}}
        for index, row in enumerate(rows.tolist())
    ]
