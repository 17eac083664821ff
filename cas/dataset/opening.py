"""From a url to a dataset: create, open, exists, copy, like, delete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from cas.dataset.dataset import Dataset
from cas.dataset.future import Future
from cas.dataset.history import Version, find_version
from cas.dataset.moves import default_author
from cas.dataset.read_only import ReadOnlyDataset
from cas.errors import CasError, DatasetExistsError, InvalidInputError, InvalidTypeError, NotFoundError, shown
from cas.history.refs import BRANCH, MAIN, check_column_name
from cas.remote.copying import Report, copy_dataset
from cas.repo.commit import create_dataset
from cas.repo.config import ONE_DATASET
from cas.repo.location import Url
from cas.repo.repository import (
    Repository,
    init_store,
    open_repository,
    place_for_dataset,
    remove_dataset,
    remove_store,
    scan_refs,
)
from cas.types import as_type


def init(url: Url) -> None:
    """Makes a store for many datasets, which are then created at ``url/name``.

    Equal chunks are kept once in all of a store's datasets. Raises :class:`~cas.errors.StoreExistsError` where
    something is there.
    """
    init_store(url).store.close()


def create(url: Url, schema: Mapping[str, Any] | None = None, *, compress: bool = True) -> Dataset:
    """Creates a dataset with its first, empty version and opens it on ``main``.

    Below a store made by :func:`init` it becomes one of that store's; elsewhere a store is made for it alone. With
    ``schema``, a dict of column names and types, the columns are added and committed too. For ``compress`` see
    :func:`open`. Raises :class:`~cas.errors.ExistsError` where a dataset or something else is there.
    """
    _check_compress(compress)
    if schema is not None and not isinstance(schema, Mapping):
        raise InvalidTypeError(f"schema {schema!r} is not valid; expected a dict of column names and types")
    types = {check_column_name(name): as_type(dtype) for name, dtype in (schema or {}).items()}
    with place_for_dataset(url) as (repository, name):
        _check_free(repository, name, url)
        repository.compress = compress
        id_ = create_dataset(repository, name, default_author())
        dataset = Dataset(repository, id_, name, MAIN)
        with removed_on_failure(dataset):
            for column, type_ in types.items():
                dataset.add_column(column, type_)
            if types:
                dataset.commit("Columns added")
    return dataset


@contextmanager
def removed_on_failure(dataset: Dataset) -> Iterator[None]:
    """Takes a new dataset away again if the block fails, as on a full disk: it would be there without its columns."""
    try:
        yield
    except BaseException:
        repository, name = dataset._repository, dataset._name
        dataset.rollback()
        with suppress(CasError):
            repository.store.write(lambda txn: remove_dataset(txn, name))
        dataset.close()
        raise


def open(url: Url, branch: str = MAIN, *, compress: bool = True) -> Dataset:  # noqa: A001
    """Opens a dataset for writing on a branch, which may also stand in the url: ``lake/cats@fixes``.

    New chunks are compressed where that saves an eighth. With ``compress=False`` this handle does not try, which writes
    and reads faster and takes more space; versions and their hashes are the same either way.

    Raises :class:`~cas.errors.NotFoundError` where there is no store, dataset or branch. Tags and versions open with
    :func:`open_read_only`.
    """
    if not isinstance(branch, str):
        raise InvalidTypeError(f"branch {branch!r} is not text; expected the name of a branch")
    _check_compress(compress)
    repository, location = open_repository(url, compress=compress)
    with _closed_on_failure(repository):
        dataset = repository.dataset_id(location.name)
        if location.revision is not None:
            _check_agrees(url, branch if branch != MAIN else location.revision, location.revision)
            branch = location.revision
        return Dataset(repository, dataset, location.name, branch)


@contextmanager
def _closed_on_failure(repository: Repository) -> Iterator[None]:
    """Gives a store back if the block fails: no dataset holds it then."""
    try:
        yield
    except BaseException:
        repository.store.close()
        raise


def _check_compress(compress: object) -> None:
    if not isinstance(compress, bool):
        raise InvalidTypeError(f"compress={shown(compress)} is not valid; expected True or False")


def open_async(url: Url, branch: str = MAIN, *, compress: bool = True) -> Future[Dataset]:
    """Opens a dataset as :func:`open` does, in a thread of its own."""
    return Future(lambda: open(url, branch, compress=compress))


def open_read_only(url: Url, version: str | Version | None = None) -> ReadOnlyDataset:
    """Opens a dataset as it was at a revision: a branch, tag, version id or prefix, ``main~2``; without one, ``main``.

    The revision may also stand in the url: ``lake/cats@v1.0``. Needs no write access.
    """
    repository, location = open_repository(url, read_only=True)
    with _closed_on_failure(repository):
        dataset = repository.dataset_id(location.name)
        if location.revision is not None:
            _check_agrees(url, location.revision if version is None else version, location.revision)
            version = location.revision
        hash_ = find_version(repository, dataset, MAIN if version is None else version)
        return ReadOnlyDataset(repository, dataset, location.name, hash_)


def _check_agrees(url: Url, given: object, revision: str) -> None:
    if given != revision:
        raise InvalidInputError(f"the url {url} names the revision {revision!r}, and the argument {given!r}; give one")


def copy(source: Url | Dataset | ReadOnlyDataset, url: Url, *, report: Report | None = None) -> Dataset:
    """Copies a dataset with its versions, branches, tags and metadata to another place, and opens it on ``main``.

    Versions keep their ids. A url that names a revision, ``lake/cats@v1.0``, gives that version and those before it, as
    ``main``. Within a store only names are written, between stores what the other one lacks. Staged changes are not
    copied. ``report(done, versions)`` is called after each version. Raises :class:`~cas.errors.ExistsError` where
    something is there.
    """
    repository, dataset, name, revision = _source(source)
    version = None if revision is None else find_version(repository, dataset, revision)
    with place_for_dataset(url) as (target, new_name):
        _check_free(target, new_name, url)
        id_ = copy_dataset(repository, dataset, name, target, new_name, version=version, report=report)
    with target.store.read() as view:
        branches = [branch for branch, _ in scan_refs(view, id_, BRANCH)]
    return Dataset(target, id_, new_name, MAIN if MAIN in branches else branches[0])


def _check_free(repository: Repository, name: str, url: Url) -> None:
    if repository.has_dataset(name):
        raise DatasetExistsError(f"there is a dataset at {url} already; open it, or choose another place", name=name)


def like(source: Url | Dataset | ReadOnlyDataset, url: Url) -> Dataset:
    """Creates an empty dataset with the columns of another one: their names, types and metadata, not the dataset's."""
    if isinstance(source, (Dataset, ReadOnlyDataset)):
        return _create_like(source, url)
    with open_read_only(source) as opened:
        return _create_like(opened, url)


def _create_like(source: Dataset | ReadOnlyDataset, url: Url) -> Dataset:
    columns = {name: (type_, source[name].metadata.to_dict()) for name, type_ in source.schema.items()}
    dataset = create(url)
    for name, (type_, metadata) in columns.items():
        dataset.add_column(name, type_)
        dataset[name].metadata.update(metadata)
    dataset.commit("Columns added")
    return dataset


def _source(source: Url | Dataset | ReadOnlyDataset) -> tuple[Repository, bytes, str, str | None]:
    """The store, dataset id, name and perhaps revision that are to be copied."""
    if isinstance(source, (Dataset, ReadOnlyDataset)):
        source._check_open()
    if isinstance(source, ReadOnlyDataset):
        return source._repository, source._dataset, source._name, source.version.id
    if isinstance(source, Dataset):
        return source._repository, source._dataset, source._name, None
    repository, location = open_repository(source, read_only=True)
    return repository, repository.dataset_id(location.name), location.name, location.revision


def delete(url: Url) -> None:
    """Deletes a dataset with all its versions, branches and tags, for good.

    A store of one dataset goes with its files, and with its directory if nothing else is in it. In a store of many the
    name goes at once; what no other dataset uses is freed when the store is collected. A store of many can be deleted
    when it has no datasets. Raises :class:`~cas.errors.NotFoundError` for what is no store or dataset.
    """
    repository, location = open_repository(url)
    if location.path.is_symlink():
        raise InvalidInputError(f"{url} is a link; delete what it leads to, {location.path.resolve()}")
    if location.revision is not None:
        raise InvalidInputError(f"{url} names a revision; delete takes the url of a dataset, tags have Tag.delete")
    names = repository.dataset_names()
    if location.path == repository.path and (repository.config.layout == ONE_DATASET or not names):
        remove_store(repository)
    elif location.path == repository.path:
        raise InvalidInputError(
            f"{repository.path} is a store of {len(names)} datasets, {names[0]!r} is one; delete these first"
        )
    else:
        repository.dataset_id(location.name)
        repository.store.write(lambda txn: remove_dataset(txn, location.name))


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
