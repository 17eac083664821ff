"""A dataset with its history, copied to another store or under another name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cas.hashing import Kind
from cas.history.graph import find_entry, get_entry, new_entry
from cas.history.records import PAYLOAD_LAYOUT, Payload, TreeRecord, VersionRecord, load_record
from cas.history.refs import BRANCH, MAIN, TAG, RefRecord
from cas.repo.commit import move_ref
from cas.repo.metadata import put_value, read_mapping, read_snapshot, scope_key
from cas.repo.repository import Repository, register_dataset, scan_refs
from cas.store.contract import VERSIONS, Transaction
from cas.store.gate import BlobWriter
from cas.tree.copy import StreamCopier

Report = Callable[[int, int], None]
"""Called with the versions done and their number."""


@dataclass(frozen=True, slots=True)
class _Origin:
    """What is copied: a dataset, with its refs or as it was at one version."""

    repository: Repository
    dataset: bytes
    name: str
    refs: dict[str, RefRecord]
    live: bool


def copy_dataset(
    source: Repository,
    source_name: str,
    target: Repository,
    name: str,
    *,
    version: bytes | None = None,
    report: Report | None = None,
) -> bytes:
    """Copies a dataset and returns the id of the new one: the same versions, under the same ids.

    With its branches, tags and live metadata, or, where ``version`` is given, that one and those before it as ``main``.
    It appears in the target at once, when all is there. Cost: what the target lacks. Storage timestamps are the
    target's, for its clock orders what lands there.
    """
    facts = source.facts(source_name)
    if version is None:
        with source.store.read() as view:
            refs = dict([*scan_refs(view, facts.id, BRANCH), *scan_refs(view, facts.id, TAG)])
    else:
        refs = {MAIN: RefRecord(BRANCH, version, 0, "", facts.id)}
    origin = _Origin(source, facts.id, source_name, refs, version is None)
    versions = _in_order(source, [ref.version for ref in refs.values()])
    _copy_blobs(origin.repository, target, versions, report)
    return target.store.write(lambda txn: _enter(txn, origin, target, name, versions))


def _in_order(source: Repository, heads: Iterable[bytes]) -> list[bytes]:
    """The versions that lead to some, parents first."""
    generations: dict[bytes, int] = {}
    waiting = list(heads)
    with source.store.read() as view:
        while waiting:
            version = waiting.pop()
            if version not in generations:
                entry = get_entry(view, version)
                generations[version] = entry.generation
                waiting += entry.parents
    return sorted(generations, key=lambda version: (generations[version], version))


def _copy_blobs(source: Repository, target: Repository, versions: list[bytes], report: Report | None) -> None:
    writer = BlobWriter(target.store)
    streams = StreamCopier(source.nodes, target.store, writer)
    with target.store.read() as view:
        missing = [version for version in versions if find_entry(view, version) is None]
    done = len(versions) - len(missing)
    for version in missing:
        record = source.version(version)
        _copy_streams(streams, record, source.tree(record.tree))
        for kind, hash_ in ((Kind.TREE, record.tree), (Kind.VERSION, version)):
            writer.add_record(kind, load_record(source.gate, kind, hash_))
        done += 1
        if report is not None:
            report(done, len(versions))
    writer.flush()


def _copy_streams(streams: StreamCopier, record: VersionRecord, tree: TreeRecord) -> None:
    for column in tree.columns:
        layouts = column.type.layouts()
        for name, ref in column.streams.items():
            streams.copy(ref, layouts[name])
    payloads: list[Payload] = [tree.metadata, *(column.metadata for column in tree.columns), *record.row_maps]
    for payload in payloads:
        if not isinstance(payload, bytes):
            streams.copy(payload, PAYLOAD_LAYOUT)


def _enter(txn: Transaction, origin: _Origin, target: Repository, name: str, versions: list[bytes]) -> bytes:
    """Enters versions, dataset, refs and live metadata."""
    for version in versions:
        if find_entry(txn, version) is None:
            parents = origin.repository.version(version).parents
            txn.put(VERSIONS, version, new_entry(txn, parents, txn.timestamp()).encode())
    facts = origin.repository.facts(origin.name)
    dataset = register_dataset(txn, name, description=facts.description)
    for ref_name, ref in origin.refs.items():
        copied = dataclasses.replace(ref, timestamp=txn.timestamp())
        move_ref(txn, dataset, ref_name, None, copied, "copy", origin.name)
        if ref.kind == BRANCH:
            _copy_metadata(txn, origin, dataset, ref_name, ref.version)
    return dataset


def _copy_metadata(txn: Transaction, origin: _Origin, dataset: bytes, branch: str, head: bytes) -> None:
    tree = origin.repository.tree(origin.repository.version(head).tree)
    payloads: dict[str | None, Payload] = {column.name: column.metadata for column in tree.columns}
    payloads[None] = tree.metadata
    for column, payload in payloads.items():
        if origin.live:
            with origin.repository.store.read() as view:
                mapping = read_mapping(view, scope_key(origin.dataset, branch, column))
        else:
            mapping = read_snapshot(payload, origin.repository.nodes)
        for key, value in mapping.items():
            put_value(txn, scope_key(dataset, branch, column), key, value)
