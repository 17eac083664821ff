"""What users of Deep Lake 4.7 meet, fault by fault, each shown not to be so here."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from long_history import counted, extend
from odd_calls import public_names
from other_process import output, run

import cas
from cas import types
from cas.errors import ConflictError, CorruptedError, InvalidInputError
from cas.repo.repository import open_repository
from cas.store.lmdb import LmdbStore

ROWS = {"x": [1, 2, 3], "b": [b"1", b"2", b"3"]}


@pytest.fixture
def ds(tmp_path: Path) -> cas.Dataset:
    dataset = cas.create(tmp_path / "ds", schema={"x": "int64", "b": "bytes"})
    dataset.append(ROWS)
    dataset.commit("three rows")
    return dataset


# --- "metadata is persisted immediately": there, at commit or refresh ------------------------------------------------


def test_metadata_is_on_disk_before_the_next_line(ds: cas.Dataset, tmp_path: Path) -> None:
    script = "ds = cas.open(url); ds.metadata['k'] = 1; ds.x.metadata['k'] = 2; os._exit(9)"
    assert run(script, tmp_path / "ds").returncode == 9
    assert (ds.metadata["k"], ds.x.metadata["k"]) == (1, 2)  # this handle neither refreshed nor committed
    ds.rollback()
    assert output("ds = cas.open(url); print(ds.metadata['k'], ds.x.metadata['k'])", tmp_path / "ds") == "1 2"


# --- versions that are iterated do not open -------------------------------------------------------------------------


def test_iterated_versions_open(ds: cas.Dataset) -> None:
    ds.append(ROWS)
    ds.commit()
    lengths = [len(version.open()) for version in ds.history]
    assert lengths == [0, 0, 3, 6]
    assert [len(version.open()) for version in list(ds.history)[::-1]] == lengths[::-1]


# --- messages and client timestamps are lost every 64 commits -------------------------------------------------------


def test_messages_and_client_timestamps_outlive_200_commits(ds: cas.Dataset, tmp_path: Path) -> None:
    expected = []
    for number in range(200):
        ds.append({"x": [number], "b": [b""]})
        ds.commit(f"message {number}")
        expected.append([ds.version.id, f"message {number}", ds.version.client_timestamp.isoformat(), 4 + number])
    script = """
    versions = list(cas.open_read_only(url).history)[3:]
    print(json.dumps([[v.id, v.message, v.client_timestamp.isoformat(), len(v.open())] for v in versions]))
    """
    ds.close()
    assert json.loads(output(script, tmp_path / "ds")) == expected
    assert len({time for _, _, time, _ in expected}) == 200


# --- numbers out of range are read as zeros -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "bad"),
    [
        ("int32", 2**40),
        ("int32", -(2**31) - 1),
        ("uint8", -1),
        ("uint8", 300),
        ("int64", 2**63),
        ("int64", 1.7),
        ("uint8", 1.7),
        ("int32", float("nan")),
        ("float32", 1e300),
        ("float16", 70_000.0),
    ],
)
def test_numbers_that_do_not_fit_are_refused_and_nothing_is_staged(tmp_path: Path, dtype: str, bad: Any) -> None:
    ds = cas.create(tmp_path / "ds", schema={"x": dtype, "a": types.Array(dtype, (2,))})
    good = {"x": [0, 1], "a": [[0, 1], [1, 0]]}
    ds.append(good)
    before = ds.commit("good")
    for column, values in (("x", [1, bad]), ("x", np.array([1, bad])), ("a", [[0, 0], [0, bad]])):
        rows = {**good, column: values}
        with pytest.raises(InvalidInputError, match=f"'{column}'"):
            ds.append(rows)
        with pytest.raises(InvalidInputError, match=f"'{column}'"):
            ds.insert(0, rows)
        with pytest.raises(InvalidInputError, match=f"'{column}'"):
            ds[column][[0, 1]] = values
    with pytest.raises(InvalidInputError, match="'x'"):
        ds.x[1] = bad
    assert not ds.has_changes
    assert ds.x[:].tolist() == [0, 1]
    assert ds.a[:].tolist() == [[0, 1], [1, 0]]
    assert ds.commit() == before


# --- equal rows are stored again ------------------------------------------------------------------------------------


def bytes_at_rest(url: Path) -> int:
    """The bytes of all blobs in a store that this process has closed, from the index itself."""
    with lmdb.open(str(url), readonly=True, max_dbs=16) as env:
        index = env.open_db(b"index", create=False)
        with env.begin() as txn, txn.cursor(index) as cursor:
            return sum(int.from_bytes(value[8:], "little") for _, value in cursor)


# Only the one or two chunks where old and new rows meet are new, of 48 KiB in the mean, and the nodes above them.
SEAM_BYTES = 160_000
NOISE = np.random.default_rng(0)
TABLES: dict[str, tuple[Any, Any]] = {
    "images": (types.Array("uint8", (100, 100, 3)), NOISE.integers(0, 256, (60, 100, 100, 3), dtype=np.uint8)),
    "vectors": (types.Array("float32", (64,)), NOISE.random((10_000, 64), dtype=np.float32)),
    "numbers": ("int64", NOISE.integers(0, 2**60, 300_000)),
    "files": ("bytes", [NOISE.bytes(int(size)) for size in NOISE.integers(1000, 60_000, 100)]),
}


@pytest.mark.parametrize("name", TABLES)
def test_rows_that_are_there_take_no_second_space(tmp_path: Path, name: str) -> None:
    type_, rows = TABLES[name]
    with cas.create(tmp_path / "ds", schema={"x": type_}) as ds:
        ds.append({"x": rows})
        ds.commit("once")
    once = bytes_at_rest(tmp_path / "ds")
    with cas.open(tmp_path / "ds") as ds:
        ds.append({"x": rows})
        ds.commit("twice")
        assert len(ds) == 2 * len(rows)
    assert once > 1_500_000
    assert bytes_at_rest(tmp_path / "ds") - once < SEAM_BYTES


@pytest.mark.parametrize("name", TABLES)
def test_a_row_in_front_costs_no_second_copy(tmp_path: Path, name: str) -> None:
    type_, rows = TABLES[name]
    with cas.create(tmp_path / "ds", schema={"x": type_}) as ds:
        ds.append({"x": rows[1:]})
        ds.commit("all but one")
    before = bytes_at_rest(tmp_path / "ds")
    with cas.open(tmp_path / "ds") as ds:
        ds.insert(0, {"x": rows[:1]})
        ds.commit("the one, in front")
        assert np.array_equal(ds.x[0], rows[0])
        assert np.array_equal(ds.x[-1], rows[-1])
    assert bytes_at_rest(tmp_path / "ds") - before < SEAM_BYTES


# --- damage is read as data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("compressible", [False, True], ids=["at rest as they are", "compressed"])
def test_a_flipped_byte_is_an_error_and_never_wrong_data(tmp_path: Path, compressible: bool) -> None:
    url = tmp_path / "ds"
    rows = np.random.default_rng(1).integers(0, 16 if compressible else 256, (4, 50_000), dtype=np.uint8)
    with cas.create(url, schema={"x": types.Array("uint8", (50_000,))}) as ds:
        ds.append({"x": rows})
        ds.commit()
    for at, length in data_regions(url, rows):
        for place in (0, 1, length // 3, length // 2, length - 1):
            flip(url, at + place)
            with cas.open_read_only(url) as ds, pytest.raises(CorruptedError, match="blob") as caught:
                ds.x[:]
            assert re.fullmatch("[0-9a-f]{64}", str(caught.value.blob))
            flip(url, at + place)
    with cas.open_read_only(url) as ds:
        assert (ds.x[:] == rows).all()


def data_regions(url: Path, rows: np.ndarray) -> list[tuple[int, int]]:
    """Where the chunks of the rows are in the database file: offset and length."""
    with lmdb.open(str(url), readonly=True, max_dbs=16) as env:
        index, segments = (env.open_db(name, create=False) for name in (b"index", b"segments"))
        with env.begin() as txn:
            places = [value for _, value in txn.cursor(index)]
            blobs = []
            for value in places:
                place, length = int.from_bytes(value[:8], "little"), int.from_bytes(value[8:], "little")
                segment = txn.get((place >> 24).to_bytes(8, "big"), db=segments)
                blobs.append(segment[place & 0xFFFFFF :][:length])
    content = (url / "data.mdb").read_bytes()
    found = [(content.index(blob), len(blob)) for blob in blobs if len(blob) > 1000]
    assert sum(length for _, length in found) > 0.4 * rows.nbytes
    return found


def flip(url: Path, at: int) -> None:
    with open(url / "data.mdb", "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


# --- two writers overwrite each other -------------------------------------------------------------------------------


def test_the_second_of_two_writers_gets_a_conflict_and_keeps_its_rows(ds: cas.Dataset, tmp_path: Path) -> None:
    other = cas.open(tmp_path / "ds")
    other.append({"x": [20], "b": [b"other"]})
    other.x[0] = 10
    base = other.version.id
    ds.append({"x": [30], "b": [b"mine"]})
    ds.x[0] = 7
    first = ds.commit("first")
    for _ in range(2):  # also when tried again
        with pytest.raises(ConflictError, match="row 0, column 'x'") as caught:
            other.commit("second")
        assert (caught.value.expected, caught.value.found) == (base, first)
        assert other.has_changes
        assert other.x[:].tolist() == [10, 2, 3, 20]
    assert cas.open_read_only(tmp_path / "ds").x[:].tolist() == [7, 2, 3, 30]
    assert [version.message for version in cas.open(tmp_path / "ds").history][-2:] == ["three rows", "first"]


# --- nothing is synced to the disk ----------------------------------------------------------------------------------

WRITES = {
    "metadata": "ds.metadata['k'] = 1",
    "tag": "ds.tag('v1')",
    "commit": "ds.append({'x': [9], 'b': [b'']}); ds.commit()",
    "flush": "ds.append({'x': [9], 'b': [b'']}); ds.flush()",
}


def test_the_database_syncs_data_and_pages_of_each_transaction(ds: cas.Dataset) -> None:
    store = ds._repository.store
    assert isinstance(store, LmdbStore)
    flags = store._environment()._env.flags()
    assert flags["sync"]
    assert flags["metasync"]
    assert not flags["map_async"]
    assert not flags["writemap"]


def tracer(tmp_path: Path) -> list[str] | None:
    """The command that traces syncs, where there is one and it may trace."""
    command = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync,msync,write", "-s", "80", "-o", str(tmp_path / "t")]
    if shutil.which("strace") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        return None
    return command


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_returned_was_synced(ds: cas.Dataset, tmp_path: Path, write: str) -> None:
    """Where syscalls cannot be traced, the test of the flags stands for this one, and the value is only read back."""
    ds.close()
    script = f"ds = cas.open(url); os.write(1, b'BEGIN'); {write}; os.write(1, b'END'); os._exit(9)"
    trace = tracer(tmp_path)
    assert run(script, tmp_path / "ds", prefix=trace or ()).returncode == 9
    if trace is not None:
        lines = (tmp_path / "t").read_text().splitlines()
        begin, end = (next(n for n, line in enumerate(lines) if f'"{word}"' in line) for word in ("BEGIN", "END"))
        synced = [line for line in lines[begin:end] if re.search(r"(fsync|fdatasync)\(.*data\.mdb>?\) += 0", line)]
        assert synced, lines[begin:end]
    again = cas.open(tmp_path / "ds")
    assert again.metadata.to_dict() or len(again.tags) or len(again) > 3 or again.sessions()


# --- an odd argument ends the interpreter ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path, str]:
    """What came of calling everything with odd arguments, the store, and a version from before in it."""
    directory = tmp_path_factory.mktemp("odd")
    work = directory / "a/b/c"
    work.mkdir(parents=True)
    cas.init(directory / "lake")
    with cas.create(directory / "lake/kept", schema={"x": "int64", "b": "bytes"}) as ds:
        ds.append(ROWS)
        version = ds.commit("three rows")
    script = Path(__file__).with_name("odd_calls.py")
    path = os.pathsep.join([str(Path(cas.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "HOME": str(work), "PYTHONPATH": path}
    command = [sys.executable, "-W", "ignore", str(script), str(directory / "lake")]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=300)
    return done, directory / "lake", version


def test_no_argument_ends_the_interpreter(odd: tuple[subprocess.CompletedProcess[str], Path, str]) -> None:
    done, _, _ = odd
    assert (done.returncode, done.stderr) == (0, "")


def test_no_argument_harms_the_store(odd: tuple[subprocess.CompletedProcess[str], Path, str]) -> None:
    _, lake, version = odd
    repository, _ = open_repository(lake, read_only=True)
    names = repository.dataset_names()
    assert len(names) > len(public_names()) - 5  # some functions take datasets away
    for name in names:
        with cas.open_read_only(lake / name) as old:
            for column in old.schema:
                assert len(list(old[column])) == len(old)
                old[column].metadata.to_dict()
            old.metadata.to_dict()
            for version_ in old.history:
                assert version_.open().version.message == version_.message
            for tag in old.tags:
                assert tag.open().version == tag.version
    with cas.open_read_only(lake / "kept") as kept:
        assert kept.version.id == version
        assert {column: list(kept[column]) for column in kept.schema} == ROWS
    with cas.open(lake / "kept") as ds:
        ds.metadata["still"] = "writable"
        ds.append(ROWS)
        ds.commit("after all")
        assert len(cas.open_read_only(lake / "kept")) == 6


@pytest.mark.parametrize("name", public_names())
def test_odd_arguments_work_or_raise_an_error_of_the_package(
    odd: tuple[subprocess.CompletedProcess[str], Path, str], name: str
) -> None:
    assert json.loads(odd[0].stdout).get(name, []) == []


def test_many_callables_are_found() -> None:
    assert len(public_names()) > 100


# --- commits become slower with every version -----------------------------------------------------------------------


def test_the_work_of_a_commit_does_not_grow_with_the_number_of_versions(ds: cas.Dataset) -> None:
    def work() -> float:
        amounts = []
        for _ in range(7):
            ds.append({"x": [len(ds)], "b": [b"b"]})
            with counted() as counts:
                ds.commit("one more")
            amounts.append(counts.all)
        return statistics.median(amounts)

    few = work()
    extend(ds, 5_000)
    many = work()
    # The jump of a new version's entry is found by a logarithmic number of look-ups.
    assert many <= few + 4 * math.ceil(math.log2(5_000))
