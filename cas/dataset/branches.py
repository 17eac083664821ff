"""Branches: names that move with commits."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cas.dataset.future import Future
from cas.dataset.history import Version
from cas.dataset.refs import RefsView, RefView, rename_ref, timestamp_of
from cas.errors import BranchExistsError, BranchNotFoundError, InvalidInputError
from cas.history.graph import is_ancestor
from cas.history.refs import BRANCH, TAG, RefRecord, check_ref_name
from cas.repo.branches import move_metadata, remove_metadata
from cas.repo.commit import move_ref
from cas.repo.repository import scan_refs
from cas.repo.sessions import rename_branch_of_sessions
from cas.store.contract import Transaction, View

if TYPE_CHECKING:
    from cas.dataset.dataset import Dataset
    from cas.dataset.read_only import ReadOnlyDataset


class BranchView(RefView):
    """A branch, for reading. Equal by ``id``; :attr:`version` is its last one at the moment it is asked for."""

    _kind = BRANCH
    _not_found = BranchNotFoundError
    _exists = BranchExistsError

    @property
    def version(self) -> Version:
        """The last version of the branch; raises ``BranchNotFoundError`` where the branch was deleted."""
        return self._version_of(self._look_up())

    @property
    def timestamp(self) -> dt.datetime:
        """When the branch was moved last, by the storage's clock."""
        return timestamp_of(self._look_up())

    def open(self) -> ReadOnlyDataset | Dataset:
        """Opens the last version of the branch."""
        return self.version.open()

    def open_async(self) -> Future[ReadOnlyDataset | Dataset]:
        """Opens as :meth:`open` does, in a thread of its own."""
        return Future(self.open)


class Branch(BranchView):
    """A branch of a dataset that is open for writing."""

    def open(self) -> Dataset:
        """Opens the dataset for writing on the branch."""
        from cas.dataset.dataset import Dataset

        self._look_up()
        return Dataset(self._repository, self._dataset, self._dataset_name, self._name)

    def rename(self, new: str) -> None:
        """Gives the branch another name, durable at once; its id, versions and live metadata stay.

        Handles that are open on it under the old name must be opened again.
        """
        new = check_ref_name(new, self._kind)

        def change(txn: Transaction) -> None:
            name, ref = rename_ref(txn, self, new)
            move_metadata(txn, self._repository, self._dataset, ref.version, name, new)
            rename_branch_of_sessions(txn, self._dataset, name, new)

        self._repository.store.write(change)
        self._name = new

    def delete(self, *, force: bool = False) -> None:
        """Removes the branch with its live metadata, durable at once.

        Raises :class:`~cas.errors.InvalidInputError` for the only branch, and, without ``force``, for one with versions
        that no other branch or tag leads to.
        """

        def change(txn: Transaction) -> str:
            name, ref = self._current(txn)
            if not force and not self._is_kept(txn, name, ref):
                raise InvalidInputError(
                    f"branch {name!r} has versions that no other branch or tag leads to; merge or tag it, or delete it "
                    f"with force"
                )
            move_ref(txn, self._dataset, name, ref, None, "branch delete", "")
            if next(scan_refs(txn, self._dataset, BRANCH), None) is None:
                raise InvalidInputError(f"branch {name!r} is the only one; make another before it is deleted")
            remove_metadata(txn, self._repository, self._dataset, ref.version, name)
            return name

        self._name = self._repository.store.write(change)

    def _is_kept(self, view: View, name: str, ref: RefRecord) -> bool:
        others = [
            other.version
            for kind in (BRANCH, TAG)
            for other_name, other in scan_refs(view, self._dataset, kind)
            if other_name != name
        ]
        return any(is_ancestor(view, ref.version, other) for other in others)


class BranchesView(RefsView[BranchView]):
    """The branches of a dataset, for reading: by name or id, sorted by name; ``in`` also takes a branch."""

    _class: type[BranchView] = BranchView
    _plural = "branches"


class Branches(BranchesView):
    """The branches of a dataset that is open for writing."""

    _class: type[BranchView] = Branch

    if TYPE_CHECKING:

        def __getitem__(self, name: str) -> Branch: ...
        def __iter__(self) -> Iterator[Branch]: ...
