"""One store opened: its datasets, refs and versions, for those above to read."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cas.codec import cbor
from cas.codec.fields import is_id, is_time
from cas.errors import (
    CorruptedError,
    DatasetExistsError,
    DatasetNotFoundError,
    InvalidInputError,
    StoreExistsError,
    StoreNotFoundError,
)
from cas.history.lineage import Lineage
from cas.history.records import TreeRecord, VersionRecord, load_tree, load_version
from cas.history.refs import MAX_NAME_BYTES, RefRecord, check_dataset_name, keys_of_kind
from cas.repo.config import MANY_DATASETS, ONE_DATASET, read_config, write_config
from cas.repo.location import Location, Url, parse_url
from cas.store.contract import CACHE, DATASETS, METADATA, REFLOG, REFS, SESSIONS, Store, Transaction, View
from cas.store.gate import Gate
from cas.store.latest import Latest
from cas.store.lmdb import LmdbStore, create_files, is_begun, remove_files
from cas.tree.node import Nodes


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """What the store notes of a dataset, apart from its versions; empty texts were not set."""

    id: bytes
    created: int
    title: str = ""
    description: str = ""

    def encode(self) -> bytes:
        """Returns the stored form."""
        texts = {"title": self.title, "description": self.description}
        return cbor.encode(
            {"id": self.id, "created": self.created} | {key: text for key, text in texts.items() if text}
        )

    @classmethod
    def decode(cls, data: bytes, name: str) -> DatasetRecord:
        """Returns the record in its stored form."""
        match cbor.decode(data, what=f"dataset {name!r}"):
            case {"id": id_, "created": created, **rest} if is_id(id_) and is_time(created):
                title, description = rest.get("title", ""), rest.get("description", "")
                if isinstance(title, str) and isinstance(description, str):
                    return cls(id_, created, title, description)
        raise CorruptedError(f"the entry of dataset {name!r} is damaged", blob=name)


class Repository:
    """A store with caches of what never changes: nodes, trees and versions.

    ``compress`` says whether rows that are staged through it are tried to be compressed.
    """

    def __init__(self, store: Store, path: Path, compress: bool = True) -> None:
        self.store = store
        self.path = path
        self.compress = compress
        self.gate = Gate(store)
        self.nodes = Nodes(self.gate)
        self._versions: Latest[VersionRecord] = Latest(1024, lambda record: 1)
        self._trees: Latest[TreeRecord] = Latest(256, lambda record: 1)
        with store.read() as view:
            self.config = read_config(view, str(path))

    def __reduce__(self) -> tuple[Any, ...]:
        return Repository, (self.store, self.path, self.compress)

    def version(self, hash_: bytes) -> VersionRecord:
        """Returns the record of a version; one that is missing or damaged raises ``CorruptedError``."""
        record = self._versions.get(hash_)
        if record is None:
            record = load_version(self.gate, hash_)
            self._versions.put(hash_, record)
        return record

    def tree(self, hash_: bytes) -> TreeRecord:
        """Returns the record of a tree, likewise."""
        record = self._trees.get(hash_)
        if record is None:
            record = load_tree(self.gate, hash_)
            self._trees.put(hash_, record)
        return record

    def remember(self, version: bytes, record: VersionRecord, tree: TreeRecord) -> None:
        """Keeps the records of a version that has landed, as if they had been loaded."""
        self._versions.put(version, record)
        self._trees.put(record.tree, tree)

    def lineage(self, nodes: Nodes | None = None) -> Lineage:
        """Returns the graph of versions with their row maps; ``nodes`` sees more than the store where it is given."""
        return Lineage(self.store, self.nodes if nodes is None else nodes, self.version, self.tree)

    def dataset_names(self) -> list[str]:
        """Returns the names of the datasets, sorted; the one of a store of one dataset is empty."""
        with self.store.read() as view:
            return [key[1:].decode() for key, _ in view.scan(DATASETS)]

    def dataset_id(self, name: str) -> bytes:
        """Returns the id of a dataset; raises ``DatasetNotFoundError``, which lists the names there are."""
        with self.store.read() as view:
            found = find_dataset(view, name)
        if found is None:
            raise DatasetNotFoundError(self._missing(name), name=name)
        return found.id

    def facts(self, name: str, dataset: bytes) -> DatasetRecord:
        """Returns what is noted of a dataset; raises ``DatasetNotFoundError`` where it is gone."""
        with self.store.read() as view:
            return _same_dataset(view, name, dataset)

    def has_dataset(self, name: str) -> bool:
        """Whether there is a dataset of that name."""
        with self.store.read() as view:
            return find_dataset(view, name) is not None

    def set_facts(self, name: str, dataset: bytes, change_facts: Callable[[DatasetRecord], DatasetRecord]) -> None:
        """Changes what is noted of a dataset, durable at once."""

        def change(txn: Transaction) -> None:
            found = _same_dataset(txn, name, dataset)
            txn.put(DATASETS, _dataset_key(name), change_facts(found).encode())

        self.store.write(change)

    def _missing(self, name: str) -> str:
        names = ", ".join(repr(known) for known in self.dataset_names()[:10]) or "none"
        if self.config.layout == ONE_DATASET:
            return f"the store {self.path} holds one dataset, not {name!r} below it; open {self.path}"
        if not name:
            return f"{self.path} is a store of many datasets; name one of them: {names}"
        return f"the store {self.path} has no dataset {name!r}; it has: {names}"


def remove_store(repository: Repository) -> None:
    """Removes a store with its files, and its directory if nothing else is in it."""
    repository.store.close()
    remove_files(repository.path)


def init_store(url: Url) -> Repository:
    """Makes a store for many datasets; raises ``StoreExistsError`` where something is, and below a store."""
    location = parse_url(url)
    path = location.path
    if location.store is not None:
        raise StoreExistsError(
            f"{path} is in the store {location.store}, whose datasets it would hide; choose a path outside of it",
            name=str(path),
        )
    return Repository(create_files(path, lambda txn: write_config(txn, MANY_DATASETS)), path)


def open_repository(url: Url, *, read_only: bool = False, compress: bool = True) -> tuple[Repository, Location]:
    """Opens the store at or above the path of a url."""
    location = parse_url(url)
    if location.store is None:
        raise StoreNotFoundError(_no_store(location.path), name=str(location.path))
    return Repository(LmdbStore(location.store, read_only=read_only), location.store, compress), location


def _no_store(path: Path) -> str:
    if is_begun(path):
        return (
            f"at {path} a store was begun and never finished, so there is nothing in it; make it again with cas.create "
            f"or cas.init, or delete the directory"
        )
    return f"there is no store at {path} nor above it; make one with cas.create or cas.init"


@contextmanager
def place_for_dataset(url: Url) -> Iterator[tuple[Repository, str]]:
    """Gives the store that a new dataset goes into, and its name; a store is made for it alone where there is none.

    If the block fails, a store that was made goes again, unless another process has put its dataset there meanwhile.
    """
    location = parse_url(url)
    if location.store is not None:
        yield _place_in_store(url, location, location.store)
        return
    repository = Repository(create_files(location.path, lambda txn: write_config(txn, ONE_DATASET)), location.path)
    try:
        yield repository, ""
    except BaseException:
        if repository.dataset_names():
            repository.store.close()
        else:
            remove_store(repository)
        raise


def _place_in_store(url: Url, location: Location, store: Path) -> tuple[Repository, str]:
    if location.revision is not None:
        raise InvalidInputError(
            f"{url} names a revision, which a new dataset does not have; leave out what follows the @"
        )
    repository = Repository(LmdbStore(store), store)
    if repository.config.layout == ONE_DATASET:
        if location.name:
            raise DatasetExistsError(
                f"{store} is a store of one dataset; choose a path outside of it", name=location.name
            )
    elif location.name:
        check_dataset_name(location.name)
    else:
        raise DatasetExistsError(f"{store} is a store of many datasets; add a name: {store}/NAME", name="")
    return repository, location.name


def _dataset_key(name: str) -> bytes:
    # LMDB takes no empty keys, and the dataset of a store of one has the empty name.
    return b"/" + name.encode(errors="surrogatepass")


def register_dataset(txn: Transaction, name: str, description: str = "") -> bytes:
    """Enters a new dataset in the table of datasets and returns its id."""
    key = _dataset_key(name)
    if txn.get(DATASETS, key) is not None:
        what = f"dataset {name!r}" if name else "the dataset"
        raise DatasetExistsError(f"{what} exists already; open it, or choose another name", name=name)
    record = DatasetRecord(uuid.uuid4().bytes, txn.timestamp(), description=description)
    txn.put(DATASETS, key, record.encode())
    return record.id


def remove_dataset(txn: Transaction, name: str) -> None:
    """Removes a dataset with its refs, metadata and sessions; its blobs stay until they are collected."""
    found = find_dataset(txn, name)
    if found is None:
        raise DatasetNotFoundError(f"there is no dataset {name!r}", name=name)
    for table in (REFS, METADATA, REFLOG, SESSIONS, CACHE):
        for key, _ in list(txn.scan(table, found.id)):
            txn.remove(table, key)
    txn.remove(DATASETS, _dataset_key(name))


def _same_dataset(view: View, name: str, dataset: bytes) -> DatasetRecord:
    """The record of that name, if it is still that dataset."""
    found = find_dataset(view, name)
    if found is None or found.id != dataset:
        raise DatasetNotFoundError(f"the dataset {name!r} was deleted; open another one", name=name)
    return found


def check_dataset(view: View, dataset: bytes) -> None:
    """Refuses a dataset that was deleted: one that is there has at least one branch."""
    if next(view.scan(REFS, dataset), None) is None:
        raise DatasetNotFoundError("the dataset was deleted; open another one", name=dataset.hex())


def find_dataset(view: View, name: str) -> DatasetRecord | None:
    """Returns what is noted of a dataset, or None where there is none of that name."""
    data = view.get(DATASETS, _dataset_key(name))
    return None if data is None else DatasetRecord.decode(data, name)


def dataset_ids(view: View) -> list[bytes]:
    """Returns the ids of all datasets of the store."""
    return [DatasetRecord.decode(data, key[1:].decode()).id for key, data in view.scan(DATASETS)]


def find_ref(view: View, dataset: bytes, name: str) -> RefRecord | None:
    """Returns the branch or tag of that name."""
    encoded = name.encode(errors="surrogatepass")
    if len(encoded) > MAX_NAME_BYTES:
        return None
    data = view.get(REFS, dataset + encoded)
    return None if data is None else RefRecord.decode(data, f"ref {name!r}")


def scan_ref_names(view: View, dataset: bytes, kind: str) -> list[str]:
    """Returns the names of the branches, or of the tags, sorted; a quarter of the time of :func:`scan_refs`."""
    size = len(dataset)
    return [key[size:].decode() for key in keys_of_kind(view.scan(REFS, dataset), kind)]


def scan_refs(view: View, dataset: bytes, kind: str) -> Iterator[tuple[str, RefRecord]]:
    """Yields the branches, or the tags, with their names, sorted by name."""
    for key, data in view.scan(REFS, dataset):
        name = key[len(dataset) :].decode()
        ref = RefRecord.decode(data, f"ref {name!r}")
        if ref.kind == kind:
            yield name, ref
