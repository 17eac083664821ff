"""A version pinned: its id and its tree, looked up when it is pinned, and compared whenever it is opened."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cas.dataset.history import find_version
from cas.dataset.read_only import ReadOnlyDataset
from cas.errors import CorruptedError, InvalidInputError, NotFoundError
from cas.history.records import load_tree, load_version
from cas.history.refs import MAIN
from cas.repo.location import Url
from cas.repo.repository import Repository, find_ref, open_repository

SHORT_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Pin:
    """A version of a dataset: where the dataset lies, version id and tree hash, and the branch or tag that named it."""

    path: Path
    version: str
    tree: str
    revision: str | None = None


def pin_url(url: Url) -> Pin:
    """Looks up what a url names now; without a revision the head of ``main``.

    A branch or tag is kept as ``revision``; what is named otherwise, such as by ``main~2``, is that version for good.
    """
    repository, location = open_repository(url, read_only=True)
    try:
        dataset = repository.dataset_id(location.name)
        revision = location.revision or MAIN
        version = find_version(repository, dataset, revision)
        with repository.store.read() as view:
            ref = find_ref(view, dataset, revision)
        tree = load_version(repository.gate, version).tree
        return Pin(location.path, version.hex(), tree.hex(), None if ref is None else revision)
    finally:
        repository.store.close()


def open_pin(url: str, version: str, tree: str, what: str) -> ReadOnlyDataset:
    """Opens a pinned version after comparing it with its pin; ``what`` says whose it is in errors.

    The records of version and tree are read anew, hashed, and compared: with their ids, and the version's tree with
    ``tree``. All below them is compared with its hash when it is read. Raises ``StoreNotFoundError`` or
    ``DatasetNotFoundError`` where the dataset is not, ``VersionNotFoundError`` where it has no such version, and
    :class:`~cas.errors.CorruptedError` where the version has another tree or a record is damaged.
    """
    try:
        repository, location = open_repository(url, read_only=True)
    except NotFoundError as error:
        raise _moved(error, what) from error
    try:
        if location.revision is not None:
            raise InvalidInputError(f"{what}: its url ends in @{location.revision}; the version stands beside it")
        hash_ = _find(repository, location.name, version, what)
        _compare(repository, hash_, tree, what)
        return ReadOnlyDataset(repository, repository.dataset_id(location.name), location.name, hash_)
    except BaseException:
        repository.store.close()
        raise


def _find(repository: Repository, name: str, version: str, what: str) -> bytes:
    try:
        dataset = repository.dataset_id(name)
    except NotFoundError as error:
        raise _moved(error, what) from error
    try:
        return find_version(repository, dataset, version)
    except NotFoundError as error:
        raise type(error)(
            f"{what}: the dataset has no version {version[:SHORT_DIGITS]} any more, or is another one that took its "
            f"place; bring the version back from a copy, or pin another one",
            name=version,
        ) from error


def _moved(error: NotFoundError, what: str) -> NotFoundError:
    return type(error)(f"{what}: {error}; if the dataset was moved, pin it at its new place", name=error.name)


def _compare(repository: Repository, version: bytes, tree: str, what: str) -> None:
    # Not through the caches: what is on disk now is what will be used.
    found = load_version(repository.gate, version).tree
    if found.hex() != tree:
        raise CorruptedError(
            f"{what}: version {version.hex()[:SHORT_DIGITS]} has the tree {found.hex()[:SHORT_DIGITS]}, and "
            f"{tree[:SHORT_DIGITS]} was pinned with it; one of the two hashes was changed, so pin the version again",
            version=version.hex(),
        )
    load_tree(repository.gate, found)


def portable_url(path: Path, folder: Path) -> str:
    """Returns the url by which a file in a folder names a dataset.

    It is relative where the dataset lies below the folder or beside it, that is below the folder's parent, so both can
    be moved or cloned together; elsewhere, and beside a folder at the root, it is absolute.
    """
    place, base = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    beside = base.parent
    near = place.is_relative_to(base) or (beside != beside.parent and place.is_relative_to(beside))
    if not near:
        return str(place)
    url = os.path.relpath(place, base)
    return f"./{url}" if url.startswith("~") else url
