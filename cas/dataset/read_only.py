"""A dataset as it was at a version."""

from __future__ import annotations

from typing import Any, Final

from cas.dataset.branches import BranchesView
from cas.dataset.history import History, Version
from cas.dataset.metadata import ReadOnlyMetadata
from cas.dataset.readable import Readable
from cas.dataset.state import State
from cas.dataset.tags import TagsView
from cas.errors import ReadOnlyAttributeError
from cas.repo.metadata import read_snapshot
from cas.repo.repository import Repository

_WRITING: Final = (
    *("add_column", "remove_column", "rename_column", "append", "insert", "delete", "splice", "rollback", "refresh"),
    *("commit", "commit_async", "tag", "branch", "flush", "discard", "recover", "adopt", "undo", "merge", "revert_to"),
)


class ReadOnlyDataset(Readable):
    """A dataset as it was at a version; it never changes.

    ``ds[i]`` is a row, ``ds[a:b]`` several, ``ds["column"]`` or ``ds.column`` a column. Needs no write access to the
    store.
    """

    def __init__(self, repository: Repository, dataset: bytes, name: str, version: bytes) -> None:
        super().__init__(repository, dataset, name)
        self._version = version
        self._lease = repository.store.lease_reading(version)
        self._table = State(repository.nodes, repository.tree(repository.version(version).tree))

    @property
    def _state(self) -> State:
        self._check_open()
        return self._table

    def __getattr__(self, name: str) -> Any:
        if name in _WRITING and name not in self._state.columns:
            raise ReadOnlyAttributeError(
                f"{name!r} would change the dataset, which is open for reading only; open it with cas.open"
            )
        return super().__getattr__(name)

    @property
    def version(self) -> Version:
        """The version that is open."""
        self._check_open()
        return Version(self._repository, self._dataset, self._name, self._version)

    @property
    def history(self) -> History:
        """The versions up to this one, oldest first."""
        self._check_open()
        return History(self._repository, self._dataset, self._name, self._version)

    def _standing(self) -> dict[str, str]:
        return {"version": f"{self._version.hex()[:12]} (read-only)"}

    @property
    def tags(self) -> TagsView:
        """The tags of the dataset."""
        self._check_open()
        return TagsView(self._repository, self._dataset, self._name)

    @property
    def branches(self) -> BranchesView:
        """The branches of the dataset."""
        self._check_open()
        return BranchesView(self._repository, self._dataset, self._name)

    @property
    def metadata(self) -> ReadOnlyMetadata:
        """The metadata as it was committed."""
        return self._metadata(None)

    def _metadata(self, column: str | None) -> ReadOnlyMetadata:
        payload = self._state.metadata if column is None else self._column_state(column).metadata
        return ReadOnlyMetadata(read_snapshot(payload, self._repository.nodes))

    def close(self) -> None:
        """Releases the store; the dataset cannot be used any more."""
        self._closed = True
        self._lease.release()
        self._repository.store.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._repository, self._dataset, self._name, self._version)

    def __repr__(self) -> str:
        table = self._table
        return (
            f"<ReadOnlyDataset {self._where} at {self._version.hex()[:12]}: {table.rows} rows, {list(table.columns)}>"
        )
