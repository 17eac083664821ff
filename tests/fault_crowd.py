"""Many at once: processes and threads that commit, read and collect, and children that are forked and spawned.

Every row says what it must hold, so whoever reads can tell. What each process reports goes to a file of its own, line
by line, whatever becomes of the process.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from fault_matrix import Counts, fault
from walker import check_with_fsck

import cas
from cas.errors import ConflictError
from cas.hashing import hash_chunk
from cas.repo.collect import Collection, Expiry

MOST_SECONDS = 600
ROWS_OF_A_COMMIT = 12
Tell = Callable[..., None]


def data_of(writer: int, number: int) -> bytes:
    """What the row of a writer and number holds; some are chunks by themselves."""
    return hash_chunk(b"%d %d" % (writer, number)) * (1 if number % 5 else 150)


def rows_of(writer: int, numbers: Iterable[int]) -> dict[str, list[Any]]:
    """Rows of a writer."""
    known = list(numbers)
    return {"writer": [writer] * len(known), "number": known, "data": [data_of(writer, each) for each in known]}


def check_rows(ds: cas.ReadOnlyDataset | cas.Dataset) -> dict[int, int]:
    """Compares all rows with what they must be; returns how many each writer has, which are its first ones."""
    counts: dict[int, int] = {}
    if not len(ds):
        return counts
    for writer, number, data in zip(ds["writer"][:].tolist(), ds["number"][:].tolist(), ds["data"][:], strict=True):
        assert data == data_of(writer, number), f"row {number} of writer {writer} holds something else"
        assert number == counts.get(writer, 0), f"row {number} of writer {writer} is not in its place"
        counts[writer] = number + 1
    return counts


def make_store(url: Path) -> None:
    """An empty dataset for such rows."""
    cas.create(url, schema={"writer": "int64", "number": "int64", "data": "bytes"}).close()


class Crowd:
    """Forked processes that report to files, and end well or not."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._children: dict[int, Path] = {}

    def begin(self, work: Callable[[Tell], None]) -> Path:
        """Starts a process; returns the file that it reports to."""
        log = self._place / f"told {len(self._children)}"
        log.touch()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
            child = os.fork()
        if not child:
            _run(work, log)
        self._children[child] = log
        return log

    def end(self) -> dict[Path, int]:
        """Waits for all; returns how each ended, by its file."""
        return {log: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child, log in self._children.items()}


def _run(work: Callable[[Tell], None], log: Path) -> None:
    """Works in a forked child, and ends it."""
    signal.alarm(MOST_SECONDS)
    warnings.simplefilter("ignore")
    try:
        with open(log, "a") as file:

            def tell(*fact: object) -> None:
                file.write(json.dumps(fact) + "\n")
                file.flush()

            work(tell)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def told(log: Path) -> list[Any]:
    """What a process reported."""
    return [json.loads(line) for line in log.read_text().split("\n")[:-1]]


def goes_on(stop: Path, parent: int) -> bool:
    """Whether a process that only watches shall go on: nobody has stopped it, and the one that began it lives."""
    return not stop.exists() and os.getppid() == parent


def write_main(url: Path, writer: int, commits: int, tell: Tell) -> None:
    """Commits to the branch that others commit to, too, and sometimes merges a branch of its own into it."""
    chance = random.Random(writer)
    with cas.open(url) as ds:
        for number in range(commits):
            rows = rows_of(writer, range(number * ROWS_OF_A_COMMIT, (number + 1) * ROWS_OF_A_COMMIT))
            ds.append(rows)
            if chance.random() < 0.3:
                ds.flush()
            tell("main", ds.commit(f"{writer} {number}"), (number + 1) * ROWS_OF_A_COMMIT)
            if chance.random() < 0.3:
                ds.refresh()


def write_own(url: Path, writer: int, commits: int, tell: Tell) -> None:
    """Commits to a branch of its own, on top of what main was."""
    with cas.open(url) as ds:
        ds.branch(f"own {writer}")
    with cas.open(url, f"own {writer}") as own:
        for number in range(commits):
            own.append(rows_of(writer, range(number * ROWS_OF_A_COMMIT, (number + 1) * ROWS_OF_A_COMMIT)))
            tell(f"own {writer}", own.commit(f"{writer} {number}"), (number + 1) * ROWS_OF_A_COMMIT)


def read(url: Path, stop: Path, seed: int, tell: Tell) -> None:
    """Reads versions in full until it is told to stop."""
    chance, parent = random.Random(seed), os.getppid()
    while goes_on(stop, parent):
        with cas.open_read_only(url) as head:
            with head.history[chance.randrange(len(head.history))].open() as old:
                tell("read", sum(check_rows(old).values()))
            check_rows(head)
        time.sleep(chance.uniform(0, 0.02))


def collect(url: Path, stop: Path, tell: Tell) -> None:
    """Collects until it is told to stop."""
    parent = os.getppid()
    while goes_on(stop, parent):
        with cas.open(url) as ds:
            try:
                tell("collected", Collection(ds._repository, Expiry(reflog_days=0)).apply().blobs)
            except ConflictError:
                tell("told of writers")
        time.sleep(0.02)


def crowd(place: Path, writers: int, owners: int, readers: int, commits: int) -> Counts:
    """Lets processes work at once; each of them is one trial."""
    url, stop = place / "ds", place / "stop"
    make_store(url)
    working, watching = Crowd(place), Crowd(place / "watching")
    (place / "watching").mkdir()
    for seed in range(readers):
        watching.begin(functools.partial(read, url, stop, seed))
    watching.begin(functools.partial(collect, url, stop))
    for writer in range(writers):
        working.begin(functools.partial(write_main, url, writer, commits))
    for writer in range(writers, writers + owners):
        working.begin(functools.partial(write_own, url, writer, commits))
    ended = working.end()
    stop.touch()
    ended |= watching.end()
    return judge(url, ended)


def judge(url: Path, ended: dict[Path, int]) -> Counts:
    """Counts each process: whether it ended well, read what was written, and has its commits in the end."""
    counts = Counts()
    with cas.open(url) as ds:
        branches = {branch.name: branch.open() for branch in ds.branches}
        versions = {name: {version.id for version in opened.history} for name, opened in branches.items()}
        rows = {name: check_rows(opened) for name, opened in branches.items()}
    for number, (log, code) in enumerate(ended.items()):
        commits = [fact for fact in told(log) if fact[0] in versions]
        lost = [fact for fact in commits if fact[1] not in versions[fact[0]]]
        if commits and commits[-1][2] not in rows[commits[-1][0]].values():
            lost.append(commits[-1])
        if code or lost:
            sys.stderr.write(f"process {number} ended with {code}, lost {lost}\n")
        counts.add(wrong=code == 1, lost=bool(lost), died=code not in (0, 1))
    check_with_fsck(url)
    return counts


@fault("processes at once")
def trial(place: Path, full: bool) -> Counts:
    return crowd(place, 36, 8, 19, 6) if full else crowd(place, 3, 1, 1, 3)


# Threads on one handle


def work_in_thread(ds: cas.Dataset, writer: int, commits: int, failures: list[str]) -> None:
    """Appends and commits; the version that is returned must have all that this thread has appended until then."""
    try:
        for number in range(commits):
            ds.append(rows_of(writer, range(number * ROWS_OF_A_COMMIT, (number + 1) * ROWS_OF_A_COMMIT)))
            ds.metadata[f"writer {writer}"] = number
            version = ds.commit(f"{writer} {number}")
            with ds.history[version].open() as old:
                found = check_rows(old).get(writer, 0)
                assert found == (number + 1) * ROWS_OF_A_COMMIT, f"{found} rows of {writer} at commit {number}"
            assert ds.metadata[f"writer {writer}"] == number
    except BaseException as error:
        failures.append(f"thread {writer}: {error!r}")


@fault("threads on one handle")
def trial_of_threads(place: Path, full: bool) -> Counts:
    counts = Counts()
    for number in range(10 if full else 1):
        url, failures = place / f"ds{number}", list[str]()
        make_store(url)
        with cas.open(url) as ds:
            threads = [
                threading.Thread(target=work_in_thread, args=(ds, writer, 4, failures))
                for writer in range(8 if full else 4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            found = check_rows(ds)
        sys.stderr.writelines(f"{failure}\n" for failure in failures)
        for writer in range(len(threads)):
            counts.add(wrong=bool(failures), lost=found.get(writer) != 4 * ROWS_OF_A_COMMIT)
        check_with_fsck(url)
    return counts


# Children of a process that uses the store


def in_child(ds: cas.Dataset, url: Path, writer: int, rows: int, dies: bool) -> None:
    """Reads through a handle of the parent, and writes through it and through one of its own."""
    warnings.simplefilter("ignore")
    assert check_rows(ds) == {0: rows}
    with cas.open(url, "children") as own:
        own.append(rows_of(writer, range(3)))
        own.commit("by a handle of its own")
    with ds.branches["children"].open() as inherited:
        inherited.append(rows_of(writer, range(3, 5)))
        inherited.commit("by a handle of the parent's store")
    ds.append({"writer": [-1], "number": [0], "data": [b"never seen by the parent"]})
    if dies:
        os.kill(os.getpid(), signal.SIGKILL)


def family(url: Path, methods: Sequence[str], counts: Counts) -> None:
    """Has children while it works itself: each child is one trial, and the parent is none the worse for it."""
    make_store(url)
    ds = cas.open(url)
    ds.branch("children")
    for number, method in enumerate(methods):
        ds.append(rows_of(0, [2 * number, 2 * number + 1]))
        ds.commit("parent")
        rows, shared = 2 * number + 2, ds
        if method == "spawn":
            shared = cas.open(url)  # what has uncommitted changes does not pickle
        ds.append(rows_of(0, [rows]))
        dies = number % 3 == 2
        child = multiprocessing.get_context(method).Process(
            target=in_child, args=(shared, url, number + 1, rows + (shared is ds), dies)
        )
        child.start()
        seen = check_rows(ds)
        child.join(MOST_SECONDS)
        ds.rollback()
        with cas.open(url, "children") as children:
            lost = check_rows(children).get(number + 1) != 5
        counts.add(
            wrong=seen != {0: rows + 1} or check_rows(ds) != {0: rows},
            lost=lost,
            died=child.exitcode != (-signal.SIGKILL if dies else 0),
        )
    ds.close()
    check_with_fsck(url)


@fault("forked and spawned children")
def trial_of_children(place: Path, full: bool) -> Counts:
    counts = Counts()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking with threads, and of what children have left
        family(place / "ds", ["fork", "spawn"] * 30 if full else ["fork", "spawn", "fork"], counts)
    return counts
