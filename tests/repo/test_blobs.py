"""Any blob by its hash, and what kind it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from cas.codec import compression
from cas.errors import BlobNotFoundError, CorruptedError
from cas.hashing import Kind, hash_blob
from cas.repo.blobs import read_blob
from cas.repo.config import ONE_DATASET, write_config
from cas.repo.repository import Repository
from cas.store.contract import Transaction
from cas.store.memory import MemoryStore


@pytest.fixture
def repository() -> Repository:
    store = MemoryStore()
    store.write(lambda txn: write_config(txn, ONE_DATASET))
    return Repository(store, Path("memory"))


def put(repository: Repository, hash_: bytes, blob: bytes) -> None:
    def change(txn: Transaction) -> None:
        txn.put_blobs([(hash_, blob)])

    repository.store.write(change)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("payload", [b"", b"some bytes", b"z" * 5000, b"\x28\xb5\x2f\xfd no frame"])
def test_every_kind_is_told_by_its_hash(repository: Repository, kind: Kind, payload: bytes) -> None:
    hash_ = hash_blob(kind, payload)
    put(repository, hash_, bytes(compression.encode(payload)))
    assert read_blob(repository, hash_) == (kind, payload)


def test_an_unknown_hash_is_not_found(repository: Repository) -> None:
    with pytest.raises(BlobNotFoundError, match="the store memory has no blob " + "ab" * 32):
        read_blob(repository, b"\xab" * 32)


@pytest.mark.parametrize("blob", [b"other bytes", b"\x28\xb5\x2f\xfd", b"\x5c\x2a\x4d\x18"])
def test_a_payload_of_another_hash_is_damage(repository: Repository, blob: bytes) -> None:
    put(repository, b"\xab" * 32, blob)
    with pytest.raises(CorruptedError, match="ab" * 32) as caught:
        read_blob(repository, b"\xab" * 32)
    assert caught.value.blob == "ab" * 32


@pytest.mark.parametrize(("kind", "limit"), [(Kind.CHUNK, 2 * 262_128), (Kind.NODE, 12_296)])
def test_a_payload_above_the_bound_of_its_kind_is_damage(repository: Repository, kind: Kind, limit: int) -> None:
    for size in (limit, limit + 1):
        payload = b"a" * size
        put(repository, hash_blob(kind, payload), bytes(compression.encode(payload)))
    assert read_blob(repository, hash_blob(kind, b"a" * limit)) == (kind, b"a" * limit)
    with pytest.raises(CorruptedError):
        read_blob(repository, hash_blob(kind, b"a" * (limit + 1)))


def test_what_unpacks_to_more_than_any_blob_is_refused_before_it_is_unpacked(repository: Repository) -> None:
    bomb = compression.encode(bytes(65 << 20))
    put(repository, b"\xab" * 32, bytes(bomb))
    with pytest.raises(CorruptedError, match="are declared"):
        read_blob(repository, b"\xab" * 32)
