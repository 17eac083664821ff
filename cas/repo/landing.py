"""Branches moved by merges: fast-forward, or to a new version of two parents; with their live metadata."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cas.hashing import Kind
from cas.history.compare import Encoded, split_metadata
from cas.history.conflicts import OnConflict
from cas.history.graph import is_ancestor
from cas.history.lineage import Shared
from cas.history.merge import Metadata
from cas.history.records import Defaults, TreeRecord, VersionRecord, encode_defaults, encode_tree, write_payload
from cas.history.row_map import RowMap
from cas.repo.branches import check_metadata_committed, metadata_payloads
from cas.repo.commit import column_map, expect_head, land, move_branch, writer_inside
from cas.repo.merging import Merger
from cas.repo.metadata import encode_mapping, move_mappings, put_encoded, scope_key
from cas.repo.repository import Repository
from cas.store.contract import Transaction, View
from cas.store.writer import BlobWriter

MERGE: Final = "merge"
FAST_FORWARD: Final = "fast-forward"
REVERT: Final = "revert"


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch to be moved, and the version it is at."""

    dataset: bytes
    name: str
    id: bytes
    head: bytes


@dataclass(frozen=True, slots=True)
class Signature:
    """Who makes a version, and what is said of it."""

    message: str
    author: str


class _MetadataMovedError(Exception):
    """Live metadata was changed while a merge was made."""


def merge_branch(
    repository: Repository, branch: Branch, theirs: bytes, signature: Signature, on_conflict: OnConflict
) -> bytes:
    """Merges a version into a branch and returns the version that the branch is at then.

    Where it has nothing that the branch has not, the branch stays; where the branch has nothing that it has not, the
    branch moves to it. Metadata that is live on the branch counts as that of ours, committed or not.

    Raises :class:`~cas.errors.ConflictError` with the conflicts, or, with ``found``, where the branch has moved.
    """
    with repository.store.read() as view:
        if is_ancestor(view, theirs, branch.head):
            return branch.head
        forward = is_ancestor(view, branch.head, theirs)
    while True:
        try:
            landed = _fast_forward(repository, branch, theirs, on_conflict) if forward else None
            return landed or _merge(repository, branch, theirs, signature, on_conflict)
        except _MetadataMovedError:
            continue


def _fast_forward(repository: Repository, branch: Branch, theirs: bytes, on_conflict: OnConflict) -> bytes | None:
    """Moves the branch, with what is live; None where a column is to stay that the version does not have."""
    live = _read_live(repository, branch)
    merger = Merger(repository, BlobWriter(repository.store))
    metadata: Metadata = merger.state(theirs).metadata
    if live != merger.state(branch.head).metadata:
        metadata = merger.merge_metadata(branch.head, theirs, live, on_conflict)
    if metadata.keys() != merger.state(theirs).metadata.keys():
        return None

    def change(txn: Transaction) -> None:
        ref = expect_head(txn, branch.dataset, branch.name, branch.id, branch.head)
        _replace_live(txn, repository, branch, live, metadata)
        move_branch(txn, branch.dataset, branch.name, ref, theirs, FAST_FORWARD, "")

    repository.store.write(change)
    return theirs


def _merge(
    repository: Repository, branch: Branch, theirs: bytes, signature: Signature, on_conflict: OnConflict
) -> bytes:
    live = _read_live(repository, branch)
    writer = BlobWriter(repository.store)
    merger = Merger(repository, writer)
    merged = merger.merge(branch.head, theirs, on_conflict, metadata=live)
    parents = {branch.head: merged.from_ours, theirs: merged.from_theirs}

    def change(txn: Transaction) -> bytes:
        ref = expect_head(txn, branch.dataset, branch.name, branch.id, branch.head)
        _replace_live(txn, repository, branch, live, merged.metadata)
        version = _land(txn, repository, writer, merged.tree, parents, signature)
        move_branch(txn, branch.dataset, branch.name, ref, version, MERGE, signature.message)
        return version

    return repository.store.write(change)


def revert_branch(repository: Repository, branch: Branch, target: bytes, signature: Signature) -> bytes:
    """Makes a version on a branch that has the tree of another one, and returns it; the head where they are equal.

    Raises ``UncommittedChangesError`` where metadata is live that no version holds, for it would be lost, and
    :class:`~cas.errors.ConflictError` where the branch has moved.
    """
    if repository.version(branch.head).tree == repository.version(target).tree:
        return branch.head
    writer = BlobWriter(repository.store)
    merger = Merger(repository, writer)
    shared = merger.lineage.shared(branch.head, target)
    state = merger.state(target)
    back = {column.name for column in state.tree.columns} - set(shared.columns.values())
    defaults = {name: found for name in back if (found := merger.lineage.default_of(target, name)) is not None}

    def change(txn: Transaction) -> bytes:
        ref = expect_head(txn, branch.dataset, branch.name, branch.id, branch.head)
        check_metadata_committed(txn, repository, branch.dataset, branch.head, branch.name)
        _replace_live(txn, repository, branch, _live(txn, repository, branch), state.metadata)
        parents = {branch.head: shared}
        version = _land(txn, repository, writer, state.tree, parents, signature, defaults)
        move_branch(txn, branch.dataset, branch.name, ref, version, REVERT, signature.message)
        return version

    return repository.store.write(change)


def _land(
    txn: Transaction,
    repository: Repository,
    writer: BlobWriter,
    tree: TreeRecord,
    parents: Mapping[bytes, Shared],
    signature: Signature,
    defaults: Defaults | None = None,
) -> bytes:
    """Writes a version of these parents, each with what it shares with the version."""
    nodes = repository.nodes.over(repository.gate.over(writer.held))
    with writer_inside(txn, writer.rest()) as inside:
        row_maps, column_maps = [], []
        for parent, shared in parents.items():
            before = repository.tree(repository.version(parent).tree)
            row_map = RowMap.of_alignment(shared.rows, before.rows, tree.rows)
            row_maps.append(write_payload(row_map.encode(), nodes, inside))
            origins = {new: old for old, new in shared.columns.items()}
            names = {column.name: origins.get(column.name) for column in tree.columns}
            column_maps.append(column_map(names, {column.name for column in before.columns}))
        record = VersionRecord(
            inside.add_record(Kind.TREE, encode_tree(tree)),
            tuple(parents),
            tuple(row_maps),
            signature.message,
            signature.author,
            time.time_ns() // 1000,
            column_maps=tuple(column_maps),
            defaults=write_payload(encode_defaults(defaults or {}), nodes, inside),
        )
        return land(txn, inside, record)


def _read_live(repository: Repository, branch: Branch) -> dict[str | None, Encoded]:
    with repository.store.read() as view:
        return _live(view, repository, branch)


def _live(view: View, repository: Repository, branch: Branch) -> dict[str | None, Encoded]:
    """The live metadata of a branch: of the dataset, under None, and of each column."""
    return {
        column: split_metadata(encode_mapping(view, scope_key(branch.dataset, branch.name, column)))
        for column, _ in metadata_payloads(repository, branch.head)
    }


def _replace_live(
    txn: Transaction, repository: Repository, branch: Branch, expected: Metadata, metadata: Metadata
) -> None:
    """Sets all live metadata of a branch, which must still be what is expected."""
    if _live(txn, repository, branch) != expected:
        raise _MetadataMovedError
    move_mappings(txn, {}, [scope_key(branch.dataset, branch.name, column) for column in expected])
    for column, mapping in metadata.items():
        put_encoded(txn, scope_key(branch.dataset, branch.name, column), mapping)
