"""Walks all that a store holds: everything must be there and be read; and tells what users see, to be compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cas.dataset.dataset import Dataset
from cas.dataset.recovery import left_behind
from cas.dataset.state import State
from cas.errors import NotFoundError
from cas.history.records import Payload, TreeRecord, VersionRecord, decode_defaults, read_payload
from cas.history.refs import BRANCH, TAG, ReflogRecord
from cas.history.row_map import RowMap
from cas.repo.fsck import Fsck
from cas.repo.metadata import read_snapshot
from cas.repo.repository import Repository, dataset_ids, find_ref, open_repository, scan_refs
from cas.repo.sessions import read_sessions
from cas.store.contract import REFLOG, VERSIONS

Content = dict[str, Any]


def check_everything(path: Path) -> int:
    """Reads all that is named by refs, reflogs, sessions and the table of versions; returns how many versions.

    Raises whatever is raised where something is missing or damaged, and ``AssertionError`` for what does not fit.
    """
    repository, _ = open_repository(path)
    try:
        return _Walk(repository).run()
    finally:
        repository.store.close()


def check_with_fsck(path: Path) -> None:
    """Checks a store as ``cas fsck`` does, from the start: it must find nothing at all."""
    repository, _ = open_repository(path)
    try:
        found = Fsck(repository, restart=True).check().findings
    finally:
        repository.store.close()
    assert not found, [finding.message for finding in found]


class _Walk:
    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.entered: set[bytes] = set()

    def run(self) -> int:
        with self.repository.store.read() as view:
            self.entered = {key for key, _ in view.scan(VERSIONS)}
            ids = dataset_ids(view)
            refs = [(kind, ref) for id_ in ids for kind in (BRANCH, TAG) for _, ref in scan_refs(view, id_, kind)]
            moves = [ReflogRecord.decode(data) for id_ in ids for _, data in view.scan(REFLOG, id_)]
            sessions = [session for id_ in ids for session in read_sessions(view, id_).values()]
        assert len([kind for kind, _ in refs if kind == BRANCH]) >= len(ids), "a dataset has no branch"
        named = {ref.version for _, ref in refs} | {move.old for move in moves} | {move.new for move in moves} - {None}
        for version in named - {None}:
            assert version in self.entered, "a ref leads to no version"
        for version in self.entered:
            self.version(self.repository.version(version))
        for session in sessions:
            assert session.base in self.entered
            row_map = self.row_map(session.row_map)
            tree = self.repository.tree(session.tree)
            assert (row_map.parent_rows, row_map.rows) == (self.tree_of(session.base).rows, tree.rows)
            assert set(session.origins) == {column.name for column in tree.columns}
            self.tree(tree)
        return len(self.entered)

    def tree_of(self, version: bytes) -> TreeRecord:
        return self.repository.tree(self.repository.version(version).tree)

    def row_map(self, payload: Payload) -> RowMap:
        return RowMap.decode(read_payload(payload, self.repository.nodes), "walk")

    def version(self, record: VersionRecord) -> None:
        tree = self.repository.tree(record.tree)
        self.tree(tree)
        decode_defaults(read_payload(record.defaults, self.repository.nodes), "walk")
        for parent, payload in zip(record.parents, record.row_maps, strict=True):
            assert parent in self.entered
            row_map = self.row_map(payload)
            assert (row_map.parent_rows, row_map.rows) == (self.tree_of(parent).rows, tree.rows)

    def tree(self, tree: TreeRecord) -> None:
        read_snapshot(tree.metadata, self.repository.nodes)
        for column in tree.columns:
            read_snapshot(column.metadata, self.repository.nodes)
        rows_of(self.repository, tree)


def rows_of(repository: Repository, tree: TreeRecord) -> dict[str, list[list[str]]]:
    """All rows of all columns, each stream's bytes in hexadecimal digits."""
    state = State(repository.nodes, tree)
    return {
        f"{name}: {column.type}": [
            [bytes(row).hex() for row in stream.read(0, state.rows)] for stream in column.streams.values()
        ]
        for name, column in state.columns.items()
    }


def seen(path: Path) -> Content:
    """What users see of a store or dataset: nothing where there is none; two equal ones hold the same."""
    try:
        repository, location = open_repository(path)
    except NotFoundError:
        return {}
    try:
        names = [location.name] if location.name else repository.dataset_names()
        return {name: _dataset(repository, name) for name in names if repository.has_dataset(name)}
    finally:
        repository.store.close()


def _dataset(repository: Repository, name: str) -> Content:
    id_ = repository.dataset_id(name)
    with repository.store.read() as view:
        refs = [(kind, *item) for kind in (BRANCH, TAG) for item in scan_refs(view, id_, kind)]
    dataset = Dataset(repository, id_, name, next(ref for kind, ref, _ in refs if kind == BRANCH))
    return {
        "name": dataset.name,
        "refs": {f"{kind} {ref}": list(_history(repository, record.version)) for kind, ref, record in refs},
        "tags": {ref: record.message for kind, ref, record in refs if kind == TAG},
        "metadata": {ref: _metadata(repository, id_, name, ref) for kind, ref, _ in refs if kind == BRANCH},
        "moves": [[move.name, move.command, move.message] for move in dataset.reflog],
        "left": sorted(
            [session.branch, rows_of(repository, repository.tree(session.tree))]
            for session in dataset.sessions().values()
            if "import" not in session.details
        ),
    }


def _history(repository: Repository, version: bytes) -> Iterator[Content]:
    record = repository.version(version)
    tree = repository.tree(record.tree)
    yield {
        "message": record.message,
        "parents": len(record.parents),
        "rows": rows_of(repository, tree),
        "metadata": repr(read_snapshot(tree.metadata, repository.nodes)),
    }
    for parent in record.parents[:1]:
        yield from _history(repository, parent)


def _metadata(repository: Repository, id_: bytes, name: str, branch: str) -> Content:
    dataset = Dataset(repository, id_, name, branch)
    columns = {column: repr(dataset[column].metadata.to_dict()) for column in dataset.schema}
    return {"": repr(dataset.metadata.to_dict()), **columns}


def recover_all(path: Path) -> None:
    """Recovers what was left on each branch of a store that is no longer written: each must bring its rows back."""
    repository, location = open_repository(path)
    names = [location.name] if location.name else repository.dataset_names()
    for name in names:
        id_ = repository.dataset_id(name)
        with repository.store.read() as view:
            sessions = read_sessions(view, id_)
        for key, session in sessions.items():
            with repository.store.read() as view:
                there = find_ref(view, id_, session.branch) is not None
            if "import" in session.details or not there:
                continue
            dataset = Dataset(repository, id_, name, session.branch)
            assert key in left_behind(dataset), "what was flushed cannot be recovered"
            dataset.adopt(key)
            assert rows_of(repository, dataset._draft.state.settle(dataset._draft.writer)) == rows_of(
                repository, repository.tree(session.tree)
            )
            dataset.commit("recovered", on_conflict="theirs")
    repository.store.close()
