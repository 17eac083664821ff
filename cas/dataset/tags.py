"""Tags: names that stay with a version."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cas.codec import cbor
from cas.dataset.future import Future
from cas.dataset.history import Version, to_datetime
from cas.errors import InvalidTypeError, TagExistsError, TagNotFoundError
from cas.history.refs import TAG, RefRecord, check_ref_name
from cas.repo.commit import move_ref
from cas.repo.repository import Repository, find_ref, scan_refs
from cas.store.contract import Transaction, View

if TYPE_CHECKING:
    from cas.dataset.read_only import ReadOnlyDataset


def create_tag(
    repository: Repository, dataset: bytes, name: object, version: bytes, message: str
) -> tuple[str, RefRecord]:
    """Makes a tag, durable at once; raises ``TagExistsError`` where the name is a tag or branch already."""
    name = check_ref_name(name, "tag")
    if not isinstance(message, str):
        raise InvalidTypeError(f"tag message {message!r} is not valid: expected text")
    cbor.encode_value(message)  # refuses what is no Unicode text

    def change(txn: Transaction) -> RefRecord:
        _check_free(txn, dataset, name)
        ref = RefRecord(TAG, version, txn.timestamp(), message, uuid.uuid4().bytes)
        move_ref(txn, dataset, name, None, ref, "tag", message)
        return ref

    return name, repository.store.write(change)


def _check_free(view: View, dataset: bytes, name: str) -> None:
    there = find_ref(view, dataset, name)
    if there is not None:
        raise TagExistsError(
            f"{there.kind} {name!r} exists already, at version {there.version.hex()[:12]}; choose another name",
            name=name,
        )


def find_tag_by_id(view: View, dataset: bytes, id_: str) -> tuple[str, RefRecord] | None:
    """Returns the tag with an id and its name, or None where there is none; cost: all tags are looked at."""
    return next(((name, ref) for name, ref in scan_refs(view, dataset, TAG) if ref.id.hex() == id_), None)


class TagView:
    """A tag, for reading. Equal by ``id``.

    It keeps what it knew when it was looked up. Using it finds the tag again by its id, also after a rename through
    another object; once the tag is deleted, that raises :class:`~cas.errors.TagNotFoundError`.
    """

    def __init__(self, repository: Repository, dataset: bytes, dataset_name: str, name: str, ref: RefRecord) -> None:
        self._repository = repository
        self._dataset = dataset
        self._dataset_name = dataset_name
        self._name = name
        self._ref = ref

    @property
    def id(self) -> str:
        """An id that stays when the tag is renamed: 32 hexadecimal digits."""
        return self._ref.id.hex()

    @property
    def name(self) -> str:
        """The name, as this object last saw it."""
        return self._name

    @property
    def message(self) -> str:
        """What was said when it was made."""
        return self._ref.message

    @property
    def timestamp(self) -> dt.datetime:
        """When it was made, by the storage's clock."""
        return to_datetime(self._ref.timestamp)

    @property
    def version(self) -> Version:
        """The version it names."""
        return Version(self._repository, self._dataset, self._dataset_name, self._ref.version)

    def open(self) -> ReadOnlyDataset:
        """Opens the dataset as it was at the tag; raises ``TagNotFoundError`` where the tag was deleted."""
        with self._repository.store.read() as view:
            self._name, _ = self._current(view)
        return self.version.open()

    def open_async(self) -> Future[ReadOnlyDataset]:
        """Opens the dataset as it was at the tag, in a thread of its own."""
        return Future(self.open)

    def _find(self, view: View) -> tuple[str, RefRecord] | None:
        """The tag under its present name, or None where it was deleted."""
        ref = find_ref(view, self._dataset, self._name)
        if ref is not None and ref.id == self._ref.id:
            return self._name, ref
        return find_tag_by_id(view, self._dataset, self.id)

    def _current(self, view: View) -> tuple[str, RefRecord]:
        found = self._find(view)
        if found is None:
            raise TagNotFoundError(
                f"tag {self._name!r} was deleted; its version {self._ref.version.hex()[:12]} is still there",
                name=self._name,
            )
        return found

    def __eq__(self, other: object) -> bool:
        return self._ref.id == other._ref.id if isinstance(other, TagView) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._ref.id)

    def __repr__(self) -> str:
        with self._repository.store.read() as view:
            found = self._find(view)
        name, state = (self._name, ", deleted") if found is None else (found[0], "")
        return f"<{type(self).__name__} {name!r} at {self._ref.version.hex()[:12]}{state}>"


class Tag(TagView):
    """A tag of a dataset that is open for writing."""

    def rename(self, new: str) -> None:
        """Gives the tag another name, durable at once; its id stays.

        Raises ``TagExistsError`` where a tag or branch has the name, ``TagNotFoundError`` where the tag was deleted.
        """
        new = check_ref_name(new, "tag")

        def change(txn: Transaction) -> None:
            name, ref = self._current(txn)
            _check_free(txn, self._dataset, new)
            move_ref(txn, self._dataset, name, ref, None, "tag rename", new)
            move_ref(txn, self._dataset, new, None, ref, "tag rename", name)

        self._repository.store.write(change)
        self._name = new

    def delete(self) -> None:
        """Removes the tag, durable at once; the version stays. Raises ``TagNotFoundError`` where it is gone already."""

        def change(txn: Transaction) -> str:
            name, ref = self._current(txn)
            move_ref(txn, self._dataset, name, ref, None, "tag delete", "")
            return name

        self._name = self._repository.store.write(change)


class TagsView:
    """The tags of a dataset, for reading: by name or id, sorted by name; ``in`` also takes a tag."""

    _tag_class: type[TagView] = TagView

    def __init__(self, repository: Repository, dataset: bytes, dataset_name: str) -> None:
        self._repository = repository
        self._dataset = dataset
        self._dataset_name = dataset_name

    def _all(self) -> list[tuple[str, RefRecord]]:
        with self._repository.store.read() as view:
            return list(scan_refs(view, self._dataset, TAG))

    def _tag(self, name: str, ref: RefRecord) -> Any:
        return self._tag_class(self._repository, self._dataset, self._dataset_name, name, ref)

    def __getitem__(self, name: str) -> Any:
        if isinstance(name, str):
            with self._repository.store.read() as view:
                ref = find_ref(view, self._dataset, name)
                if ref is not None and ref.kind == TAG:
                    return self._tag(name, ref)
                found = find_tag_by_id(view, self._dataset, name)
            if found is not None:
                return self._tag(*found)
        names = ", ".join(map(repr, self.names()[:10])) or "none"
        raise TagNotFoundError(f"there is no tag {name!r}; the tags are: {names}", name=name)

    def names(self) -> list[str]:
        """Returns the names, sorted."""
        return [name for name, _ in self._all()]

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[Any]:
        return iter([self._tag(name, ref) for name, ref in self._all()])

    def __contains__(self, item: object) -> bool:
        try:
            self[item.id if isinstance(item, TagView) else item]  # type: ignore[index]
        except TagNotFoundError:
            return False
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.names()}>"


class Tags(TagsView):
    """The tags of a dataset that is open for writing."""

    _tag_class = Tag
