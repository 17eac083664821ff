"""Versions with any parents, written as a merge would land them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cas
from cas.hashing import Kind
from cas.history.records import encode_version, write_payload
from cas.history.refs import BRANCH
from cas.history.row_map import RowMap
from cas.repo.commit import enter_version, move_ref
from cas.repo.repository import find_ref
from cas.store.contract import Transaction
from cas.store.writer import BlobWriter


def land(ds: cas.Dataset, parents: Sequence[str], message: str, *, branch: str | None = None) -> str:
    """Adds a version that has the content of its first parent, or of the handle's version where it has none.

    It moves ``branch`` there, where one is named; without one nothing leads to the version but what comes after it.
    """
    repository, dataset = ds._repository, ds._dataset
    writer = BlobWriter(repository.store)
    hashes = tuple(map(bytes.fromhex, parents))
    first = repository.version(hashes[0] if hashes else ds._draft.base)
    rows = repository.tree(first.tree).rows
    row_maps = []
    for parent in hashes:
        before = repository.tree(repository.version(parent).tree).rows
        kept = min(before, rows)
        row_map = RowMap.from_runs([(kept, before - kept, rows - kept)])
        row_maps.append(write_payload(row_map.encode(), repository.nodes, writer))
    record = dataclasses.replace(
        first, parents=hashes, row_maps=tuple(row_maps), message=message, details={}, column_maps=()
    )
    version = writer.add_record(Kind.VERSION, encode_version(record))
    writer.flush()

    def change(txn: Transaction) -> None:
        enter_version(txn, version, hashes)
        if branch is not None:
            ref = find_ref(txn, dataset, branch)
            assert ref is not None
            assert ref.kind == BRANCH
            moved = dataclasses.replace(ref, version=version, timestamp=txn.timestamp())
            move_ref(txn, dataset, branch, ref, moved, "merge" if len(parents) > 1 else "commit", message)

    repository.store.write(change)
    return version.hex()
