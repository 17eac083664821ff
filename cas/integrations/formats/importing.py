"""A source of rows to a version: the dataset holds what the source holds, and only the difference is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

import numpy as np

from cas.codec.given import refused_again
from cas.codec.image_format import NotAnImageError, image_format
from cas.codec.rows import Ints
from cas.codec.values import Streams
from cas.dataset.batch import encode_batch
from cas.dataset.dataset import Dataset
from cas.dataset.draft import Encoded, RowEdit
from cas.dataset.state import ColumnState
from cas.errors import InvalidInputError
from cas.integrations.folder.importing import ImportResult, Report
from cas.integrations.folder.scan import Skipped
from cas.integrations.formats.matching import changed_rows, joined_keys, match_rows, new_keys, old_keys
from cas.integrations.formats.source import Source, Table, Unusable, is_image
from cas.tree.alignment import NOWHERE
from cas.types import Nullable, Type

LEAVE_OUT: Final = "leave-out"
NULL: Final = "null"
MISSING: Final = (LEAVE_OUT, NULL)
"""What becomes of rows whose image is missing or none."""


def import_source(
    source: Source,
    dataset: Dataset,
    *,
    missing: str = LEAVE_OUT,
    message: str | None = None,
    author: str | None = None,
    report: Report | None = None,
) -> ImportResult:
    """Makes a dataset hold the rows of a source, in their order, and commits the difference.

    A dataset without columns gets those of the source; otherwise they must be there, with the same types, or with types
    that also take missing values. Other columns of the dataset keep their values, and are missing in new rows. The same
    source again makes no version. A row whose content changed keeps its place in the history if the source has a key
    and the key stayed, or if it stands alone between rows that stayed.

    Images that are missing, or none, are listed in ``skipped``: their rows are left out or, with ``missing="null"``,
    kept without the image; in sequences of images they end the import. Nothing is staged if anything fails, and an
    import that was killed leaves no rows behind.

    Cost: the source is read once, and again where the dataset had rows and something changed. Memory: a batch, some 40
    MiB, and 16 to 32 bytes a row where there were rows before. Raises :class:`~cas.errors.InvalidInputError`, naming
    column and row, for what does not fit, and for a dataset with uncommitted changes.
    """
    if missing not in MISSING:
        raise InvalidInputError(f"missing={missing!r} is unknown; expected one of {', '.join(map(repr, MISSING))}")
    with dataset._draft.kept_by_owner():
        return _Import(source, dataset, missing == NULL, report).run(message, author)


class _Import:
    """One run: reads keys where there are rows, matches them, and stages the difference batch by batch."""

    def __init__(self, source: Source, dataset: Dataset, keep_missing: bool, report: Report | None) -> None:
        self._source = source
        self._dataset = dataset
        self._keep_missing = keep_missing
        self._report = report
        self._result = ImportResult()
        self._images = [name for name, type_ in source.schema.items() if is_image(type_)]

    def run(self, message: str | None, author: str | None) -> ImportResult:
        if self._dataset._draft.changed:
            raise InvalidInputError("the dataset has uncommitted changes; commit or roll back before an import")
        try:
            self._prepare()
            self._bring()
            return self._commit(message, author)
        except BaseException:
            self._dataset.rollback()
            raise

    def _prepare(self) -> None:
        dataset, schema = self._dataset, self._dataset.schema
        wanted = {
            name: _also_missing(type_) if self._keep_missing and name in self._images else type_
            for name, type_ in self._source.schema.items()
        }
        if not schema:
            for name, type_ in wanted.items():
                dataset.add_column(name, type_)
        for name, type_ in wanted.items():
            if schema and schema.get(name) not in (type_, _also_missing(type_)):
                raise InvalidInputError(
                    f"the source's column {name!r} is of type {type_}, and the dataset's is "
                    f"{schema.get(name) or 'missing'}; import into a new dataset",
                    column=name,
                )
        for name in set(schema) - set(wanted):
            if not schema[name].nullable:
                raise InvalidInputError(
                    f"column {name!r} is not nullable, and the source has no values for it", column=name
                )

    def _columns(self) -> dict[str, ColumnState]:
        columns = self._dataset._draft.state.columns
        return {name: columns[name] for name in self._source.schema}

    def _bring(self) -> None:
        rows = len(self._dataset)
        if not rows:
            for encoded, count in self._encoded():
                self._dataset._draft.append(encoded, count)
                self._result.added += count
            return
        columns, key = self._columns(), self._source.key
        named = columns if key is None else {key: columns[key]}
        contents, names = [], []
        for encoded, _ in self._encoded():
            contents.append(new_keys(columns, encoded))
            names.append(contents[-1] if key is None else new_keys(named, encoded))
        before, after = joined_keys(list(old_keys(columns, rows))), joined_keys(contents)
        if np.array_equal(before, after):
            self._result.unchanged = rows
            return
        old = before if key is None else joined_keys(list(old_keys(named, rows)))
        target = match_rows(old, joined_keys(names), pair_rest=key is None)
        changed = changed_rows(target, before, after)
        self._result.changed = int(changed.sum())
        self._result.added = int((target == NOWHERE).sum())
        self._result.removed = rows - (len(target) - self._result.added)
        self._result.unchanged = len(target) - self._result.added - self._result.changed
        _Edits(self._dataset, columns, target, changed).apply(self._checked(after, columns))

    def _checked(self, keys: Any, columns: Mapping[str, ColumnState]) -> Iterator[tuple[Encoded, int]]:
        """The batches again, which must be those that were matched."""
        done = 0
        for encoded, count in self._encoded():
            found = joined_keys([new_keys(columns, encoded)])
            if not np.array_equal(found, keys[done : done + count]):
                raise InvalidInputError("the source changed while it was being read; nothing was imported: try again")
            done += count
            yield encoded, count
        if done != len(keys):
            raise InvalidInputError("the source changed while it was being read; nothing was imported: try again")

    # Batches

    def _encoded(self) -> Iterator[tuple[Encoded, int]]:
        """The rows of the source as those of streams, with the number of rows of each batch."""
        self._result.skipped = list(self._source.skipped)
        self._result.read_bytes = done = 0
        for table in self._source.batches():
            usable = self._usable(table, done)
            if _count(usable):
                encoded, count = self._encode(usable, done)
                self._result.read_bytes += sum(rows.nbytes for streams in encoded.values() for rows in streams.values())
                yield encoded, count
            done += _count(table)
            if self._report is not None:
                self._report(done, 0, self._result.read_bytes, 0)

    def _encode(self, table: Table, done: int) -> tuple[Encoded, int]:
        try:
            return encode_batch(self._dataset._draft.state.columns, table)
        except InvalidInputError as error:
            if error.row is None or error.column is None:
                raise
            raise refused_again(error, error.column, done + error.row) from None

    def _usable(self, table: Table, done: int) -> Table:
        """The batch without images that are none, which are listed."""
        left_out: set[int] = set()
        for name in self._images:
            values = list(table[name])
            for row, value in enumerate(values):
                if (reason := _reason(value)) is None:
                    continue
                where = value.path if isinstance(value, Unusable) else self._named(table, row, done)
                self._result.skipped.append(Skipped(where, reason))
                values[row] = None
                if not self._keep_missing:
                    left_out.add(row)
            table = {**table, name: values}
        if not left_out:
            return table
        kept = [row for row in range(_count(table)) if row not in left_out]
        return {name: _taken(values, kept) for name, values in table.items()}

    def _named(self, table: Table, row: int, done: int) -> str:
        return str(table[self._source.key][row]) if self._source.key is not None else f"row {done + row}"

    # The end

    def _commit(self, message: str | None, author: str | None) -> ImportResult:
        result, dataset = self._result, self._dataset
        base = dataset._draft.base
        for name, value in self._source.metadata.items():
            if name not in dataset.metadata or dataset.metadata[name] != value:
                dataset.metadata[name] = value
        text = f"Import: {result.added} added, {result.changed} changed, {result.removed} removed"
        result.version = dataset.commit(message or text, author=author, details={"import": result.counts()})
        result.made_version = result.version != base.hex()
        return result


def _taken(values: Any, rows: list[int]) -> Any:
    """Some of the values of a column: a list, or an array of NumPy or Arrow."""
    if isinstance(values, list):
        return [values[row] for row in rows]
    return values[rows] if isinstance(values, np.ndarray) else values.take(rows)


def _count(table: Table) -> int:
    return len(next(iter(table.values())))


def _also_missing(type_: Type) -> Type:
    return type_ if type_.nullable else Nullable(type_)


def _reason(value: Any) -> str | None:
    """Why a value is no image; None where it is one, or is missing."""
    if isinstance(value, Unusable):
        return value.reason
    if value is None or not isinstance(value, (bytes, bytearray, memoryview)):
        return None
    try:
        image_format(value)
    except NotAnImageError as error:
        return f"it is no image: {error}"
    return None


class _Edits:
    """Stages the rows of a source over those of a dataset, batch by batch."""

    def __init__(self, dataset: Dataset, columns: Mapping[str, ColumnState], target: Ints, changed: Any) -> None:
        self._draft = dataset._draft
        self._columns = list(columns)
        self._old_rows = len(dataset)
        self._target = target
        self._changed = changed
        self._at = 0  # the first old row that nothing was decided about
        self._shift = 0  # what edits of earlier batches add to the number of a row behind them

    def apply(self, batches: Iterator[tuple[Encoded, int]]) -> None:
        done = 0
        for encoded, count in batches:
            self._assign(encoded, done, count)
            self._splice(list(self._row_edits(encoded, done, count)))
            done += count
        self._splice([(self._at, self._old_rows, None, 0)] if self._at < self._old_rows else [])

    def _assign(self, encoded: Encoded, done: int, count: int) -> None:
        chosen = np.flatnonzero(self._changed[done : done + count])
        if len(chosen):
            rows = self._target[done + chosen] + self._shift
            for name in self._columns:
                streams: Streams = {stream: values.take(chosen) for stream, values in encoded[name].items()}
                self._draft.assign(self._draft.state.columns[name], rows, streams)

    def _row_edits(self, encoded: Encoded, done: int, count: int) -> Iterator[RowEdit]:
        """The rows that go and come with a batch, by the numbers of the old rows."""
        target = self._target[done : done + count]
        follows = np.diff(target) == np.where(target[:-1] == NOWHERE, 0, 1)
        starts = [0, *(np.flatnonzero(~follows) + 1).tolist(), count]
        for start, stop in pairwise(starts):
            first = int(target[start]) if count else NOWHERE
            if first == NOWHERE:
                rows = {
                    name: {stream: values.slice(start, stop) for stream, values in streams.items()}
                    for name, streams in encoded.items()
                }
                yield self._at, self._at, rows, stop - start
                continue
            if first > self._at:
                yield self._at, first, None, 0
            self._at = first + stop - start

    def _splice(self, edits: list[RowEdit]) -> None:
        shift = self._shift
        self._draft.splice([(start + shift, stop + shift, rows, count) for start, stop, rows, count in edits])
        self._shift += sum(count - (stop - start) for start, stop, _, count in edits)
