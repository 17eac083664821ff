"""A dataset open for writing: a table of columns with history."""

from __future__ import annotations

import dataclasses
import os
import pwd
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from cas.codec import cbor
from cas.codec.values import encode_values, is_one_value
from cas.dataset.abandoned import Holder, keep, keep_left, watch
from cas.dataset.batch import Batch, encode_batch, encode_batches, is_of
from cas.dataset.branches import Branch, Branches
from cas.dataset.column import Column
from cas.dataset.draft import Draft, RowEdit, runs_of
from cas.dataset.future import Future
from cas.dataset.history import History, Version
from cas.dataset.indexing import select
from cas.dataset.metadata import Metadata
from cas.dataset.readable import Readable
from cas.dataset.refs import create_ref
from cas.dataset.rows import Row, RowRange
from cas.dataset.state import State
from cas.dataset.tags import Tag, Tags
from cas.errors import (
    BranchNotFoundError,
    ColumnExistsError,
    ConflictError,
    InvalidInputError,
    InvalidTypeError,
    SessionNotFoundError,
    UncommittedChangesError,
)
from cas.history.records import Payload, read_payload
from cas.history.refs import BRANCH, check_column_name, check_title
from cas.repo.metadata import encode_mapping, scope_key
from cas.repo.repository import Repository, find_ref
from cas.repo.revisions import resolve
from cas.repo.sessions import Session, read_sessions
from cas.store.contract import View
from cas.types import as_type


class _NoDefault:
    def __repr__(self) -> str:
        return "<no default>"


_NO_DEFAULT: Final = _NoDefault()


def default_author() -> str:
    """Returns the name of the account that runs the process."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _checked_details(details: object) -> Mapping[str, Any]:
    if details is not None and not isinstance(details, Mapping):
        raise InvalidTypeError(f"details are {type(details).__name__}; expected a dict with str keys")
    return details or {}


def _checked_edit(edit: object) -> tuple[int, int, Any]:
    match edit:
        case (int(start), int(stop), rows):
            return start, stop, rows
    raise InvalidTypeError(f"{edit!r:.80} is no edit; expected (start, stop, rows)")


class Dataset(Readable):
    """A dataset open for writing on a branch.

    Changes of rows and columns are staged, seen by this handle at once, and become a version by :meth:`commit`.
    Metadata and tags are durable at once. Other writers' commits show after :meth:`refresh`.

    A handle that is closed or dropped with staged changes keeps them recoverable, with a warning: see :meth:`recover`.
    """

    _column_class = Column
    _row_class = Row
    _rows_class = RowRange

    def __init__(
        self, repository: Repository, dataset: bytes, name: str, branch: str, head: bytes | None = None
    ) -> None:
        super().__init__(repository, dataset, name)
        self._branch = branch
        keep_left()
        self._holder = Holder(self._draft_from(head or self._read_head()), f"{self._where} (branch {branch!r})")
        self._unwatch = watch(self, self._holder)

    def _read_head(self) -> bytes:
        with self._repository.store.read() as view:
            ref = find_ref(view, self._dataset, self._branch)
        if ref is None or ref.kind != BRANCH:
            raise BranchNotFoundError(
                f"there is no branch {self._branch!r}; open a tag or version with cas.open_read_only", name=self._branch
            )
        return ref.version

    def _draft_from(self, head: bytes) -> Draft:
        return Draft(self._repository, self._dataset, self._branch, head)

    @property
    def _draft(self) -> Draft:
        self._check_open()
        return self._holder.draft

    @property
    def _state(self) -> State:
        return self._draft.state

    # What there is

    @property
    def name(self) -> str:
        """The name of the dataset: the last part of its path, until it is set; durable at once."""
        return super().name

    @name.setter
    def name(self, name: str) -> None:
        title = check_title(name)
        self._repository.set_facts(self._name, lambda facts: dataclasses.replace(facts, title=title))

    @property
    def description(self) -> str:
        """What the dataset is, in words; setting it is durable at once."""
        return super().description

    @description.setter
    def description(self, text: str) -> None:
        if not isinstance(text, str):
            raise InvalidTypeError(f"a description is text, not {type(text).__name__}")
        cbor.encode_value(text)  # refuses what is no Unicode text
        self._repository.set_facts(self._name, lambda facts: dataclasses.replace(facts, description=text))

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

    def _metadata_scope(self, column: str | None, writing: View | None = None) -> bytes:
        """Where the live metadata stands; for writing, it is checked that it belongs to something that is there."""
        draft = self._draft
        origin = None if column is None else self._column_state(column).origin
        if writing is not None:
            ref = find_ref(writing, self._dataset, self._branch)
            if ref is None or ref.kind != BRANCH:
                raise BranchNotFoundError(f"branch {self._branch!r} is gone, with its metadata", name=self._branch)
            if isinstance(origin, str) and ref.version != draft.base:
                tree = self._repository.tree(self._repository.version(ref.version).tree)
                if tree.column(origin) is None:
                    raise ConflictError(
                        f"column {column!r} was removed or renamed by another writer; refresh first",
                        expected=draft.base.hex(),
                        found=ref.version.hex(),
                    )
        return draft.scope(column)

    @property
    def has_changes(self) -> bool:
        """Whether there are staged rows or columns, or metadata that the current version does not have."""
        return self._draft.changed or self._metadata_changed()

    def _metadata_changed(self) -> bool:
        committed = self._repository.tree(self._repository.version(self._draft.base).tree)
        payloads: dict[str | None, Payload] = {column.name: column.metadata for column in committed.columns}
        payloads[None] = committed.metadata
        with self._repository.store.read() as view:
            live = {name: encode_mapping(view, scope_key(self._dataset, self._branch, name)) for name in payloads}
        return any(live[name] != read_payload(payload, self._repository.nodes) for name, payload in payloads.items())

    # Staging columns

    def add_column(self, name: str, dtype: object, default: object = _NO_DEFAULT) -> Column:
        """Adds a column, staged; ``dtype`` is a type of :mod:`cas.types`, its name, a Python type or a NumPy dtype.

        Rows that are there get the value ``default``; without one the column must be nullable, and they have no value.
        Cost: no other column is touched, and equal rows are stored once: it takes the entries of the new chunks only.
        """
        name = check_column_name(name)
        type_ = as_type(dtype)
        with self._lock:
            self._check_column_free(name)
            if default is _NO_DEFAULT and len(self) and not type_.nullable:
                raise InvalidInputError(
                    f"column {name!r} of type {type_} has no values for the {len(self)} rows there are; give a "
                    f"default, or make it nullable with cas.types.Nullable",
                    column=name,
                )
            value = None
            if default is not _NO_DEFAULT or len(self):
                value = encode_values(type_, [None if default is _NO_DEFAULT else default], name)
            self._draft.add_column(name, type_, value)
        return Column(self, name)

    def remove_column(self, name: str) -> None:
        """Stages the removal of a column with its values and metadata; older versions keep them."""
        with self._lock:
            self._column_state(name)
            self._draft.remove_column(name)

    def rename_column(self, old: str, new: str) -> None:
        """Stages another name for a column, which keeps its place, values, metadata and history."""
        new = check_column_name(new)
        with self._lock:
            self._column_state(old)
            if new != old:
                self._check_column_free(new)
                self._draft.rename_column(old, new)

    def _check_column_free(self, name: str) -> None:
        if name in self._state.columns:
            raise ColumnExistsError(f"there is a column {name!r} already; choose another name", name=name)

    # Staging rows

    def append(self, rows: Batch) -> None:
        """Stages rows at the end.

        ``rows`` is a dict of columns with as many values each; a list of dicts, one a row; another dataset or rows of
        it, ``other[10:20]``; or a generator of such batches. Every column needs values, except nullable ones. Raises
        :class:`~cas.errors.InvalidInputError` for values that do not fit; nothing is staged then, of no batch.

        Cost: hashing, and compressing what the store does not have. Memory: a batch, and about 40 MiB.
        """
        with self._lock, self._draft.whole():
            for values, count in encode_batches(self._state.columns, rows):
                if count:
                    self._draft.append(values, count)

    def insert(self, index: int, rows: Batch) -> None:
        """Stages rows before row ``index``, in any form that :meth:`append` takes; ``len(ds)`` stands for the end."""
        if isinstance(index, bool) or not hasattr(index, "__index__") or not -len(self) <= int(index) <= len(self):
            raise InvalidInputError(f"rows cannot be inserted at {index!r}: there are {len(self)} rows")
        with self._lock, self._draft.whole():
            at = int(index) + len(self) if index < 0 else int(index)
            batches = encode_batches(self._state.columns, rows)
            # Its own rows are read before they move.
            for values, count in list(batches) if is_of(rows, self) else batches:
                self._draft.splice([(at, at, values, count)] if count else [])
                at += count

    def delete(self, rows: Any) -> None:
        """Stages the removal of rows: an int, a slice, a list or array of row numbers, or a mask."""
        with self._lock:
            self._draft.splice([(start, stop, None, 0) for start, stop in runs_of(select(rows, len(self)))])

    def splice(self, edits: Sequence[tuple[int, int, Batch | None]]) -> None:
        """Stages several replacements of rows ``start`` to ``stop`` by new ones (or none), as one change.

        Edits are in ascending order and do not overlap; their numbers count the rows before the call. Nothing is staged
        where one of them does not fit.
        """
        with self._lock:
            position = 0
            encoded: list[RowEdit] = []
            for edit in edits:
                start, stop, rows = _checked_edit(edit)
                if not position <= start <= stop <= len(self):
                    raise InvalidInputError(
                        f"rows {start} to {stop} cannot be replaced: expected ascending edits within {len(self)} rows"
                    )
                position = stop
                values, count = (None, 0) if rows is None else encode_batch(self._state.columns, rows)
                encoded.append((start, stop, values, count))
            self._draft.splice(encoded)

    def _assign(self, column: str, index: Any, value: Any) -> None:
        with self._lock:
            state = self._column_state(column)
            selected = select(index, len(self))
            if isinstance(selected, int):
                self._draft.assign(state, selected, encode_values(state.type, [value], column))
            elif is_one_value(state.type, value):
                self._draft.assign_all(state, selected, encode_values(state.type, [value], column))
            else:
                self._draft.assign(state, selected, encode_values(state.type, value, column))

    # Versions

    def commit(
        self, message: str | None = None, *, author: str | None = None, details: Mapping[str, Any] | None = None
    ) -> str:
        """Makes the staged changes a version and returns its id, durable when it returns.

        Without changes it makes no version and returns the id of the current one. ``details`` are values kept beside
        the message. Raises :class:`~cas.errors.ConflictError` where another writer moved the branch; the changes
        stay staged.
        """
        for text in (message, author):
            if text is not None and not isinstance(text, str):
                raise InvalidTypeError(f"{text!r} is not text; message and author are")
        with self._lock:
            author = default_author() if author is None else author
            head = self._draft.commit(message or "", author, _checked_details(details))
            self._holder.draft = self._draft_from(head)
            return head.hex()

    def commit_async(
        self, message: str | None = None, *, author: str | None = None, details: Mapping[str, Any] | None = None
    ) -> Future[str]:
        """Commits in a thread of its own what is staged now; the result is the id of the version.

        The handle waits, when it is used again, until that is done.
        """
        begun = threading.Event()

        def work() -> str:
            with self._lock:
                begun.set()
                return self.commit(message, author=author, details=details)

        future = Future(work)
        begun.wait()
        return future

    def rollback(self) -> None:
        """Drops all staged changes of rows and columns."""
        with self._lock:
            self._draft.discard()
            self._holder.draft = self._draft_from(self._draft.base)

    def refresh(self) -> None:
        """Moves to the branch's last version; raises ``UncommittedChangesError`` where changes are staged."""
        with self._lock:
            if self._draft.changed:
                raise UncommittedChangesError("there are uncommitted changes; commit or roll back before refresh")
            self._holder.draft = self._draft_from(self._read_head())

    def tag(self, name: str, message: str | None = None, version: str | Version | None = None) -> Tag:
        """Names a version for good, durable at once; without ``version`` the current one."""
        hash_ = self._committed(version, f"tag {name!r}")
        name, ref = create_ref(self._repository, self._dataset, Tag, name, hash_, message or "")
        return Tag(self._repository, self._dataset, self._name, name, ref)

    def branch(self, name: str, version: str | Version | None = None) -> Branch:
        """Makes a branch at a version, durable at once; without ``version`` at the current one.

        It begins with the metadata of that version. ``open()`` of the result opens it for writing.
        """
        hash_ = self._committed(version, f"branch {name!r}")
        name, ref = create_ref(self._repository, self._dataset, Branch, name, hash_)
        return Branch(self._repository, self._dataset, self._name, name, ref)

    def _committed(self, version: str | Version | None, what: str) -> bytes:
        """The version named, or the current one, if nothing is staged on it."""
        with self._lock:
            if version is None and self._draft.changed:
                raise UncommittedChangesError(
                    f"there are uncommitted changes, which {what} would not hold; commit first, or name a version"
                )
            return self._draft.base if version is None else self._resolve(version)

    def _resolve(self, version: str | Version) -> bytes:
        revision = version.id if isinstance(version, Version) else version
        with self._repository.store.read() as view:
            return resolve(view, self._dataset, revision)

    # Uncommitted changes that were kept

    def flush(self, details: Mapping[str, Any] | None = None) -> None:
        """Writes staged changes durably without committing; after a crash they can be recovered."""
        with self._lock:
            self._draft.flush(_checked_details(details))

    def sessions(self) -> dict[bytes, Session]:
        """Returns the sessions that hold uncommitted changes of the dataset, by id."""
        keep_left()
        with self._repository.store.read() as view:
            return read_sessions(view, self._dataset)

    def recover(self) -> bool:
        """Stages again what a handle on this branch left uncommitted; False where there is nothing.

        It takes the last session whose handle is gone: closed or dropped with staged changes, or, after a crash,
        flushed. Then commit, or roll back to drop it for good. Raises ``UncommittedChangesError`` where changes are
        staged here, and :class:`~cas.errors.ConflictError` where the branch has moved since.
        """
        with self._lock:
            if self._draft.changed:
                raise UncommittedChangesError("there are uncommitted changes; commit or roll back before recovering")
            left = [
                (session.updated, id_)
                for id_, session in self.sessions().items()
                if session.branch == self._branch and not session.alive and not session.details
            ]
            if left:
                self.adopt(max(left)[1])
            return bool(left)

    def adopt(self, id_: bytes) -> Session:
        """Takes over the uncommitted changes of a session that began at the current version of this branch."""
        with self._lock:
            session = self.sessions().get(id_) if isinstance(id_, bytes) else None
            if session is None:
                raise SessionNotFoundError(f"there is no session {id_!r:.80}; sessions() lists them", name=id_)
            if session.branch != self._branch or session.base != self._draft.base:
                raise ConflictError(
                    f"the uncommitted changes began at version {session.base.hex()[:12]} of branch {session.branch!r}, "
                    f"this is {self._draft.base.hex()[:12]} of {self._branch!r}",
                    expected=session.base.hex(),
                    found=self._draft.base.hex(),
                )
            self._draft.adopt(id_, session)
            return session

    def close(self) -> None:
        """Releases the store; the handle cannot be used any more.

        Uncommitted changes are kept, with a warning, and can be recovered; roll back first to drop them.
        """
        with self._lock:
            if not self._closed:
                self._unwatch()
                keep(self._holder, "was closed")
                self._closed = True
                self._repository.store.close()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._draft.changed:
            raise UncommittedChangesError("there are uncommitted changes, which a copy would not have; commit first")
        return Dataset, (self._repository, self._dataset, self._name, self._branch, self._draft.base)

    def __repr__(self) -> str:
        draft = self._holder.draft
        staged = ", uncommitted changes" if draft.changed else ""
        how = "closed" if self._closed else f"{draft.state.rows} rows, {list(draft.state.columns)}{staged}"
        return f"<Dataset {self._where} on {self._branch!r}: {how}>"
