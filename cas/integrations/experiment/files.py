"""The files of a run, as a checkout writes them: its outputs, what was logged, and what was noted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cas.codec.json_terms import to_json
from cas.codec.rows import Ints
from cas.dataset.read_only import ReadOnlyDataset
from cas.errors import CorruptedError
from cas.hashing import Bytes
from cas.integrations.experiment.content import key_of
from cas.integrations.experiment.reading import RecordedRun, file_rows
from cas.integrations.experiment.record import LOG_PATH, RunFile
from cas.integrations.folder.checkout import WantedFile
from cas.integrations.lock.file import LOCK_NAME
from cas.integrations.lock.toml import Entries, format_lock
from cas.tree.stream import StreamReader
from cas.types import DATA

PARAMS_NAME: Final = "params.json"
RUN_NAME: Final = "run.json"


@dataclass(frozen=True, slots=True)
class _File:
    """A file: where it goes, how long it is, the key of its content, and what reads that."""

    path: str
    size_bytes: int
    key: bytes
    read: Callable[[], Iterable[Bytes]]


class RunFiles:
    """The files of a run in a checkout, a source for ``write_files``.

    ``outputs/...``, ``metrics.jsonl``, ``params.json``, ``run.json`` with all that was noted, and a ``cas.lock`` of the
    entries given, which are its inputs. The last three are made in memory, the others read part by part.
    """

    def __init__(self, dataset: ReadOnlyDataset, run: RecordedRun, pinned: Entries) -> None:
        content: StreamReader = dataset._column_state("content").streams[DATA].reader
        rows = file_rows(dataset, run.record)
        stored = {f"outputs/{file.path}": file for file in run.outputs.values()} | {LOG_PATH: run.record.log}
        self._files = [_stored(path, file, rows, content) for path, file in stored.items()]
        facts = {"version": run.version.id, **run.record.to_dict()}
        self._files += [
            _made(PARAMS_NAME, _json(run.params)),
            _made(RUN_NAME, _json(facts)),
            _made(LOCK_NAME, format_lock(pinned).encode()),
        ]

    def __len__(self) -> int:
        return len(self._files)

    def wanted(self) -> Iterator[WantedFile]:
        """Yields all files."""
        yield from (WantedFile(number, file.path, file.key) for number, file in enumerate(self._files))

    def take(self, numbers: Ints) -> list[WantedFile]:
        """Returns some of the files."""
        return [WantedFile(at, self._files[at].path, self._files[at].key) for at in numbers.tolist()]

    def sizes(self) -> Ints:
        """Returns the length of each file."""
        return np.array([file.size_bytes for file in self._files], np.int64)

    def contents(self, numbers: Ints, sizes: Ints) -> Iterable[Iterable[Bytes]]:
        """Returns the content of some files, read as it is gone through."""
        return [self._files[at].read() for at in numbers.tolist()]


def _stored(path: str, file: RunFile, rows: dict[str, list[int]], content: StreamReader) -> _File:
    parts = rows.get(path)
    if parts is None:
        raise CorruptedError(f"the run tells of a file {path!r} that it does not have")

    def read() -> Iterator[Bytes]:
        for row in parts:
            yield from content.pieces(row)

    return _File(path, file.size_bytes, bytes.fromhex(file.key), read)


def _made(path: str, data: bytes) -> _File:
    return _File(path, len(data), bytes.fromhex(key_of(data)), lambda: [data])


def _json(value: Any) -> bytes:
    return (json.dumps(to_json(value), indent=2, ensure_ascii=False) + "\n").encode()
