"""Runs that have ended: found in the history of an experiment, and read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cas.dataset.history import Version, find_version, walk_versions
from cas.dataset.read_only import ReadOnlyDataset
from cas.errors import CorruptedError, InvalidInputError, shown
from cas.history.refs import MAIN
from cas.integrations.experiment.record import COLUMNS, RunFile, RunInput, RunRecord, record_of
from cas.repo.location import Url
from cas.repo.repository import open_repository


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run that is a version: ``version.id`` names it, ``record`` is all that was noted but the content of files."""

    version: Version
    record: RunRecord

    @property
    def status(self) -> str:
        """``"finished"``, or ``"failed"`` where the block raised."""
        return self.record.status

    @property
    def params(self) -> dict[str, Any]:
        """The parameters."""
        return self.record.params

    @property
    def metrics(self) -> dict[str, Any]:
        """The metrics: the last that was logged of each, and those that were set."""
        return self.record.metrics

    @property
    def inputs(self) -> dict[str, RunInput]:
        """The versions that it used, by name."""
        return self.record.inputs

    @property
    def outputs(self) -> dict[str, RunFile]:
        """The files that it gave out, by name: path, size, and what identifies the content."""
        return self.record.outputs

    def read_output(self, name: str) -> bytes:
        """Returns the content of an output. Cost: its bytes in memory; a checkout writes it to a file in parts."""
        if name not in self.outputs:
            names = ", ".join(map(repr, self.outputs)) or "none"
            raise InvalidInputError(f"the run has no output {shown(name)}; it has: {names}")
        return self._read(f"outputs/{self.outputs[name].path}")

    def read_log(self) -> list[dict[str, Any]]:
        """Returns the rows that were logged, in their order."""
        return [json.loads(line) for line in self._read(self.record.log.path).splitlines()]

    def _read(self, path: str) -> bytes:
        with self.version.open() as dataset:
            rows = file_rows(dataset, self.record).get(path)
            if rows is None:
                raise CorruptedError(f"run {self.record.id} has no file {path!r}", version=self.version.id)
            return b"".join(dataset["content"][rows])


def runs(url: Url) -> list[RecordedRun]:
    """Returns the runs of an experiment that lead to a revision, by default ``main``, newest first.

    Versions that are no run are passed over; runs of branches that were merged are there too. Cost: one record a
    version; no tree or content is read.
    """
    repository, location = open_repository(url, read_only=True)
    dataset = repository.dataset_id(location.name)
    head = find_version(repository, dataset, location.revision or MAIN)
    return list(runs_among(walk_versions(repository, dataset, location.name, [head])))


def runs_among(versions: Iterator[Version]) -> Iterator[RecordedRun]:
    """Yields those of some versions that are runs."""
    for version in versions:
        found = run_of(version)
        if found is not None:
            yield found


def run_of(version: Version) -> RecordedRun | None:
    """Returns the run that a version is, or None."""
    record = record_of(version.details, f"version {version.id}")
    return None if record is None else RecordedRun(version, record)


def is_experiment(dataset: ReadOnlyDataset) -> bool:
    """Whether a dataset is one of runs, by its columns; a version of it need not be a run."""
    return dict(dataset.schema) == COLUMNS


def file_rows(dataset: ReadOnlyDataset, record: RunRecord) -> dict[str, list[int]]:
    """Returns for each file of a run, by its stored path, the rows that hold its parts, in order.

    They are among those that the version inserted. Cost: these rows, without their content.
    """
    if not is_experiment(dataset) or not dataset.version.row_maps:
        raise CorruptedError("a version that tells of a run has not the columns of one", version=dataset.version.id)
    rows = _inserted(dataset.version)
    runs, paths, parts = (dataset[name][rows] for name in ("run", "path", "part"))
    found: dict[str, list[tuple[int, int]]] = {}
    for row, run, path, part in zip(rows.tolist(), runs, paths, parts.tolist(), strict=True):
        if run == record.id:
            found.setdefault(path, []).append((part, row))
    return {path: [row for _, row in sorted(pairs)] for path, pairs in found.items()}


def _inserted(version: Version) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The rows that a version has and its first parent has not."""
    keep, _, insert = version.row_maps[0].runs.T
    stops = np.cumsum(keep + insert)
    ranges = [np.arange(stop - count, stop) for stop, count in zip(stops.tolist(), insert.tolist(), strict=True)]
    return np.concatenate(ranges) if ranges else np.empty(0, np.int64)
