"""From a dataset to one of PyTorch, whose modules are imported here and nowhere else."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cas.dataset.bridges import Bridges
from cas.dataset.dataset import Dataset
from cas.dataset.read_only import ReadOnlyDataset
from cas.dataset.readable import Readable
from cas.errors import UncommittedChangesError, UnsupportedError
from cas.integrations.torch.reading import Reader, checked_columns, checked_decode, checked_layout, checked_transform

if TYPE_CHECKING:
    from cas.integrations.torch.datasets import MapDataset


def open_for_torch(
    dataset: Bridges,
    columns: Sequence[str] | None,
    transform: Callable[[Any], Any] | None,
    decode: bool | str,
    layout: str,
) -> MapDataset:
    """Returns the map-style dataset of PyTorch that ``Bridges.pytorch`` tells of."""
    assert isinstance(dataset, Readable)
    try:
        import torch  # noqa: F401
    except ImportError:
        raise UnsupportedError(
            "datasets for PyTorch need torch; install it with: pip install 'tensor-cas[torch]'"
        ) from None
    from cas.integrations.torch.datasets import MapDataset

    names = checked_columns(dataset, columns)
    reader = Reader(pinned(dataset), names, checked_decode(decode), checked_layout(layout))
    return MapDataset(reader, checked_transform(transform))


def pinned(dataset: Readable) -> ReadOnlyDataset:
    """Returns the version that is open, as a handle of its own: closing the dataset leaves it alone."""
    with dataset._lock:
        if isinstance(dataset, Dataset) and dataset._draft.changed:
            raise UncommittedChangesError(
                "there are uncommitted changes, which a dataset for PyTorch would not have; commit first, or take the "
                "version without them: ds.version.open().pytorch()"
            )
        return copy.deepcopy(dataset.version.open())
