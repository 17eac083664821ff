"""Blobs that are damaged or missing taken from another store, and rows of versions made from records."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Final

from cas.errors import CorruptedError, UnsupportedError
from cas.history.graph import VersionEntry
from cas.repo.blobs import verify_blob
from cas.repo.damage import DAMAGED, MISSING
from cas.repo.fsck_notes import Notes
from cas.store.contract import VERSIONS, Store, Transaction

BLOB: Final = "blob"
_BATCH_HASHES: Final = 128

Mended = tuple[str, bytes]
"""``BLOB`` and a hash, or ``VERSIONS`` and the version whose row it is."""


def repair(store: Store, source: Store, notes: Notes, tried: Collection[Mended]) -> set[Mended]:
    """Mends what it can of what is noted, but for what was tried, and returns what it mended.

    A blob is taken only where its content is what its hash names. Each transaction replaces some blobs at once.
    """
    damaged = [hash_ for hash_, kinds in notes.blobs.items() if {DAMAGED, MISSING} & set(kinds)]
    wanted = [hash_ for hash_ in damaged if (BLOB, hash_) not in tried]
    rows = {version: entry for version, entry in notes.rows.items() if (VERSIONS, version) not in tried}
    mended: set[Mended] = set()
    lease = store.lease_writing()
    try:
        for start in range(0, len(wanted), _BATCH_HASHES):
            found = list(_sound_blobs(source, wanted[start : start + _BATCH_HASHES]))
            if found:
                store.write(partial(_replace, found))
                mended.update((BLOB, hash_) for hash_, _ in found)
        if rows:
            store.write(partial(_put_rows, rows))
            mended.update((VERSIONS, version) for version in rows)
    finally:
        lease.release()
    return mended


def _sound_blobs(source: Store, hashes: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yields those blobs, as they are at rest, that a store has undamaged."""
    for hash_ in hashes:
        with source.read() as view:
            try:
                (blob,) = view.blobs([hash_])
                if blob is None:
                    continue
                verify_blob(hash_, blob)
            except (CorruptedError, UnsupportedError):
                continue
            copied = bytes(blob)
        yield hash_, copied


def _replace(blobs: list[tuple[bytes, bytes]], txn: Transaction) -> None:
    txn.remove_blobs([hash_ for hash_, _ in blobs])
    txn.put_blobs(blobs)


def _put_rows(rows: dict[bytes, VersionEntry], txn: Transaction) -> None:
    for version, entry in rows.items():
        txn.put(VERSIONS, version, entry.encode())
