"""Datasets: a table of columns with history."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from cas.codec import cbor
from cas.codec.values import encode_values
from cas.dataset.batch import Batch, encode_batch
from cas.dataset.column import Column
from cas.dataset.draft import Draft, RowEdit, runs_of
from cas.dataset.history import History, Version
from cas.dataset.indexing import select
from cas.dataset.metadata import Metadata, ReadOnlyMetadata
from cas.dataset.readable import Readable
from cas.dataset.state import State
from cas.dataset.tags import Tag, Tags, TagsView, create_tag
from cas.errors import (
    BranchNotFoundError,
    ColumnExistsError,
    ConflictError,
    InvalidInputError,
    InvalidTypeError,
    ReadOnlyAttributeError,
    UncommittedChangesError,
)
from cas.history.records import Payload, read_payload
from cas.history.refs import BRANCH, check_column_name
from cas.repo.metadata import read_mapping, read_snapshot, scope_key
from cas.repo.repository import Repository, find_ref
from cas.repo.revisions import resolve
from cas.repo.sessions import Session, read_sessions
from cas.types import as_type


def default_author() -> str:
    """Returns the name of the account that runs the process."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


_WRITING = frozenset(
    {"add_column", "append", "insert", "delete", "splice", "commit", "rollback", "refresh", "tag", "flush", "adopt"}
)


class ReadOnlyDataset(Readable):
    """A dataset as it was at a version; it never changes.

    ``ds[i]`` is a row, ``ds[a:b]`` several, ``ds["column"]`` or ``ds.column`` a column. Needs no write access to the
    store.
    """

    def __init__(self, repository: Repository, dataset: bytes, name: str, version: bytes) -> None:
        self._repository = repository
        self._dataset = dataset
        self._name = name
        self._version = version
        record = repository.tree(repository.version(version).tree)
        super().__init__(State(repository.nodes, record))

    def __getattr__(self, name: str) -> Any:
        state: State | None = self.__dict__.get("_state")
        if name in _WRITING and (state is None or name not in state.columns):
            raise ReadOnlyAttributeError(
                f"{name!r} would change the dataset, which is open for reading only; open it with cas.open"
            )
        return super().__getattr__(name)

    @property
    def version(self) -> Version:
        """The version that is open."""
        return Version(self._repository, self._dataset, self._name, self._version)

    @property
    def history(self) -> History:
        """The versions up to this one, oldest first."""
        return History(self._repository, self._dataset, self._name, self._version)

    @property
    def tags(self) -> TagsView:
        """The tags of the dataset."""
        return TagsView(self._repository, self._dataset, self._name)

    @property
    def metadata(self) -> ReadOnlyMetadata:
        """The metadata as it was committed."""
        return self._metadata(None)

    def _metadata(self, column: str | None) -> ReadOnlyMetadata:
        payload = self._state.metadata if column is None else self._column_state(column).metadata
        return ReadOnlyMetadata(read_snapshot(payload, self._repository.nodes))

    def close(self) -> None:
        """Releases the store."""
        self._repository.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._repository, self._dataset, self._name, self._version)

    def __repr__(self) -> str:
        where = f"{self._repository.path}/{self._name}".rstrip("/")
        return f"<ReadOnlyDataset {where} at {self._version.hex()[:12]}: {len(self)} rows, {list(self._state.columns)}>"


class Dataset(Readable):
    """A dataset open for writing on a branch.

    Rows are staged by :meth:`append`, :meth:`insert`, :meth:`delete` and assignment, seen by this handle at once,
    and become a version by :meth:`commit`. Metadata and tags are durable at once. Other writers' commits show after
    :meth:`refresh`.
    """

    _column_class = Column

    def __init__(self, repository: Repository, dataset: bytes, name: str, branch: str) -> None:
        self._repository = repository
        self._dataset = dataset
        self._name = name
        self._branch = branch
        self._draft = Draft(repository, dataset, branch, self._read_head())
        super().__init__(self._draft.state)

    def _read_head(self) -> bytes:
        with self._repository.store.read() as view:
            ref = find_ref(view, self._dataset, self._branch)
        if ref is None or ref.kind != BRANCH:
            raise BranchNotFoundError(
                f"there is no branch {self._branch!r}; open a tag or version with cas.open_read_only", name=self._branch
            )
        return ref.version

    def _start_from(self, head: bytes) -> None:
        self._draft = Draft(self._repository, self._dataset, self._branch, head)
        self._state = self._draft.state

    # What there is

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

    @property
    def tags(self) -> Tags:
        """The tags of the dataset."""
        return Tags(self._repository, self._dataset, self._name)

    @property
    def metadata(self) -> Metadata:
        """The live metadata of the dataset on this branch."""
        return self._metadata(None)

    def _metadata(self, column: str | None) -> Metadata:
        return Metadata(self._repository, scope_key(self._dataset, self._branch, column), self)

    @property
    def has_changes(self) -> bool:
        """Whether there are staged rows or columns, or metadata that the current version does not have."""
        return self._draft.changed or self._metadata_changed()

    def _metadata_changed(self) -> bool:
        committed = self._repository.tree(self._repository.version(self._draft.base).tree)
        payloads: dict[str | None, Payload] = {column.name: column.metadata for column in committed.columns}
        payloads[None] = committed.metadata
        with self._repository.store.read() as view:
            live = {name: read_mapping(view, scope_key(self._dataset, self._branch, name)) for name in payloads}
        return any(
            cbor.encode_value(live[name]) != read_payload(payload, self._repository.nodes)
            for name, payload in payloads.items()
        )

    # Staging

    def add_column(self, name: str, dtype: object) -> Column:
        """Adds a column, staged; ``dtype`` is a type of :mod:`cas.types`, its name, a Python type or a NumPy dtype.

        A nullable column may be added beside existing rows, which then have no value in it.
        """
        name = check_column_name(name)
        type_ = as_type(dtype)
        with self._lock:
            rows = len(self)
            if name in self._state.columns:
                raise ColumnExistsError(f"there is a column {name!r} already; choose another name", name=name)
            if rows and not type_.nullable:
                raise InvalidInputError(
                    f"column {name!r} of type {type_} has no values for the {rows} rows there are; "
                    f"make it nullable with cas.types.Nullable",
                    column=name,
                )
            missing = encode_values(type_, [None] * rows, name) if rows else {}
            column = self._state.add_column(name, type_)
            for stream, values in missing.items():
                column.streams[stream].append(values)
            self._draft.changed = True
        return Column(self, name)

    def append(self, rows: Batch) -> None:
        """Stages rows at the end: a dict of columns with as many values each, or a list of dicts, one a row.

        Every column needs values, except nullable ones. Raises :class:`~cas.errors.InvalidInputError` for values
        that do not fit; nothing is staged then. Cost: hashing, and compressing what the store does not have.
        """
        with self._lock:
            values, count = encode_batch(self._state.columns, rows)
            if count:
                self._draft.append(values, count)

    def insert(self, index: int, rows: Batch) -> None:
        """Stages rows before row ``index``; the number of rows stands for the end."""
        if isinstance(index, bool) or not isinstance(index, int) or not -len(self) <= index <= len(self):
            raise InvalidInputError(f"rows cannot be inserted at {index!r}: there are {len(self)} rows")
        with self._lock:
            at = index + len(self) if index < 0 else index
            self.splice([(at, at, rows)])

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
            for start, stop, rows in edits:
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
            values = [value] if isinstance(selected, int) else value
            self._draft.assign(state, selected, encode_values(state.type, values, column))

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
            head = self._draft.commit(message or "", author, details or {})
            self._start_from(head)
            return head.hex()

    def rollback(self) -> None:
        """Drops all staged changes of rows and columns."""
        with self._lock:
            self._draft.discard()
            self._start_from(self._draft.base)

    def refresh(self) -> None:
        """Moves to the branch's last version; raises ``UncommittedChangesError`` where changes are staged."""
        with self._lock:
            if self._draft.changed:
                raise UncommittedChangesError("there are uncommitted changes; commit or roll back before refresh")
            self._start_from(self._read_head())

    def tag(self, name: str, message: str | None = None, version: str | Version | None = None) -> Tag:
        """Names a version for good, durable at once; without ``version`` the current one."""
        with self._lock:
            if version is None and self._draft.changed:
                raise UncommittedChangesError(
                    f"there are uncommitted changes, which tag {name!r} would not hold; commit first, or name a version"
                )
            hash_ = self._draft.base if version is None else self._resolve(version)
        name, ref = create_tag(self._repository, self._dataset, name, hash_, message or "")
        return Tag(self._repository, self._dataset, self._name, name, ref)

    def _resolve(self, version: str | Version) -> bytes:
        revision = version.id if isinstance(version, Version) else version
        with self._repository.store.read() as view:
            return resolve(view, self._dataset, revision)

    # Uncommitted rows that were flushed

    def flush(self, details: Mapping[str, Any] | None = None) -> None:
        """Writes staged rows durably without committing; after a crash they can be recovered."""
        with self._lock:
            self._draft.flush(details or {})

    def sessions(self) -> dict[bytes, Session]:
        """Returns the sessions that hold uncommitted rows of the dataset, by id."""
        with self._repository.store.read() as view:
            return read_sessions(view, self._dataset)

    def adopt(self, id_: bytes) -> Session:
        """Takes over the uncommitted rows of a session that began at the current version of this branch."""
        with self._lock:
            session = self.sessions()[id_]
            if session.branch != self._branch or session.base != self._draft.base:
                raise ConflictError(
                    "the uncommitted rows belong to another version or branch; open it there",
                    expected=session.base.hex(),
                    found=self._draft.base.hex(),
                )
            self._draft.adopt(id_, session)
            self._state = self._draft.state
            return session

    def close(self) -> None:
        """Releases the store; uncommitted changes that were not flushed are dropped."""
        self._repository.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return Dataset, (self._repository, self._dataset, self._name, self._branch)

    def __repr__(self) -> str:
        where = f"{self._repository.path}/{self._name}".rstrip("/")
        staged = ", uncommitted changes" if self._draft.changed else ""
        return f"<Dataset {where} on {self._branch!r}: {len(self)} rows, {list(self._state.columns)}{staged}>"
