"""Every exit code, from a process of its own, as a script sees it: one line on standard error, nothing on output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pictures import png
from terminal import ok, process, run

import cas
from cas.cli.main import COMMANDS
from cas.codec import cbor
from cas.hashing import hash_chunk
from cas.store.contract import STORE, Transaction
from cas.store.lmdb import LmdbStore
from cas.types import Nullable, Text

IMAGE = png(1, 64)


@pytest.fixture
def url(tmp_path: Path) -> Path:
    with cas.create(tmp_path / "ds", {"path": Nullable(Text()), "image": "image"}) as ds:
        ds.append({"path": ["a", None], "image": [IMAGE, IMAGE]})
        ds.commit()
        ds.tag("v1")
    return tmp_path / "ds"


def fails(code: int, text: str, *args: object) -> None:
    done = process(*args)
    error = done.stderr.decode()
    assert (done.returncode, done.stdout) == (code, b""), error
    assert error.startswith("cas: ")
    assert text in error
    assert error.count("\n") == 1


def test_0_done(url: Path) -> None:
    done = process("log", url, "-n", 1, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)[0]["tags"] == ["v1"]


def test_1_something_was_left_out(url: Path) -> None:
    done = process("ls", url, "--paths")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"a\n", b"left out 1 rows without a path\n")


def test_1_leaks_were_found(url: Path) -> None:
    done = process("leaks", url, url)
    assert (done.returncode, done.stderr) == (1, b"")
    assert done.stdout.endswith(b" too\n")


def test_1_differences_were_found(url: Path) -> None:
    assert process("diff", url).returncode == 0
    done = process("diff", url, "--exit-code")
    assert (done.returncode, done.stderr) == (1, b"")


def test_2_wrong_usage() -> None:
    done = process("log")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Missing argument 'URL[@REV]'" in done.stderr


def test_2_wrong_input(url: Path) -> None:
    fails(2, "keeps several small rows", "duplicates", url, "--column", "path")


@pytest.mark.parametrize("option", ["--message", "--author"])
def test_2_what_is_no_text_is_refused_before_a_dataset_is_made(tmp_path: Path, option: str) -> None:
    (tmp_path / "images").mkdir()
    fails(2, "cannot be stored as UTF-8", "import", tmp_path / "images", tmp_path / "new", option, "\udcff")
    assert not cas.exists(tmp_path / "new")


def test_2_nothing_to_import(tmp_path: Path) -> None:
    fails(2, "SOURCE is empty", "import", "", tmp_path / "new")
    fails(2, "there is no file or folder", "import", tmp_path / "missing", tmp_path / "new")
    assert not cas.exists(tmp_path / "new")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_0_names_that_the_output_cannot_show(tmp_path: Path, encoding: str) -> None:
    store = tmp_path / "\udcff"
    assert process("init", store, PYTHONIOENCODING=encoding).returncode == 0
    with cas.create(store / "ds", {"n": "int64"}) as ds:
        ds.tag("ä")
    done = process("tag", store / "ds", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert ("ä".encode() if encoding == "utf-8" else b"\\xe4") in done.stdout


def test_3_not_found(url: Path) -> None:
    fails(3, "'nope' names no version", "show", f"{url}@nope")


def test_4_exists(url: Path) -> None:
    fails(4, "'v1' exists already", "tag", url, "v1")


def test_4_conflicts(url: Path) -> None:
    with cas.open(url) as ds, ds.branch("other").open() as other:
        ds["path"][0] = "b"
        ds.commit()
        other["path"][0] = "c"
        other.commit()
    done = process("merge", url, "other")
    assert (done.returncode, done.stderr[:16]) == (4, b"cas: 1 conflict;")
    assert done.stdout.count(b"\n") == 2


def test_5_damaged(url: Path) -> None:
    data = bytearray((url / "data.mdb").read_bytes())
    at = data.find(IMAGE)
    assert at > 0
    data[at + 100] ^= 1
    (url / "data.mdb").write_bytes(data)
    name = hash_chunk(IMAGE).hex()
    fails(5, f"blob {name} does not have the content", "cat-file", url, name)


def test_6_storage_failed(url: Path) -> None:
    (url / "lock.mdb").unlink()
    (url / "lock.mdb").mkdir()
    fails(6, str(url), "stats", url)


def test_7_unsupported(url: Path) -> None:
    def change(txn: Transaction) -> None:
        txn.put(STORE, b"config", cbor.encode({"format": 2}))

    store = LmdbStore(url)
    store.write(change)
    store.close()
    fails(7, "has format 2", "ls", url)


def test_commands_that_only_read_write_nothing(url: Path) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in url.iterdir() if file.name != "lock.mdb"}
    for name in ("log", "show", "diff", "ls", "tag", "stats", "du", "duplicates"):
        ok(name, url)
    ok("blame", url, "--column", "path")
    assert run("leaks", url, url).exit_code == 1
    assert run("cat-file", url, hash_chunk(IMAGE).hex()).stdout_bytes == IMAGE
    assert {file.name: file.stat().st_mtime_ns for file in url.iterdir() if file.name != "lock.mdb"} == before


def test_every_command_has_help() -> None:
    done = process("--help")
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout.decode() for name in COMMANDS)
