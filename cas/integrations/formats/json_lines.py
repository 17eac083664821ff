"""JSON files, whole or a value a line: the latter as a source."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cas.errors import InvalidInputError
from cas.history.refs import check_column_name
from cas.integrations.formats.records import choose_image_column, plain_source, source_with_images
from cas.integrations.formats.source import Source
from cas.integrations.formats.value_types import JsonValues


def open_json_lines(
    path: str | os.PathLike[str], *, image: str | None = None, images: str | os.PathLike[str] | None = None
) -> Source:
    """Returns the rows of a file with a JSON object a line.

    Columns are bool, int64 (or uint64), float64, text, sequences of these, or dicts; a key that is not there, and null,
    is a missing value. ``image`` and ``images`` are as for :func:`~cas.integrations.formats.delimited.open_csv`.

    The file is read once to find the types. Raises :class:`~cas.errors.InvalidInputError`, with the line, for what is
    no JSON object, and for columns whose values no type holds without loss.
    """
    file = Path(path).expanduser()
    seen: dict[str, JsonValues] = {}
    keys: list[str] = []
    for row, record in enumerate(_records(file)):
        for name, value in record.items():
            if name not in seen:
                seen[check_column_name(name)] = JsonValues()
                if row:
                    seen[name].miss()
                keys.append(name)
            seen[name].add(value)
        for name in keys if len(record) < len(keys) else ():
            if name not in record:
                seen[name].miss()
    if not seen:
        raise InvalidInputError(f"{file} has no rows; expected a JSON object a line")
    schema = {name: values.type(name) for name, values in seen.items()}

    def records() -> Iterator[dict[str, Any]]:
        return _records(file)

    paths = choose_image_column(schema, records, image)
    if paths is None:
        return plain_source(schema, records)
    return source_with_images(schema, records, paths, images or file.parent)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                record = parse_json(line, f"{path}, line {number}")
                if not isinstance(record, dict):
                    raise InvalidInputError(f"{path}, line {number}: expected a JSON object, as in {{...}}")
                yield record
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from error


def parse_json(text: bytes, where: str) -> Any:
    """Returns the value of a JSON text; raises :class:`~cas.errors.InvalidInputError`, which begins with ``where``."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise InvalidInputError(f"{where}: the JSON is nested too deeply") from None
    except ValueError as error:
        raise InvalidInputError(f"{where}: it is no JSON: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the key {twice!r} twice")
    return values
