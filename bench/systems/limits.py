"""What the machine allows for bytes that are only copied, or only hashed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import blake3
import numpy as np

from systems.contract import Batch, System


def _copied(values: Any) -> Any:
    return [bytes(bytearray(file)) for file in values] if isinstance(values, list) else np.array(values)


class Memcpy(System):
    """Copies columns to other memory and back; nothing is durable."""

    files = True
    durable = True
    limit = True

    def ingest(self, batches: Iterable[Batch], *, plain: bool = False) -> None:
        """Keeps a copy of each batch."""
        copies = [{name: _copied(batch[name]) for name in self.columns} for batch in batches]
        self._parts = {name: [copied[name] for copied in copies] for name in self.columns}

    def open(self) -> int:
        return sum(map(len, next(iter(self._parts.values()))))

    def whole(self, column: str) -> Any:
        parts = self._parts[column]
        return [file for part in parts for file in part] if isinstance(parts[0], list) else np.concatenate(parts)


class Blake3(Memcpy):
    """Hashes batches, with as many threads as there are; keeps no copy."""

    def ingest(self, batches: Iterable[Batch], *, plain: bool = False) -> None:
        self._parts = {name: [] for name in self.columns}
        for batch in batches:
            for name in self.columns:
                given = batch[name]
                joined = b"".join(given) if isinstance(given, list) else memoryview(given).cast("B")
                blake3.blake3(joined, max_threads=blake3.blake3.AUTO)
                self._parts[name].append(given)
