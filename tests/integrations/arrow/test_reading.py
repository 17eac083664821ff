"""What other libraries read of a dataset: values, without copies where the types allow, batch by batch."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrow_tables import SCHEMA, make

import cas
from cas import types
from cas.codec.rows import Rows
from cas.dataset.state import ColumnState
from cas.errors import ColumnNotFoundError, CorruptedError, InvalidInputError, InvalidTypeError, UnsupportedError

pa = pytest.importorskip("pyarrow")

from cas.integrations.arrow.arrays import arrow_array  # noqa: E402
from cas.integrations.arrow.encoding import encode_array  # noqa: E402

WITHOUT_HALF = [name for name in SCHEMA if name != "half"]
"""duckdb 2.0 knows no halves of floats."""


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[cas.Dataset]:
    with make(tmp_path / "ds") as ds:
        yield ds


def test_a_table_has_the_values_of_the_rows(ds: cas.Dataset) -> None:
    table = ds.to_arrow()
    table.validate(full=True)
    assert table.column_names == list(ds.schema)
    assert {name: str(table.schema.field(name).type) for name in table.column_names} == {
        "number": "int64",
        "half": "halffloat",
        "flag": "bool",
        "maybe": "int32",
        "word": "large_string",
        "blob": "large_binary",
        "label": "dictionary<values=large_string, indices=uint8, ordered=0>",
        "time": "timestamp[us, tz=UTC]",
        "photo": "large_binary",
        "matrix": "extension<arrow.fixed_shape_tensor[value_type=int16, shape=[2,3]]>",
        "vector": "fixed_size_list<item: float not null>[4]",
        "free": "struct<data: large_list<item: float not null> not null, "
        "shape: large_list<item: int64 not null> not null>",
        "boxes": "large_list<item: fixed_size_list<item: float not null>[4] not null>",
        "tags": "large_list<item: large_string not null>",
        "facts": "large_string",
    }
    assert [name for name in table.column_names if table.schema.field(name).nullable] == ["maybe"]
    assert table["matrix"].combine_chunks().to_numpy_ndarray().tolist() == ds["matrix"][:].tolist()
    assert table["maybe"].to_pylist() == ds["maybe"][:]
    assert table["label"].to_pylist() == ds["label"].type.int2str(ds["label"][:])
    assert table["photo"].to_pylist() == [ds["photo"].bytes(row) for row in range(10)]
    assert table["free"][5].as_py() == {"data": [5.0] * 4, "shape": [2, 2]}
    assert table["facts"][3].as_py() == '{"id": 3, "raw": {"$cbor": "QXg="}}'
    assert ds.to_arrow(["word", "number"]).column_names == ["word", "number"]


def test_rows_columns_and_versions_too(ds: cas.Dataset) -> None:
    ds["number"][0] = 100  # staged
    assert ds.to_arrow()["number"][0].as_py() == 100
    assert ds.version.open().to_arrow()["number"][0].as_py() == 0
    assert ds[2:5].to_arrow()["number"].to_pylist() == [2, 3, 4]
    assert ds[[7, 2]].to_arrow()["word"].to_pylist() == ["word 7 ä", "word 2 ä"]
    assert ds[["word", "number"]][1:3].to_arrow().to_pydict() == {"word": ["word 1 ä", "word 2 ä"], "number": [1, 2]}
    assert ds["vector"].to_arrow().to_pylist()[1] == [4.0, 5.0, 6.0, 7.0]
    assert pa.chunked_array(ds["word"]).to_pylist() == ds["word"][:]
    assert len(ds[:0].to_arrow()) == 0
    ds.rollback()


def test_what_cannot_be_asked_for(ds: cas.Dataset) -> None:
    with pytest.raises(ColumnNotFoundError, match="there is no column 'x'"):
        ds.to_arrow(["x"])
    with pytest.raises(InvalidTypeError, match="expected a list of names"):
        ds.to_arrow("word")
    with pytest.raises(InvalidInputError, match="a name twice"):
        ds.to_arrow(["word", "word"])
    with pytest.raises(InvalidInputError, match="batch_rows=0 is not valid"):
        ds.to_arrow_batches(batch_rows=0)


def values_of(array: Any) -> int:
    """Where the last buffer of an array begins, which holds the values."""
    return int(array.buffers()[-1].address)


FIXED = [
    *(types.Scalar(dtype) for dtype in ("int8", "uint64", "float16", "float64", "complex64", "bfloat16")),
    types.DateTime("ns"),
    types.Array("int16", (2, 2)),
    types.Array("float32", ()),
    types.Embedding(3),
]


@pytest.mark.parametrize("type_", FIXED, ids=str)
@pytest.mark.parametrize("tensors", [False, True])
def test_the_memory_of_fixed_rows_is_that_of_the_array(type_: types.Type, tensors: bool) -> None:
    row_bytes = type_.layouts()["data"].row_bytes
    assert row_bytes is not None
    rows = Rows.fixed(np.zeros(8 * row_bytes, np.uint8), 8, row_bytes)
    for streams, kind in (({"data": rows}, type_), ({"data": rows, "mask": MASKS}, types.Nullable(type_))):
        array = arrow_array(kind, streams, tensors=tensors)
        assert len(array) == 8
        assert values_of(array.storage if isinstance(array, pa.ExtensionArray) else array) == rows.flat.ctypes.data


MASKS = Rows.fixed(np.array([1, 0] * 4, np.uint8), 8, 1)


def test_classes_and_the_bytes_of_varying_rows_are_not_copied_either() -> None:
    codes = Rows.fixed(np.zeros(8, np.uint8), 8, 1)
    array = arrow_array(types.ClassLabel(["a", "b"]), {"data": codes})
    assert values_of(array.indices) == codes.flat.ctypes.data
    rows = Rows.varying(np.full(64, 65, np.uint8), np.arange(8, 72, 8, dtype=np.int64))
    for type_ in (types.Text(), types.Bytes(), types.Image()):
        assert values_of(arrow_array(type_, {"data": rows})) == rows.flat.ctypes.data


def test_booleans_are_copied_and_what_is_not_aligned() -> None:
    flags = Rows.fixed(np.zeros(8, np.uint8), 8, 1)
    assert values_of(arrow_array(types.Bool, {"data": flags})) != flags.flat.ctypes.data
    odd = Rows.fixed(np.zeros(65, np.uint8)[1:], 8, 8)
    assert values_of(arrow_array(types.Int64, {"data": odd})) % 8 == 0


def test_the_memory_that_was_read_is_that_of_the_table(ds: cas.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    read: dict[str, Any] = {}

    def recorded(state: ColumnState, numbers: Any) -> Any:
        read[state.name] = read_numbers(state, numbers)
        return read[state.name]

    read_numbers = ColumnState.read_numbers
    monkeypatch.setattr(ColumnState, "read_numbers", recorded)
    for read_table in (lambda: ds.to_arrow(tensors=False), lambda: pa.table(ds), lambda: pa.table(ds.version.open())):
        table = read_table()
        same = {name for name in SCHEMA if values_of(table[name].chunk(0)) == read[name]["data"].flat.ctypes.data}
        assert same >= {
            "number",
            "half",
            "maybe",
            "word",
            "blob",
            "label",
            "time",
            "photo",
            "matrix",
            "vector",
            "boxes",
        }
        assert not same & {"flag", "tags", "facts"}


def test_what_is_appended_is_looked_at_where_it_is() -> None:
    """Before it is staged, which copies it once: the caller's memory may change."""
    numbers = pa.array(np.arange(8))
    streams = encode_array(types.Int64, numbers.slice(2), "x")
    assert streams["data"].flat.ctypes.data == numbers.buffers()[1].address + 16
    words = pa.array(["some", "words"], pa.large_string())
    assert encode_array(types.Text(), words, "x")["data"].flat.ctypes.data == words.buffers()[2].address


def test_nobody_writes_into_what_was_read(ds: cas.Dataset) -> None:
    table = ds.to_arrow()
    assert not any(buffer.is_mutable for buffer in table["number"].chunk(0).buffers() if buffer)
    assert not table["number"].to_numpy(zero_copy_only=False).flags.writeable


def test_numbers_of_a_large_column_are_one_numpy_array(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).random(500_000)
    with cas.from_numpy(tmp_path / "ds", {"x": numbers}) as ds:
        column = ds.to_arrow()["x"]
        assert column.num_chunks == 1
        array = column.chunk(0).to_numpy(zero_copy_only=True)
        assert array.ctypes.data == values_of(column.chunk(0))
        assert np.array_equal(array, numbers)


def test_batches(ds: cas.Dataset) -> None:
    reader = ds.to_arrow_batches(["number", "tags"], batch_rows=4)
    assert [batch.num_rows for batch in reader] == [4, 4, 2]
    reader = ds[1:].to_arrow_batches(batch_rows=5)
    first = reader.read_next_batch()
    ds["number"][9] = 1000  # the reader has the rows of when it was made
    ds.delete([0])
    assert first["number"].to_pylist() == [1, 2, 3, 4, 5]
    assert reader.read_next_batch()["number"].to_pylist() == [6, 7, 8, 9]
    ds.rollback()


def test_the_capsules(ds: cas.Dataset) -> None:
    assert pa.schema(ds).names == list(ds.schema)
    assert pa.table(ds).equals(ds.to_arrow(tensors=False))
    assert pa.RecordBatchReader.from_stream(ds[3:6]).read_all()["number"].to_pylist() == [3, 4, 5]
    wanted = pa.schema([("number", pa.int32()), ("word", pa.string())])
    table = pa.table(ds[["number", "word"]], schema=wanted)
    assert table.schema.types == [pa.int32(), pa.string()]


def test_a_stream_outlives_the_names_it_came_from(tmp_path: Path) -> None:
    reader = make(tmp_path / "ds").version.open().to_arrow_batches(["number"], batch_rows=3)
    gc.collect()
    assert reader.read_all()["number"].to_pylist() == list(range(10))


def test_a_stream_needs_the_memory_of_a_batch(tmp_path: Path) -> None:
    count = 4_000_000
    with cas.create(tmp_path / "ds", {"x": "float64", "word": "text"}) as ds:
        for _ in range(8):
            ds.append({"x": np.random.default_rng(0).random(count // 8), "word": ["some words"] * (count // 8)})
        ds.commit()
    with cas.open_read_only(tmp_path / "ds") as opened:
        gc.collect()
        before = pa.total_allocated_bytes()
        tracemalloc.start()
        total = most = 0
        for batch in opened.to_arrow_batches():
            total += batch.num_rows
            most = max(most, pa.total_allocated_bytes() - before)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert total == count
    assert peak < 40 << 20  # of 80 MiB
    assert most < 16 << 20


def test_duckdb(ds: cas.Dataset) -> None:
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    connection.register("rows", ds[WITHOUT_HALF])
    found = connection.sql("select * from rows where number between 3 and 5 order by number").fetchall()
    assert [row[0] for row in found] == [3, 4, 5]
    by_name = dict(zip(WITHOUT_HALF, found[2], strict=True))
    assert by_name["maybe"] is None
    assert by_name["label"] == "owl"
    assert by_name["matrix"] == ((30, 31, 32), (33, 34, 35))
    assert by_name["photo"] == ds["photo"].bytes(5)
    assert by_name["tags"] == ["a", "a"]
    assert connection.sql("select sum(number) from rows").fetchall() == [(45,)]
    assert connection.sql("select json_extract(facts, '$.id') from rows where number = 4").fetchall() == [("4",)]
    connection.register("old", ds.version.open()[["number"]])
    assert connection.sql("select count(*) from old join rows using (number)").fetchall() == [(10,)]


def test_polars(ds: cas.Dataset) -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(ds)
    assert frame.shape == (10, len(SCHEMA))
    assert frame.schema["matrix"] == pl.Array(pl.Int16, (2, 3))
    assert frame.schema["time"] == pl.Datetime("us", "UTC")
    assert frame["matrix"][1].to_list() == ds["matrix"][1].tolist()
    assert frame["word"].to_list() == ds["word"][:]
    assert pl.Series(ds["number"]).to_list() == list(range(10))


def test_pyarrow_computes_and_writes(ds: cas.Dataset, tmp_path: Path) -> None:
    pc = pytest.importorskip("pyarrow.compute")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = ds.to_arrow()
    assert table.filter(pc.field("label") == "dog")["number"].to_pylist() == [1, 4, 7]
    with parquet.ParquetWriter(tmp_path / "a.parquet", pa.schema(ds)) as writer:
        for batch in ds.to_arrow_batches(batch_rows=3):
            writer.write_batch(batch)
    assert parquet.read_table(tmp_path / "a.parquet")["tags"].to_pylist() == table["tags"].to_pylist()


def test_rows_that_no_value_has() -> None:
    """Rows that say what is not so are refused, as they are elsewhere."""
    for type_, rows in {
        types.Text(): Rows.from_list([b"\xff"]),
        types.Bool: Rows.fixed(np.array([2], np.uint8), 1, 1),
        types.ClassLabel(["a"]): Rows.fixed(np.array([1], np.uint8), 1, 1),
        types.DateTime("s"): Rows.fixed(np.full(8, 127, np.uint8), 1, 8),
        types.BoundingBox("int8"): Rows.from_list([b"123"]),
        types.Dict(): Rows.from_list([b"\x01"]),
        types.Sequence("int8"): Rows.from_list([b"123"]),
    }.items():
        with pytest.raises(CorruptedError):
            arrow_array(type_, {"data": rows})
    shape = Rows.fixed(np.array([3, 1], "<u8").view(np.uint8), 1, 16)
    data = Rows.from_list([b"12"])
    with pytest.raises(CorruptedError, match="stored shape"):
        arrow_array(types.Array("int8", dimensions=2), {"data": data, "shape": shape})
    with pytest.raises(CorruptedError, match="is missing, and has bytes"):
        arrow_array(
            types.Nullable(types.Array("int8", dimensions=2)),
            {"data": data, "shape": shape, "mask": Rows.fixed(np.zeros(1, np.uint8), 1, 1)},
        )


def test_without_pyarrow(tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["pyarrow"] = None
import cas
ds = cas.from_numpy({str(tmp_path / "ds")!r}, {{"x": [1, 2]}})
for read in (ds.to_arrow, ds.__arrow_c_stream__, ds.to_polars, lambda: cas.from_arrow("a", ds)):
    try:
        read()
    except cas.errors.UnsupportedError as error:
        print(error)
ds.append({{"x": ds["x"]}})  # columns of this package need no other one
print(ds.to_pandas()["x"].tolist())
ds.rollback()
"""
    pytest.importorskip("pandas")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert (
        lines[:4]
        == ["reading and writing Arrow needs the package pyarrow; install it with: pip install 'tensor-cas[arrow]'"] * 4
    )
    assert lines[4] == "[1, 2, 1, 2]"
    assert issubclass(UnsupportedError, cas.errors.CasError)
