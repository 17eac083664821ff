"""``cas fsck``: what it prints, and how it ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from raw_store import RawStore
from terminal import facts, ok, process, run

import cas
from cas.hashing import hash_chunk
from cas.types import Bytes

ROWS = [b"%04d" % number for number in range(300)]


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    lake = tmp_path / "lake"
    cas.init(lake)
    with cas.create(lake / "a", {"x": Bytes(dedup="row")}) as ds:
        ds.append({"x": ROWS[:200]})
        ds.commit("one")
        ds.append({"x": ROWS[200:]})
        ds.commit("two")
    return lake


def test_a_clean_store(lake: Path) -> None:
    assert ok("fsck", lake).endswith("and 4 versions checked: 0 errors, 0 warnings\n")
    assert "nodes and records and 4 versions checked: 0 errors" in ok("fsck", lake, "--quick")
    found = facts("fsck", lake)
    assert (found["versions"], found["findings"], found["errors"], found["quick"]) == (4, [], 0, False)
    assert found["blobs"] == len(RawStore(lake).rows("index"))


def test_a_damaged_row(lake: Path) -> None:
    name = hash_chunk(ROWS[7]).hex()
    RawStore(lake).flip(hash_chunk(ROWS[7]))
    done = process("fsck", lake)
    assert (done.returncode, done.stderr) == (5, b"")
    told, summary = done.stdout.decode().splitlines()
    assert told.startswith(f"error: blob {name} does not have the content")
    assert "branch main of a version " in told
    assert told.endswith("and 1 more column 'x' rows 7")
    assert summary.endswith("1 errors, 0 warnings")
    facts = json.loads(process("fsck", lake, "--json").stdout)
    (finding,) = facts["findings"]
    (place,) = finding["places"]
    assert (finding["blob"], place["column"], place["rows"], place["count"]) == (name, "x", [[7, 8]], 2)
    assert process("fsck", lake, "--quick").returncode == 0


def test_many_runs_are_cut_short(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", {"x": Bytes(dedup="row")}) as ds:
        ds.append({"x": [ROWS[number % 2] for number in range(40)]})
        ds.commit()
    RawStore(tmp_path / "ds").flip(hash_chunk(ROWS[0]))
    assert "rows 0 2 4 6 8 10 12 14 ...\n" in run("fsck", tmp_path / "ds").stdout


def test_a_warning_is_no_error(lake: Path) -> None:
    RawStore(lake).put("cache", b"x", b"\xff")
    assert "warning: a row of the table cache is damaged" in ok("fsck", lake)


def test_what_nothing_leads_to(lake: Path) -> None:
    with cas.open(lake / "a") as ds:
        ds.append({"x": [b"gone"]})
        ds.flush()
        ds.rollback()
    RawStore(lake).flip(hash_chunk(b"gone"))
    told = ok("fsck", lake)
    assert told.startswith("warning: ")
    assert "(nothing leads to it)" in told


def test_repair(lake: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(lake, copy)
    RawStore(lake).flip(hash_chunk(ROWS[7]))
    RawStore(lake).flip(hash_chunk(ROWS[8]))
    RawStore(copy).remove("index", hash_chunk(ROWS[8]))
    done = run("fsck", lake, "--repair-from", copy / "a")
    assert done.exit_code == 5
    assert f"repaired: blob {hash_chunk(ROWS[7]).hex()}" in done.stdout
    assert f"error: blob {hash_chunk(ROWS[8]).hex()}" in done.stdout
    assert done.stdout.endswith("1 errors, 0 warnings, 1 repaired\n")
    with cas.open_read_only(lake / "a") as ds:
        assert ds["x"][7] == ROWS[7]


def test_a_database_that_is_damaged_itself(lake: Path) -> None:
    data = bytearray((lake / "data.mdb").read_bytes())
    data[: 2 * 4096] = np.random.default_rng(0).bytes(2 * 4096)
    (lake / "data.mdb").write_bytes(data)
    done = process("fsck", lake, "--json")
    assert (done.returncode, done.stderr) == (5, b"")
    (finding,) = json.loads(done.stdout)["findings"]
    assert (finding["severity"], finding["what"]) == ("error", "database")


def test_help_tells_what_is_not_seen(lake: Path) -> None:
    told = " ".join(ok("fsck", "--help").split())
    assert "damage that came later to that part is not seen; --restart reads all" in told
