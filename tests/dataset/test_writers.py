"""Several writers of one branch at once: handles and processes that commit without waiting for each other."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from other_process import PRELUDE

import cas
from cas.errors import ConflictError

WRITERS = 4
COMMITS = 8

WRITER = """
writer, commits = map(int, sys.argv[2:])
with cas.open(url) as ds:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(commits):
        ds.append({"writer": [writer], "count": [number]})
        mine = int((ds["writer"][:] == writer).argmax())
        ds["count"][mine] = number + 1
        if number == 2:
            ds.insert(0, [{"writer": -1 - writer, "count": 0}])
        if number == 4:
            ds.delete(int((ds["writer"][:] == -1 - writer).argmax()))
        print(ds.commit(f"{writer} {number}"), flush=True)
"""


@pytest.fixture
def url(tmp_path: Path) -> Path:
    with cas.create(tmp_path / "ds", schema={"writer": "int64", "count": "int64"}) as ds:
        ds.append({"writer": list(range(WRITERS)), "count": [0] * WRITERS})
        ds.commit()
    return tmp_path / "ds"


def test_processes_that_change_different_rows_all_land(url: Path) -> None:
    command = [sys.executable, "-c", PRELUDE + textwrap.dedent(WRITER), str(url)]
    processes = [
        subprocess.Popen(
            [*command, str(writer), str(COMMITS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for writer in range(WRITERS)
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    landed = []
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        landed += output.split()
    with cas.open(url) as ds:
        history = [version.id for version in ds.history]
        assert len(landed) == len({*landed}) == WRITERS * COMMITS
        assert {*landed} <= {*history}
        assert len(history) == WRITERS * COMMITS + 3
        assert ds["writer"][:WRITERS].tolist() == list(range(WRITERS))
        assert ds["count"][:WRITERS].tolist() == [COMMITS] * WRITERS
        appended = list(zip(ds["writer"][WRITERS:].tolist(), ds["count"][WRITERS:].tolist(), strict=True))
        for writer in range(WRITERS):
            assert [count for by, count in appended if by == writer] == list(range(COMMITS))
        assert len(appended) == WRITERS * COMMITS


def test_handles_that_take_turns_see_what_the_others_did(url: Path) -> None:
    handles = [cas.open(url) for _ in range(3)]
    try:
        for number in range(9):
            ds = handles[number % 3]
            ds["count"][number % WRITERS] = number
            ds.append({"writer": [9], "count": [number]})
            ds.commit()
        assert handles[2]["count"][:].tolist() == [8, 5, 6, 7, *range(9)]
    finally:
        for ds in handles:
            ds.close()


def test_writers_of_one_cell_are_told_and_lose_nothing(url: Path) -> None:
    with cas.open(url) as first, cas.open(url) as second:
        for ds, count in ((first, 10), (second, 20)):
            ds["count"][0] = count
            ds.append({"writer": [9], "count": [count]})
        first.commit()
        for _ in range(2):
            with pytest.raises(ConflictError) as raised:
                second.commit()
            (conflict,) = raised.value.conflicts
            assert (conflict.row, conflict.base, conflict.ours, conflict.theirs) == (0, 0, 10, 20)
            assert second.has_changes
            assert second["count"][:].tolist() == [20, 0, 0, 0, 20]
        second.commit(on_conflict=lambda conflict: conflict.ours + conflict.theirs)
        assert second["count"][:].tolist() == [30, 0, 0, 0, 10, 20]
        assert len(second.history) == 5
