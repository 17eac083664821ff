"""A real collection of images through the whole path, checked against programs that know nothing of `cas`.

``python bench/real_images.py [--package oxygen-icon-theme] [--work DIR]`` brings icons from Debian (see corpus.py),
imports them, adds, changes, deletes and renames 1 % of the files each, imports again, checks both versions out, and
compares:

- both checkouts with the folders they came from, byte by byte (``diff -r``);
- ``cas stats`` and ``cas duplicates`` with counts made from ``sha256sum``;
- the bytes that the store takes on disk with the unique bytes of the files, at most 1.06 times as many;
- the tree hash with that of a fresh import, on another path, with another number of threads, and in two steps.

Links in the package count as copies of what they lead to, which is where most of its duplicates come from. It prints
one table of what it found, and ends with exit code 1 where a check failed.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpus import fetch

STORED_PER_UNIQUE = 1.06


@dataclass(slots=True)
class Table:
    """Rows of name, value and whether it is as it must be."""

    rows: list[tuple[str, str, bool | None]] = field(default_factory=list)

    def add(self, name: str, value: object, good: bool | None = None) -> None:
        """Adds a figure, or a check."""
        self.rows.append((name, f"{value:,}" if isinstance(value, int) else str(value), good))

    @property
    def good(self) -> bool:
        """Whether all checks passed."""
        return all(good is not False for _, _, good in self.rows)

    def __str__(self) -> str:
        marks = {None: "", True: "yes", False: "**NO**"}
        lines = ["| what | value | as it must be |", "|---|---|---|"]
        return "\n".join(lines + [f"| {name} | {value} | {marks[good]} |" for name, value, good in self.rows])


def cas(*arguments: str | Path) -> str:
    """Runs the command line and returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "cas.cli.main", *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def facts(*arguments: str | Path) -> dict[str, Any]:
    """Runs a command with ``--json`` and returns its facts."""
    found: dict[str, Any] = json.loads(cas(*arguments, "--json"))
    return found


def contents(folder: Path) -> dict[str, list[Path]]:
    """Returns the files of a folder by their SHA-256, from ``sha256sum``."""
    listing = subprocess.run(
        "find . -type f ! -name .cas-checkout -print0 | xargs -0 sha256sum -z",
        shell=True,
        cwd=folder,
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    found: dict[str, list[Path]] = defaultdict(list)
    for line in listing.split(b"\0")[:-1]:
        digest, _, name = line.decode().partition("  ")
        found[digest].append(Path(name.removeprefix("./")))
    return found


def change(folder: Path, share: float, seed: int) -> dict[str, int]:
    """Adds, changes, deletes and renames a share of the files each; returns what an import must count.

    A changed image gets a comment behind its last chunk, as some tools write; a new one likewise under a new name.
    """
    random_ = random.Random(seed)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    count = max(1, int(len(files) * share))
    chosen = random_.sample(files, 4 * count)
    added, changed, deleted, renamed = (chosen[at * count : (at + 1) * count] for at in range(4))
    for number, path in enumerate(added):
        path.with_name(f"new-{number}-{path.name}").write_bytes(path.read_bytes() + b"added %d" % number)
    for number, path in enumerate(changed):
        path.write_bytes(path.read_bytes() + b"changed %d" % number)
    for path in deleted:
        path.unlink()
    for path in renamed:
        path.rename(path.with_name(f"renamed-{path.name}"))
    return {"added": 2 * count, "changed": count, "removed": 2 * count, "unchanged": len(files) - 3 * count}


def same_files(left: Path, right: Path) -> bool:
    """Whether two folders hold the same, as ``diff`` sees it."""
    command = ["diff", "-r", "--exclude=.cas-checkout", str(left), str(right)]
    return subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0


def check_counts(table: Table, url: Path, folder: Path, when: str) -> None:
    """Compares ``stats`` and ``duplicates`` with counts made from ``sha256sum``."""
    found = contents(folder)
    sizes = {digest: (folder / paths[0]).stat().st_size for digest, paths in found.items()}
    logical = sum(sizes[digest] * len(paths) for digest, paths in found.items())
    unique = sum(sizes.values())
    stats = facts("stats", url)
    image = next(column for column in stats["columns"] if column["name"] == "image")
    counted = (image["rows"], image["logical_bytes"], image["unique_bytes"], image["unique_chunks"])
    table.add(f"{when}: files", image["rows"], image["rows"] == sum(map(len, found.values())))
    table.add(f"{when}: bytes", image["logical_bytes"], image["logical_bytes"] == logical)
    table.add(f"{when}: unique bytes", image["unique_bytes"], image["unique_bytes"] == unique)
    table.add(f"{when}: distinct images", image["unique_chunks"], counted[3] == len(found))
    groups = facts("duplicates", url, "--limit", "1000000")["groups"]
    mine = sorted(sorted(group["paths"]) for group in groups)
    theirs = sorted(sorted(path.as_posix() for path in paths) for paths in found.values() if len(paths) > 1)
    table.add(f"{when}: groups of duplicates", len(groups), mine == theirs)


def stored(url: Path) -> int:
    """Returns the bytes that a store takes, as ``du`` counts them."""
    done = subprocess.run(["du", "-s", "--block-size=1", str(url)], check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.split()[0])


def timed(table: Table, name: str, *arguments: str | Path) -> dict[str, Any]:
    """Runs a command, notes its seconds, and returns its facts."""
    start = time.perf_counter()
    found = facts(*arguments)
    table.add(f"{name}: seconds", f"{time.perf_counter() - start:.2f}")
    return found


def run(package: str, work: Path) -> Table:
    """Does it all below ``work`` and returns the table."""
    table = Table()
    source, folder, url = work / package, work / "pictures", work / "store"
    fetch(package, source)
    shutil.copytree(source, folder)

    first = timed(table, "first import", "import", folder, url, "-m", "as packaged")
    check_counts(table, url, folder, "first")
    unique = sum((folder / paths[0]).stat().st_size for paths in contents(folder).values())
    ratio = stored(url) / unique
    table.add("store on disk / unique bytes", f"{ratio:.4f}", ratio <= STORED_PER_UNIQUE)
    again = timed(table, "import of the unchanged folder", "import", folder, url)
    table.add("unchanged folder makes a version", again["made_version"], not again["made_version"])

    before = stored(url)
    expected = change(folder, 0.01, seed=0)
    second = timed(table, "second import, 4 x 1 % changed", "import", folder, url, "-m", "a month later")
    counts = {name: second[name] for name in expected}
    table.add("second import: counts", counts, counts == expected)
    table.add("second import: store grown by bytes", stored(url) - before)
    check_counts(table, url, folder, "second")

    for name, version, original in (("first", first, source), ("second", second, folder)):
        timed(table, f"checkout of the {name}", "checkout", f"{url}@{version['version']}", work / f"out-{name}")
        table.add(f"checkout of the {name} is the folder", "", same_files(work / f"out-{name}", original))
    switched = timed(
        table, "checkout of the first over the second", "checkout", f"{url}@{first['version']}", work / "out-second"
    )
    table.add("files written by it", switched["written"])
    table.add("it is the first folder", "", same_files(work / "out-second", source))

    check_trees(table, url, folder, source, work)
    return table


def check_trees(table: Table, url: Path, folder: Path, source: Path, work: Path) -> None:
    """Compares the tree with those of other ways to the same folder."""
    tree = facts("show", url)["tree"]
    elsewhere = work / "else" / "where"
    shutil.copytree(folder, elsewhere)
    facts("import", elsewhere, work / "other-path", "--jobs", "1")
    table.add("another path, one thread: same tree", "", facts("show", work / "other-path")["tree"] == tree)
    steps = work / "steps"
    shutil.copytree(source, steps)
    facts("import", steps, work / "two-steps", "--jobs", "7")
    shutil.rmtree(steps)
    shutil.copytree(folder, steps)
    facts("import", steps, work / "two-steps")
    table.add("two steps, seven threads: same tree", "", facts("show", work / "two-steps")["tree"] == tree)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", default="oxygen-icon-theme")
    parser.add_argument("--work", type=Path, help="a folder to work in, kept afterwards; by default a temporary one")
    options = parser.parse_args()
    if options.work is not None:
        options.work.mkdir(parents=True)
        table = run(options.package, options.work)
    else:
        with tempfile.TemporaryDirectory() as work:
            table = run(options.package, Path(work))
    print(f"{options.package}\n\n{table}")
    sys.exit(0 if table.good else 1)


if __name__ == "__main__":
    main()
