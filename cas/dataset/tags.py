"""Tags: names that stay with a version."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cas.dataset.future import Future
from cas.dataset.refs import RefsView, RefView, rename_ref, timestamp_of
from cas.errors import TagExistsError, TagNotFoundError
from cas.history.refs import TAG, check_ref_name
from cas.repo.commit import move_ref
from cas.store.contract import Transaction

if TYPE_CHECKING:
    from cas.dataset.read_only import ReadOnlyDataset


class TagView(RefView):
    """A tag, for reading. Equal by ``id``.

    It keeps what it knew when it was looked up. Using it finds the tag again by its id, also after a rename through
    another object; once the tag is deleted, that raises :class:`~cas.errors.TagNotFoundError`.
    """

    _kind = TAG
    _not_found = TagNotFoundError
    _exists = TagExistsError

    @property
    def message(self) -> str:
        """What was said when it was made."""
        return self._ref.message

    @property
    def timestamp(self) -> dt.datetime:
        """When it was made, by the storage's clock."""
        return timestamp_of(self._ref)

    def open(self) -> ReadOnlyDataset:
        """Opens the dataset as it was at the tag; raises ``TagNotFoundError`` where the tag was deleted."""
        return self._version_of(self._look_up()).open()

    def open_async(self) -> Future[ReadOnlyDataset]:
        """Opens the dataset as it was at the tag, in a thread of its own."""
        return Future(self.open)


class Tag(TagView):
    """A tag of a dataset that is open for writing."""

    def rename(self, new: str) -> None:
        """Gives the tag another name, durable at once; its id stays.

        Raises ``TagExistsError`` where a tag or branch has the name, ``TagNotFoundError`` where the tag was deleted.
        """
        new = check_ref_name(new, self._kind)

        self._repository.store.write(lambda txn: rename_ref(txn, self, new))
        self._name = new

    def delete(self) -> None:
        """Removes the tag, durable at once; the version stays. Raises ``TagNotFoundError`` where it is gone already."""

        def change(txn: Transaction) -> str:
            name, ref = self._current(txn)
            move_ref(txn, self._dataset, name, ref, None, "tag delete", "")
            return name

        self._name = self._repository.store.write(change)


class TagsView(RefsView[TagView]):
    """The tags of a dataset, for reading: by name or id, sorted by name; ``in`` also takes a tag."""

    _class: type[TagView] = TagView
    _plural = "tags"


class Tags(TagsView):
    """The tags of a dataset that is open for writing."""

    _class: type[TagView] = Tag

    if TYPE_CHECKING:

        def __getitem__(self, name: str) -> Tag: ...
        def __iter__(self) -> Iterator[Tag]: ...
