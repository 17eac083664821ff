"""A version to a JSON object a line, or to CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cas.errors import InvalidInputError
from cas.integrations.formats.destination import new_file
from cas.integrations.formats.exporting import ExportTable
from cas.integrations.formats.plain_values import check_plain, to_plain
from cas.types import Type


def write_json_lines(table: ExportTable, target: Path, *, force: bool) -> None:
    """Writes a JSON object a row: classes by name, times in ISO 8601, arrays as lists, what is missing as null."""
    check_plain(table.schema, "jsonl")
    with new_file(target, force=force) as file:
        for row, record in table.records():
            file.write(json_line(table.schema, record, row))


def json_line(schema: Mapping[str, Type], record: Mapping[str, Any], row: int) -> bytes:
    """Returns the line of a row."""
    fields = (
        f"{json.dumps(name, ensure_ascii=False)}: {json_text(type_, record[name], name, row)}"
        for name, type_ in schema.items()
    )
    return f"{{{', '.join(fields)}}}\n".encode()


def json_text(type_: Type, value: Any, column: str, row: int) -> str:
    """Returns a value as JSON; raises :class:`~cas.errors.InvalidInputError` for NaN and whatever JSON lacks."""
    try:
        return json.dumps(to_plain(type_, value), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"column {column!r}, row {row} has no exact JSON: {error}", column=column, row=row
        ) from None


def write_csv(table: ExportTable, target: Path, *, force: bool) -> None:
    """Writes a table with a line of column names: bools as true and false, what is missing as an empty field."""
    check_plain(table.schema, "csv", flat=True)
    with new_file(target, force=force) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table.schema)
        for _, record in table.records():
            writer.writerow([_field(to_plain(table.schema[name], value)) for name, value in record.items()])
        text.detach()


def _field(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
    return str(value)
