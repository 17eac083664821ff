"""Every blob of a store read, unpacked and compared with its hash, in the order of hashes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from cas.codec import cbor
from cas.errors import CasError, CorruptedError, ReadOnlyError, UnsupportedError
from cas.hashing import HASH_BYTES, Bytes
from cas.repo.blobs import verify_blob
from cas.store.contract import CACHE, Store, Transaction, View
from cas.store.threads import map_in_pool

_BATCH_HASHES: Final = 4096
_BATCH_BYTES: Final = 32 << 20
_NOTE_BYTES: Final = 4 << 30
_MOST_DAMAGED: Final = 1 << 16
_KEY: Final = b"fsck"

Report = Callable[[str, int, int], None]
"""Is told of progress: what is done, how much of it, and of how much in all (0 while unknown)."""


class BlobScan:
    """A pass over all blobs, which goes on where one before was interrupted.

    Where it stands is noted in the table ``cache`` after each 4 GiB, and when it is interrupted; where nothing can be
    written it is not. Memory: some 32 MiB, and the hashes of damaged blobs, of which 65,536 are listed, and the others
    counted in ``unlisted``.
    """

    def __init__(self, store: Store, report: Report) -> None:
        self._store = store
        self._report = report
        self._after = b""
        self.damaged: dict[bytes, str] = {}
        self.unlisted = 0
        self.blobs = 0
        self.stored_bytes = 0

    def run(self, *, restart: bool = False) -> None:
        """Reads all blobs, or those that an interrupted pass left; those that are wrong are in ``damaged``."""
        if not restart:
            self._resume()
        try:
            self._read_all()
        except BaseException:
            with suppress(CasError):
                self._save()
            raise
        self._forget()

    def read(self, hashes: Sequence[bytes]) -> None:
        """Reads some blobs and no others; those that are wrong are in ``damaged``, missing ones are passed over."""
        for batch in self._batches(hashes):
            self._read_batch(batch)
            self._report("Blobs read:", self.blobs, 0)

    def _read_all(self) -> None:
        unsaved = 0
        while True:
            with self._store.read() as view:
                hashes = view.hashes(self._after, _BATCH_HASHES)
            if not hashes:
                return
            for batch in self._batches(hashes):
                unsaved += self._read_batch(batch)
                self._report("Blobs read:", self.blobs, 0)
                if unsaved >= _NOTE_BYTES:
                    self._save()
                    unsaved = 0

    def _batches(self, hashes: Sequence[bytes]) -> Iterator[list[bytes]]:
        """Splits hashes so that the blobs of a batch take some 32 MiB."""
        with self._store.read() as view:
            sizes = [_size(view, hash_) for hash_ in hashes]
        batch: list[bytes] = []
        filled = 0
        for hash_, size in zip(hashes, sizes, strict=True):
            if batch and filled + size > _BATCH_BYTES:
                yield batch
                batch, filled = [], 0
            batch.append(hash_)
            filled += size
        yield batch

    def _read_batch(self, hashes: list[bytes]) -> int:
        with self._store.read() as view:
            found = list(_blobs(view, hashes))
            messages = map_in_pool(_verify, found)
            size = sum(len(blob) for _, blob in found if not isinstance(blob, str))
            count = len(found)
            del found  # buffers of the view
        for hash_, message in messages:
            if message and len(self.damaged) < _MOST_DAMAGED:
                self.damaged[hash_] = message
            elif message:
                self.unlisted += 1
        self.blobs += count
        self.stored_bytes += size
        self._after = hashes[-1]
        return size

    def _save(self) -> None:
        record = {
            "after": self._after,
            "blobs": self.blobs,
            "stored_bytes": self.stored_bytes,
            "damaged": list(self.damaged),
            "unlisted": self.unlisted,
        }
        self._write(lambda txn: txn.put(CACHE, _KEY, cbor.encode(record)))

    def _write(self, change: Callable[[Transaction], None]) -> None:
        if not self._store.read_only:
            with suppress(ReadOnlyError):
                self._store.write(change)

    def _resume(self) -> None:
        """Takes over where a pass was interrupted; blobs that were damaged are read again."""
        with suppress(CorruptedError):
            with self._store.read() as view:
                data = view.get(CACHE, _KEY)
            match None if data is None else cbor.decode(data, what="position of a check"):
                case {
                    "after": bytes(after),
                    "blobs": int(blobs),
                    "stored_bytes": int(stored_bytes),
                    "damaged": [*damaged],
                    "unlisted": int(unlisted),
                } if all(isinstance(hash_, bytes) for hash_ in damaged):
                    if damaged:
                        self._read_batch(sorted(damaged))
                    self._after, self.blobs, self.stored_bytes, self.unlisted = after, blobs, stored_bytes, unlisted

    def _forget(self) -> None:
        with self._store.read() as view:
            noted = any(key == _KEY for key, _ in view.scan_damaged(CACHE))
        if noted:
            self._write(lambda txn: txn.remove(CACHE, _KEY))


def _size(view: View, hash_: bytes) -> int:
    try:
        return view.sizes([hash_])[0] or 0
    except CorruptedError:
        return 0


def _blobs(view: View, hashes: list[bytes]) -> Iterator[tuple[bytes, Bytes | str]]:
    """Yields blobs with their hashes, or what is wrong with their places; those that are gone meanwhile are left out.

    All at once, or where one of them raises, one by one.
    """
    try:
        found = list(zip(hashes, view.blobs(hashes), strict=True))
    except CorruptedError:
        found = []
        for hash_ in hashes:
            try:
                found += zip([hash_], view.blobs([hash_]), strict=True)
            except CorruptedError as error:
                yield hash_, str(error)
    yield from ((hash_, blob) for hash_, blob in found if blob is not None)


def _verify(item: tuple[bytes, Bytes | str]) -> tuple[bytes, str]:
    """Returns a hash and what is wrong with its blob; nothing where that is empty."""
    hash_, blob = item
    if isinstance(blob, str):
        return item[0], blob
    if len(hash_) != HASH_BYTES:
        return hash_, f"the index has a row under {hash_.hex()}, which is no hash"
    try:
        verify_blob(hash_, blob)
    except (CorruptedError, UnsupportedError) as error:
        return hash_, str(error)
    return hash_, ""
