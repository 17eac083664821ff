"""Memory of upkeep on many blobs: ``python bench/gc_memory.py [--blobs 1000000] [--place DIR]``, run by hand.

Makes a store of many small blobs through the ordinary API, half of them on a branch that is deleted then, and runs
``du``, ``fsck`` and ``gc`` on it, each in a process of its own. Of each it prints the time, and by how much memory grew
at most over the store being open: *anonymous* memory, which is what the process itself takes, and the whole resident
set, which also counts pages of the database that are mapped, and which the system takes back when it needs them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cas
from cas import types
from cas.repo.collect import Collection, Expiry
from cas.repo.fsck import Fsck
from cas.repo.repository import Repository, open_repository
from cas.repo.usage import dataset_usage

BATCH_ROWS = 50_000
SAMPLE_SECONDS = 0.005


def make_store(url: Path, blobs: int) -> None:
    """Writes a store of which half of the blobs are reached, row by row a blob of its own."""
    with cas.create(url, {"row": types.Bytes(dedup="row")}) as ds:
        fill(ds, 0, blobs // 2)
        with ds.branch("gone").open() as gone:
            fill(gone, blobs // 2, blobs)
        ds.branches["gone"].delete(force=True)


def fill(ds: cas.Dataset, start: int, stop: int) -> None:
    """Appends rows of their numbers and some noise, and commits them."""
    for first in range(start, stop, BATCH_ROWS):
        numbers = range(first, min(first + BATCH_ROWS, stop))
        ds.append({"row": [number.to_bytes(8, "little") + os.urandom(8 + number % 50) for number in numbers]})
    ds.commit(f"rows {start} to {stop}")


def gc(repository: Repository) -> int:
    """Collects, and returns of how many blobs."""
    done = Collection(repository, Expiry(reflog_days=0)).apply()
    return done.blobs + done.kept_blobs


def fsck(repository: Repository) -> int:
    """Checks all blobs."""
    checked = Fsck(repository, restart=True).check()
    assert not checked.findings, checked.findings
    return checked.blobs


def du(repository: Repository) -> int:
    """Counts what each ref keeps."""
    (name,) = repository.dataset_names()
    return dataset_usage(repository, repository.dataset_id(name)).total.blobs


TASKS: dict[str, Callable[[Repository], int]] = {"du": du, "fsck": fsck, "gc": gc}


def status_bytes(name: str) -> int:
    """A size that the system tells of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def measure(task: str, url: Path) -> dict[str, float]:
    """Runs a task in this process, and returns what it took."""
    repository, _ = open_repository(url)
    with repository.store.read() as view:
        view.clock()
    idle, resident = status_bytes("RssAnon"), status_bytes("VmRSS")
    peak, done = idle, threading.Event()

    def sample() -> None:
        nonlocal peak
        while not done.wait(SAMPLE_SECONDS):
            peak = max(peak, status_bytes("RssAnon"))

    sampler = threading.Thread(target=sample)
    sampler.start()
    begun = time.perf_counter()
    blobs = TASKS[task](repository)
    seconds = time.perf_counter() - begun
    done.set()
    sampler.join()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"blobs": blobs, "seconds": seconds, "anonymous": peak - idle, "resident": most - resident}


def main() -> None:
    """Prints a row for each task, or is the process of one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blobs", type=int, default=1_000_000)
    parser.add_argument("--place", help="where the store is made for the time of the run")
    parser.add_argument("--task", choices=TASKS)
    parser.add_argument("--url", type=Path)
    options = parser.parse_args()
    if options.task is not None:
        print(json.dumps(measure(options.task, options.url)))
        return
    with tempfile.TemporaryDirectory(dir=options.place) as place:
        url, begun = Path(place, "store"), time.perf_counter()
        make_store(url, options.blobs)
        size = sum(file.stat().st_blocks * 512 for file in url.iterdir())
        print(f"{options.blobs:,} blobs made in {time.perf_counter() - begun:.0f} s, {size / 1e6:.0f} MB")
        print(f"{'task':6}{'blobs':>12}{'seconds':>9}{'anonymous':>14}{'a blob':>9}{'resident':>14}")
        for task in TASKS:
            command = [sys.executable, __file__, "--task", task, "--url", str(url)]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            a_blob = found["anonymous"] / found["blobs"]
            print(
                f"{task:6}{found['blobs']:12,}{found['seconds']:9.1f}{found['anonymous'] / 1e6:11.1f} MB"
                f"{a_blob:7.0f} B{found['resident'] / 1e6:11.1f} MB"
            )


if __name__ == "__main__":
    main()
