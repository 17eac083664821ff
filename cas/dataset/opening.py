"""From a url to a dataset: create, open, init, exists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cas.dataset.dataset import Dataset, default_author
from cas.dataset.future import Future
from cas.dataset.history import Version
from cas.dataset.read_only import ReadOnlyDataset
from cas.errors import InvalidTypeError, NotFoundError
from cas.history.refs import MAIN, check_column_name
from cas.repo.commit import create_dataset
from cas.repo.location import Url
from cas.repo.repository import Repository, init_store, open_or_make_store, open_repository
from cas.repo.revisions import resolve
from cas.types import as_type


def init(url: Url) -> None:
    """Makes a store for many datasets, which are then created at ``url/name``.

    Equal chunks are kept once in all of a store's datasets. Raises :class:`~cas.errors.StoreExistsError` where
    something is there.
    """
    init_store(url).store.close()


def create(url: Url, schema: Mapping[str, Any] | None = None) -> Dataset:
    """Creates a dataset with its first, empty version and opens it on ``main``.

    Below a store made by :func:`init` it becomes one of that store's; elsewhere a store is made for it alone. With
    ``schema``, a dict of column names and types, the columns are added and committed too. Raises
    :class:`~cas.errors.ExistsError` where a dataset or something else is there.
    """
    if schema is not None and not isinstance(schema, Mapping):
        raise InvalidTypeError(f"schema {schema!r} is not valid; expected a dict of column names and types")
    types = {check_column_name(name): as_type(dtype) for name, dtype in (schema or {}).items()}
    repository, name = open_or_make_store(url)
    dataset = Dataset(repository, create_dataset(repository, name, default_author()), name, MAIN)
    for column, type_ in types.items():
        dataset.add_column(column, type_)
    if types:
        dataset.commit("Columns added")
    return dataset


def open(url: Url, branch: str = MAIN) -> Dataset:  # noqa: A001
    """Opens a dataset for writing on a branch, which may also stand in the url: ``lake/cats@fixes``.

    Raises :class:`~cas.errors.NotFoundError` where there is no store, dataset or branch. Tags and versions open with
    :func:`open_read_only`.
    """
    repository, location = open_repository(url)
    dataset = repository.dataset_id(location.name)
    return Dataset(repository, dataset, location.name, location.revision or branch)


def open_async(url: Url, branch: str = MAIN) -> Future[Dataset]:
    """Opens a dataset as :func:`open` does, in a thread of its own."""
    return Future(lambda: open(url, branch))


def open_read_only(url: Url, version: str | Version | None = None) -> ReadOnlyDataset:
    """Opens a dataset as it was at a revision: a branch, tag, version id or prefix, ``main~2``; without one, ``main``.

    The revision may also stand in the url: ``lake/cats@v1.0``. Needs no write access.
    """
    repository, location = open_repository(url, read_only=True)
    dataset = repository.dataset_id(location.name)
    revision = version.id if isinstance(version, Version) else version
    hash_ = find_version(repository, dataset, revision or location.revision or MAIN)
    return ReadOnlyDataset(repository, dataset, location.name, hash_)


def find_version(repository: Repository, dataset: bytes, revision: str) -> bytes:
    """Returns the version that a revision names in a dataset."""
    with repository.store.read() as view:
        return resolve(view, dataset, revision)


def exists(url: Url) -> bool:
    """Whether a url leads to a dataset, and to a version of it where it names one."""
    try:
        repository, location = open_repository(url, read_only=True)
        dataset = repository.dataset_id(location.name)
        if location.revision is not None:
            find_version(repository, dataset, location.revision)
        return True
    except NotFoundError:
        return False
