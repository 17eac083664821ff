"""The live metadata of a branch: begun from a version, moved with a new name, removed with the branch."""

from __future__ import annotations

from collections.abc import Iterator

from cas.errors import UncommittedChangesError
from cas.history.records import Payload, read_payload
from cas.repo.metadata import encode_mapping, move_mappings, put_mapping, read_snapshot, scope_key
from cas.repo.repository import Repository
from cas.store.contract import Transaction, View


def begin_metadata(txn: Transaction, repository: Repository, dataset: bytes, version: bytes, branch: str) -> None:
    """Gives a new branch the metadata of the version that it begins at."""
    remove_metadata(txn, repository, dataset, version, branch)
    for column, payload in metadata_payloads(repository, version):
        put_mapping(txn, scope_key(dataset, branch, column), read_snapshot(payload, repository.nodes))


def move_metadata(txn: Transaction, repository: Repository, dataset: bytes, version: bytes, old: str, new: str) -> None:
    """Moves the metadata of a branch, whose last version is given, to another name."""
    columns = [column for column, _ in metadata_payloads(repository, version)]
    moves = {scope_key(dataset, new, column): scope_key(dataset, old, column) for column in columns}
    move_mappings(txn, moves, [])


def remove_metadata(txn: Transaction, repository: Repository, dataset: bytes, version: bytes, branch: str) -> None:
    """Removes the metadata of a branch whose last version is given."""
    move_mappings(txn, {}, [scope_key(dataset, branch, column) for column, _ in metadata_payloads(repository, version)])


def check_metadata_committed(view: View, repository: Repository, dataset: bytes, version: bytes, branch: str) -> None:
    """Refuses a branch, at a version, whose live metadata was changed since: no version holds it."""
    if metadata_changed(view, repository, dataset, version, branch):
        raise UncommittedChangesError(
            f"the metadata of branch {branch!r} was changed since its last version, and would be lost; commit first, "
            f"or set it back"
        )


def metadata_changed(view: View, repository: Repository, dataset: bytes, version: bytes, branch: str) -> bool:
    """Whether the live metadata of a branch differs from that of a version, in the columns of the version."""
    return any(
        encode_mapping(view, scope_key(dataset, branch, column)) != read_payload(payload, repository.nodes)
        for column, payload in metadata_payloads(repository, version)
    )


def metadata_payloads(repository: Repository, version: bytes) -> Iterator[tuple[str | None, Payload]]:
    """Yields the metadata of a version: of the dataset, under None, and of each column."""
    tree = repository.tree(repository.version(version).tree)
    yield None, tree.metadata
    for column in tree.columns:
        yield column.name, column.metadata
