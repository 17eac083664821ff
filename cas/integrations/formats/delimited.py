"""CSV and TSV files as a source."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cas.errors import InvalidInputError
from cas.history.refs import check_column_name
from cas.integrations.formats.records import choose_image_column, plain_source, source_with_images
from cas.integrations.formats.source import Source
from cas.integrations.formats.value_types import TextValues, reader_of


def open_csv(
    path: str | os.PathLike[str],
    *,
    image: str | None = None,
    images: str | os.PathLike[str] | None = None,
    delimiter: str | None = None,
) -> Source:
    """Returns the rows of a CSV file with a line of column names; of ``.tsv`` files tabs separate the fields.

    A column is of int64 (or uint64), float64 or bool where all its fields are such, to the last digit, and an empty
    field is a missing value there; otherwise it is text as it stands, so that ``007`` keeps its zeros. ``image`` names
    the column with paths of images, below the folder ``images``, by default that of the file; without it the only
    column whose values end as images do is taken, and ``image=""`` means none. Their bytes go to a column ``image``.

    The file is read once to find the types. Raises :class:`~cas.errors.InvalidInputError`, with the line, for a file
    that is no such table, or not UTF-8.
    """
    file = _File(Path(path).expanduser(), delimiter or ("\t" if Path(path).suffix.lower() == ".tsv" else ","))
    names = file.names()
    seen = {name: TextValues() for name in names}
    for fields in file.rows():
        for name, field in zip(names, fields, strict=True):
            seen[name].add(field)
    schema = {name: values.type() for name, values in seen.items()}
    readers = [(name, reader_of(type_)) for name, type_ in schema.items()]

    def records() -> Iterator[dict[str, Any]]:
        for fields in file.rows():
            yield {name: read(field) for (name, read), field in zip(readers, fields, strict=True)}

    paths = choose_image_column(schema, records, image)
    if paths is None:
        return plain_source(schema, records)
    return source_with_images(schema, records, paths, images or file.path.parent)


class _File:
    """A file of delimited fields; errors name its lines."""

    def __init__(self, path: Path, delimiter: str) -> None:
        self.path = path
        self._delimiter = delimiter

    def names(self) -> list[str]:
        """Returns the names of the columns."""
        names = next(self._lines(), (0, []))[1]
        if not names:
            raise InvalidInputError(f"{self.path} is empty; expected a line with the names of columns")
        for name in names:
            check_column_name(name)
            if names.count(name) > 1:
                raise InvalidInputError(f"{self.path} has two columns {name!r}; rename one", column=name)
        return names

    def rows(self) -> Iterator[list[str]]:
        """Yields the fields of each row; lines that are empty are none."""
        lines = self._lines()
        _, names = next(lines)
        for number, fields in lines:
            if fields and len(fields) != len(names):
                raise InvalidInputError(
                    f"{self.path}, line {number}: {len(fields)} fields, and {len(names)} columns are named; a field "
                    f"with {self._delimiter!r} in it stands in quotes"
                )
            if fields:
                yield fields

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        try:
            with open(self.path, encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, delimiter=self._delimiter, strict=True)
                for fields in reader:
                    yield reader.line_num, fields
        except UnicodeDecodeError as error:
            raise InvalidInputError(f"{self.path} is not UTF-8: {error.reason}; convert it first") from None
        except csv.Error as error:
            raise InvalidInputError(f"{self.path}, line {reader.line_num}: {error}") from None
        except OSError as error:
            raise InvalidInputError(f"{self.path} cannot be read: {error.strerror}") from error
