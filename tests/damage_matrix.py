"""A store of everything, damaged byte by byte: what is read is the truth, or an error of the package.

By hand, with a number of tries: ``python tests/damage_matrix.py 10000``. Each try is a process of its own, since LMDB
trusts its file and may die of a damaged one; how often is counted.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

if __name__ == "__main__":
    here = Path(__file__).parent
    sys.path[:0] = [str(here), str(here.parent / "fixtures")]

from mixed_table import SCHEMA, batch
from store_facts import facts_of

import cas
from cas import types

PAGE_BYTES = 4096


def make_store(path: Path) -> None:
    """Writes a store with a bit of everything: some pages of each database, trees of two levels, rows in pieces."""
    cas.init(path)
    ds = cas.create(path / "cats", SCHEMA)
    ds.append(batch(0, 30))
    ds.commit("some")
    ds.metadata.update({f"key {n}": {"n": n, "text": "x" * n} for n in range(40)})
    ds["x"].metadata["unit"] = "cm"
    ds.tag("v1", "the first")
    ds.branch("other")
    ds.append(batch(30, 35))
    ds.commit("more")
    with cas.open(path / "cats@other") as other:
        other.delete(slice(3, 9))
        other.commit("fewer")
    ds.merge("other")
    ds.append(batch(35, 50))
    ds.flush()
    owls = cas.create(path / "owls", {"blob": types.Bytes(dedup="row")})
    noise = np.random.default_rng(0).bytes(400_000)
    owls.append({"blob": [b"%d" % n * 3 for n in range(600)] + [noise, b"", noise[::-1]]})
    owls.commit("large")
    dogs = cas.create(path / "dogs", {"n": "int64"})
    for version in range(12):
        dogs.append({"n": np.arange(20_000) * 7919 % (version + 5)})
        dogs.commit(f"number {version}")
    for opened in (ds, owls, dogs):
        opened.close()


# --- damage ---------------------------------------------------------------------------------------------------------


def flip(data: bytearray, chance: random.Random) -> None:
    """Changes one bit, or one byte."""
    at = chance.randrange(len(data))
    data[at] ^= chance.choice([1 << chance.randrange(8), chance.randrange(1, 256), 0xFF])


def flip_used(data: bytearray, chance: random.Random) -> None:
    """Changes a byte of a page of the trees of LMDB: those are few among the pages of blobs."""
    pages = [at for at in range(0, len(data), PAGE_BYTES) if data[at + 10] in (1, 2, 8) and not data[at + 11]]
    data[chance.choice(pages) + chance.randrange(PAGE_BYTES)] ^= 1 << chance.randrange(8)


def flip_structure(data: bytearray, chance: random.Random) -> None:
    """Changes a byte at the head of a page of the trees, where its numbers are."""
    pages = [at for at in range(0, len(data), PAGE_BYTES) if data[at + 10] in (1, 2, 8) and not data[at + 11]]
    data[chance.choice(pages) + chance.randrange(160)] = chance.randrange(256)


def truncate(data: bytearray, chance: random.Random) -> None:
    """Cuts the end off."""
    del data[chance.randrange(len(data)) :]


def zero_page(data: bytearray, chance: random.Random) -> None:
    """Loses a page."""
    at = chance.randrange(len(data) // PAGE_BYTES) * PAGE_BYTES
    data[at : at + PAGE_BYTES] = bytes(PAGE_BYTES)


def swap_pages(data: bytearray, chance: random.Random) -> None:
    """Writes a page in the place of another."""
    a, b = (chance.randrange(len(data) // PAGE_BYTES) * PAGE_BYTES for _ in range(2))
    data[a : a + PAGE_BYTES] = data[b : b + PAGE_BYTES]


DAMAGES = (flip, flip_used, flip_structure, truncate, zero_page, swap_pages)


class Try(NamedTuple):
    """What came of one damage: ``outcome`` is one of those below; ``detail`` says what was wrong."""

    outcome: str
    detail: str


SAME, FOUND, WRONG, FOREIGN, CRASHED, HUNG = "same", "found", "wrong data", "foreign error", "crashed", "hung"


def judge(truth: dict[str, str], found: dict[str, str]) -> Try:
    """Compares what a damaged store says with the truth."""
    wrong = [
        f"{name}: {found[name]}" for name in found if not found[name].startswith("!") and found[name] != truth.get(name)
    ]
    if wrong:
        return Try(WRONG, "; ".join(wrong[:5]))
    errors = sorted({value for value in found.values() if value.startswith("!")})
    return Try(FOUND, " ".join(errors)) if errors else Try(SAME, "")


def attempt(path: Path, truth: dict[str, str], look: Callable[[Path], dict[str, str]] = facts_of) -> Try:
    """Reads a damaged store in a child."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        signal.alarm(60)
        with os.fdopen(write_end, "w") as pipe:
            try:
                print(*judge(truth, look(path)), sep="\n", file=pipe)
            except BaseException as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                print(
                    FOREIGN, f"{type(error).__name__} {error} at {where.filename}:{where.lineno}", sep="\n", file=pipe
                )
            pipe.flush()
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        answer = pipe.read().split("\n", 1)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        killed = os.WTERMSIG(status)
        return Try(HUNG if killed == signal.SIGALRM else CRASHED, signal.Signals(killed).name)
    return Try(answer[0], answer[1].strip())


def run(pristine: Path, truth: dict[str, str], tries: int, seed: int) -> Iterator[tuple[str, int, Try]]:
    """Damages copies of a store, and yields the kind of damage, its seed, and what came of it."""
    whole = (pristine / "data.mdb").read_bytes()
    with tempfile.TemporaryDirectory(dir=pristine.parent) as folder:
        for number in range(seed, seed + tries):
            damage = DAMAGES[number % len(DAMAGES)]
            data = bytearray(whole)
            damage(data, random.Random(number))
            copy = Path(folder) / "store"
            shutil.rmtree(copy, ignore_errors=True)
            copy.mkdir()
            (copy / "cas-store").write_bytes((pristine / "cas-store").read_bytes())
            (copy / "data.mdb").write_bytes(data)
            yield damage.__name__, number, attempt(copy, truth)


def truth_of(path: Path) -> dict[str, str]:
    """What a store says, asked in a child, so that it is not open here."""
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(facts_of, path).result()


def main() -> None:
    """Counts outcomes by kind of damage."""
    tries, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        pristine = Path(folder) / "pristine"
        make_store(pristine)
        truth = truth_of(pristine)
        assert not any(value.startswith("!") for value in truth.values()), truth
        print(f"{len(truth)} facts, {(pristine / 'data.mdb').stat().st_size} bytes")
        for kind, number, (outcome, detail) in run(pristine, truth, tries, seed):
            counts[kind, outcome] += 1
            if outcome not in (SAME, FOUND):
                print(f"{kind} {number}: {outcome}: {detail[:300]}", flush=True)
    for (kind, outcome), count in sorted(counts.items()):
        print(f"{kind:>16} {outcome:>14} {count:>7}")


if __name__ == "__main__":
    main()
