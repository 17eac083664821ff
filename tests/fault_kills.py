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
from walker import check_everything, recover_all

import cas

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


def killed(url: Path, seed: int, seconds: float) -> list[Any]:
    """What a process reported until it was killed, some seconds after it began."""
    command = [sys.executable, "-c", WORK, str(url), str(seed), "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert json.loads(child.stdout.readline()) == ["began"]
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
        told = [json.loads(line) for line in child.stdout if line.endswith("\n")]
    assert child.returncode == -signal.SIGKILL, "it ended by itself"
    return told


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


@fault("killed at random")
def trial(place: Path, full: bool) -> Counts:
    counts = Counts()
    chance = random.Random(7)
    url = place / "ds"
    cas.create(url, schema={"x": "int64"}).close()
    for seed in range(500 if full else 30):
        told = killed(url, seed, chance.uniform(0, 0.2))
        lost = missing(url, told)
        wrong = False
        try:
            if seed % 5 == 4:
                check_everything(url)
            recover_all(url)
        except Exception as error:
            sys.stderr.write(f"kill {seed}: {error!r}\n")
            wrong = True
        if lost:
            sys.stderr.write(f"kill {seed}: lost {lost}\n")
        counts.add(wrong=wrong, lost=bool(lost))
        if seed % 10 == 9:
            url = place / f"ds{seed}"
            cas.create(url, schema={"x": "int64"}).close()
    return counts
