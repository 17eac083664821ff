"""A store under everything at once: ``python bench/soak.py [--minutes 10] [--writers 4] [--readers 3]``, run by hand.

Writers commit to one branch and to branches of their own, merge, tag and undo; readers check every row that they see; a
collector removes what nothing leads to, and compacts when it is alone; and processes are killed with SIGKILL at random
moments and begun anew. Every row says what it must be. In the end every commit that was reported must be in the
history of ``main``, and all that is left must read as it says.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cas
from cas.errors import ConflictError, UncommittedChangesWarning
from cas.repo.collect import Collection, Expiry

Rows = dict[str, list[Any]]


def data_of(number: int) -> bytes:
    """What the row of a number holds; one of a few hundred, so that chunks are shared, lost and found again."""
    return hashlib.sha256(b"%d" % (number % 300)).digest() * (10 + number % 200)


def rows_of(numbers: list[int]) -> Rows:
    """Rows of these numbers."""
    return {"number": numbers, "data": [data_of(number) for number in numbers]}


def check(table: Any) -> int:
    """Compares all rows with what their numbers say."""
    if not len(table):
        return 0
    numbers = table["number"][:].tolist()
    for number, data in zip(numbers, table["data"], strict=True):
        assert data == data_of(number), f"row of number {number} holds something else"
    return len(numbers)


# What processes do, each until it is killed; they report a line each time that something is done


def report(what: str) -> None:
    """Prints a line at once."""
    print(what, flush=True)


def write(url: str, seed: int) -> None:
    """Commits, mostly to main, and reports the id of each version on main."""
    rng = random.Random(seed)
    while True:
        with cas.open(url) as ds:
            for _ in range(rng.randrange(1, 6)):
                step(ds, rng)


def step(ds: cas.Dataset, rng: random.Random) -> None:
    """One commit, rollback, or merge of a branch that is deleted then."""
    ds.append(rows_of([rng.randrange(10**9) for _ in range(rng.randrange(1, 30))]))
    roll = rng.random()
    if roll < 0.3:
        ds.flush()
    if roll < 0.1:
        ds.rollback()
        return
    if roll < 0.7:
        report(f"main {ds.commit('on main')}")
        return
    ds.rollback()
    name = f"b{rng.randrange(10**9)}"
    with ds.branch(name).open() as own:
        own.append(rows_of([rng.randrange(10**9) for _ in range(rng.randrange(1, 100))]))
        own.commit("on a branch")
    if roll < 0.85:
        report(f"main {ds.merge(name)}")
    ds.branches[name].delete(force=True)
    report("branch deleted")


def read(url: str, seed: int) -> None:
    """Opens versions of main, old and new, and checks all of their rows."""
    rng = random.Random(seed)
    while True:
        with cas.open_read_only(url) as head:
            versions = len(head.history)
            with head.history[rng.randrange(max(0, versions - 30), versions)].open() as old:
                report(f"read {check(old)}")


def collect(url: str, seed: int) -> None:
    """Collects again and again."""
    while True:
        time.sleep(0.2)
        with cas.open(url) as ds:
            try:
                done = Collection(ds._repository, Expiry(reflog_days=0)).apply()
            except ConflictError:
                report("collect refused")
            else:
                report(f"collected {done.blobs}")
        if seed % 3 == 0:
            with cas.open(url) as ds:
                try:
                    ds._repository.store.compact()
                except ConflictError:
                    report("compact refused")
                else:
                    report("compacted")


ROLES = {"write": write, "read": read, "collect": collect}


class Worker:
    """A process in a role, begun anew when it was killed."""

    def __init__(self, role: str, url: str, log: Path, rng: random.Random) -> None:
        self.role = role
        self._url = url
        self._log = log
        self._rng = rng
        self.begin()

    def begin(self) -> None:
        """Starts the process; what it reports goes to the log, line by line, whatever becomes of it."""
        command = [sys.executable, "-W", "ignore", __file__, "--role", self.role, "--url", self._url]
        with open(self._log, "a") as log:
            self.process = subprocess.Popen(
                [*command, "--seed", str(self._rng.randrange(10**9))], stdout=log, stderr=subprocess.PIPE, text=True
            )

    def failure(self) -> str:
        """What went wrong, if the process ended by itself."""
        if self.process.poll() is None or self.process.returncode == -signal.SIGKILL:
            return ""
        assert self.process.stderr is not None
        return f"{self.role} ended with {self.process.returncode}: {self.process.stderr.read()[-2000:]}"

    def kill(self) -> None:
        """Kills it with SIGKILL."""
        self.process.kill()
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()


def soak(url: str, logs: Path, seconds: float, roles: dict[str, int], rng: random.Random) -> tuple[Counter[str], int]:
    """Runs all for a while; returns what was done, and how often a process was killed."""
    cas.create(url, schema={"number": "int64", "data": "bytes"}).close()
    names = [(role, number) for role, count in roles.items() for number in range(count)]
    workers = [Worker(role, url, logs / f"{role}-{number}", rng) for role, number in names]
    end, kills = time.monotonic() + seconds, 0
    try:
        while time.monotonic() < end:
            time.sleep(rng.random())
            for worker in workers:
                if failure := worker.failure():
                    raise SystemExit(failure)
            victim = rng.choice(workers)
            victim.kill()
            victim.begin()
            kills += 1
    finally:
        for worker in workers:
            worker.kill()
    lines = [line.split() for log in sorted(logs.iterdir()) for line in log.read_text().splitlines()]
    return Counter(line[0] if line[0] != "branch" else "branches deleted" for line in lines if line), kills


def reported(logs: Path) -> list[str]:
    """The versions on main that were reported."""
    lines = [line for log in logs.iterdir() for line in log.read_text().split("\n")[:-1]]
    return [line.split()[1] for line in lines if line.startswith("main ")]


def verify(url: str, logs: Path) -> Counter[str]:
    """Opens what is left: all that was reported is there, and everything reads as it says."""
    found: Counter[str] = Counter()
    with cas.open(url) as ds:
        known = {version.id for version in ds.history}
        for version in reported(logs):
            found["commits reported"] += 1
            # A merge may be the second parent of another one.
            found["commits lost"] += version not in known and ds.history[version].id != version
        for old in ds.history[:: max(1, len(ds.history) // 200)]:
            found["rows read in the end"] += check(old.open())
        Collection(ds._repository, Expiry(reflog_days=0)).apply()
        found["rows of main"] = check(ds)
    return found


def main() -> None:
    """Runs the soak, or one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--readers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--role", choices=ROLES)
    parser.add_argument("--url")
    options = parser.parse_args()
    if options.role is not None:
        ROLES[options.role](options.url, options.seed)
        return
    rng = random.Random(options.seed)
    roles = {"write": options.writers, "read": options.readers, "collect": 1}
    with tempfile.TemporaryDirectory() as directory:
        url, logs = os.path.join(directory, "store"), Path(directory, "logs")
        logs.mkdir()
        done, kills = soak(url, logs, 60 * options.minutes, roles, rng)
        done.update({"SIGKILL": kills})
        done.update(verify(url, logs))
    for what, count in sorted(done.items()):
        print(f"{what:24} {count:>10,}")
    if done["commits lost"]:
        raise SystemExit("commits were lost")


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore", UncommittedChangesWarning)
    main()
