"""Blobs by their hashes: one of whatever kind it is, and the sizes at rest of many."""

from __future__ import annotations

from typing import Final

import numpy as np

from cas.codec import compression
from cas.codec.rows import Ints
from cas.errors import BlobNotFoundError, CorruptedError
from cas.hashing import Bytes, Hashes, Kind, hash_blob, split_hashes
from cas.repo.repository import Repository
from cas.store.contract import Store
from cas.store.gate import MAX_NODE_BYTES, MAX_RECORD_BYTES

# No tree entry that would declare the size is at hand; a writer's chunks have at most 262,080 bytes.
_MAX_CHUNK_BYTES: Final = 2 * 262_128
_BATCH_HASHES: Final = 10_000
_BOUNDS: Final = {
    Kind.CHUNK: _MAX_CHUNK_BYTES,
    Kind.NODE: MAX_NODE_BYTES,
    Kind.TREE: MAX_RECORD_BYTES,
    Kind.VERSION: MAX_RECORD_BYTES,
}


def read_blob(repository: Repository, hash_: bytes) -> tuple[Kind, bytes]:
    """Returns what kind of blob a hash names, and its payload, which is verified.

    The kind is the one in whose domain the payload has the hash (FORMAT section 1): only one fits. Raises
    :class:`~cas.errors.BlobNotFoundError` where there is none, ``CorruptedError`` where it is damaged.
    """
    name = hash_.hex()
    with repository.store.read() as view:
        (blob,) = view.blobs([hash_])
        if blob is None:
            raise BlobNotFoundError(f"the store {repository.path} has no blob {name}", name=name)
        kind, payload = verify_blob(hash_, blob)
        return kind, bytes(payload)


def verify_blob(hash_: bytes, blob: Bytes) -> tuple[Kind, Bytes]:
    """Returns what kind of blob a hash names and its payload, from the blob at rest, which may be a view of it.

    Raises ``CorruptedError`` where it is damaged.
    """
    name = hash_.hex()
    try:
        payload = compression.decode(blob, max(_BOUNDS.values()), exact=False)
    except CorruptedError as error:
        raise CorruptedError(f"blob {name}: {error}", blob=name) from error
    for kind, bound in _BOUNDS.items():
        if len(payload) <= bound and hash_blob(kind, payload) == hash_:
            return kind, payload
    raise CorruptedError(
        f"blob {name} does not have the content that its hash names; restore it from a copy", blob=name
    )


def stored_sizes(store: Store, kind: Kind, hashes: Hashes) -> Ints:
    """Returns the length at rest of each blob of a kind; ``hashes`` has shape (count, 32). Cost: one look-up each.

    One that is missing raises ``CorruptedError``.
    """
    sizes = np.empty(len(hashes), np.int64)
    for start in range(0, len(hashes), _BATCH_HASHES):
        keys = split_hashes(hashes[start : start + _BATCH_HASHES])
        with store.read() as view:
            found = view.sizes(keys)
        for offset, (key, size) in enumerate(zip(keys, found, strict=True)):
            if size is None:
                what, name = kind.name.lower(), key.hex()
                raise CorruptedError(f"{what} {name} is missing from the store; restore it from a copy", blob=name)
            sizes[start + offset] = size
    return sizes
