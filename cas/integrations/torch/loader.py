"""A DataLoader that tells how far training is, whatever its workers have read ahead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils import data

from cas.errors import InvalidInputError
from cas.integrations.torch.order import checked_count
from cas.integrations.torch.sampler import ResumableSampler, checked_flag


class WholeBatches(data.Dataset):  # type: ignore[misc]
    """A dataset whose rows come as ready batches, which spares a loader to take rows apart and put them together."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __getitems__(self, numbers: list[int]) -> Any:
        """Returns one batch."""
        return self.rows[numbers]


def _as_it_is(batch: Any) -> Any:
    """In the place of putting rows together."""
    return batch


class ResumableLoader(data.DataLoader):  # type: ignore[misc]
    """A ``DataLoader`` over a :class:`~cas.integrations.torch.sampler.ResumableSampler`, which it keeps count for.

    ``state_dict()`` after a batch tells of the rows up to that batch. A loader that has loaded it goes on with the next
    batch, with any number of workers, and another ``batch_size`` too.
    """

    def __init__(
        self, dataset: Any, sampler: ResumableSampler, batch_size: int, drop_last: bool, options: Mapping[str, Any]
    ) -> None:
        for name in {"sampler", "batch_sampler"} & options.keys():
            raise InvalidInputError(f"{name}= cannot be given: the loader has a sampler of its own; use a DataLoader")
        size = checked_count(batch_size, "batch_size", 1)
        if isinstance(dataset, WholeBatches):
            options = {**options, "collate_fn": _as_it_is}
        super().__init__(dataset, size, sampler=sampler, drop_last=checked_flag(drop_last, "drop_last"), **options)
        self._at = sampler.begins_at

    def __iter__(self) -> Iterator[Any]:
        epoch, place = self._at = self.sampler.begins_at
        for batch in super().__iter__():
            place = min(place + self.batch_size, len(self.sampler))
            self._at = (epoch, place)
            yield batch
        self._at = (epoch + 1, 0)

    def set_epoch(self, epoch: int) -> None:
        """Makes the next iteration begin an epoch."""
        self.sampler.set_epoch(epoch)
        self._at = self.sampler.begins_at

    def state_dict(self) -> dict[str, Any]:
        """Returns which epoch it is and how many of its rows have come out, as values that JSON can hold."""
        found: dict[str, Any] = self.sampler.state_dict(self._at)
        return found

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Makes the next iteration go on where a state says; see the sampler."""
        self.sampler.load_state_dict(state)
        self._at = self.sampler.begins_at
