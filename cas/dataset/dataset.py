"""A dataset open for writing: a table of columns with history."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from typing import Any

from cas.codec import cbor
from cas.dataset import moves, recovery
from cas.dataset.abandoned import Holder, keep, keep_left, watch
from cas.dataset.background import plan_flush
from cas.dataset.branches import Branch, Branches
from cas.dataset.draft import Draft
from cas.dataset.future import Future
from cas.dataset.history import History, Version
from cas.dataset.metadata import Metadata
from cas.dataset.moves import check_signature, default_author
from cas.dataset.refs import RefView, create_ref
from cas.dataset.staging import Staging
from cas.dataset.tags import Tag, Tags
from cas.errors import (
    BranchNotFoundError,
    ConflictError,
    InvalidTypeError,
    UncommittedChangesError,
)
from cas.history.conflicts import RAISE, OnConflict, check_on_conflict
from cas.history.refs import BRANCH, RefRecord, check_title
from cas.repo.branches import metadata_changed
from cas.repo.repository import Repository, find_ref, scan_refs
from cas.repo.sessions import Session, read_sessions
from cas.store.contract import View


def _checked_details(details: object) -> Mapping[str, Any]:
    if details is not None and not isinstance(details, Mapping):
        raise InvalidTypeError(f"details are {type(details).__name__}; expected a dict with str keys")
    return details or {}


class Dataset(Staging):
    """A dataset open for writing on a branch.

    Changes of rows and columns are staged, seen by this handle at once, and become a version by :meth:`commit`.
    Metadata and tags are durable at once. Other writers' commits show after :meth:`refresh`.

    A handle that is closed or dropped with staged changes keeps them recoverable, with a warning: see :meth:`recover`.
    Opening one warns where something can be recovered on its branch.
    """

    def __init__(
        self, repository: Repository, dataset: bytes, name: str, branch: str, base: bytes | None = None
    ) -> None:
        super().__init__(repository, dataset, name)
        self._branch = branch
        keep_left()
        head = self._read_head()
        self._branch_id = head.id
        self._holder = Holder(self._draft_from(base or head.version), f"{self._where} (branch {branch!r})")
        self._unwatch = watch(self, self._holder)
        if base is None:
            recovery.warn_of_left(self)

    def _read_head(self) -> RefRecord:
        with self._repository.store.read() as view:
            ref = find_ref(view, self._dataset, self._branch)
            if ref is not None and ref.kind == BRANCH:
                return ref
            names = ", ".join(repr(name) for name, _ in scan_refs(view, self._dataset, BRANCH)) or "none"
        what = "a tag, which opens with cas.open_read_only" if ref is not None else f"the branches are: {names}"
        raise BranchNotFoundError(f"there is no branch {self._branch!r}; {what}", name=self._branch)

    def _draft_from(self, base: bytes) -> Draft:
        return Draft(self._repository, self._dataset, self._branch, self._branch_id, base)

    @property
    def _draft(self) -> Draft:
        with self._lock:
            if self._closed:
                self._check_open()
            return self._holder.draft

    def _plan_flush(self, at: float) -> None:
        plan_flush(self, at)

    # What there is

    @property
    def name(self) -> str:
        """The name of the dataset: the last part of its path, until it is set; durable at once."""
        return super().name

    @name.setter
    def name(self, name: str) -> None:
        self._check_open()
        title = check_title(name)
        self._repository.set_facts(self._name, self._dataset, lambda facts: dataclasses.replace(facts, title=title))

    @property
    def description(self) -> str:
        """What the dataset is, in words; setting it is durable at once."""
        return super().description

    @description.setter
    def description(self, text: str) -> None:
        self._check_open()
        if not isinstance(text, str):
            raise InvalidTypeError(f"a description is text, not {type(text).__name__}")
        cbor.checked_text(text)
        self._repository.set_facts(
            self._name, self._dataset, lambda facts: dataclasses.replace(facts, description=text)
        )

    @property
    def branch_name(self) -> str:
        """The branch that commits go to."""
        return self._branch

    @property
    def version(self) -> Version:
        """The version that this handle started from or committed last."""
        return Version(self._repository, self._dataset, self._name, self._draft.base)

    @property
    def history(self) -> History:
        """The versions up to :attr:`version`, oldest first."""
        return History(self._repository, self._dataset, self._name, self._draft.base)

    def _standing(self) -> dict[str, str]:
        staged = " and uncommitted changes" if self._draft.changed else ""
        return {"branch": self._branch, "version": f"{self._draft.base.hex()[:12]}{staged}"}

    @property
    def tags(self) -> Tags:
        """The tags of the dataset."""
        self._check_open()
        return Tags(self._repository, self._dataset, self._name)

    @property
    def branches(self) -> Branches:
        """The branches of the dataset."""
        self._check_open()
        return Branches(self._repository, self._dataset, self._name)

    @property
    def metadata(self) -> Metadata:
        """The live metadata of the dataset on this branch."""
        return self._metadata(None)

    def _metadata(self, column: str | None) -> Metadata:
        self._check_open()
        return Metadata(self, column)

    def _metadata_scope(self, column: str | None, view: View) -> bytes:
        """Where the live metadata stands, if it still belongs to the branch and column of this handle."""
        draft = self._draft
        origin = None if column is None else self._column_state(column).origin
        ref = find_ref(view, self._dataset, self._branch)
        if ref is None or ref.id != self._branch_id:
            raise BranchNotFoundError(f"branch {self._branch!r} is gone, with its metadata", name=self._branch)
        if isinstance(origin, str) and self._renames_since(draft.base, ref.version, origin):
            raise ConflictError(
                f"column {column!r} was removed or renamed by another writer; refresh first",
                expected=draft.base.hex(),
                found=ref.version.hex(),
            )
        return draft.scope(column)

    def _renames_since(self, base: bytes, head: bytes, column: str) -> bool:
        """Whether a column's name means another one, or none, in a later version. Cost: the versions between."""
        version = head
        while version != base:
            record = self._repository.version(version)
            if not record.parents or any(column in pair for map_ in record.column_maps for pair in map_.items()):
                return True
            version = record.parents[0]
        return head != base and self._repository.tree(self._repository.version(head).tree).column(column) is None

    @property
    def has_changes(self) -> bool:
        """Whether there are staged rows or columns, or metadata that the current version does not have.

        Rolling back drops what is staged; metadata is durable already and stays.
        """
        draft = self._draft
        with self._repository.store.read() as view:
            return draft.changed or metadata_changed(view, self._repository, self._dataset, draft.base, self._branch)

    # Versions

    def commit(
        self,
        message: str | None = None,
        *,
        author: str | None = None,
        details: Mapping[str, Any] | None = None,
        on_conflict: OnConflict = RAISE,
    ) -> str:
        """Makes the staged changes a version and returns its id, durable when it returns.

        Without changes it makes no version and returns the id of the current one. ``details`` are values kept beside
        the message. Where another writer moved the branch, the changes are made to what the branch has now, as
        :meth:`merge` does, with the branch as ours. Raises :class:`~cas.errors.ConflictError`, with the conflicts,
        where both changed the same and ``on_conflict`` does not say what to do; the changes stay staged.
        """
        check_signature(message, author)
        with self._editing() as draft:
            author = default_author() if author is None else author
            head = draft.commit(message or "", author, _checked_details(details), check_on_conflict(on_conflict))
            self._holder.draft = self._draft_from(head)
            return head.hex()

    def commit_async(
        self, message: str | None = None, *, author: str | None = None, details: Mapping[str, Any] | None = None
    ) -> Future[str]:
        """Commits in a thread of its own what is staged now; the result is the id of the version.

        The handle waits, when it is used again, until that is done; in asyncio, await the result before.
        """
        begun = threading.Event()

        def work() -> str:
            with self._lock:
                begun.set()
                return self.commit(message, author=author, details=details)

        with self._editing():
            pass  # refused here and now to what yields rows for this dataset, which the thread would wait for

        future = Future(work)
        begun.wait()
        return future

    def merge(
        self, revision: str | Version | RefView, message: str | None = None, on_conflict: OnConflict = RAISE
    ) -> str:
        """Merges a version into the branch, row by row and column by column, and returns the version it is at then.

        Both sides are compared with the version that they come from. Cells that one side changed are taken from it,
        rows that either inserted are kept, ours before theirs where both stand at one place, rows that one deleted go;
        columns and keys of metadata likewise. The new version has two parents. Where the branch has nothing that the
        version does not have, it moves there; where the version has nothing new, nothing happens.

        ``on_conflict`` tells what to do about what both sides changed differently: "raise"
        :class:`~cas.errors.ConflictError`, whose ``conflicts`` lists all of it (nothing is changed then); take "ours"
        or "theirs"; or a function that is given each :class:`~cas.history.conflicts.Conflict` and returns a value,
        which may be ``conflict.ours``, ``conflict.theirs`` or, for what is to go, ``cas.MISSING``.

        Cost: what differs between each side and the version they come from; rows brought to ours are written.
        """
        return moves.merge(self, revision, message, on_conflict)

    def revert_to(self, version: str | Version | RefView, message: str | None = None) -> str:
        """Makes a version that has the rows, schema and metadata of an earlier one, and returns its id.

        Rows that are still there stay the same rows; those that come back are new ones. Raises
        ``UncommittedChangesError`` where changes are staged, or metadata was set and not committed, and
        :class:`~cas.errors.ConflictError` where another writer has moved the branch.
        """
        return moves.revert_to(self, version, message)

    def rollback(self) -> None:
        """Drops all staged changes of rows and columns."""
        with self._editing() as draft:
            draft.discard()
            self._holder.draft = self._draft_from(draft.base)

    def refresh(self) -> None:
        """Moves to the branch's last version; raises ``UncommittedChangesError`` where changes are staged."""
        with self._editing() as draft:
            if draft.changed:
                raise UncommittedChangesError("there are uncommitted changes; commit or roll back before refresh")
            head = self._read_head()
            self._branch_id = head.id
            self._holder.draft = self._draft_from(head.version)

    def undo(self) -> Version:
        """Takes the branch back to where it was before its last move, a commit for instance, durable at once.

        Returns that version, where this handle is then. Undone again, the branch goes one step further back. The
        version that was undone stays: ``main@{1}`` leads there. The live metadata becomes that of the version.

        Raises ``UncommittedChangesError`` where rows or columns are staged, or metadata was changed since the last
        commit; :class:`~cas.errors.ConflictError` where another writer moved the branch; ``VersionNotFoundError``
        where there is nothing to undo.
        """
        moves.undo(self)
        return self.version

    def tag(self, name: str, message: str | None = None, version: str | Version | RefView | None = None) -> Tag:
        """Names a version, durable at once; without ``version`` the current one. A tag stays with its version."""
        hash_ = self._committed(version, f"tag {name!r}")
        name, ref = create_ref(self._repository, self._dataset, Tag, name, hash_, message or "")
        return Tag(self._repository, self._dataset, self._name, name, ref)

    def branch(self, name: str, version: str | Version | RefView | None = None) -> Branch:
        """Makes a branch at a version, durable at once; without ``version`` at the current one.

        It begins with the metadata of that version. ``open()`` of the result opens it for writing.
        """
        hash_ = self._committed(version, f"branch {name!r}")
        name, ref = create_ref(self._repository, self._dataset, Branch, name, hash_)
        return Branch(self._repository, self._dataset, self._name, name, ref)

    def _committed(self, version: str | Version | RefView | None, what: str) -> bytes:
        """The version named, or the current one, if nothing is staged on it."""
        with self._lock:
            self._check_open()
            if version is None and self._draft.changed:
                raise UncommittedChangesError(
                    f"there are uncommitted changes, which {what} would not hold; commit first, or name a version"
                )
            if version is None:
                return self._draft.base
            return self._version_named(version)._hash

    # Uncommitted changes that were kept

    def flush(self, details: Mapping[str, Any] | None = None) -> None:
        """Writes staged changes durably without committing; after a crash they can be recovered.

        It happens by itself with each 256 MiB, and 10 seconds after a change. With ``details``, values that tell the
        program where it was, it does not from there on: what is kept stays what they tell of, up to the next flush.
        """
        with self._editing() as draft:
            draft.flush(_checked_details(details))

    def sessions(self) -> dict[bytes, Session]:
        """Returns the sessions that hold uncommitted changes of the dataset, by id."""
        keep_left()
        with self._repository.store.read() as view:
            return read_sessions(view, self._dataset)

    def recover(self) -> bool:
        """Stages again what a handle left uncommitted; False where there is nothing.

        It takes the last session of this branch whose handle is gone: closed or dropped with staged changes, or killed.
        This handle is at the version then that the changes began at, and :meth:`commit` makes them to what the branch
        has now; :meth:`rollback` drops them for good. What was left on another branch is taken where it began at
        the version that this handle is at. Raises ``UncommittedChangesError`` where changes are staged here.
        """
        return recovery.recover(self)

    def discard(self) -> int:
        """Drops what handles that are gone left uncommitted on this branch, for good; returns how many did."""
        return recovery.discard(self)

    def adopt(self, id_: bytes) -> Session:
        """Takes over the uncommitted changes of a session, of those in :meth:`sessions`, as :meth:`recover` does.

        Also of a process that may still be at work: only who knows better takes from it.
        """
        return recovery.adopt(self, id_)

    def close(self) -> None:
        """Releases the store; the handle cannot be used any more.

        Uncommitted changes are kept, with a warning, and can be recovered; roll back first to drop them.
        """
        if self._closed:
            return
        with self._editing():
            self._unwatch()
            try:
                keep(self._holder, "was closed")
            finally:
                self._closed = True
                self._holder.draft.release()
                self._repository.store.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._draft.changed:
            raise UncommittedChangesError("there are uncommitted changes, which a copy would not have; commit first")
        return Dataset, (self._repository, self._dataset, self._name, self._branch, self._draft.base)

    def __repr__(self) -> str:
        draft = self._holder.draft
        staged = ", uncommitted changes" if draft.changed else ""
        how = "closed" if self._closed else f"{draft.state.rows} rows, {list(draft.state.columns)}{staged}"
        return f"<Dataset {self._where} on {self._branch!r}: {how}>"
