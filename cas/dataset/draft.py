"""What is staged on top of a version: edits, the blobs they made, and how rows line up."""

from __future__ import annotations

import dataclasses
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from cas.codec.rows import Ints, Rows
from cas.codec.values import Streams
from cas.dataset.indexing import Selection
from cas.dataset.pieces import Inserted, Pieces, row_map_of
from cas.dataset.state import ColumnState, State
from cas.errors import ConflictError, CorruptedError, InvalidInputError
from cas.hashing import Kind
from cas.history.conflicts import OnConflict
from cas.history.records import Defaults, decode_defaults, encode_defaults, encode_tree, read_payload, write_payload
from cas.history.row_map import RowMap
from cas.repo.commit import Proposal, commit
from cas.repo.metadata import Origin, live_scope_key, move_mappings
from cas.repo.rebase import rebase
from cas.repo.repository import Repository, check_dataset
from cas.repo.sessions import NOBODY, Session, claim_session, put_session, release_session, remove_session
from cas.store.contract import Transaction
from cas.store.writer import BlobWriter
from cas.tree.alignment import ascending, runs_of_numbers
from cas.tree.node import Nodes
from cas.types import Type

DIRECT_BYTES: Final = 8 << 20
FLUSH_BYTES: Final = 256 << 20
FLUSH_SECONDS: Final = 10.0

Encoded = dict[str, Streams]
RowEdit = tuple[int, int, Encoded | None, int]
ColumnEdit = tuple[int, int, Streams]


class Draft:
    """The uncommitted state of one handle on a branch, which began at version ``base``.

    Memory stays bounded: above 8 MiB staged rows are cut, hashed and handed to the writer, which puts them from 24
    MiB on. What is staged becomes durable, as a session, with the edit that makes it 256 MiB since it was last;
    otherwise from :attr:`flush_at` on, by the thread of :mod:`cas.dataset.background` or, where that did not come to it
    for as long again, by the next edit.
    """

    def __init__(self, repository: Repository, dataset: bytes, branch: str, branch_id: bytes, base: bytes) -> None:
        self._repository = repository
        self._lease = repository.store.lease_reading(base)
        self._dataset = dataset
        self._branch = branch
        self._branch_id = branch_id
        self.base = base
        self._writer = BlobWriter(repository.store, compress=repository.compress, background=True)
        self._nodes = repository.nodes.over(repository.gate.over(self._writer.held))
        self.state = State(self._nodes, repository.tree(repository.version(base).tree))
        self._base_rows = self.state.rows
        self._row_pieces: Pieces[Inserted] = Pieces(self._base_rows)
        self._id = uuid.uuid4().bytes
        self._since: int | None = None
        self._has_details = False
        self._kept_by_owner = False
        self._added: set[bytes] = set()
        self._defaults: dict[Origin, dict[str, bytes]] = {}
        self._inherited = False
        self._unflushed = _NOTHING
        self._depth = 0
        self.changed = False

    def append(self, values: Encoded, count: int) -> None:
        """Stages rows at the end."""
        with self._change(_size_bytes(values)):
            self.state.append(_own(values), count)
            self._row_pieces.append(Inserted(count))
            self._settle_if_large()

    def splice(self, edits: Sequence[RowEdit]) -> None:
        """Stages replacements of rows ``start`` to ``stop`` by ``count`` new ones, in ascending order."""
        if not edits:
            return
        with self._change(sum(_size_bytes(new) for _, _, new, _ in edits if new)):
            self.state.splice([(start, stop, new and _own(new), count) for start, stop, new, count in edits])
            self._row_pieces.splice([(start, stop, Inserted(count)) for start, stop, _, count in edits])
            self._settle_if_large()

    def update(self, edits: Mapping[str, Sequence[ColumnEdit]]) -> None:
        """Stages new values, in each column, for rows ``start`` to ``stop`` of several edits in ascending order.

        Varying rows are not copied: they stay as they are until the commit, or a change that is not done.
        """
        if not edits:
            return
        with self._change(sum(_size_bytes({name: new}) for name, some in edits.items() for _, _, new in some)):
            for name, some in edits.items():
                self.state.columns[name].splice(some)
            self._settle_if_large()

    def assign(self, column: ColumnState, selected: Selection, streams: Streams) -> None:
        """Stages new values for the selected rows of a column; the last one counts where a row is named twice."""
        count = next(iter(streams.values())).count
        numbers = np.array([selected] if isinstance(selected, int) else selected, np.int64)
        if count != len(numbers):
            raise InvalidInputError(
                f"column {column.name!r}: {count} values for {len(numbers)} rows", column=column.name
            )
        if (np.diff(numbers) <= 0).any():
            numbers, last = np.unique(numbers[::-1], return_index=True)
            streams = {name: rows.take(count - 1 - last) for name, rows in streams.items()}
        streams = _own({column.name: streams})[column.name]
        edits: list[tuple[int, int, Streams | None]] = []
        done = 0
        for start, stop in runs_of(numbers):
            upto = done + stop - start
            edits.append((start, stop, {name: rows.slice(done, upto) for name, rows in streams.items()}))
            done = upto
        if edits:
            with self._change(_size_bytes({column.name: streams})):
                column.splice(edits)
                self._settle_if_large()

    def assign_all(self, column: ColumnState, selected: range | Ints, value: Streams) -> None:
        """Stages one value, given as one row, for all selected rows of a column; memory: about 16 MiB."""
        step = max(1, DIRECT_BYTES // max(1, sum(row.nbytes for row in value.values())))
        with self.whole():
            for start in range(0, len(selected), step):
                part = selected[start : start + step]
                self.assign(column, part, {name: row.repeated(len(part)) for name, row in value.items()})

    def add_column(self, name: str, type_: Type, value: Streams | None) -> None:
        """Stages a column that has one value, given as one row, in all rows, also in those that a merge will bring."""
        with self._change():
            id_ = self.state.add_column(name, type_, value, self._writer)
            self._added.add(id_)
            if value is not None:
                self._defaults[id_] = {stream: row.row(0).tobytes() for stream, row in value.items()}

    def remove_column(self, name: str) -> None:
        """Stages the removal of a column."""
        with self._change():
            self.state.remove_column(name)

    def rename_column(self, old: str, new: str) -> None:
        """Stages another name for a column."""
        with self._change():
            self.state.rename_column(old, new)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Makes the changes of the block take effect together, or, whatever is raised meanwhile, not at all."""
        state, rows, changed, unflushed = self.state.save(), self._row_pieces.save(), self.changed, self._unflushed
        self._depth += 1
        try:
            yield
            if self._depth == 1 and self._is_overdue:
                self.flush({})
        except BaseException:
            self.state.restore(state)
            self._row_pieces.restore(rows)
            self.changed, self._unflushed = changed, unflushed
            # What the writer holds by now may be the caller's memory, which need not stay as it is.
            self._writer.own()
            raise
        finally:
            self._depth -= 1

    @contextmanager
    def _change(self, size_bytes: int = 0) -> Iterator[None]:
        with self.whole():
            yield
            self.changed = True
            self._inherited = False
            since = self._unflushed.since
            self._unflushed = _Unflushed(
                time.monotonic() if since is None else since, self._unflushed.size_bytes + size_bytes
            )

    @property
    def flush_at(self) -> float | None:
        """When what is staged is to be written durably, by the monotonic clock; None where nobody needs to.

        Where the owner flushes with details, these tell of rows up to there, so nothing else is flushed in between.
        """
        if self._unflushed.since is None or self._has_details or self._kept_by_owner:
            return None
        return self._unflushed.since + FLUSH_SECONDS

    @property
    def _is_overdue(self) -> bool:
        at = self.flush_at
        return at is not None and (self._unflushed.size_bytes >= FLUSH_BYTES or time.monotonic() > at + FLUSH_SECONDS)

    @contextmanager
    def kept_by_owner(self) -> Iterator[None]:
        """Leaves it to the block to flush what it stages, with details of its own."""
        self._kept_by_owner = True
        try:
            yield
        finally:
            self._kept_by_owner = False

    def _settle_if_large(self) -> None:
        if self.state.staged_bytes >= DIRECT_BYTES or self.state.crowded:
            self.state.settle(self._writer)
            self._writer.own()

    def commit(self, message: str, author: str, details: Mapping[str, Any], on_conflict: OnConflict) -> bytes:
        """Lands the draft as a version and returns its id; the draft is spent then.

        Where the branch has moved meanwhile, the draft is merged by row with what it has now.
        """
        proposal = Proposal(
            self._dataset,
            self._branch,
            self._branch_id,
            self.base,
            self.state.settle(self._writer),
            self.row_map(),
            self.origins(),
            frozenset(self._added),
            self._id,
            message,
            author,
            dict(details),
            self.defaults(),
        )
        while True:
            try:
                return commit(self._repository, proposal, self._writer)
            except ConflictError as moved:
                if moved.found is None:
                    raise
                head = bytes.fromhex(moved.found)
            proposal = rebase(self._repository, proposal, head, self._writer, on_conflict)

    def defaults(self) -> Defaults:
        """Returns the defaults of the columns that are new."""
        return {name: self._defaults[id_] for name, id_ in self.origins().items() if id_ in self._defaults}

    def row_map(self) -> RowMap:
        """Returns how the rows line up with those of the base."""
        return row_map_of(self._row_pieces, self._base_rows)

    def origins(self) -> dict[str, Origin]:
        """Returns for each column where it comes from."""
        return {name: column.origin for name, column in self.state.columns.items()}

    def scope(self, column: str | None) -> bytes:
        """Returns where the live metadata of the dataset, or of a column, stands."""
        origin = None if column is None else self.state.columns[column].origin
        return live_scope_key(self._dataset, self._branch, origin)

    def flush(self, details: Mapping[str, Any]) -> None:
        """Writes what is staged durably, as a session that can be recovered."""
        self._put_session(dict(details), os.getpid())

    def leave(self) -> bool:
        """Makes what is staged recoverable by others, for the handle is gone; False where nothing was to be kept.

        Rows that their owner flushed with details, and did not change since, stay as they are.
        """
        if not self.changed or self._inherited:
            return False
        if self._has_details and self._unflushed is _NOTHING:
            self._repository.store.write(lambda txn: release_session(txn, self._dataset, self._id))
        else:
            self._put_session({}, NOBODY)
        return True

    def part_from_parent(self) -> None:
        """Tells the draft that it is the copy of a forked child: the session is the parent's."""
        self._id = uuid.uuid4().bytes
        self._since = None
        self._has_details = False
        self._unflushed = _NOTHING
        self._inherited = self.changed
        # The metadata of columns that the parent has added is the parent's too.
        self._added = set()

    def is_of(self, other: Draft) -> bool:
        """Whether two drafts are of the same dataset."""
        return self._dataset == other._dataset

    def _put_session(self, details: dict[str, Any], pid: int) -> None:
        tree = self._writer.add_record(Kind.TREE, encode_tree(self.state.settle(self._writer)))
        row_map = write_payload(self.row_map().encode(), self._nodes, self._writer)
        defaults = write_payload(encode_defaults(self.defaults()), self._nodes, self._writer)
        laid = self._writer.rest()

        def change(txn: Transaction) -> int:
            check_dataset(txn, self._dataset)
            now = txn.timestamp()
            txn.put_laid(laid)
            since = self._since or now
            session = Session(
                self._branch,
                self.base,
                tree,
                row_map,
                self.origins(),
                since,
                now,
                pid=pid,
                details=details,
                defaults=defaults,
            )
            put_session(txn, self._dataset, self._id, session)
            return since

        self._since = self._repository.store.write(change)
        self._has_details = bool(details)
        self._unflushed = _NOTHING
        self._writer.clear()

    def adopt(self, id_: bytes, session: Session) -> None:
        """Takes over the rows of a session that began at the same base."""
        row_map = RowMap.decode(read_payload(session.row_map, self._nodes), "session")
        state = State(self._nodes, self._repository.tree(session.tree))
        if (row_map.parent_rows, row_map.rows) != (self._base_rows, state.rows):
            raise CorruptedError("the row map of the uncommitted rows does not fit them", blob=session.tree.hex())
        if set(session.origins) != set(state.columns):
            raise CorruptedError("the columns of the uncommitted rows do not fit them", blob=session.tree.hex())
        for name, column in state.columns.items():
            column.origin = session.origins[name]
        self._repository.store.write(lambda txn: claim_session(txn, self._dataset, id_, session))
        self.state = state
        self._row_pieces = _pieces_of(row_map.runs, self._base_rows)
        self._id = id_
        self._since = session.since
        self._has_details = bool(session.details)
        self._added = {origin for origin in session.origins.values() if isinstance(origin, bytes)}
        defaults = decode_defaults(read_payload(session.defaults, self._nodes), "session")
        self._defaults = {session.origins[name]: rows for name, rows in defaults.items() if name in session.origins}
        self.changed = True

    def release(self) -> None:
        """Ends the leases: the draft is not used any more."""
        self._lease.release()
        self._writer.release()

    def discard(self) -> None:
        """Ends the session, if there is one, with the metadata of its columns; the draft is spent then."""
        self._writer.release()
        if self._since is None and not self._added:
            return
        staged = [live_scope_key(self._dataset, self._branch, column) for column in self._added]

        def change(txn: Transaction) -> None:
            remove_session(txn, self._dataset, self._id)
            move_mappings(txn, {}, staged)

        self._repository.store.write(change)

    @property
    def writer(self) -> BlobWriter:
        """The writer of the draft's blobs."""
        return self._writer

    @property
    def nodes(self) -> Nodes:
        """The nodes of the store, and of the draft."""
        return self._nodes


def runs_of(numbers: Selection) -> Iterator[tuple[int, int]]:
    """Yields runs ``start, stop`` of the row numbers selected, in ascending order, each row once."""
    starts, lengths = runs_of_numbers(ascending(np.atleast_1d(np.asarray(numbers, np.int64))))
    yield from zip(starts.tolist(), (starts + lengths).tolist(), strict=True)


@dataclasses.dataclass(frozen=True, slots=True)
class _Unflushed:
    """How long, by the monotonic clock, and how many bytes of staged rows no session holds yet."""

    since: float | None
    size_bytes: int


_NOTHING: Final = _Unflushed(None, 0)


def _size_bytes(values: Encoded) -> int:
    return sum(rows.nbytes for streams in values.values() for rows in streams.values())


def _own(values: Encoded) -> Encoded:
    """Copies rows that may be the caller's memory, unless they are so many that they are written at once."""
    if _size_bytes(values) >= DIRECT_BYTES:
        return values
    return {name: {key: _copied(rows) for key, rows in streams.items()} for name, streams in values.items()}


def _copied(rows: Rows) -> Rows:
    # Varying rows were joined from the caller's values, which copied them.
    return rows if rows.row_bytes is None else Rows.fixed(rows.flat.copy(), rows.count, rows.row_bytes)


def _pieces_of(runs: Ints, base_rows: int) -> Pieces[Inserted]:
    pieces: Pieces[Inserted] = Pieces(base_rows)
    edits: list[tuple[int, int, Inserted | None]] = []
    position = 0
    for keep, delete, insert in runs.tolist():
        position += keep
        edits.append((position, position + delete, Inserted(insert)))
        position += delete
    pieces.splice(edits)
    return pieces
