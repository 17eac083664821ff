"""What commands that look at versions open: a store, a dataset in it, a version, and the refs that name it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import click

from cas.cli.output import format_time
from cas.dataset.history import Version, find_version
from cas.errors import InvalidInputError, StoreError
from cas.history.records import TreeRecord
from cas.history.refs import BRANCH, MAIN, TAG
from cas.repo.location import Location, parse_url
from cas.repo.repository import Repository, open_repository, scan_refs

SHORT_DIGITS = 12

Refs = dict[str, dict[str, list[str]]]
"""For version ids the branches and the tags that name them, each sorted."""


@dataclass(frozen=True, slots=True)
class OpenedDataset:
    """A dataset in an open store."""

    repository: Repository
    location: Location
    dataset: bytes

    @property
    def where(self) -> str:
        """The path of the dataset, without a revision."""
        return str(self.location.path)

    def find(self, revision: str) -> Version:
        """Returns the version that a revision names."""
        hash_ = find_version(self.repository, self.dataset, revision)
        return Version(self.repository, self.dataset, self.location.name, hash_)

    def revision_of(self, text: str) -> str:
        """Returns the revision that a second argument names: ``@REV``, ``REV``, or a url of the same dataset.

        A url without a revision means ``main``. Text that leads to no dataset is a revision. Raises
        :class:`~cas.errors.InvalidInputError` for a url of another dataset.
        """
        if text.startswith("@"):
            return text[1:]
        other = parse_url(text)
        if other.store is None or not self._is_dataset(other):
            return text
        return other.revision or MAIN

    def _is_dataset(self, other: Location) -> bool:
        """Whether a place is this dataset; False for none at all, and an error for another one."""
        assert other.store is not None
        if os.path.samefile(other.store, self.repository.path):
            if not self.repository.has_dataset(other.name):
                return False
            if self.repository.dataset_id(other.name) == self.dataset:
                return True
        raise InvalidInputError(
            f"{other.path} is another dataset than {self.where}; a second argument names a version of the same one, "
            f"such as @{MAIN}"
        )

    def refs(self) -> Refs:
        """Returns the branches and tags of the dataset by the versions they name."""
        return read_refs(self.repository, self.dataset)


def read_refs(repository: Repository, dataset: bytes) -> Refs:
    """Returns the branches and tags of a dataset by the versions they name."""
    found: Refs = {}
    with repository.store.read() as view:
        for kind, plural in ((BRANCH, "branches"), (TAG, "tags")):
            for name, ref in scan_refs(view, dataset, kind):
                names = found.setdefault(ref.version.hex(), {"branches": [], "tags": []})
                names[plural].append(name)
    return found


@dataclass(frozen=True, slots=True)
class Opened(OpenedDataset):
    """A dataset in an open store, and the version that a url named, or the head of ``main``."""

    version: Version

    @property
    def tree(self) -> TreeRecord:
        """The state at the version."""
        return self.repository.tree(bytes.fromhex(self.version.tree))


@contextmanager
def open_store(url: str, *, read_only: bool = True) -> Iterator[tuple[Repository, Location]]:
    """Opens the store at or above a url, and closes it at the end."""
    repository, location = open_repository(url, read_only=read_only)
    try:
        yield repository, location
    finally:
        repository.store.close()


@contextmanager
def open_dataset(url: str, *, read_only: bool = True) -> Iterator[OpenedDataset]:
    """Opens the dataset that a url names, whatever its revision."""
    with open_store(url, read_only=read_only) as (repository, location):
        yield OpenedDataset(repository, location, repository.dataset_id(location.name))


@contextmanager
def open_version(url: str, *, read_only: bool = True) -> Iterator[Opened]:
    """Opens the version that a url names; without a revision the head of ``main``."""
    with open_dataset(url, read_only=read_only) as found:
        version = found.find(found.location.revision or MAIN)
        yield Opened(found.repository, found.location, found.dataset, version)


@contextmanager
def open_version_to_keep(url: str) -> Iterator[Opened]:
    """Opens the version that a url names so that what is found out about it is kept in the store, if it may be."""
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(open_version(url, read_only=False))
        except StoreError:
            opened = stack.enter_context(open_version(url))
        yield opened


def refuse_revision(location: Location) -> None:
    """Raises a usage error where a url names a revision, which the command has no use for."""
    if location.revision is not None:
        raise click.UsageError(f"the URL ends in @{location.revision}, which has no meaning here; leave it out")


def version_facts(version: Version, refs: Refs) -> dict[str, Any]:
    """Returns what is said of a version in JSON."""
    return {
        "id": version.id,
        "timestamp": format_time(version.timestamp, "microseconds"),
        "author": version.author,
        "message": version.message,
        "parents": list(version.parents),
        **refs.get(version.id, {"branches": [], "tags": []}),
    }


def format_refs(version: Version, refs: Refs) -> str:
    """Returns the refs that name a version as one text, such as ``main, tag: v1.0``; empty where there are none."""
    names = refs.get(version.id, {"branches": [], "tags": []})
    return ", ".join([*names["branches"], *(f"tag: {name}" for name in names["tags"])])
