"""Checkpoints into datasets: rows in place, so that versions share what did not change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import numpy as np

from cas import types
from cas.chunking.cut import SINGLE_ROW_BYTES
from cas.codec.rows import Ints, Rows
from cas.codec.values import Streams, encode_values
from cas.dataset.dataset import Dataset
from cas.dataset.draft import ColumnEdit, Encoded, RowEdit
from cas.dataset.opening import create, delete, open  # noqa: A004
from cas.errors import CasError, DatasetNotFoundError, StoreNotFoundError
from cas.integrations.tensors.nesting import flatten
from cas.integrations.tensors.table import (
    ALWAYS,
    BYTES,
    DTYPE,
    NAME,
    OPTIONAL,
    PATH,
    SHAPE,
    VALUE,
    Entry,
    InFile,
    read_rows,
)
from cas.repo.location import Url
from cas.tree.alignment import NOWHERE, Alignment
from cas.types import DATA, MASK

_BATCH_BYTES: Final = 32 << 20
_ONE: Final = np.ones(1, np.uint8)


def save_tensors(
    url: Url, tensors: object, message: str | None = None, *, author: str | None = None, compress: bool = True
) -> str:
    """Saves a dict of tensors as a version of a dataset, which is made where there is none, and returns its id.

    ``tensors`` are what ``state_dict()`` of a module or optimizer gives, or arrays of NumPy: of any shape, also of no
    axes or no elements, and any dtype of numbers, bfloat16, float8 and complex ones included. Dicts, lists and tuples
    may be nested; what is no tensor, such as a learning rate or an epoch, is kept as a value. Tensors that share
    memory are saved each, and stored once. Their order is kept. A url may name a branch: ``lake/model@fixes``.

    The dataset has one row a tensor, called by its key, or by its keys joined by dots; tensors of the last version are
    changed in place, so diffs show which did. Tensors that are in the store already, in whichever dataset or
    version, cost their hashes; a changed one costs the pieces of 262,080 bytes that changed. Where nothing changed
    there is no new version. The version holds exactly these tensors, also where others save at the same time; it is
    durable when this returns, and either whole or not there.

    Memory: some 50 MiB; tensors on the CPU that are contiguous are not copied. ``compress`` is that of
    :func:`cas.open`. Raises :class:`~cas.errors.InvalidInputError`, naming it, for what cannot be saved, and for a
    dataset of something else; nothing is written then.

    >>> import cas, numpy as np, tempfile
    >>> url = tempfile.mkdtemp() + "/model"
    >>> first = cas.save_tensors(url, {"weight": np.ones((2, 3), np.float32), "step": 1}, "begun")
    >>> cas.load_tensors(url)["weight"].shape
    (2, 3)
    """
    entries = flatten(tensors)
    return save_entries(url, entries, message or f"{len(entries)} tensors saved", author=author, compress=compress)


def save_entries(
    url: Url,
    entries: Sequence[Entry],
    message: str,
    *,
    author: str | None = None,
    compress: bool = True,
    check: Callable[[], None] = lambda: None,
) -> str:
    """Saves rows as a version of a dataset, see :func:`save_tensors`; ``check`` is called right before the commit."""
    made = False
    try:
        dataset = open(url, compress=compress)
    except (StoreNotFoundError, DatasetNotFoundError):
        dataset, made = create(url, compress=compress), True
    with dataset:
        try:
            return _save(dataset, entries, message, author, check)
        except BaseException:
            with suppress(CasError):
                dataset.rollback()
                dataset.refresh()
                if made and len(dataset.history) == 1:
                    dataset.close()
                    delete(url)
            raise


def _save(
    dataset: Dataset, entries: Sequence[Entry], message: str, author: str | None, check: Callable[[], None]
) -> str:
    """Commits until the version is that of these rows alone, not merged with those of somebody else."""
    while True:
        base = dataset.version.id
        _stage(dataset, entries)
        check()
        version = dataset.commit(message, author=author, on_conflict="theirs")
        if version == base or dataset.version.parents == (base,):
            return version


def _stage(dataset: Dataset, entries: Sequence[Entry]) -> None:
    """Stages the rows in place of those that are there.

    Elements in memory are not copied, and are staged at once. Those in files are read in batches, the last ones first:
    so rows before a batch have their old numbers still.
    """
    old = {row.name: row.number for row in read_rows(dataset)}
    with dataset._editing() as draft, draft.kept_by_owner(), draft.whole():
        for name in [*ALWAYS, *_optional_columns(entries)]:
            if name not in dataset.schema:
                dataset.add_column(name, ALWAYS.get(name) or OPTIONAL[name])
        encoder = _Encoder(dataset, entries)
        runs = list(_runs(entries, _old_places(old, entries), len(old)))
        for batch in reversed(list(_batches(runs, entries))):
            edits: list[RowEdit] = []
            updates: dict[str, list[ColumnEdit]] = {}
            for run in batch:
                streams = encoder.encode(run.start, run.stop)
                if not run.kept:
                    edits.append((run.old_start, run.old_stop, streams, run.stop - run.start))
                    continue
                for name, rows in streams.items():
                    updates.setdefault(name, []).append((run.old_start, run.old_stop, rows))
            draft.update(updates)
            draft.splice(edits)


def _optional_columns(entries: Sequence[Entry]) -> list[str]:
    used = {entry.column for entry in entries} | ({PATH} if any(entry.path for entry in entries) else set())
    return [name for name in OPTIONAL if name in used]


def _old_places(old: dict[str, int], entries: Sequence[Entry]) -> Ints:
    """For each row the number of the old one of its name that becomes it, or -1: as many as stand in one order."""
    new = np.array([number for number, entry in enumerate(entries) if entry.name in old], np.int64)
    same = np.array([old[entries[number].name] for number in new.tolist()], np.int64)
    kept = Alignment.of(same, new, np.ones(len(new), np.int64)).in_order()
    return kept.inverse().map(np.arange(len(entries), dtype=np.int64))


class _Run(NamedTuple):
    """Rows ``start`` to ``stop`` of the new ones, in place of some old ones; ``kept`` where each becomes another."""

    start: int
    stop: int
    old_start: int
    old_stop: int
    kept: bool


def _runs(entries: Sequence[Entry], places: Ints, old_rows: int) -> Iterator[_Run]:
    """Yields what becomes of all rows, with one large tensor or several small ones in each run."""
    large = [entry.size_bytes >= SINGLE_ROW_BYTES for entry in entries]
    done = start = 0
    for stop in range(1, len(large) + 1):
        if stop < len(large) and not (large[stop] or large[stop - 1]) and _follows(places, stop):
            continue
        place = int(places[start])
        if place == NOWHERE:
            yield _Run(start, stop, done, done, kept=False)
        else:
            if place > done:
                yield _Run(start, start, done, place, kept=False)
            done = place + stop - start
            yield _Run(start, stop, place, done, kept=True)
        start = stop
    if done < old_rows:
        yield _Run(start, start, done, old_rows, kept=False)


def _follows(places: Ints, number: int) -> bool:
    """Whether a row becomes of the old one after that of the row before it, or both are new."""
    before, place = int(places[number - 1]), int(places[number])
    return place == before == NOWHERE or (before != NOWHERE and place == before + 1)


def _batches(runs: Sequence[_Run], entries: Sequence[Entry]) -> Iterator[list[_Run]]:
    """Splits runs so that what is read from files for one batch is not much more than 32 MiB."""
    batch: list[_Run] = []
    size = 0
    for run in runs:
        batch.append(run)
        size += sum(entry.size_bytes for entry in entries[run.start : run.stop] if isinstance(entry.elements, InFile))
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Encoder:
    """Rows to be saved as rows of streams; the elements of a tensor that is encoded by itself are not copied."""

    def __init__(self, dataset: Dataset, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self._schema = dict(dataset.schema)
        values: dict[str, list[Any]] = {
            NAME: [entry.name for entry in entries],
            DTYPE: [entry.dtype for entry in entries],
            SHAPE: [np.array(entry.shape, np.int64) for entry in entries],
            PATH: [entry.path for entry in entries],
            VALUE: [entry.value for entry in entries],
        }
        self._plain = {
            name: encode_values(self._schema[name], given, name)
            for name, given in values.items()
            if name in self._schema
        }
        self._element_columns = [name for name in self._schema if name not in values]
        # What a row holds that has nothing in a column.
        self._nothing = {name: encode_values(self._schema[name], [None], name) for name in self._element_columns}

    def encode(self, start: int, stop: int) -> Encoded:
        """Returns the streams of every column for rows ``start`` to ``stop``."""
        return {
            name: self._elements(name, self._entries[start:stop])
            if name in self._nothing
            else {stream: rows.slice(start, stop) for stream, rows in self._plain[name].items()}
            for name in self._schema
        }

    def _elements(self, column: str, entries: Sequence[Entry]) -> Streams:
        """The streams of a column of elements; without a copy for one row."""
        if all(entry.column != column for entry in entries):
            return {stream: rows.repeated(len(entries)) for stream, rows in self._nothing[column].items()}
        parts = [self._one(column, entry) for entry in entries]
        layouts = self._schema[column].layouts()
        return {
            stream: Rows.concat([part[stream] for part in parts], layout.row_bytes)
            for stream, layout in layouts.items()
        }

    def _one(self, column: str, entry: Entry) -> Streams:
        if entry.column != column:
            return self._nothing[column]
        elements = entry.read()
        streams = {
            DATA: Rows.varying(elements, np.array([len(elements)], np.int64)),
            MASK: Rows.fixed(_ONE, 1, 1),
        }
        if column != BYTES:
            count = len(elements) // types.element_bytes(column)
            streams[SHAPE] = Rows.fixed(np.array([count], "<u8").view(np.uint8), 1, 8)
        return streams
