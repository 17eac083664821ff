"""Paths of rows, printed for other programs to read: one a line, or each ended by a zero byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from cas.codec.rows import Ints
from cas.dataset.read_only import ReadOnlyDataset
from cas.errors import InvalidInputError
from cas.integrations.values import plain_type
from cas.types import Text

PATH = "path"
BATCH_ROWS = 1 << 16

null_option = click.option("-0", "--null", is_flag=True, help="End each path with a zero byte, not a line feed.")


def has_paths(dataset: ReadOnlyDataset) -> bool:
    """Whether the dataset has a text column ``path``."""
    type_ = dataset.schema.get(PATH)
    return type_ is not None and isinstance(plain_type(type_), Text)


def check_has_paths(dataset: ReadOnlyDataset) -> None:
    """Raises :class:`~cas.errors.InvalidInputError` where the dataset has no text column ``path``."""
    if not has_paths(dataset):
        names = ", ".join(map(repr, dataset.schema)) or "none"
        raise InvalidInputError(f"the dataset has no text column {PATH!r} to print; its columns are: {names}")


def paths_of(dataset: ReadOnlyDataset, rows: Ints | range) -> Iterator[tuple[int, str | None]]:
    """Yields row numbers with their paths, None where a row has none; reads 65,536 rows at a time.

    A range must have step 1.
    """
    column = dataset[PATH]
    for start in range(0, len(rows), BATCH_ROWS):
        batch = rows[start : start + BATCH_ROWS]
        values = column[batch.start : batch.stop] if isinstance(batch, range) else column[batch]
        yield from zip(map(int, batch), values, strict=True)


def encode_path(row: int, path: str, *, null: bool) -> bytes:
    """Returns a path with its end; refuses one that the reader would take for several."""
    if "\0" in path:
        raise InvalidInputError(f"row {row}: the path {path!r} holds a zero byte, which no file name does", row=row)
    if null:
        return path.encode() + b"\0"
    if "\n" in path:
        raise InvalidInputError(
            f"row {row}: the path {path!r} holds a line break, so it cannot stand on a line; use -0", row=row
        )
    return path.encode() + b"\n"


def print_bytes(parts: Iterable[bytes]) -> None:
    """Writes to standard output, many parts at a time."""
    held: list[bytes] = []
    for part in parts:
        held.append(part)
        if len(held) == BATCH_ROWS:
            click.echo(b"".join(held), nl=False)
            held.clear()
    click.echo(b"".join(held), nl=False)
