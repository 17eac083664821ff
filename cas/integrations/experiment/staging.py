"""The files of a run, staged as rows of its experiment, which is made where there is none."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Final

from cas.dataset.dataset import Dataset
from cas.dataset.opening import create, open  # noqa: A004
from cas.errors import ConflictError, DatasetNotFoundError, ExistsError, InvalidInputError, StoreNotFoundError
from cas.hashing import Bytes
from cas.integrations.experiment.content import ContentKey, split_parts
from cas.integrations.experiment.record import COLUMNS
from cas.repo.location import Url

_BATCH_BYTES: Final = 8 << 20
_PATIENCE_SECONDS: Final = 10.0
_GRACE_SECONDS: Final = 2.0
"""How long an experiment may be without columns before it is taken for one whose maker has died."""
_POLL_SECONDS: Final = 0.02


class Staged:
    """The rows of a run, staged in a handle of its own and not to be recovered: a run that is killed is gone."""

    def __init__(self, dataset: Dataset, run: str) -> None:
        self.dataset = dataset
        self._run = run
        self._base = len(dataset)
        self._paths: list[str] = []
        self._owner = ExitStack()
        self._owner.enter_context(dataset._draft.kept_by_owner())

    def add(self, path: str, parts: Iterable[Bytes]) -> ContentKey:
        """Stages a file, in the place of one of that path, whole or not at all; returns what identifies its content."""
        key = ContentKey()
        before = len(self._paths)
        try:
            self._append(path, parts, key)
        except BaseException:
            self._delete(range(before, len(self._paths)))
            raise
        self._delete([at for at, other in enumerate(self._paths[:before]) if other == path])
        return key

    def _append(self, path: str, parts: Iterable[Bytes], key: ContentKey) -> None:
        batch: list[bytes] = []
        number = size_bytes = 0
        for part in split_parts(parts):
            key.feed(part)
            batch.append(part)
            size_bytes += len(part)
            if size_bytes >= _BATCH_BYTES:
                number = self._put(path, number, batch)
                batch, size_bytes = [], 0
        if batch:
            self._put(path, number, batch)

    def _put(self, path: str, number: int, batch: list[bytes]) -> int:
        count = len(batch)
        numbers = list(range(number, number + count))
        self.dataset.append({"run": [self._run] * count, "path": [path] * count, "part": numbers, "content": batch})
        self._paths += [path] * count
        return number + count

    def remove(self, path: str) -> None:
        """Takes a file away again."""
        self._delete([at for at, other in enumerate(self._paths) if other == path])

    def _delete(self, numbers: Sequence[int]) -> None:
        if len(numbers):
            self.dataset.delete([self._base + at for at in numbers])
            gone = set(numbers)
            self._paths = [path for at, path in enumerate(self._paths) if at not in gone]

    def drop(self) -> None:
        """Drops what is still staged, and gives the dataset back."""
        self._owner.close()
        self.dataset.rollback()
        self.dataset.close()


def open_experiment(url: Url) -> Dataset:
    """Opens an experiment, or makes it; another process may be making it at this moment, or have died of that."""
    patience = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            dataset = _open_or_create(url)
        except ExistsError:
            if time.monotonic() > patience:
                raise
            time.sleep(_POLL_SECONDS)
            continue
        try:
            return _with_columns(dataset, url)
        except BaseException:
            dataset.rollback()
            dataset.close()
            raise


def _open_or_create(url: Url) -> Dataset:
    try:
        return open(url)
    except (StoreNotFoundError, DatasetNotFoundError) as error:
        try:
            return create(url, COLUMNS)
        except InvalidInputError:
            raise error from None  # a branch was named


def _with_columns(dataset: Dataset, url: Url) -> Dataset:
    grace = time.monotonic() + _GRACE_SECONDS
    while dict(dataset.schema) != COLUMNS:
        if len(dataset.schema) or len(dataset):
            raise InvalidInputError(
                f"{os.fspath(url)} is no experiment: its columns are {list(dataset.schema)}, and those of an "
                f"experiment {list(COLUMNS)}; choose another url"
            )
        if time.monotonic() < grace:
            time.sleep(_POLL_SECONDS)
            dataset.refresh()
            continue
        try:
            for name, type_ in COLUMNS.items():
                dataset.add_column(name, type_)
            dataset.commit("Columns added")
        except ConflictError:
            dataset.rollback()
            dataset.refresh()
    return dataset
