"""A sample of every fault of the matrix (``python tests/faults.py --full`` tries all), and that the matrix can fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import fault_crowd
import fault_damage
import fault_deaths
import fault_kills  # noqa: F401  enters its faults
import fault_power
import fault_upkeep  # noqa: F401
import pytest
from damage_matrix import CRASHED
from fault_matrix import FAULTS, Counts, table
from faulty_store import Fuse, faulty_stores
from system_calls import Sync, Write, needs_tracer

import cas

MOST_ENDED_BY_DAMAGE = 1


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_lost_and_nothing_is_wrong(name: str, tmp_path: Path) -> None:
    counts = FAULTS[name](tmp_path, False)
    assert (counts.wrong, counts.lost) == (0, 0)
    # LMDB trusts its pages: a damaged offset in one may lead it beyond the file, which ends the process.
    most = MOST_ENDED_BY_DAMAGE if name in fault_damage.DAMAGES else 0
    assert counts.tried - counts.survived <= most


def test_a_step_in_two_parts_is_seen(tmp_path: Path) -> None:
    def torn(place: Path) -> Iterator[None]:
        ds = cas.open(place / "ds")
        ds.tag("one")
        ds.tag("two")
        yield

    counts = fault_deaths.die_everywhere(tmp_path, torn, 1)
    assert counts.wrong > 0
    assert counts.lost == 0


def test_a_commit_that_is_lost_is_seen(tmp_path: Path) -> None:
    fault_deaths.prepare(tmp_path)
    before = fault_deaths.places(tmp_path)
    with cas.open(tmp_path / "ds") as ds:
        states = [before]
        for number in range(3):
            ds["x"][number] = -1
            ds.commit(str(number))
            states.append(fault_deaths.places(tmp_path))
        assert fault_deaths.judge(tmp_path, states, 3) == (False, False)
        assert fault_deaths.judge(tmp_path, states, 2) == (False, False)
        assert fault_deaths.judge(tmp_path, states, 1) == (True, False)
        for _ in range(2):
            ds.undo()
        states = [fault_deaths.places(tmp_path), *states[1:]]
        assert fault_deaths.judge(tmp_path, states, 3) == (False, True)


def test_operations_are_counted(tmp_path: Path) -> None:
    cas.create(tmp_path / "ds", schema={"x": "int64"}).close()
    fuse = Fuse()
    with faulty_stores(fuse):
        ds = cas.open(tmp_path / "ds")
        before = fuse.count
        ds.metadata["k"] = 1
        assert fuse.count - before >= 4  # begin, put, before and after the commit


def test_what_a_crowd_has_lost_is_seen(tmp_path: Path) -> None:
    url, log = tmp_path / "ds", tmp_path / "told"
    fault_crowd.make_store(url)
    with cas.open(url) as ds:
        ds.append(fault_crowd.rows_of(1, range(3)))
        facts = [["main", ds.commit(), 3]]
        log.write_text("".join(json.dumps(fact) + "\n" for fact in facts))
        assert fault_crowd.judge(url, {log: 0}) == Counts(1, 1, 0, 0)
        assert fault_crowd.judge(url, {log: 1}) == Counts(1, 0, 1, 0)
        assert fault_crowd.judge(url, {log: -9}) == Counts(1, 0, 0, 0)
        ds.undo()
    assert fault_crowd.judge(url, {log: 0}) == Counts(1, 0, 0, 1)


def test_wrong_rows_are_seen(tmp_path: Path) -> None:
    fault_crowd.make_store(tmp_path / "ds")
    with cas.open(tmp_path / "ds") as ds:
        for rows in (fault_crowd.rows_of(1, [0, 0]), fault_crowd.rows_of(1, [1]), fault_crowd.rows_of(1, [0])):
            ds.append(rows)
            if rows["number"] == [0]:
                ds["data"][0] = b"something else"
            with pytest.raises(AssertionError):
                fault_crowd.check_rows(ds)
            ds.rollback()


def test_damage_that_fsck_does_not_see_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ward, counts = fault_damage.Ward(tmp_path), Counts()
    ward.meet(fault_damage.dangle, 0, counts)
    assert (counts.survived, counts.wrong) == (1, 0)
    monkeypatch.setattr(fault_damage, "_is_clean", lambda path: True)
    ward.meet(fault_damage.dangle, 0, counts)
    assert (counts.survived, counts.wrong) == (1, 1)


def test_a_process_that_damage_ends_did_not_survive(tmp_path: Path) -> None:
    def end(path: Path) -> bool:
        os.kill(os.getpid(), signal.SIGKILL)
        return False

    ward, counts = fault_damage.Ward(tmp_path), Counts()
    with mock.patch.object(fault_damage, "_is_clean", end):
        assert ward.meet(lambda path, chance: None, 0, counts).outcome == CRASHED
    assert (counts.tried, counts.survived, counts.wrong) == (1, 0, 0)


@needs_tracer
def test_a_disk_that_does_not_sync_loses_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fault_power.recorded

    def without_syncs(place: Path, steps: int) -> tuple[bytes, list[object]]:
        start, events = real(place, steps)
        lax = [Write(e.path, e.pieces, False) if isinstance(e, Write) else e for e in events if not isinstance(e, Sync)]
        return start, list(lax)

    monkeypatch.setattr(fault_power, "recorded", without_syncs)
    counts = FAULTS["power lost"](tmp_path, False)
    assert counts.lost > 5
    assert counts.lost + counts.wrong > 20


def test_the_matrix_is_a_table() -> None:
    lines = table({"a fault": Counts(12_000, 11_999, 1, 0), "b": Counts()}).splitlines()
    assert lines[0].split() == ["fault", "tried", "survived", "wrong", "data", "lost", "commits"]
    assert lines[1].split() == ["a", "fault", "12,000", "11,999", "1", "0"]


def test_the_command_prints_the_matrix() -> None:
    """As a user runs it, without the paths that the tests have."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONPATH"] = str(Path(cas.__file__).parents[1])
    command = [sys.executable, str(Path(__file__).with_name("faults.py")), "dangling"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["fault", "dangling"]
