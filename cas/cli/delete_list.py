"""The paths of rows whose content stands elsewhere too, as a list to delete by: checked before it is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import numpy as np

from cas.cli.paths import BATCH_ROWS, check_has_paths, encode_path, paths_of, print_bytes
from cas.cli.whole_file import replacing
from cas.codec.rows import Ints
from cas.dataset.read_only import ReadOnlyDataset
from cas.errors import InvalidInputError


def write_delete_list(dataset: ReadOnlyDataset, rows: Ints, target: str, *, staying: Ints, null: bool) -> None:
    """Writes the paths of rows to a file, or prints them for ``-``; they are checked before anything is written."""
    lines = checked_lines(dataset, rows, staying=staying, null=null)
    if target == "-":
        print_bytes(lines)
        return
    with replacing(target) as file:
        file.writelines(lines)


def checked_lines(dataset: ReadOnlyDataset, rows: Ints, *, staying: Ints, null: bool) -> Iterator[bytes]:
    """Yields the paths of rows, each with its end.

    ``staying`` are the rows of the dataset, if any, that keep the content of those. Raises
    :class:`~cas.errors.InvalidInputError`, at once, where a path cannot stand in the list, or where deleting by it
    would delete more: a row that stays has no path, or a row that is listed shares its path with another row.
    """
    check_has_paths(dataset)
    _check_staying(dataset, staying)
    _check_distinct(dataset, rows, _check_listed(dataset, rows, null))
    return (encode_path(row, path or "", null=null) for row, path in paths_of(dataset, rows))


def _check_staying(dataset: ReadOnlyDataset, rows: Ints) -> None:
    for row, path in paths_of(dataset, rows):
        if path is None:
            _refuse(row, f"row {row} is the first of identical rows but has no path, so no file would be left of them")


def _check_listed(dataset: ReadOnlyDataset, rows: Ints, null: bool) -> Ints:
    """The hash of each path, shape (rows,): 8 bytes a row where the paths themselves would fill the memory."""
    hashes = np.empty(len(rows), np.int64)
    for index, (row, path) in enumerate(paths_of(dataset, rows)):
        if path is None:
            _refuse(row, f"row {row} repeats another one but has no path, so it cannot be listed")
        encode_path(row, path, null=null)
        hashes[index] = hash(path)
    return hashes


def _check_distinct(dataset: ReadOnlyDataset, rows: Ints, hashes: Ints) -> None:
    """Refuses a path that a listed row shares with any other row."""
    order = np.argsort(hashes)
    rows, hashes = rows[order], hashes[order]
    for start in range(0, len(dataset) if len(rows) else 0, BATCH_ROWS):
        batch = range(start, min(start + BATCH_ROWS, len(dataset)))
        paths = [path for _, path in paths_of(dataset, batch)]
        wanted = np.fromiter((hash(path) for path in paths), np.int64, len(paths))
        begin, end = np.searchsorted(hashes, wanted, "left"), np.searchsorted(hashes, wanted, "right")
        itself = (end - begin == 1) & (rows[np.minimum(begin, len(rows) - 1)] == np.arange(batch.start, batch.stop))
        for index in np.flatnonzero((end > begin) & ~itself).tolist():
            _compare(dataset, batch[index], paths[index], rows[begin[index] : end[index]])


def _compare(dataset: ReadOnlyDataset, row: int, path: str | None, others: Ints) -> None:
    """Refuses a row whose path is that of another one; their hashes are equal."""
    for other, other_path in paths_of(dataset, others):
        if other != row and other_path == path:
            first, last = sorted((row, other))
            _refuse(
                row,
                f"rows {first} and {last} have the same path {path!r}, so deleting the one file would delete the other",
            )


def _refuse(row: int, what: str) -> NoReturn:
    raise InvalidInputError(f"{what}; give each row a path of its own first", row=row)
