"""What a failing disk does to a store: every read gives the truth or an error of the package, and fsck tells of it.

Each damage is met by a process of its own, so that one that kills it is counted as not survived.
"""

from __future__ import annotations

import random
import shutil
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import damage_matrix
import numpy as np
from damage_matrix import CRASHED, FOREIGN, HUNG, PAGE_BYTES, WRONG, attempt, truth_of
from fault_matrix import Counts, fault
from raw_store import RawStore
from store_facts import facts_of

import cas
from cas.errors import CasError
from cas.hashing import hash_chunk
from cas.history.refs import RefRecord
from cas.repo.collect import Collection, Expiry
from cas.repo.fsck import Fsck
from cas.repo.repository import open_repository

CHECK = "fsck"
Damage = Callable[[Path, random.Random], None]


def make_store(path: Path) -> None:
    """Writes a small store in which all tables have rows, with trees of two levels and chunks of all kinds."""
    cas.init(path)
    with cas.create(path / "ds", {"x": "int64", "t": "text", "b": "bytes"}) as ds:
        noise = np.random.default_rng(0)
        ds.append({"x": range(30), "t": [f"row {n}" for n in range(30)], "b": [noise.bytes(n * 7) for n in range(30)]})
        ds.append({"x": range(3), "t": ["large"] * 3, "b": [noise.bytes(5000), b"", bytes(9000)]})
        ds.commit("first")
        ds.metadata.update({f"key {n}": {"n": n} for n in range(12)})
        ds["x"].metadata["unit"] = "cm"
        ds.tag("v1", "the first")
        ds.branch("other")
        ds["x"][20] = 7
        ds.commit("second")
        with cas.open(f"{path}/ds@other") as other:
            other.delete(slice(3, 9))
            other.commit("fewer")
        ds.merge("other")
        ds.append({"x": [1], "t": ["left"], "b": [noise.bytes(500)]})
        ds.flush()
        ds.append({"x": [2], "t": ["left too"], "b": [b"left"]})
    with cas.open(path / "ds") as ds:
        Collection(ds._repository, Expiry()).apply()
        ds._repository.store.compact()  # so that nearly every byte counts


def facts_and_check(path: Path) -> dict[str, str]:
    """All there is to read in a store, and what fsck says: where a read fails, it must not say nothing."""
    found = facts_of(path)
    if _is_clean(path) and any(value.startswith("!") for value in found.values()):
        found[CHECK] = "finds nothing"
    return found


def _is_clean(path: Path) -> bool:
    try:
        repository, _ = open_repository(path)
        return not Fsck(repository, restart=True).check().findings
    except CasError:
        return False


class Ward:
    """A store and the truth about it, of which copies are damaged."""

    def __init__(self, place: Path) -> None:
        place.mkdir(exist_ok=True)
        self.place = place
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is left uncommitted, which is to be read, too
            make_store(place / "whole")
        file = place / "whole/data.mdb"
        # Without the hole at its end, which is the greater part of a small store.
        used = file.read_bytes().rstrip(b"\0")
        file.write_bytes(used + bytes(-len(used) % PAGE_BYTES))
        (place / "whole/lock.mdb").unlink()
        self.truth = self.truth_of_copy()
        assert CHECK not in self.truth
        assert not any(value.startswith("!") for value in self.truth.values())

    def truth_of_copy(self) -> dict[str, str]:
        """What there is to read; opening a store makes its file longer, so a copy is asked."""
        shutil.copytree(self.place / "whole", self.place / "asked")
        return truth_of(self.place / "asked")

    def meet(self, damage: Damage, seed: int, counts: Counts) -> damage_matrix.Try:
        """Damages a copy, looks at it, and counts what came of it."""
        copy = self.place / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.place / "whole", copy)
        damage(copy, random.Random(seed))
        outcome = attempt(copy, self.truth, facts_and_check)
        counts.add(wrong=outcome.outcome == WRONG, died=outcome.outcome in (CRASHED, HUNG, FOREIGN))
        if outcome.outcome in (WRONG, CRASHED, HUNG, FOREIGN):
            sys.stderr.write(f"{seed}: {outcome.outcome}: {outcome.detail[:300]}\n")
        return outcome


def in_bytes(damage: Callable[[bytearray, random.Random], None], path: Path, chance: random.Random) -> None:
    """Does a damage to the bytes of the database."""
    data = bytearray((path / "data.mdb").read_bytes())
    damage(data, chance)
    (path / "data.mdb").write_bytes(data)


def swap_blobs(path: Path, chance: random.Random) -> None:
    """Lets two hashes lead to each other's blob."""
    store = RawStore(path)
    store.swap(*chance.sample(sorted(store.rows("index")), 2))


def remove_blob(path: Path, chance: random.Random) -> None:
    """Loses the place of a blob."""
    store = RawStore(path)
    store.remove("index", chance.choice(sorted(store.rows("index"))))


def remove_segment(path: Path, chance: random.Random) -> None:
    """Loses some blobs, but not their places."""
    store = RawStore(path)
    store.remove("segments", chance.choice(sorted(store.rows("segments"))))


def dangle(path: Path, chance: random.Random) -> None:
    """Lets a branch or tag name a version that is not there, under a sound seal."""
    store = RawStore(path)
    key, value = chance.choice(sorted(store.rows("refs").items()))
    record = RefRecord.decode(value, "ref")
    missing = hash_chunk(chance.randbytes(8))
    store.put("refs", key, value.replace(record.version, missing))


DAMAGES: dict[str, tuple[Damage, int, int]] = {
    "flipped bytes": (partial(in_bytes, damage_matrix.flip), 10_000, 40),
    "flipped bytes of tables": (partial(in_bytes, damage_matrix.flip_used), 1_000, 15),
    "flipped bytes of page heads": (partial(in_bytes, damage_matrix.flip_structure), 1_000, 15),
    "files cut off": (partial(in_bytes, damage_matrix.truncate), 300, 8),
    "zeroed pages": (partial(in_bytes, damage_matrix.zero_page), 300, 8),
    "misplaced pages": (partial(in_bytes, damage_matrix.swap_pages), 300, 8),
    "swapped blobs": (swap_blobs, 200, 8),
    "removed blobs": (remove_blob, 200, 8),
    "removed segments": (remove_segment, 50, 4),
    "dangling refs": (dangle, 50, 4),
}
"""Each damage with how often it is tried, by hand and in the suite."""


def enter(name: str, damage: Damage, tries: int, sample: int) -> None:
    """Enters a damage in the matrix."""

    @fault(name)
    def trial(place: Path, full: bool) -> Counts:
        counts = Counts()
        ward = Ward(place)
        for seed in range(tries if full else sample):
            ward.meet(damage, seed, counts)
        return counts


for each, arguments in DAMAGES.items():
    enter(each, *arguments)
