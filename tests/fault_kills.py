"""A process that commits, tags and sets metadata at random is killed at random: what it reported is there."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fault_matrix import Counts, fault
from pictures import png, write_tree
from walker import check_with_fsck, recover_all

import cas
from cas.integrations.folder.checkout import checkout
from cas.integrations.folder.importing import import_folder

KILLS_OF_A_STORE = 10
MANY_STEPS = 100_000

WORK = """
import json, random, sys, warnings
warnings.simplefilter("ignore")
import cas
from cas.dataset import draft
draft.FLUSH_SECONDS = 0.02
MOST_ROWS = 20_000
url, seed, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)

def tell(*fact):
    sys.stdout.write(json.dumps(fact) + "\\n")
    sys.stdout.flush()

ds = cas.open(url)
tell("began")
for number in range(steps):
    match chance.randrange(8):
        case 0 | 1 | 2:
            ds.append({"x": [number] * chance.randrange(1, MOST_ROWS)})
            version = ds.commit(f"{seed} {number}")
            tell("commit", version, len(ds), number)
        case 3:
            if len(ds):
                row = chance.randrange(len(ds))
                ds["x"][row] = -number
                version = ds.commit(f"{seed} {number}")
                tell("cell", version, row, -number)
        case 4:
            tag = ds.tag(f"t{seed}-{number}", version="main")
            tell("tag", tag.name, tag.version.id)
        case 5:
            ds.metadata[f"k{chance.randrange(5)}"] = f"{seed} {number}"
            tell("metadata", *[list(item) for item in ds.metadata.to_dict().items()])
        case 6:
            ds.append({"x": [number] * 10})
            ds.flush()
            tell("flush", len(ds))
            tell("rolling back")
            ds.rollback()
            tell("rollback")
        case 7:
            ds.branch(f"b{seed}-{number}")
            tell("branch", f"b{seed}-{number}", ds.version.id)
"""


def started(script: str, *arguments: object) -> subprocess.Popen[str]:
    """A process at work on a script, which has said that it has begun."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert json.loads(child.stdout.readline()) == ["began"]
    return child


def killed(child: subprocess.Popen[str]) -> list[Any]:
    """Kills a process, and returns what it reported until then."""
    child.send_signal(signal.SIGKILL)
    with child:
        assert child.stdout is not None
        told = [json.loads(line) for line in child.stdout if line.endswith("\n")]
    assert child.returncode == -signal.SIGKILL, "it ended by itself"
    return told


def is_whole(url: Path, what: str) -> bool:
    """Whether all that a store holds is there, by a check, and what was left uncommitted can be recovered."""
    try:
        check_with_fsck(url)
        recover_all(url)
    except Exception as error:
        sys.stderr.write(f"{what}: {error!r}\n")
        return False
    return True


def missing(url: Path, told: list[Any]) -> list[Any]:
    """The reported facts that the dataset does not show."""
    with cas.open(url) as ds:
        main = {version.id for version in ds.history}
        checks = {
            "commit": lambda id_, rows, value: id_ in main,
            "cell": lambda id_, row, value: id_ in main,
            "tag": lambda name, id_: name in ds.tags and ds.tags[name].version.id == id_,
            "branch": lambda name, id_: name in ds.branches and ds.branches[name].version.id == id_,
        }
        lost = [fact for fact in told if fact[0] in checks and not checks[fact[0]](*fact[1:])]
        lost += [
            fact for fact in told[-4:] if fact[0] in ("commit", "cell") and fact[1] in main and not has_rows(url, *fact)
        ]
        lost += [told[-1]] if told and told[-1][0] == "flush" and not ds.sessions() else []
        reported = [dict(fact[1:]) for fact in told if fact[0] == "metadata"]
        now = ds.metadata.to_dict()
        # One more may have been set without a report of it.
        if reported and len([key for key, value in reported[-1].items() if now.get(key) != value]) > 1:
            lost.append(reported[-1])
    return lost


def has_rows(url: Path, what: str, id_: str, count_or_row: int, value: int) -> bool:
    """Whether a version has the rows, or the cell, that were reported with it."""
    with cas.open_read_only(url, id_) as old:
        if what == "cell":
            return bool(old["x"][count_or_row] == value)
        return len(old) == count_or_row and bool(old["x"][-1] == value)


def count(counts: Counts, what: str, *, whole: bool, lost: list[Any]) -> None:
    """Counts what came of a kill, and says what was lost."""
    if lost:
        sys.stderr.write(f"{what}: lost {lost}\n")
    counts.add(wrong=not whole, lost=bool(lost))


def new_store(place: Path, number: int) -> Path:
    """A new dataset for every so many kills, since those of old ones take longer to be checked."""
    url = place / f"ds{number // KILLS_OF_A_STORE}"
    if not url.exists():
        cas.create(url, schema={"x": "int64"}).close()
    return url


@fault("killed at random")
def trial(place: Path, full: bool) -> Counts:
    counts = Counts()
    chance = random.Random(7)
    for seed in range(320 if full else 8):
        url, what = new_store(place, seed), f"kill {seed}"
        child = started(WORK, url, seed, MANY_STEPS)
        time.sleep(chance.uniform(0, 0.2))
        lost = missing(url, killed(child))
        count(counts, what, whole=is_whole(url, what), lost=lost)
    return counts


COLLECT = """
import json, random, sys, warnings
warnings.simplefilter("ignore")
import cas
from cas.errors import ConflictError
from cas.repo.collect import Collection, Expiry
url, seed = sys.argv[1], int(sys.argv[2])
chance = random.Random(seed)

def tell(*fact):
    sys.stdout.write(json.dumps(fact) + "\\n")
    sys.stdout.flush()

cas.open(url).close()
tell("began")
number = 0
while True:
    number += 1
    with cas.open(url) as ds:
        name = f"g{seed}-{number}"
        with ds.branch(name).open() as gone:
            gone.append({"x": [chance.randrange(2**62) for _ in range(5000)]})
            gone.commit("gone")
        ds.branches[name].delete(force=True)
        ds.append({"x": [number]})
        tell("committed", ds.commit("beside the collector"))
        try:
            Collection(ds._repository, Expiry(reflog_days=0)).apply()
            tell("collected")
        except ConflictError:
            tell("told of writers")
    with cas.open(url) as ds:
        try:
            ds._repository.store.compact()
            tell("compacted")
        except ConflictError:
            tell("told of others")
"""


@fault("gc and compaction killed")
def trial_of_gc(place: Path, full: bool) -> Counts:
    """Kills a collector that leaves garbage and compacts, every second time beside a writer, and then the writer."""
    counts = Counts()
    chance = random.Random(8)
    for seed in range(120 if full else 6):
        url, what = new_store(place, seed), f"kill of gc {seed}"
        writer = started(WORK, url, seed, MANY_STEPS) if seed % 2 else None
        collector = started(COLLECT, url, seed)
        time.sleep(chance.uniform(0, 1.2 if writer else 0.4))
        committed = {fact[1] for fact in killed(collector) if fact[0] == "committed"}
        told = []
        if writer is not None:
            time.sleep(chance.uniform(0, 0.05))
            told = killed(writer)
        with cas.open(url) as ds:
            lost = sorted(committed - {version.id for version in ds.history})
        lost += missing(url, told)  # before the check, which takes over what was flushed
        count(counts, what, whole=is_whole(url, what), lost=lost)
    return counts


IMPORT = """
import json, sys, warnings
warnings.simplefilter("ignore")
import cas
from cas.integrations.folder import importing
from cas.integrations.folder.checkout import checkout
from pathlib import Path
folder, url, out = map(Path, sys.argv[1:])
importing._STAGE_EDITS, importing._FLUSH_BYTES = 4, 1

def tell(*fact):
    sys.stdout.write(json.dumps(fact) + "\\n")
    sys.stdout.flush()

with cas.open(url) as ds:
    tell("began")
    importing.import_folder(folder, ds, message="import", jobs=1)
    tell("imported", ds.version.id)
while True:
    with cas.open_read_only(url) as ds:
        checkout(ds, out)
    tell("checked out")
    for path in sorted(out.iterdir()):
        if path.suffix == ".png":
            path.unlink()
"""


@fault("import and checkout killed")
def trial_of_folders(place: Path, full: bool) -> Counts:
    """Kills an import and the checkouts after it; both go on where they were, and nothing half done is visible."""
    counts = Counts()
    chance = random.Random(9)
    files = {f"{number:02}.png": png(number, 40) for number in range(48)}
    write_tree(place / "in", files)
    for seed in range(120 if full else 6):
        url, out, what = place / f"images{seed}", place / f"out{seed}", f"kill of an import {seed}"
        cas.create(url).close()
        child = started(IMPORT, place / "in", url, out)
        time.sleep(chance.uniform(0, 0.3))
        imported = [fact[1] for fact in killed(child) if fact[0] == "imported"]
        with cas.open_read_only(url) as ds:
            lost = [id_ for id_ in imported if ds.version.id != id_]
            whole = len(ds) in ((48,) if imported else (0, 48))
        whole = is_whole(url, what) and whole
        with cas.open(url) as ds:
            import_folder(place / "in", ds, message="again", jobs=1)
            checkout(ds, out)
        found = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix == ".png"}
        count(counts, what, whole=whole and found == files, lost=lost)
    return counts
