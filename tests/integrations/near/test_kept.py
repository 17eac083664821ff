"""Looks that a store keeps: found again by all who share it, never in the way, and never too many."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

import cas
from cas.hashing import Hashes
from cas.integrations.near import kept
from cas.integrations.near.kept import KeptLooks
from cas.integrations.near.looks import WORDS, Looks
from cas.repo.collect import Collection, Expiry
from cas.repo.fsck import Fsck
from cas.repo.repository import Repository
from cas.store.contract import CACHE


def some(seed: int, count: int) -> tuple[Hashes, Looks]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 32), np.uint8), Looks(rng.integers(0, 1 << 64, (count, WORDS), np.uint64))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    cas.create(tmp_path / "ds").close()
    return cas.open(tmp_path / "ds")._repository


def found(repository: Repository, keys: Hashes) -> int:
    return int(KeptLooks(repository, 0).find(keys)[0].sum())


def test_what_was_kept_is_found(repository: Repository) -> None:
    keys, looks = some(1, 3000)
    others, _ = some(2, 10)
    assert found(repository, keys) == 0
    KeptLooks(repository, 0).keep(keys, looks)
    mixed = np.concatenate((others[:5], keys[::-1], others[5:]))
    known, read = KeptLooks(repository, 0).find(mixed)
    assert known.tolist() == [False] * 5 + [True] * 3000 + [False] * 5
    assert (read.words[known] == looks.words[::-1]).all()
    assert not read.words[~known].any()


def test_what_comes_later_stands_behind_and_rewrites_little(repository: Repository) -> None:
    keys, looks = some(1, 40_000)
    KeptLooks(repository, 0).keep(keys, looks)
    before = stored(repository)
    more, their_looks = some(3, 100)
    KeptLooks(repository, 0).keep(more, their_looks)
    assert stored(repository) - before < 400_000  # the last chunk with the new rows, and a node or two of 40 bytes each
    known, read = KeptLooks(repository, 0).find(np.concatenate((more, keys)))
    assert known.all()
    assert (read.words == np.concatenate((their_looks.words, looks.words))).all()


def stored(repository: Repository) -> int:
    with repository.store.read() as view:
        hashes = view.hashes(b"", 100_000)
        return sum(size or 0 for size in view.sizes(hashes))


def test_a_look_kept_twice_is_found_once(repository: Repository) -> None:
    keys, looks = some(1, 50)
    first, second = KeptLooks(repository, 0), KeptLooks(repository, 0)
    first.keep(keys, looks)
    second.keep(keys, looks)
    known, read = KeptLooks(repository, 0).find(keys)
    assert known.all()
    assert (read.words == looks.words).all()


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path, repository: Repository) -> None:
    parts = [some(seed, 500) for seed in range(4)]
    handles = [KeptLooks(cas.open(tmp_path / "ds")._repository, 0) for _ in parts]
    threads = [threading.Thread(target=handle.keep, args=part) for handle, part in zip(handles, parts, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found(repository, np.concatenate([keys for keys, _ in parts])) == 2000


def test_the_oldest_go_when_there_are_too_many(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_LEAST_ROOM", 1000)
    keys, looks = some(1, 2500)
    for start in range(0, 2500, 500):
        KeptLooks(repository, 0).keep(keys[start : start + 500], Looks(looks.words[start : start + 500]))
    known, read = KeptLooks(repository, 0).find(keys)
    assert known.tolist() == [False] * 1500 + [True] * 1000
    assert (read.words[known] == looks.words[known]).all()
    # A dataset that is larger than that has place for itself.
    KeptLooks(repository, 2000).keep(keys, looks)
    assert found(repository, keys) == 2500


def test_a_collection_keeps_them_and_a_check_reads_them(repository: Repository) -> None:
    keys, looks = some(1, 5000)
    KeptLooks(repository, 0).keep(keys, looks)
    Collection(repository, Expiry()).apply()
    assert found(repository, keys) == 5000
    assert Fsck(repository).check().findings == ()


DAMAGES = {
    "no map": b"\x01",
    "no stream": b"\xa1\x61x\x01",
    "a stream that is gone": b"\xa1\x66stream\x83\x58\x20" + bytes(32) + b"\x04\x18\x20",
    "a stream that is not whole": b"\xa1\x66stream\x83\x58\x20" + bytes(32) + b"\x03\x18\x18",
    "no CBOR": b"\xff\xff",
}


@pytest.mark.parametrize("case", DAMAGES)
def test_whatever_is_damaged_is_made_anew(case: str, repository: Repository) -> None:
    repository.store.write(lambda txn: txn.put(CACHE, kept._KEY, DAMAGES[case]))
    keys, looks = some(1, 100)
    handle = KeptLooks(repository, 0)
    assert len(handle) == 0
    handle.keep(keys, looks)
    assert found(repository, keys) == 100


def test_it_may_be_lost_at_any_time(repository: Repository) -> None:
    keys, looks = some(1, 100)
    KeptLooks(repository, 0).keep(keys, looks)
    repository.store.write(lambda txn: txn.remove(CACHE, kept._KEY))
    assert found(repository, keys) == 0
    assert Fsck(repository).check().findings == ()


def test_a_store_that_is_not_written_keeps_nothing(tmp_path: Path, repository: Repository) -> None:
    keys, looks = some(1, 100)
    shutil.copytree(tmp_path / "ds", tmp_path / "copy")
    before = (tmp_path / "copy/data.mdb").read_bytes()
    opened = cas.open_read_only(tmp_path / "copy")
    KeptLooks(opened._repository, 0).keep(keys, looks)
    assert found(opened._repository, keys) == 0
    opened.close()
    assert (tmp_path / "copy/data.mdb").read_bytes() == before
