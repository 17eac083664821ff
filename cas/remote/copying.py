"""A dataset with its history, copied to another store or under another name."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cas.hashing import Kind
from cas.history.graph import find_entry, in_order
from cas.history.records import load_record
from cas.history.refs import BRANCH, MAIN, TAG, RefRecord
from cas.repo.branches import metadata_payloads
from cas.repo.commit import enter_version, move_ref
from cas.repo.metadata import put_mapping, read_mapping, read_snapshot, scope_key
from cas.repo.repository import Repository, register_dataset, scan_refs
from cas.store.contract import Transaction
from cas.store.writer import BlobWriter
from cas.tree.copy import StreamCopier

Report = Callable[[int, int], None]
"""Called with the versions done and their number."""


@dataclass(frozen=True, slots=True)
class _Ref:
    """A branch or tag to be made: its record in the source, and a branch's live metadata by column."""

    record: RefRecord
    metadata: dict[str | None, dict[str, Any]]


def copy_dataset(
    source: Repository,
    dataset: bytes,
    source_name: str,
    target: Repository,
    name: str,
    *,
    version: bytes | None = None,
    report: Report | None = None,
) -> bytes:
    """Copies a dataset and returns the id of the new one: the same versions, under the same ids.

    With its branches, tags and live metadata, as they are at one moment, or, where ``version`` is given, that one and
    those before it as ``main``. It appears in the target at once, when all is there. Cost: what the target lacks.
    Storage timestamps are the target's, for its clock orders what lands there; branches and tags have new ids.
    """
    description = source.facts(source_name, dataset).description
    refs = _refs(source, dataset) if version is None else {MAIN: _main_at(source, version)}
    with source.store.read() as view:
        versions = [hash_ for hash_, _ in in_order(view, [ref.record.version for ref in refs.values()])]
    _copy_blobs(source, target, versions, report)

    def enter(txn: Transaction) -> bytes:
        for hash_ in versions:
            enter_version(txn, hash_, source.version(hash_).parents)
        id_ = register_dataset(txn, name, description=description)
        for ref_name, ref in refs.items():
            record = dataclasses.replace(ref.record, timestamp=txn.timestamp(), id=uuid.uuid4().bytes)
            move_ref(txn, id_, ref_name, None, record, "copy", source_name)
            for column, mapping in ref.metadata.items():
                put_mapping(txn, scope_key(id_, ref_name, column), mapping)
        return id_

    return target.store.write(enter)


def _refs(source: Repository, dataset: bytes) -> dict[str, _Ref]:
    """The branches and tags with their live metadata, all of one moment."""
    refs: dict[str, _Ref] = {}
    with source.store.read() as view:
        for name, record in scan_refs(view, dataset, BRANCH):
            scopes = {
                column: scope_key(dataset, name, column) for column, _ in metadata_payloads(source, record.version)
            }
            refs[name] = _Ref(record, {column: read_mapping(view, scope) for column, scope in scopes.items()})
        refs |= {name: _Ref(record, {}) for name, record in scan_refs(view, dataset, TAG)}
    return refs


def _main_at(source: Repository, version: bytes) -> _Ref:
    """A branch at a version, with the metadata that it was committed with."""
    payloads = metadata_payloads(source, version)
    metadata = {column: read_snapshot(payload, source.nodes) for column, payload in payloads}
    return _Ref(RefRecord(BRANCH, version, 0, "", b""), metadata)


def _copy_blobs(source: Repository, target: Repository, versions: list[bytes], report: Report | None) -> None:
    writer = BlobWriter(target.store)
    streams = StreamCopier(source.nodes, target.store, writer)
    with target.store.read() as view:
        missing = [version for version in versions if find_entry(view, version) is None]
    done = len(versions) - len(missing)
    for version in missing:
        record = source.version(version)
        for ref, layout in (*source.tree(record.tree).stream_refs(), *record.stream_refs()):
            streams.copy(ref, layout)
        for kind, hash_ in ((Kind.TREE, record.tree), (Kind.VERSION, version)):
            writer.add_record(kind, load_record(source.gate, kind, hash_))
        done += 1
        if report is not None:
            report(done, len(versions))
    writer.flush()
