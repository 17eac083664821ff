"""The datasets of PyTorch: map-style, and iterable for reading in large pieces."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import torch
from torch.utils import data

from cas.codec.rows import Ints
from cas.dataset.indexing import select
from cas.integrations.torch.loader import ResumableLoader, WholeBatches
from cas.integrations.torch.order import checked_count, permutation, run_rows, runs, share, windows
from cas.integrations.torch.reading import Fetched, Reader
from cas.integrations.torch.sampler import ResumableSampler, checked_flag, rank_of
from cas.integrations.torch.tensors import split_rows, to_batch, to_tensors
from cas.types import Type

Transform = Callable[[Any], Any] | None
_WINDOW_BYTES: Final = 64 << 20
_READ_BYTES: Final = 8 << 20
_ROWS_AT_ONCE: Final = 64


def _in_threads() -> bool:
    """Whether images are decoded in threads: not where the workers of a DataLoader keep the processors busy already."""
    worker = data.get_worker_info()
    return worker is None or (os.cpu_count() or 1) >= 2 * worker.num_workers


def _as_rows(reader: Reader, fetched: Fetched) -> list[dict[str, Any]]:
    """Each row by column."""
    return split_rows(_convert(reader, fetched, to_tensors))


def _as_batch(reader: Reader, fetched: Fetched) -> dict[str, Any]:
    """Rows by column, each column as a tensor wherever rows have one shape."""
    return _convert(reader, fetched, to_batch)


def _convert(reader: Reader, fetched: Fetched, convert: Callable[[Type, Any, str], Any]) -> dict[str, Any]:
    values = zip(reader.columns, reader.values(fetched, _in_threads()), strict=True)
    return {name: convert(type_, found, reader.layout) for name, (type_, found) in values}


class MapDataset(data.Dataset):  # type: ignore[misc]
    """The rows of a version by number, for a ``DataLoader``; see ``Bridges.pytorch``.

    ``dataset[i]`` is a row, a dict by column; ``dataset[[i, j]]``, also with an array or a slice, is a batch, a dict
    of tensors by column, and of lists where rows differ in shape. It is pinned: what others commit does not show.
    """

    def __init__(self, reader: Reader, transform: Transform) -> None:
        self._reader = reader
        self._transform = transform

    @property
    def version(self) -> str:
        """The id of the version that is read."""
        return self._reader.dataset.version.id

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that are read."""
        return self._reader.columns

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, index: Any) -> Any:
        selected = select(index.numpy() if isinstance(index, torch.Tensor) and index.ndim else index, len(self))
        if isinstance(selected, int):
            return self._rows(range(selected, selected + 1))[0]
        batch = _as_batch(self._reader, self._reader.fetch(selected))
        return batch if self._transform is None else self._transform(batch)

    def __getitems__(self, numbers: Any) -> list[Any]:
        """Returns rows, all of them read at once: what a ``DataLoader`` asks for."""
        selected = select(list(numbers), len(self))
        assert not isinstance(selected, int)
        return self._rows(selected)

    def _rows(self, numbers: range | Ints) -> list[Any]:
        rows = _as_rows(self._reader, self._reader.fetch(numbers))
        return rows if self._transform is None else [self._transform(row) for row in rows]

    def sampler(
        self,
        shuffle: bool = True,
        seed: int = 0,
        *,
        drop_last: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> ResumableSampler:
        """Returns a sampler for a ``DataLoader``, which takes up an epoch where its ``state_dict`` says.

        See :class:`~cas.integrations.torch.sampler.ResumableSampler`.
        """
        return ResumableSampler(
            len(self), self.version, shuffle, seed, drop_last=drop_last, rank=rank, world_size=world_size
        )

    def loader(
        self,
        batch_size: int = 1,
        shuffle: bool = True,
        seed: int = 0,
        *,
        drop_last: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
        **options: Any,
    ) -> ResumableLoader:
        """Returns a ``DataLoader`` with ``state_dict`` and ``load_state_dict``, exact with any number of workers.

        Batches are those of ``dataset[[i, j, ...]]``; with a transform, which gets each row, or with ``collate_fn``
        they are put together from rows, as usual. ``options`` are those of ``torch.utils.data.DataLoader``. With
        ``drop_last`` the last batch of an epoch that is shorter is left out. See
        :class:`~cas.integrations.torch.loader.ResumableLoader`.
        """
        sampler = self.sampler(shuffle, seed, rank=rank, world_size=world_size)
        whole = self._transform is None and options.get("collate_fn") is None
        return ResumableLoader(WholeBatches(self) if whole else self, sampler, batch_size, drop_last, options)

    def iterable(
        self,
        shuffle: bool = False,
        seed: int = 0,
        *,
        batch_size: int | None = None,
        buffer_rows: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> IterableDataset:
        """Returns the same rows as an iterable-style dataset, which reads large pieces in the order of the store.

        See :class:`~cas.integrations.torch.datasets.IterableDataset`.
        """
        return IterableDataset(
            self._reader,
            self._transform,
            shuffle,
            seed,
            batch_size=batch_size,
            buffer_rows=buffer_rows,
            rank=rank,
            world_size=world_size,
        )

    def __repr__(self) -> str:
        return f"<MapDataset of {self._reader.dataset!r}: columns {list(self.columns)}>"


class IterableDataset(data.IterableDataset):  # type: ignore[misc]
    """The rows of a version as they come from the store, or shuffled in windows.

    Shuffled, runs of neighbouring rows are read in random order into a window of ``buffer_rows`` rows (by default as
    many as 64 MiB hold, encoded), and leave it in random order. ``seed`` and the epoch decide all of it: call
    :meth:`set_epoch` before each epoch, as for a ``DistributedSampler``, for another order. Ranks and the workers of a
    ``DataLoader`` share the rows of an epoch, each row once; they differ by at most one row.

    With ``batch_size`` it yields ready batches, as ``MapDataset[[...]]`` gives them, for
    ``DataLoader(dataset, batch_size=None)``: that spares the work of making rows and putting them together again. The
    transform then gets batches. The last batch of each worker may be shorter.
    """

    def __init__(
        self,
        reader: Reader,
        transform: Transform,
        shuffle: bool,
        seed: int,
        *,
        batch_size: int | None,
        buffer_rows: int | None,
        rank: int | None,
        world_size: int | None,
    ) -> None:
        self._reader = reader
        self._transform = transform
        self._shuffle = checked_flag(shuffle, "shuffle")
        self._seed = checked_count(seed, "seed", 0)
        self._batch_size = None if batch_size is None else checked_count(batch_size, "batch_size", 1)
        bytes_wanted = _WINDOW_BYTES if shuffle else _READ_BYTES
        rows = bytes_wanted // reader.row_bytes if buffer_rows is None else checked_count(buffer_rows, "buffer_rows", 1)
        self._window_rows = max(1, rows)
        self._rank, self._world_size = rank_of(rank, world_size)
        # Shared with the workers of a DataLoader, also those that stay for several epochs.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def version(self) -> str:
        """The id of the version that is read."""
        return self._reader.dataset.version.id

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch is next: each has an order of its own."""
        self._epoch.fill_(checked_count(epoch, "epoch", 0))

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches(int(self._epoch)):
            if self._batch_size is None:
                rows = _as_rows(self._reader, batch)
                yield from rows if self._transform is None else map(self._transform, rows)
            else:
                columns = _as_batch(self._reader, batch)
                yield columns if self._transform is None else self._transform(columns)

    def _batches(self, epoch: int) -> Iterator[Fetched]:
        """The rows of this worker's share of an epoch, some at a time; only the last may be fewer."""
        size = self._batch_size or _ROWS_AT_ONCE
        rest: Fetched | None = None
        for number, window in enumerate(windows(self._runs(epoch), self._window_rows)):
            parts = [self._reader.fetch(run) for run in window]
            count = sum(map(len, parts))
            fetched = Fetched.concat(parts if rest is None else [rest, *parts])
            before = len(fetched) - count
            places = np.arange(len(fetched), dtype=np.int64)
            if self._shuffle:
                salt = (epoch, 1, window[0].start, number)
                places[before:] = before + permutation(count, self._seed, *salt)
            whole = len(fetched) - len(fetched) % size
            for start in range(0, whole, size):
                yield self._part(fetched, places[start : start + size])
            rest = self._part(fetched, places[whole:])
        if rest is not None and len(rest):
            yield rest

    def _part(self, fetched: Fetched, places: Ints) -> Fetched:
        if self._shuffle or not len(places):
            return fetched.take(places)
        return fetched.slice(int(places[0]), int(places[-1]) + 1)

    def _runs(self, epoch: int) -> Iterator[range]:
        rows = len(self._reader)
        length = run_rows(self._window_rows) if self._shuffle else self._window_rows
        worker = data.get_worker_info()
        number, count = (0, 1) if worker is None else (worker.id, worker.num_workers)
        start, stop = share(rows, self._rank * count + number, self._world_size * count)
        order = permutation(-(-rows // length), self._seed, epoch, 0) if self._shuffle else None
        return runs(rows, length, order, start, stop)

    def __repr__(self) -> str:
        return f"<IterableDataset of {self._reader.dataset!r}: columns {list(self._reader.columns)}>"
