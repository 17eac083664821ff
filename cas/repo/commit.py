"""Landing a version: tree, version, its entry, the ref and the reflog, in one transaction."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cas.errors import BranchNotFoundError, ConflictError
from cas.hashing import Kind
from cas.history.graph import find_entry, new_entry
from cas.history.records import (
    EMPTY_TREE,
    ColumnRecord,
    Defaults,
    TreeRecord,
    VersionRecord,
    encode_defaults,
    encode_tree,
    encode_version,
    write_payload,
)
from cas.history.refs import BRANCH, MAIN, ReflogRecord, RefRecord
from cas.history.row_map import RowMap
from cas.repo.metadata import Origin, live_scope_key, move_mappings, scope_key, snapshot
from cas.repo.repository import Repository, find_ref, register_dataset
from cas.store.contract import REFLOG, REFS, SESSIONS, VERSIONS, Laid, Lease, T, Transaction, View
from cas.store.leases import NoLease
from cas.store.writer import BlobWriter
from cas.tree.node import Nodes

FIRST_MESSAGE = "Dataset created"


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a commit wants to land on a branch: a state, the version it comes from, and how rows and columns line up.

    ``origins`` tells for each column where it comes from; ``added`` are the ids of all columns that were new at some
    time; ``session`` is the id under which the writer may have flushed rows; ``defaults`` are those of new columns.
    """

    dataset: bytes
    branch: str
    branch_id: bytes
    base: bytes
    tree: TreeRecord
    row_map: RowMap
    origins: dict[str, Origin]
    added: frozenset[bytes]
    session: bytes
    message: str
    author: str
    details: dict[str, Any] = field(default_factory=dict)
    defaults: Defaults = field(default_factory=dict)

    def scope(self, column: str | None) -> bytes:
        """Returns where the live metadata of the dataset, or of a column of the state, stands until the commit."""
        return live_scope_key(self.dataset, self.branch, None if column is None else self.origins[column])


class _Inside:
    """A transaction in the guise of a store, so that blobs can be written as part of it."""

    def __init__(self, txn: Transaction) -> None:
        self._txn = txn

    @contextmanager
    def read(self) -> Iterator[View]:
        yield self._txn

    def write(self, change: Callable[[Transaction], T]) -> T:
        return change(self._txn)

    def lease_writing(self) -> Lease:
        # What a transaction finds and puts is there when it ends.
        return NoLease()


@contextmanager
def writer_inside(txn: Transaction, laid: Iterable[Laid] = ()) -> Iterator[BlobWriter]:
    """Gives a writer whose blobs, with those given, are put together when the block ends."""
    writer = BlobWriter(_Inside(txn))
    writer.take(laid)
    yield writer
    writer.flush()


def create_dataset(repository: Repository, name: str, author: str) -> bytes:
    """Enters a dataset with its first, empty version on ``main``; returns its id."""

    def change(txn: Transaction) -> bytes:
        dataset = register_dataset(txn, name)
        with writer_inside(txn) as writer:
            tree = writer.add_record(Kind.TREE, encode_tree(EMPTY_TREE))
            record = VersionRecord(tree, (), (), FIRST_MESSAGE, author, time.time_ns() // 1000)
            version = land(txn, writer, record)
        ref = RefRecord(BRANCH, version, txn.timestamp(), "", uuid.uuid4().bytes)
        move_ref(txn, dataset, MAIN, None, ref, "create", FIRST_MESSAGE)
        return dataset

    return repository.store.write(change)


def commit(repository: Repository, proposal: Proposal, writer: BlobWriter) -> bytes:
    """Lands a proposal with what the writer still holds; returns the new version, or the base where nothing changed.

    Raises :class:`~cas.errors.ConflictError` where the branch is no longer at ``base``; nothing is written then.
    """
    laid = writer.rest()
    made = time.time_ns() // 1000
    nodes = repository.nodes.over(repository.gate.over(writer.held))

    def change(txn: Transaction) -> tuple[bytes, VersionRecord | None, TreeRecord]:
        ref = expect_head(txn, proposal.dataset, proposal.branch, proposal.branch_id, proposal.base)
        with writer_inside(txn, laid) as inside:
            state = _with_metadata(txn, proposal, nodes, inside)
            tree = inside.add_record(Kind.TREE, encode_tree(state))
            base = repository.version(proposal.base)
            base_columns = {column.name for column in repository.tree(base.tree).columns}
            renamed = column_map(proposal.origins, base_columns)
            version, record = proposal.base, None
            if tree != base.tree:
                record = VersionRecord(
                    tree,
                    (proposal.base,),
                    (write_payload(proposal.row_map.encode(), nodes, inside),),
                    proposal.message,
                    proposal.author,
                    made,
                    proposal.details,
                    (renamed,) if renamed else (),
                    write_payload(encode_defaults(proposal.defaults), nodes, inside),
                )
                version = land(txn, inside, record)
        if version != proposal.base:
            move_branch(txn, proposal.dataset, proposal.branch, ref, version, "commit", proposal.message)
        _settle_metadata(txn, proposal, base_columns)
        txn.remove(SESSIONS, proposal.dataset + proposal.session)
        return version, record, state

    version, record, state = repository.store.write(change)
    if record is not None and not record.details:  # details may be read back as other types
        repository.remember(version, record, state)
    writer.clear()
    writer.release()
    return version


def expect_head(view: View, dataset: bytes, branch: str, branch_id: bytes, base: bytes) -> RefRecord:
    """Returns the ref of a branch that must still be there and at ``base``.

    Raises ``BranchNotFoundError``, or :class:`~cas.errors.ConflictError` with the version where the branch is.
    """
    ref = find_ref(view, dataset, branch)
    if ref is None or ref.id != branch_id:
        raise BranchNotFoundError(
            f"branch {branch!r} was deleted or renamed; what is staged stays so: close the dataset, make a "
            f"branch at version {base.hex()[:12]}, and recover() it there",
            name=branch,
        )
    if ref.version != base:
        raise ConflictError(
            f"branch {branch!r} was moved by another writer, from {base.hex()[:12]} to {ref.version.hex()[:12]}",
            expected=base.hex(),
            found=ref.version.hex(),
        )
    return ref


def move_branch(
    txn: Transaction, dataset: bytes, branch: str, ref: RefRecord, version: bytes, command: str, message: str
) -> None:
    """Moves a branch to a version, with its entry in the reflog."""
    moved = dataclasses.replace(ref, version=version, timestamp=txn.timestamp())
    move_ref(txn, dataset, branch, ref, moved, command, message)


def _with_metadata(view: View, proposal: Proposal, nodes: Nodes, writer: BlobWriter) -> TreeRecord:
    """The proposed state with the live metadata of the branch."""

    def taken(column: str | None) -> Any:
        return snapshot(view, proposal.scope(column), nodes, writer)

    columns: list[ColumnRecord] = []
    for column in proposal.tree.columns:
        columns.append(dataclasses.replace(column, metadata=taken(column.name)))
    return dataclasses.replace(proposal.tree, columns=tuple(columns), metadata=taken(None))


def column_map(origins: Mapping[str, Origin | None], base_columns: Collection[str]) -> dict[str, str | None]:
    """Returns a version's column map: of the columns whose name does not say where they come from in the parent."""
    names = {name: origin if isinstance(origin, str) else None for name, origin in origins.items()}
    return {name: origin for name, origin in names.items() if origin != (name if name in base_columns else None)}


def _settle_metadata(txn: Transaction, proposal: Proposal, base_columns: Collection[str]) -> None:
    """Moves the live metadata of columns to the names that they have from now on; that of removed ones goes."""

    def scope(column: str) -> bytes:
        return scope_key(proposal.dataset, proposal.branch, column)

    moves = {scope(name): proposal.scope(name) for name, origin in proposal.origins.items() if origin != name}
    removed = set(base_columns) - {origin for origin in proposal.origins.values() if isinstance(origin, str)}
    unused = [live_scope_key(proposal.dataset, proposal.branch, column) for column in proposal.added]
    if moves or removed or unused:
        move_mappings(txn, moves, [*unused, *map(scope, removed)])


def land(txn: Transaction, writer: BlobWriter, record: VersionRecord) -> bytes:
    """Writes a version and its entry."""
    version = writer.add_record(Kind.VERSION, encode_version(record))
    enter_version(txn, version, record.parents)
    return version


def enter_version(txn: Transaction, version: bytes, parents: tuple[bytes, ...]) -> None:
    """Enters a version in the table of versions; the entry stays the first one where it landed before."""
    if find_entry(txn, version) is None:
        txn.put(VERSIONS, version, new_entry(txn, parents, txn.timestamp()).encode())


def move_ref(
    txn: Transaction,
    dataset: bytes,
    name: str,
    old: RefRecord | None,
    new: RefRecord | None,
    command: str,
    message: str,
) -> None:
    """Sets or removes a ref, with its entry in the reflog."""
    key = dataset + name.encode()
    if new is None:
        txn.remove(REFS, key)
    else:
        txn.put(REFS, key, new.encode())
    entry = ReflogRecord(old.version if old else None, new.version if new else None, command, message)
    txn.put(REFLOG, key + b"\0" + txn.timestamp().to_bytes(8, "big"), entry.encode())
