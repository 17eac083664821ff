"""Damage is told with its place, and all that is not damaged is read as before."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_store import RawStore

import cas
from cas.errors import CorruptedError
from cas.tree.read import TreeReader
from cas.types import Array, Bytes

ROWS = 900
WIDE = np.repeat(np.arange(ROWS, dtype=np.float32), 1024).reshape(ROWS, 1024)
NUMBERS = np.random.default_rng(0).integers(0, 1 << 40, 30 * ROWS).reshape(ROWS, 30)
BLOBS = [b"%05d" % row for row in range(ROWS)]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "ds"
    with cas.create(path, {"w": Array("float32", (1024,)), "n": Array("int64", (30,)), "b": Bytes(dedup="row")}) as ds:
        ds.append({"w": WIDE, "n": NUMBERS, "b": BLOBS})
        ds.commit("one")
        ds["b"][0] = b"changed"
        ds.commit("two")
    return path


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "ds")
    return tmp_path / "ds"


def entries(path: Path, column: str, level: int) -> list[tuple[bytes, int, int]]:
    """The children of the nodes of a level, with their rows, at the head."""
    with cas.open_read_only(path) as ds:
        tree = ds._repository.tree(bytes.fromhex(ds.version.tree))
        record = tree.column(column)
        assert record is not None
        reader = TreeReader(ds._repository.nodes, record.streams["data"])
        found, position = [], 0
        while position < reader.ref.extent:
            place = reader.node_at(level, position)
            stops = (place.node.row_ends + place.row_start).tolist()
            starts = [place.row_start, *stops[:-1]]
            found += zip((hash_.tobytes() for hash_ in place.node.entries.hashes), starts, stops, strict=True)
            position = place.extent_stop
    return found


def exported(ds: Any, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            ds.export(Path(folder) / name, columns=["n"])
        finally:
            assert not any(Path(folder).iterdir())


READS: dict[str, Callable[[Any], Any]] = {
    "column": lambda ds: ds["n"][:],
    "numbers": lambda ds: ds["n"][np.arange(len(ds))[::-1]],
    "iteration": lambda ds: list(ds["n"]),
    "rows": lambda ds: ds[:]["n"],
    "dict": lambda ds: dict(ds[:]),
    "batches": lambda ds: [batch["n"] for batch in ds.batches(50)],
    "bytes_batches": lambda ds: list(ds["n"].bytes_batches()),
    "bytes": lambda ds: [ds["n"].bytes(row) for row in range(len(ds))],
    "each": lambda ds: [row["n"] for row in ds],
    "chosen columns": lambda ds: ds[["n"]].to_dict(),
    "numpy": lambda ds: ds.to_numpy(["n"]),
    "pandas": lambda ds: pytest.importorskip("pandas") and ds.to_pandas(["n"]),
    "arrow": lambda ds: pytest.importorskip("pyarrow") and ds.to_arrow(["n"]),
    "arrow batches": lambda ds: pytest.importorskip("pyarrow") and ds.to_arrow_batches(["n"]).read_all(),
    "exported lines": lambda ds: exported(ds, "t.jsonl"),
    "exported parquet": lambda ds: pytest.importorskip("pyarrow") and exported(ds, "t.parquet"),
}


@pytest.mark.parametrize("writing", [False, True])
@pytest.mark.parametrize("name", READS)
def test_an_error_names_version_column_and_rows(path: Path, name: str, writing: bool) -> None:
    hash_, start, stop = entries(path, "n", 0)[1]
    RawStore(path).flip(hash_)
    with (cas.open if writing else cas.open_read_only)(path) as ds:
        with pytest.raises(CorruptedError) as caught:
            READS[name](ds)
        error = caught.value
        assert (error.blob, error.version, error.column) == (hash_.hex(), ds.version.id, "n")
        (run,) = error.rows
        assert run[0] == start
        assert run[1] <= stop
        if name in ("column", "numbers", "rows", "dict", "bytes_batches"):
            assert run == (start, stop)
            assert f"(column 'n', rows {start} to {stop - 1}, version {ds.version.id})" in str(error)
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), vars(again)) == (str(error), vars(error))


def test_only_rows_that_were_asked_for_are_named(path: Path) -> None:
    hash_, start, stop = entries(path, "n", 0)[1]
    RawStore(path).flip(hash_)
    with cas.open_read_only(path) as ds:
        with pytest.raises(CorruptedError) as caught:
            ds["n"][[0, stop - 1, start + 1, start + 2, stop]]
        assert caught.value.rows == [(start + 1, start + 3), (stop - 1, stop)]
        with pytest.raises(CorruptedError) as caught:
            ds["n"][start]
        assert caught.value.rows == [(start, start + 1)]


def test_with_staged_edits_the_rows_asked_for_are_named(path: Path) -> None:
    hash_, start, _ = entries(path, "n", 0)[1]
    RawStore(path).flip(hash_)
    with cas.open(path) as ds:
        ds.delete(0)
        with pytest.raises(CorruptedError) as caught:
            ds["n"][2 : start + 5]
        assert (caught.value.column, caught.value.rows) == ("n", [(2, start + 5)])
        ds.rollback()


def test_rows_that_do_not_decode(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise CorruptedError("a row of text is not UTF-8")

    monkeypatch.setattr("cas.dataset.column.decode_rows", refuse)
    with cas.open_read_only(path) as ds:
        with pytest.raises(CorruptedError, match=r"UTF-8 \(column 'b', rows 5 to 7, version") as caught:
            ds["b"][5:8]
        assert (caught.value.blob, caught.value.rows) == (None, [(5, 8)])


def expected(ds: cas.ReadOnlyDataset) -> dict[str, Any]:
    first = b"changed" if ds.version.message == "two" else BLOBS[0]
    return {"w": WIDE, "n": NUMBERS, "b": [first, *BLOBS[1:]]}


def check_all_but(ds: cas.ReadOnlyDataset, column: str | None, start: int, stop: int) -> None:
    """Reads every row of every column, but for some of one."""
    for name, values in expected(ds).items():
        for first, last in [(0, start), (stop, ROWS)] if name == column else [(0, ROWS)]:
            assert np.array_equal(ds[name][first:last], values[first:last])
            for row in {first, last - 1} if first < last else ():
                assert np.array_equal(ds[name][row], values[row])


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("column", ["w", "b"])
def test_all_but_the_rows_of_a_blob_are_read(path: Path, column: str, level: int) -> None:
    children = entries(path, column, level)
    hash_, start, stop = children[len(children) // 2]
    RawStore(path).flip(hash_)
    with cas.open_read_only(path) as ds:
        with pytest.raises(CorruptedError) as caught:
            ds[column][:]
        ((first, last),) = caught.value.rows
        # Of rows that may come in pieces, the next one may begin in a leaf that is lost.
        assert (first, last) == (start, stop + (column == "b" and level == 1))
        for version in list(ds.history)[2:]:
            with version.open() as old:
                check_all_but(old, column, first, last)


def test_all_but_a_version_is_read(path: Path) -> None:
    with cas.open_read_only(path) as ds:
        one, two = list(ds.history)[-2:]
        lost = {"tree": one.tree, "version": one.id}
    for hash_ in lost.values():
        RawStore(path).flip(bytes.fromhex(hash_))
        with cas.open_read_only(path) as ds:
            assert ds.version == two
            check_all_but(ds, None, 0, 0)
            with pytest.raises(CorruptedError) as caught:
                ds.history[one.id].open()
            assert caught.value.blob == hash_
        RawStore(path).flip(bytes.fromhex(hash_))


def test_nothing_is_looked_for_where_nothing_is_wrong(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> Iterator[None]:
        raise AssertionError("looked for damage")

    monkeypatch.setattr("cas.dataset.state.ColumnState.damaged_rows", refuse)
    with cas.open_read_only(path) as ds:
        check_all_but(ds, None, 0, 0)
