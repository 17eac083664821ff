"""What branches and tags have in common as objects: found by name or id, and told when they are gone."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from typing import Any, ClassVar, Generic, TypeVar

from cas.codec import cbor
from cas.dataset.bridges import Notebook
from cas.dataset.history import Version, to_datetime
from cas.errors import ExistsError, InvalidTypeError, NotFoundError, VersionNotFoundError
from cas.history.graph import find_entry
from cas.history.refs import BRANCH, RefRecord, check_ref_name
from cas.repo.branches import begin_metadata
from cas.repo.commit import move_ref
from cas.repo.repository import Repository, check_dataset, find_ref, scan_ref_names, scan_refs
from cas.store.contract import Transaction, View


class RefView:
    """A branch or tag, for reading. Equal by ``id``.

    It keeps what it knew when it was looked up. Using it finds it again by its id, also after a rename through another
    object; once it is deleted, that raises an error which says so.
    """

    _kind: ClassVar[str]
    _not_found: ClassVar[type[NotFoundError]]
    _exists: ClassVar[type[ExistsError]]

    def __init__(self, repository: Repository, dataset: bytes, dataset_name: str, name: str, ref: RefRecord) -> None:
        self._repository = repository
        self._dataset = dataset
        self._dataset_name = dataset_name
        self._name = name
        self._ref = ref

    @property
    def id(self) -> str:
        """An id that stays when the name changes: 32 hexadecimal digits."""
        return self._ref.id.hex()

    @property
    def name(self) -> str:
        """The name, as this object last saw it."""
        return self._name

    @property
    def version(self) -> Version:
        """The version it names."""
        return self._version_of(self._ref)

    def _version_of(self, ref: RefRecord) -> Version:
        return Version(self._repository, self._dataset, self._dataset_name, ref.version)

    def _find(self, view: View) -> tuple[str, RefRecord] | None:
        """The record under its present name, or None where it was deleted."""
        ref = find_ref(view, self._dataset, self._name)
        if ref is not None and ref.id == self._ref.id:
            return self._name, ref
        return find_by_id(view, self._dataset, self._kind, self.id)

    def _current(self, view: View) -> tuple[str, RefRecord]:
        found = self._find(view)
        if found is None:
            raise self._not_found(
                f"{self._kind} {self._name!r} was deleted; its version {self._ref.version.hex()[:12]} is still there",
                name=self._name,
            )
        return found

    def _look_up(self) -> RefRecord:
        """The record as it is now, with the present name taken over."""
        with self._repository.store.read() as view:
            self._name, self._ref = self._current(view)
        return self._ref

    def __eq__(self, other: object) -> bool:
        return self._ref.id == other._ref.id if isinstance(other, RefView) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._ref.id)

    def __repr__(self) -> str:
        with self._repository.store.read() as view:
            found = self._find(view)
        name, ref, state = (self._name, self._ref, ", deleted") if found is None else (*found, "")
        return f"<{type(self).__name__} {name!r} at {ref.version.hex()[:12]}{state}>"


def timestamp_of(ref: RefRecord) -> dt.datetime:
    """Returns when a ref was set, by the storage's clock."""
    return to_datetime(ref.timestamp)


def create_ref(
    repository: Repository, dataset: bytes, what: type[RefView], name: object, version: bytes, message: str = ""
) -> tuple[str, RefRecord]:
    """Makes a branch or tag, durable at once; raises its ``exists`` error where either has the name already.

    A branch begins with the metadata of the version.
    """
    checked = check_ref_name(name, what._kind)
    if not isinstance(message, str):
        raise InvalidTypeError(f"{what._kind} message {message!r} is not valid: expected text")
    cbor.checked_text(message)

    def change(txn: Transaction) -> RefRecord:
        check_dataset(txn, dataset)
        check_free(txn, dataset, what, checked)
        if find_entry(txn, version) is None:
            raise VersionNotFoundError(f"version {version.hex()[:12]} has been collected", name=version.hex())
        ref = RefRecord(what._kind, version, txn.timestamp(), message, uuid.uuid4().bytes)
        move_ref(txn, dataset, checked, None, ref, what._kind, message)
        if what._kind == BRANCH:
            begin_metadata(txn, repository, dataset, version, checked)
        return ref

    return checked, repository.store.write(change)


def check_free(view: View, dataset: bytes, what: type[RefView], name: str) -> None:
    """Refuses a name that a branch or tag has."""
    there = find_ref(view, dataset, name)
    if there is not None:
        raise what._exists(
            f"{there.kind} {name!r} exists already, at version {there.version.hex()[:12]}; choose another name",
            name=name,
        )


def rename_ref(txn: Transaction, ref: RefView, new: str) -> tuple[str, RefRecord]:
    """Gives a branch or tag another name, which must be free; returns the old one and the record, which stays."""
    name, record = ref._current(txn)
    check_free(txn, ref._dataset, type(ref), new)
    move_ref(txn, ref._dataset, name, record, None, f"{ref._kind} rename", new)
    move_ref(txn, ref._dataset, new, None, record, f"{ref._kind} rename", name)
    return name, record


def find_by_id(view: View, dataset: bytes, kind: str, id_: str) -> tuple[str, RefRecord] | None:
    """Returns the ref with an id and its name, or None where there is none; cost: all of the kind are looked at."""
    return next(((name, ref) for name, ref in scan_refs(view, dataset, kind) if ref.id.hex() == id_), None)


One = TypeVar("One", bound=RefView)


class RefsView(Notebook, Generic[One]):
    """The branches, or the tags, of a dataset: by name or id, sorted by name; ``in`` takes one of them too."""

    _class: type[One]
    _plural: ClassVar[str]

    def __init__(self, repository: Repository, dataset: bytes, dataset_name: str) -> None:
        self._repository = repository
        self._dataset = dataset
        self._dataset_name = dataset_name

    def _all(self) -> list[tuple[str, RefRecord]]:
        with self._repository.store.read() as view:
            return list(scan_refs(view, self._dataset, self._class._kind))

    def _one(self, name: str, ref: RefRecord) -> One:
        return self._class(self._repository, self._dataset, self._dataset_name, name, ref)

    def __getitem__(self, name: str) -> One:
        if isinstance(name, str):
            with self._repository.store.read() as view:
                ref = find_ref(view, self._dataset, name)
                if ref is not None and ref.kind == self._class._kind:
                    return self._one(name, ref)
                found = find_by_id(view, self._dataset, self._class._kind, name)
            if found is not None:
                return self._one(*found)
        names = ", ".join(map(repr, self.names()[:10])) or "none"
        kind = self._class._kind
        raise self._class._not_found(f"there is no {kind} {name!r}; the {self._plural} are: {names}", name=name)

    def names(self) -> list[str]:
        """Returns the names, sorted."""
        with self._repository.store.read() as view:
            return scan_ref_names(view, self._dataset, self._class._kind)

    def __len__(self) -> int:
        return len(self.names())

    def __iter__(self) -> Iterator[One]:
        return iter([self._one(name, ref) for name, ref in self._all()])

    def __contains__(self, item: Any) -> bool:
        try:
            self[item.id if isinstance(item, RefView) else item]
        except self._class._not_found:
            return False
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.names()}>"
