"""A sampler that tells where it is, and goes on from there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from torch import distributed
from torch.utils import data

from cas.codec.rows import Ints
from cas.errors import InvalidInputError, InvalidTypeError, shown
from cas.integrations.torch.order import checked_count, permutation

_BLOCK: Final = 4096
"""So many numbers are Python objects at once."""


def checked_flag(value: object, what: str) -> bool:
    """Returns a bool."""
    if not isinstance(value, bool):
        raise InvalidTypeError(f"{what}={shown(value)} is not valid; expected True or False")
    return value


def rank_of(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Returns which of how many processes this is: as given, as ``torch.distributed`` says, or the only one."""
    if (rank is None) != (world_size is None):
        raise InvalidInputError(f"rank={rank} and world_size={world_size} go together; give both, or none")
    if rank is None:
        running = distributed.is_available() and distributed.is_initialized()
        return (distributed.get_rank(), distributed.get_world_size()) if running else (0, 1)
    world_size = checked_count(world_size, "world_size", 1)
    return checked_count(rank, "rank", 0, world_size - 1), world_size


class ResumableSampler(data.Sampler):  # type: ignore[misc]
    """Yields the numbers of all rows, shuffled or not, each epoch in an order of its own, from where it left off.

    ``seed`` and the epoch decide the order. The first iteration is epoch 0, each further one the next;
    :meth:`set_epoch` chooses. Several ranks get every ``world_size``-th row each; so that all get as many, the first
    rows come again at the end of an epoch, or with ``drop_last`` the last ones are left out. Rank and world size are
    those of ``torch.distributed`` where it is running. Memory: 24 bytes a row while an epoch begins, then 8.

    :meth:`state_dict` counts what was taken from the sampler. A ``DataLoader`` with workers takes batches ahead: use
    ``MapDataset.loader``, or torchdata's ``StatefulDataLoader``, which keep count of what has come out.
    """

    def __init__(
        self,
        rows: int,
        version: str,
        shuffle: bool = True,
        seed: int = 0,
        *,
        drop_last: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self._rows = rows
        self._version = version
        self._shuffle = checked_flag(shuffle, "shuffle")
        self._seed = checked_count(seed, "seed", 0)
        self._drop_last = checked_flag(drop_last, "drop_last")
        self._rank, self._world_size = rank_of(rank, world_size)
        self._next = (0, 0)  # the epoch and place that the next iteration begins at
        self._at = (0, 0)

    def __len__(self) -> int:
        """The rows of an epoch for this rank, also while one is resumed."""
        return self._rows // self._world_size if self._drop_last else -(-self._rows // self._world_size)

    @property
    def begins_at(self) -> tuple[int, int]:
        """The epoch that the next iteration is of, and how many of its rows are left out, for they were taken."""
        return self._next

    def __iter__(self) -> Iterator[int]:
        epoch, place = self._next
        self._next = (epoch + 1, 0)
        self._at = (epoch, place)
        order = self._order(epoch)
        for start in range(place, len(order), _BLOCK):
            for place, number in enumerate(order[start : start + _BLOCK].tolist(), start + 1):
                self._at = (epoch, place)
                yield number
        self._at = (epoch + 1, 0)

    def _order(self, epoch: int) -> Ints:
        """The rows of this rank in an epoch."""
        order = permutation(self._rows, self._seed, epoch) if self._shuffle else np.arange(self._rows, dtype=np.int64)
        total = len(self) * self._world_size
        if total > self._rows:
            order = np.resize(order, total)
        return order[self._rank : total : self._world_size]

    def set_epoch(self, epoch: int) -> None:
        """Makes the next iteration begin an epoch."""
        self._next = self._at = (checked_count(epoch, "epoch", 0), 0)

    def state_dict(self, at: tuple[int, int] | None = None) -> dict[str, Any]:
        """Returns where the sampler is, or where an epoch and a place in it are, as values that JSON can hold."""
        epoch, place = self._at if at is None else at
        return {"epoch": epoch, "place": place, **self._identity}

    @property
    def _identity(self) -> dict[str, Any]:
        """What has to be the same for a place to mean the same."""
        return {
            "version": self._version,
            "shuffle": self._shuffle,
            "seed": self._seed,
            "drop_last": self._drop_last,
            "world_size": self._world_size,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Makes the next iteration go on where a state says.

        Raises :class:`~cas.errors.InvalidInputError` for that of another version, seed, order or world size, in which
        the place would be another one.
        """
        if not isinstance(state, Mapping) or not {"epoch", "place"} <= state.keys():
            raise InvalidTypeError(f"{shown(state)} is no state of a sampler; expected what state_dict returned")
        for name, expected in self._identity.items():
            if state.get(name) != expected:
                raise InvalidInputError(
                    f"the state was saved with {name}={shown(state.get(name), 80)}, and this sampler has "
                    f"{name}={shown(expected, 80)}; make it from the same version with the same arguments"
                )
        epoch = checked_count(state["epoch"], "epoch", 0)
        self._next = self._at = (epoch, checked_count(state["place"], "place", 0, len(self)))
