"""Some thousands of mutations of real blobs and rows, and whole stores with rows of a stranger."""

from __future__ import annotations

import ast
import json
import random
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import cbor2
import fuzz_targets
import numpy as np
import pytest
from fuzz_targets import TARGETS
from make_stores import DIRECTORY, unpack
from raw_store import RawStore
from store_facts import facts_of

import cas
from cas.codec import cbor
from cas.errors import CorruptedError, UnsupportedError
from cas.history.row_map import RowMap
from cas.store.contract import TABLES
from cas.tree.node import Entries, decode_node, encode_node

FOUND: dict[str, list[str]] = json.loads((DIRECTORY.parents[1] / "fuzz.json").read_text())
MUTATIONS = 500
ROWS = 150


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    return fuzz_targets.seeds_of(tmp_path_factory.mktemp("seeds"))


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize("name", TARGETS)
def test_any_input_gives_a_value_or_an_error_of_the_package(
    name: str, seeds: dict[str, list[bytes]], traced: None
) -> None:
    assert seeds[name]
    for data in fuzz_targets.inputs(TARGETS[name], seeds[name], MUTATIONS, random.Random(name)):
        try:
            fuzz_targets.check(TARGETS[name], data, measured=True)
        except BaseException as error:
            pytest.fail(f"{error!r} for {data.hex()}; add it to fixtures/fuzz.json")


@pytest.mark.parametrize("name", TARGETS)
def test_paths_not_yet_taken(name: str, tmp_path: Path) -> None:
    """The first steps of what ``explore.py`` does by hand for hours; it leaves a file where it finds something."""
    pytest.importorskip("atheris", reason="atheris is not installed: pip install 'tensor-cas[fuzz]'")
    script = Path(__file__).with_name("explore.py")
    command = [sys.executable, str(script), name, "20", "-runs=200"]
    done = subprocess.run(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "cov: " in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", TARGETS)
def test_real_inputs_are_taken(name: str, seeds: dict[str, list[bytes]]) -> None:
    """Otherwise mutations would only reach the first check."""
    taken = 0
    for data in seeds[name]:
        try:
            TARGETS[name].run(data)
            taken += 1
        except fuzz_targets.ALLOWED:
            pass
    assert taken >= min(3, max(1, len(seeds[name]) // 3))


@pytest.mark.parametrize(("name", "data"), [(name, data) for name, found in FOUND.items() for data in found])
def test_what_was_found_once(name: str, data: str, traced: None) -> None:
    fuzz_targets.check(TARGETS[name], bytes.fromhex(data), measured=True)


def test_the_check_sees_what_it_is_for() -> None:
    def wrong(data: bytes) -> None:
        raise {b"k": KeyError, b"s": cas.errors.StoreError, b"v": ValueError}[data]("x")

    def busy(data: bytes) -> None:
        begun = time.thread_time()
        while time.thread_time() - begun < 1.1:
            pass

    for data in (b"k", b"v", b"s"):
        with pytest.raises((KeyError, ValueError, AssertionError)):
            fuzz_targets.check(fuzz_targets.Target(wrong), data)
    with pytest.raises(AssertionError, match="it took"):
        fuzz_targets.check(fuzz_targets.Target(busy), b"")
    tracemalloc.start()
    with pytest.raises(AssertionError, match="bytes"):
        fuzz_targets.check(fuzz_targets.Target(lambda data: bytearray(80 << 20)), b"", measured=True)
    tracemalloc.stop()


# --- by hand --------------------------------------------------------------------------------------------------------


def test_sums_of_row_maps_do_not_wrap_around() -> None:
    """2**16 runs of 2**47 rows are 2**63."""
    runs = np.full((2**17, 3), 2**47, "<u8")
    with pytest.raises(CorruptedError, match="impossible counts"):
        RowMap.decode(runs.tobytes(), "row map")


@pytest.mark.parametrize("numbers", [(2**55, 0), (0, 2**55), (2**55, 2**55)])
def test_sums_of_nodes_do_not_wrap_around(numbers: tuple[int, int]) -> None:
    """256 children of 2**55 rows are 2**63."""
    rows, size = (np.full(256, number, np.int64) for number in numbers)
    payload = encode_node(1, Entries(np.zeros((256, 32), np.uint8), rows, size))
    with pytest.raises(CorruptedError, match="impossible sizes"):
        decode_node(payload, "name")


def test_many_names_of_classes_of_which_two_are_equal() -> None:
    """Which one it is was sought in all before it, for each."""
    names = [f"{n}" for n in range(30_000)] + ["29999"]
    record = {"name": "class_label", "names": names, "dtype": "uint16"}
    began = time.perf_counter()
    with pytest.raises(UnsupportedError, match="two classes have the name '29999'"):
        cas.types.from_record(record)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("tag", [0, 1, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000])
@pytest.mark.parametrize(
    "content", ["2026-11-01T00:00:00Z", 1, [1, 2], "(a+)+$", b"\0" * 16, [b"\0" * 4, 8], [2**40, 3]]
)
def test_tags_of_others_make_no_objects(tag: int, content: object) -> None:
    """cbor2 makes times, fractions, regular expressions, messages, sets and references of them."""
    data = cbor2.dumps(cbor2.CBORTag(tag, content), canonical=True)
    with pytest.raises(CorruptedError):
        cbor.decode(data, what="value")


# --- whole stores ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [table for table in TABLES if table != "cache"])
def test_rows_of_a_stranger_raise_errors_of_the_package_alone(table: str, tmp_path: Path) -> None:
    """Each under a right seal, in a real store, of which then all is read."""
    pristine = unpack(DIRECTORY / "good", "history", tmp_path / "pristine")
    rows = list(RawStore(pristine).rows(table).items())
    values = [value for _, value in rows]
    chance = random.Random(table)
    raised: set[str] = set()
    for number in range(ROWS // len(TABLES) + 1):
        path = tmp_path / f"store{number}"
        shutil.copytree(pristine, path)
        key, value = chance.choice(rows)
        RawStore(path).put(table, key, fuzz_targets.mutate(value, values, chance, as_cbor=True))
        found = facts_of(path)
        raised |= {fact for fact in found.values() if fact.startswith("!")}
        try:
            with cas.open(path / "cats") as ds:
                ds.metadata["a"] = 1
                ds.append({name: ds[name][:1] for name in ds.schema})
                ds.commit("on")
                ds.merge("third")
        except cas.errors.CasError:
            pass
    assert raised


# --- nothing of a stranger is run -----------------------------------------------------------------------------------

FORBIDDEN = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "runpy", "code", "pty"}
CALLS = {"eval", "exec", "compile", "__import__"}


def test_no_code_of_a_store_is_run() -> None:
    """Nothing unpickles; objects may be pickled, by ``__reduce__``."""
    for path in Path(cas.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & FORBIDDEN, path
            if isinstance(node, ast.ImportFrom):
                assert str(node.module).split(".")[0] not in FORBIDDEN, path
            if isinstance(node, ast.Call):
                assert not (isinstance(node.func, ast.Name) and node.func.id in CALLS), path
                allowed = [ast.unparse(word.value) for word in node.keywords if word.arg == "allow_pickle"]
                assert allowed in ([], ["False"]), path
                name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
                base = node.func.value if isinstance(node.func, ast.Attribute) else None
                if name in ("load", "save") and isinstance(base, ast.Name) and base.id == "np":
                    assert allowed, f"{path}: NumPy pickles where it is not told otherwise"
