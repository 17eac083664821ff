"""Versions, and the history of a branch."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, overload

from cas.dataset.bridges import Notebook
from cas.dataset.future import Future
from cas.dataset.indexing import select
from cas.errors import InvalidTypeError, RowNotFoundError, VersionIndexError, VersionNotFoundError, shown
from cas.history.graph import VersionEntry, ancestor_at, ancestors_at, find_entry, get_entry, walk_blocks
from cas.history.records import VersionRecord, read_payload
from cas.history.row_map import RowMap
from cas.repo.repository import Repository
from cas.repo.revisions import resolve, resolve_version

if TYPE_CHECKING:
    from cas.dataset.read_only import ReadOnlyDataset

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_BLOCK: Final = 256


def to_datetime(microseconds: int) -> dt.datetime:
    """Returns an aware UTC datetime for microseconds since 1970."""
    return _EPOCH + dt.timedelta(microseconds=microseconds)


def find_version(repository: Repository, dataset: bytes, version: str | Version) -> bytes:
    """Returns the version that a revision names in a dataset, or a version if it is one of it."""
    with repository.store.read() as view:
        if isinstance(version, Version):
            return resolve_version(view, dataset, version._hash)
        return resolve(view, dataset, version)


def walk_versions(repository: Repository, dataset: bytes, name: str, heads: Iterable[bytes]) -> Iterator[Version]:
    """Yields versions of a dataset and all that lead to them, through any parents: see ``walk_blocks``."""
    for hash_, entry in walk_blocks(repository.store, heads):
        yield Version(repository, dataset, name, hash_, entry)


class Version:
    """An immutable state of a dataset, with its parents, message, author and times. Equal by ``id``."""

    __slots__ = ("_dataset", "_entry", "_hash", "_name", "_repository")

    def __init__(
        self, repository: Repository, dataset: bytes, name: str, hash_: bytes, entry: VersionEntry | None = None
    ) -> None:
        self._repository = repository
        self._dataset = dataset
        self._name = name
        self._hash = hash_
        if entry is None:
            with repository.store.read() as view:
                entry = get_entry(view, hash_)
        self._entry = entry

    @property
    def id(self) -> str:
        """The hash that names the version: 64 hexadecimal digits."""
        return self._hash.hex()

    @property
    def _record(self) -> VersionRecord:
        return self._repository.version(self._hash)

    @property
    def message(self) -> str:
        """What the author said about it."""
        return self._record.message

    @property
    def author(self) -> str:
        """Who made it."""
        return self._record.author

    @property
    def timestamp(self) -> dt.datetime:
        """When it landed, by the storage's clock; later versions never have earlier times."""
        return to_datetime(self._entry.timestamp)

    @property
    def client_timestamp(self) -> dt.datetime:
        """When it was made, by the writer's clock."""
        return to_datetime(self._record.client_timestamp)

    @property
    def parents(self) -> tuple[str, ...]:
        """The ids of the versions it comes from: none for the first, two for a merge."""
        return tuple(parent.hex() for parent in self._record.parents)

    @property
    def tree(self) -> str:
        """The hash of its content: schema, rows and metadata, and nothing else."""
        return self._record.tree.hex()

    @property
    def details(self) -> dict[str, Any]:
        """What the maker noted beside the message, such as the counts of an import."""
        return dict(self._record.details)

    @property
    def row_maps(self) -> tuple[RowMap, ...]:
        """How its rows line up with those of each parent."""
        payloads = self._record.row_maps
        return tuple(RowMap.decode(read_payload(data, self._repository.nodes), self.id) for data in payloads)

    def open(self) -> ReadOnlyDataset:
        """Opens the dataset as it was."""
        from cas.dataset.read_only import ReadOnlyDataset

        return ReadOnlyDataset(self._repository, self._dataset, self._name, self._hash)

    def open_async(self) -> Future[ReadOnlyDataset]:
        """Opens the dataset as it was, in a thread of its own."""
        return Future(self.open)

    def __eq__(self, other: object) -> bool:
        return self._hash == other._hash if isinstance(other, Version) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._hash)

    def __reduce__(self) -> tuple[Any, ...]:
        return Version, (self._repository, self._dataset, self._name, self._hash)

    def __repr__(self) -> str:
        return f"<Version {self.id[:12]} {self.timestamp:%Y-%m-%d %H:%M:%S} {self.message!r}>"


class History(Notebook, Sequence[Version]):
    """The versions that lead to one, oldest first, along first parents.

    ``history[0]`` is the first version, ``history[-1]`` the last; a version id or a unique prefix of it finds a
    version of any branch, also one that was merged in. ``in``, ``index`` and ``len`` know only those along first
    parents. ``len`` takes one look-up, access a logarithmic number of them; iteration and slices
    about one a version, and iteration holds no more than 256 versions at a time.
    """

    def __init__(self, repository: Repository, dataset: bytes, name: str, head: bytes) -> None:
        self._repository = repository
        self._dataset = dataset
        self._name = name
        self._head = head
        with repository.store.read() as view:
            self._length = get_entry(view, head).depth + 1

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int | str) -> Version: ...
    @overload
    def __getitem__(self, index: slice) -> list[Version]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            return self._version(find_version(self._repository, self._dataset, index))
        try:
            selected = select(index, self._length)
        except RowNotFoundError:
            raise VersionIndexError(
                f"version {index} is out of range: the history has {self._length} versions", name=index
            ) from None
        if isinstance(selected, int):
            return self._version(self._at(selected))
        if not isinstance(selected, range):
            return [self._version(self._at(int(depth))) for depth in selected]
        ascending = selected if selected.step > 0 else selected[::-1]
        versions = list(self._walk(ascending))
        return versions if selected.step > 0 else versions[::-1]

    def _at(self, depth: int) -> bytes:
        with self._repository.store.read() as view:
            return ancestor_at(view, self._head, depth)

    def _version(self, hash_: bytes, entry: VersionEntry | None = None) -> Version:
        return Version(self._repository, self._dataset, self._name, hash_, entry)

    def _walk(self, depths: range) -> Iterator[Version]:
        """Yields the versions at ascending depths: a block at a time, found from its last one back along parents."""
        for start in range(0, len(depths), _BLOCK):
            descending = reversed(depths[start : start + _BLOCK])
            with self._repository.store.read() as view:
                found = list(ancestors_at(view, self._head, descending))
            for hash_, entry in reversed(found):
                yield self._version(hash_, entry)

    def __iter__(self) -> Iterator[Version]:
        return self._walk(range(self._length))

    def __reversed__(self) -> Iterator[Version]:
        hash_ = self._head
        while True:
            version = self._version(hash_)
            yield version
            if not version.parents:
                return
            hash_ = bytes.fromhex(version.parents[0])

    def __contains__(self, item: object) -> bool:
        if isinstance(item, Version):
            return self._number(item) is not None
        try:
            found = find_version(self._repository, self._dataset, item)  # type: ignore[arg-type]
            return self._number(self._version(found)) is not None
        except VersionNotFoundError:
            return False

    def _number(self, version: Version) -> int | None:
        """The number of a version, or None where it is not of this history, or of another store."""
        with self._repository.store.read() as view:
            entry = find_entry(view, version._hash)
            if entry is None or entry.depth >= self._length:
                return None
            return entry.depth if ancestor_at(view, self._head, entry.depth) == version._hash else None

    def index(self, value: object, start: int = 0, stop: int | None = None) -> int:
        """Returns the number of a version, if it is one from ``start`` to ``stop``; otherwise raises ``ValueError``.

        Cost: a logarithmic number of look-ups, as of :meth:`count`.
        """
        number = self._number(value) if isinstance(value, Version) else None
        if number is None or number not in range(self._length)[start:stop]:
            raise ValueError(f"{shown(value, 200)} is not in the history")
        return number

    def count(self, value: object) -> int:
        """Returns how often a version is in the history: once or never."""
        return int(isinstance(value, Version) and value in self)

    def at(self, time: dt.datetime) -> Version:
        """Returns the version that was the last at a time, by the storage's clock.

        Raises :class:`~cas.errors.VersionNotFoundError` for a time before the first, ``InvalidTypeError`` for a time
        without time zone.
        """
        if not isinstance(time, dt.datetime) or time.tzinfo is None:
            raise InvalidTypeError(
                f"{time!r} is not a point in time; expected a datetime with a time zone, such as "
                f"datetime(2026, 11, 1, tzinfo=UTC)"
            )
        found, later = None, self._head
        with self._repository.store.read() as view:
            low, high = 0, self._length
            while low < high:
                middle = (low + high) // 2
                hash_ = ancestor_at(view, later, middle)
                entry = get_entry(view, hash_)
                if to_datetime(entry.timestamp) <= time:
                    low, found = middle + 1, (hash_, entry)
                else:
                    high, later = middle, hash_
        if found is None:
            raise VersionNotFoundError(f"there was no version at {time}; the first came at {self[0].timestamp}")
        return self._version(*found)

    def __repr__(self) -> str:
        return f"<History of {self._length} versions up to {self._head.hex()[:12]}>"
