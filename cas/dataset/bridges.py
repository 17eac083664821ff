"""Methods of datasets that belong to other libraries: each is a door to a module of ``cas.integrations``.

Imports point down everywhere else. Users look for these verbs on the dataset, though, so this module knows what stands
above it, and imports it when a method is called (``tests/test_layers.py`` allows no other module that).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cas.integrations.torch.datasets import MapDataset


class Bridges:
    """What a dataset gives to other libraries."""

    def pytorch(
        self,
        columns: Sequence[str] | None = None,
        transform: Callable[[Any], Any] | None = None,
        decode: bool | str = True,
        layout: str = "CHW",
    ) -> MapDataset:
        """Returns the rows as a map-style dataset of PyTorch, pinned to the version that is open.

        Each row is a dict of ``columns``, by default of all, or what ``transform`` makes of it. What others commit, and
        where the branch moves, never shows; it is pickled as the url and the version, for workers that are forked or
        spawned, and stays open when this dataset is closed. A batch is one read a column.

        Numbers, classes (int64) and arrays of one shape become tensors of their dtype, bfloat16 and float8 included;
        times become counts of their unit (int64); text, bytes and dicts stay as they are; a missing value is None.
        Images are uint8 tensors of shape (channels, height, width), as torchvision has them, and masks (height, width);
        with ``layout="HWC"`` they are arrays as Deep Lake gives them, of shape (height, width) or (height, width,
        channels). ``decode="RGB"``, ``"L"`` or ``"RGBA"`` gives all images these channels, and ``decode=False`` the
        bytes of their files.

        The result also has ``sampler`` and ``loader``, shuffled by a seed and resumed in the middle of an epoch, and
        ``iterable``, which reads in the order of the store. Raises :class:`~cas.errors.UncommittedChangesError` where
        changes are staged, and :class:`~cas.errors.UnsupportedError` where PyTorch is not installed.

            >>> loader = DataLoader(ds.pytorch(["image", "label"], decode="RGB"), batch_size=64)  # doctest: +SKIP
        """
        from cas.integrations.torch.opening import open_for_torch

        return open_for_torch(self, columns, transform, decode, layout)
