"""Looks of images kept in their store, by the hash of each image, so that it is looked at once.

The table ``cache`` names one stream of words of 8 bytes: of each image the first 8 bytes of its hash, and the words of
its look. What is new stands at the end, so that keeping it rewrites little; in memory they are sorted. All datasets and
versions of the store share it, and it may be lost at any time.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cas.codec import cbor
from cas.codec.rows import Rows
from cas.errors import CasError, CorruptedError
from cas.hashing import Hashes
from cas.integrations.near.looks import WORDS, Looks, Words
from cas.repo.repository import Repository
from cas.store.contract import CACHE, Transaction
from cas.store.writer import BlobWriter
from cas.tree.read import EMPTY_STREAM, StreamRef
from cas.tree.stream import KeepRows, StreamReader, edit_stream
from cas.types import Layout

_KEY: Final = b"looks of images, 1"
"""The number changes with what the words mean."""
_LAYOUT: Final = Layout(8, compress=False)
_ROW_WORDS: Final = 1 + WORDS
_LEAST_ROOM: Final = 1 << 22
_ATTEMPTS: Final = 5


class KeptLooks:
    """The looks that a store has, and a place for more.

    It holds 4 million images, or twice ``count`` where that is more, and then forgets those that came first: at most
    128 MiB for the former. Memory: 40 bytes an image.
    """

    def __init__(self, repository: Repository, count: int) -> None:
        self._repository = repository
        self._room = max(_LEAST_ROOM, 2 * count)
        self._damaged = False
        try:
            table = self._read(_stream_in(self._stored()))
        except CorruptedError:
            self._damaged = True
            table = np.empty((0, _ROW_WORDS), np.uint64)
        order = np.argsort(table[:, 0], kind="stable")
        self._begins = table[order, 0]
        self._words: Words = table[order, 1:]

    def __len__(self) -> int:
        return len(self._begins)

    def _stored(self) -> bytes | None:
        with self._repository.store.read() as view:
            return view.get(CACHE, _KEY)

    def _read(self, ref: StreamRef) -> Words:
        if ref.rows % _ROW_WORDS:
            raise CorruptedError("the looks of images that were kept are not whole", blob="cache")
        rows = StreamReader(self._repository.nodes, ref, _LAYOUT).read(0, ref.rows)
        return rows.flat.view("<u8").astype(np.uint64).reshape(-1, _ROW_WORDS)

    def find(self, keys: Hashes) -> tuple[NDArray[np.bool_], Looks]:
        """Returns which of some images have a look here, and the looks, those that are not here with words of 0.

        ``keys`` are hashes of shape (images, 32).
        """
        words = np.zeros((len(keys), WORDS), np.uint64)
        if not len(self):
            return np.zeros(len(keys), np.bool_), Looks(words)
        begins = _begins(keys)
        places = np.minimum(np.searchsorted(self._begins, begins), len(self) - 1)
        known = self._begins[places] == begins
        words[known] = self._words[places[known]]
        return known, Looks(words)

    def keep(self, keys: Hashes, looks: Looks) -> None:
        """Keeps looks, durably; where the store cannot be written, or is full, it keeps none and says nothing."""
        if not len(keys) or self._repository.store.read_only:
            return
        rows = np.column_stack((_begins(keys), looks.words)).astype("<u8")
        writer = BlobWriter(self._repository.store)
        with suppress(CasError):
            try:
                for _ in range(_ATTEMPTS):
                    if self._append(rows, writer):
                        return
            finally:
                writer.release()

    def _append(self, rows: Words, writer: BlobWriter) -> bool:
        """Puts rows at the end of what is stored; False where somebody else has put others meanwhile."""
        before = self._stored()
        old = EMPTY_STREAM if self._damaged else _stream_in(before)
        begin = min(max(0, old.rows // _ROW_WORDS + len(rows) - self._room) * _ROW_WORDS, old.rows)
        new = Rows.fixed(np.frombuffer(rows.tobytes(), np.uint8), rows.size, 8)
        ref = edit_stream(StreamReader(self._repository.nodes, old, _LAYOUT), [KeepRows(begin, old.rows), new], writer)
        value = cbor.encode({"stream": ref.to_record()})
        laid = writer.rest()

        def change(txn: Transaction) -> bool:
            if txn.get(CACHE, _KEY) != before:
                return False
            txn.timestamp()  # so that a collection under way notices
            txn.put_laid(laid)
            txn.put(CACHE, _KEY, value)
            return True

        if not self._repository.store.write(change):
            return False
        writer.clear()
        self._damaged = False
        return True


def _begins(keys: Hashes) -> NDArray[np.uint64]:
    """The first 8 bytes of each hash."""
    return np.ascontiguousarray(keys[:, :8]).view("<u8").reshape(-1).astype(np.uint64)


def _stream_in(data: bytes | None) -> StreamRef:
    if data is None:
        return EMPTY_STREAM
    match cbor.decode(data, what="cache"):
        case {"stream": record}:
            return StreamRef.from_record(record, "cache")
    raise CorruptedError("the looks of images that were kept are named by no stream", blob="cache")
