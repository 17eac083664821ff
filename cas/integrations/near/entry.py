"""Duplicates of a dataset as it is open: of its version, since the rows that are found are to be deleted in it."""

from __future__ import annotations

from cas.dataset.bridges import Bridges
from cas.dataset.dataset import Dataset
from cas.dataset.read_only import ReadOnlyDataset
from cas.dataset.readable import Readable
from cas.errors import UncommittedChangesError
from cas.integrations.near.groups import NearDuplicates
from cas.repo.duplicates import Duplicates, find_duplicates


def exact_duplicates(dataset: Bridges, column: str) -> Duplicates:
    """Finds identical rows: see :meth:`cas.Dataset.duplicates`."""
    opened = _committed(dataset)
    return find_duplicates(opened._repository, opened._repository.tree(bytes.fromhex(opened.version.tree)), column)


def near_duplicates(dataset: Bridges, column: str, threshold: int, colour: int) -> NearDuplicates:
    """Finds rows whose images look alike: see :meth:`cas.Dataset.near_duplicates`."""
    from cas.integrations.near.search import find_near_duplicates  # it needs Pillow

    return find_near_duplicates(_committed(dataset), column, threshold, colour)


def _committed(dataset: Bridges) -> ReadOnlyDataset:
    """The version of a dataset; refused where its rows are not those that the handle has."""
    assert isinstance(dataset, Readable)
    if isinstance(dataset, Dataset) and dataset._draft.changed:
        raise UncommittedChangesError(
            "there are uncommitted changes, and rows are found by their number in a version; commit or roll back first"
        )
    return dataset.version.open()
