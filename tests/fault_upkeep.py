"""The process dies at each operation of what runs beside the work: collecting, compacting, flushing, repairing."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

from fault_deaths import Step, scenario, scenario_ended_by
from raw_store import RawStore

import cas
from cas.dataset import background, draft
from cas.repo.collect import Collection, Expiry
from cas.repo.fsck import Fsck
from cas.repo.repository import open_repository


def noise(seed: int, count: int) -> list[str]:
    """Rows that are chunks by themselves."""
    chance = random.Random(seed)
    return [chance.randbytes(2500).hex() for _ in range(count)]


def leave_garbage(place: Path, number: int) -> Step:
    """Deletes a branch: of what it held, a few rows stay alive on ``main``, in segments that are dead otherwise."""
    rows = noise(number, 12)
    with cas.open(place / "ds") as ds:
        ds.branch("gone")
        yield
        with ds.branches["gone"].open() as gone:
            gone.append({"x": range(12), "t": rows})
            gone.commit("gone")
        yield
        ds.append({"x": [1, 2], "t": rows[3:5]})
        ds.commit("stays")
        yield
        ds.branches["gone"].delete(force=True)
        yield


@scenario
def gc(place: Path) -> Step:
    for number in range(3):
        yield from leave_garbage(place, number)
        with cas.open(place / "ds") as ds:
            collected = Collection(ds._repository, Expiry(reflog_days=0)).apply()
            assert collected.blobs > 10
            assert collected.reclaimed_bytes > 20_000
            yield


@scenario
def compaction(place: Path) -> Step:
    for number in range(2):
        yield from leave_garbage(place, number)
        with cas.open(place / "ds") as ds:
            Collection(ds._repository, Expiry(reflog_days=0)).apply()
            yield
            ds._repository.store.compact()
            yield
            ds.append({"x": [number], "t": ["after"]})
            ds.commit("after")
            yield


@scenario
def flush_behind(place: Path) -> Step:
    draft.FLUSH_SECONDS = 0.0
    ds = cas.open(place / "ds")
    for number in range(8):
        ds.append({"x": [number] * 50, "t": noise(number, 50)})
        while background._thread is not None:
            time.sleep(0.001)
        yield
    ds.commit("all")
    yield


def mend(place: Path) -> None:
    """Repairs ``ds`` from its backup, if there is one."""
    if not (place / "backup").exists():
        return
    repository, source = open_repository(place / "ds")[0], open_repository(place / "backup")[0]
    try:
        left = Fsck(repository, restart=True).repair(source).findings
        assert not left, left
    finally:
        repository.store.close()
        source.store.close()


def damage(path: Path) -> None:
    """Flips bits in a third of the blobs of a store, and takes others and a row of the table of versions away."""
    store = RawStore(path)
    hashes = sorted(store.rows("index"))
    for number, hash_ in enumerate(hashes):
        if number % 3 == 0 and store.blob(hash_):
            store.flip(hash_)
        elif number % 7 == 1:
            store.remove("index", hash_)
    store.remove("versions", min(store.rows("versions")))


@scenario_ended_by(mend)
def repair(place: Path) -> Step:
    shutil.copytree(place / "ds", place / "backup")
    damage(place / "ds")
    mend(place)
    yield
