"""Parquet in general: every Arrow type to a column without loss, or refused; damaged files told."""

from __future__ import annotations

import contextlib
import datetime as dt
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import png

import cas
from cas.errors import CasError, InvalidInputError, UnsupportedError
from cas.integrations.formats.landing import import_into
from cas.integrations.formats.parquet import open_parquet

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

UTC = dt.UTC
COLUMNS: list[tuple[Any, list[Any], str, list[Any]]] = [
    (pa.bool_(), [True, False], "bool", [True, False]),
    *((pa.type_for_alias(f"{s}int{b}"), [0, 2 ** (b - (s == "")) - 1], f"{s}int{b}", [0, 2 ** (b - (s == "")) - 1])
      for s in ("", "u") for b in (8, 16, 32, 64)),
    (pa.float16(), np.array([0.5, 65504], np.float16), "float16", [0.5, 65504]),
    (pa.float32(), [0.5, float("inf")], "float32", [0.5, float("inf")]),
    (pa.float64(), [0.1, 1e300], "float64", [0.1, 1e300]),
    (pa.string(), ["", "ü"], "text", ["", "ü"]),
    (pa.large_string(), ["a", None], "text?", ["a", None]),
    (pa.binary(), [b"", b"\xff"], "bytes", [b"", b"\xff"]),
    (pa.large_binary(), [None, b"x"], "bytes?", [None, b"x"]),
    (pa.binary(2), [b"ab", b"cd"], "bytes", [b"ab", b"cd"]),
    (pa.dictionary(pa.int8(), pa.string()), ["x", "y"], "text", ["x", "y"]),
    (pa.decimal128(20, 3), [Decimal("1.500"), Decimal("-12345678901234567.891")], "text",
     ["1.500", "-12345678901234567.891"]),
    (pa.date32(), [dt.date(2020, 1, 2), dt.date(1969, 12, 31)], "datetime[s]",
     [dt.datetime(2020, 1, 2, tzinfo=UTC), dt.datetime(1969, 12, 31, tzinfo=UTC)]),
    (pa.date64(), [dt.date(2020, 1, 2), None], "datetime[s]?", [dt.datetime(2020, 1, 2, tzinfo=UTC), None]),
    (pa.timestamp("ms", "Europe/Berlin"), [0, 1], "datetime[ms]",
     [dt.datetime(1970, 1, 1, tzinfo=UTC), dt.datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)]),
    (pa.timestamp("ns"), [1, None], "datetime[ns]?", [np.datetime64(1, "ns"), None]),
    (pa.time64("us"), [dt.time(0, 0, 1), dt.time(1)], "int64", [10**6, 3600 * 10**6]),
    (pa.time32("ms"), [dt.time(0, 0, 1), dt.time(1)], "int64", [1000, 3600_000]),
    (pa.duration("ms"), [5, -5], "int64", [5, -5]),
    (pa.list_(pa.int16()), [[1, 2], []], "sequence[int16]", [[1, 2], []]),
    (pa.large_list(pa.string()), [["a"], None], "sequence[text]?", [["a"], None]),
    (pa.list_(pa.float32()), [[1.5, None], []], "sequence[float32?]", [[1.5, None], []]),
    (pa.list_(pa.float32(), 2), [[1, 2], [3, 4]], "float32[2]", [[1, 2], [3, 4]]),
    (pa.list_(pa.float32(), 2), [[1, 2], None], "float32[2]?", [[1, 2], None]),
    (pa.list_(pa.float32(), 2), [[1, None], [3, 4]], "sequence[float32?]", [[1, None], [3, 4]]),
    (pa.list_(pa.list_(pa.int8(), 2), 3), [[[1, 2]] * 3] * 2, "int8[3, 2]", [[[1, 2]] * 3] * 2),
    (pa.list_(pa.list_(pa.int64())), [[[1], []], []], "sequence[sequence[int64]]", [[[1], []], []]),
    (pa.struct({"a": pa.int8(), "b": pa.list_(pa.string())}), [{"a": 1, "b": ["x"]}, {"a": None, "b": []}], "dict",
     [{"a": 1, "b": ["x"]}, {"a": None, "b": []}]),
    (pa.null(), [None, None], "text?", [None, None]),
]  # fmt: skip


def plain(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind != "M":
        return value.tolist()
    return [plain(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("arrow", "given", "type_", "expected"), COLUMNS, ids=lambda value: str(value)[:30])
def test_types_and_values(arrow: Any, given: Any, type_: str, expected: list[Any], tmp_path: Path) -> None:
    table = pa.table({"x": pa.array(given, arrow)})
    parquet.write_table(table, tmp_path / "t.parquet")
    import_into(tmp_path / "ds", open_parquet([tmp_path / "t.parquet"]))
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert str(ds.schema["x"]) == type_
        assert [plain(ds["x"][row]) for row in range(len(ds))] == expected


@pytest.mark.parametrize("arrow", [pa.map_(pa.string(), pa.int8()), pa.month_day_nano_interval()], ids=str)
def test_types_without_counterpart_are_refused(arrow: Any, tmp_path: Path) -> None:
    from cas.integrations.formats.hub_features import feature_type

    with pytest.raises(UnsupportedError, match="has no column type"):
        feature_type(arrow, None, (False,))


def test_whether_values_are_missing_is_seen_with_and_without_statistics(tmp_path: Path) -> None:
    values = {"a": pa.array([1, 2, 3]), "b": pa.array([1.5, None, 2]), "c": pa.array([["x"], [], None])}
    for statistics in (True, False):
        parquet.write_table(pa.table(values), tmp_path / "t.parquet", write_statistics=statistics, row_group_size=2)
        schema = open_parquet([tmp_path / "t.parquet"]).schema
        assert [str(type_) for type_ in schema.values()] == ["int64", "float64?", "sequence[text]?"]


def test_files_that_are_wrong_about_missing_values(tmp_path: Path) -> None:
    """A type that the metadata claims must hold what is there."""
    claims = {"int8": [1, None], "text": ["a", None]}
    for name, values in claims.items():
        arrow = pa.int8() if name == "int8" else pa.string()
        field = pa.field("x", arrow, metadata={"cas.type": f'{{"name": "{name}"}}'})
        parquet.write_table(pa.table({"x": pa.array(values, arrow)}, schema=pa.schema([field])), tmp_path / "t.parquet")
        with pytest.raises(InvalidInputError, match="is missing"):
            import_into(tmp_path / "ds", open_parquet([tmp_path / "t.parquet"]))


def test_a_missing_value_is_told_by_its_row(tmp_path: Path) -> None:
    """Counted through the batches."""
    field = pa.field("x", pa.int64(), metadata={"cas.type": '{"name": "int64"}'})
    table = pa.table({"x": pa.array([*range(3000), None])}, schema=pa.schema([field]))
    parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(InvalidInputError, match=r"row 3000 .*is missing"):
        import_into(tmp_path / "ds", open_parquet([tmp_path / "t.parquet"]))


def test_names_with_dots(tmp_path: Path) -> None:
    """As columns of nested features have them; not to be taken for fields of structs."""
    image = pa.array([{"bytes": png(1), "path": "a"}, {"bytes": png(2), "path": None}])
    values = {"a.b": pa.array([1, None]), "a.c": pa.array(["x", "y"]), "a": pa.array([{"d": 1}, None]), "a.i": image}
    parquet.write_table(pa.table(values), tmp_path / "t.parquet")
    import_into(tmp_path / "ds", open_parquet([tmp_path / "t.parquet"]))
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert {name: str(type_) for name, type_ in ds.schema.items()} == {
            "a.b": "int64?",
            "a.c": "text",
            "a": "dict?",
            "a.i": "image",
            "a.i_path": "text?",
        }
        assert ds["a"][:] == [{"d": 1}, None]
        assert ds["a.i_path"][:] == ["a", None]


def test_several_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    for name, start in (("b", 3), ("a", 0)):
        parquet.write_table(pa.table({"x": list(range(start, start + 3))}), tmp_path / f"shards/{name}.parquet")
    import_into(tmp_path / "ds", open_parquet([tmp_path / "shards"]))
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert ds["x"][:].tolist() == list(range(6))
    parquet.write_table(pa.table({"y": [1]}), tmp_path / "shards/c.parquet")
    with pytest.raises(InvalidInputError, match="other columns"):
        open_parquet([tmp_path / "shards"])
    with pytest.raises(InvalidInputError, match="no parquet files"):
        open_parquet([tmp_path / "ds"])


def test_a_column_of_bytes_that_are_images(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"jpg": [png(1), png(2)], "n": [1, 2]}), tmp_path / "t.parquet")
    assert str(open_parquet([tmp_path / "t.parquet"]).schema["jpg"]) == "bytes"
    import_into(tmp_path / "ds", open_parquet([tmp_path / "t.parquet"], image="jpg"))
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert str(ds.schema["jpg"]) == "image"
        assert [ds["jpg"].bytes(row) for row in range(2)] == [png(1), png(2)]
    with pytest.raises(InvalidInputError, match="no column 'png'"):
        open_parquet([tmp_path / "t.parquet"], image="png")


def test_pandas_tables(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(
        {"n": [1, 2], "c": pandas.Categorical(["x", "y"]), "t": pandas.to_datetime(["2020-01-01", None])}
    )
    frame.to_parquet(tmp_path / "t.parquet")
    import_into(tmp_path / "ds", open_parquet([tmp_path / "t.parquet"]))
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert ds["c"][:] == ["x", "y"]
        assert ds["t"][1] is None


def test_damaged_files_are_one_error(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table = pa.table({"x": list(range(2000)), "s": [f"text {i % 7}" for i in range(2000)]})
    parquet.write_table(table, path)
    whole = path.read_bytes()
    for content in (b"", b"PAR1", b"no parquet" * 9, whole[:-9], whole[: len(whole) // 2], whole[:-4] + b"PARX"):
        path.write_bytes(content)
        with pytest.raises(InvalidInputError, match="cannot be read as parquet"):
            import_into(tmp_path / "ds", open_parquet([path]))
        assert not cas.exists(tmp_path / "ds")
    chance = random.Random(5)
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        with contextlib.suppress(CasError):
            import_into(tmp_path / "ds", open_parquet([path]))
        if cas.exists(tmp_path / "ds"):
            cas.delete(tmp_path / "ds")


def test_metadata_of_strangers_is_not_trusted(tmp_path: Path) -> None:
    for metadata in (b"{", b"[]", b'{"info": {"features": []}}', b"[" * 100_000):
        table = pa.table({"x": [1]}).replace_schema_metadata({"huggingface": metadata})
        parquet.write_table(table, tmp_path / "t.parquet")
        with pytest.raises(InvalidInputError, match="metadata 'huggingface'"):
            open_parquet([tmp_path / "t.parquet"])
    odd = [b'{"_type": 5}', b'{"_type": "ClassLabel", "names": [1]}', b'{"_type": "Array2D", "shape": 7}', b"[]", b"7"]
    for feature in odd:
        metadata = b'{"info": {"features": {"x": ' + feature + b"}}}"
        parquet.write_table(
            pa.table({"x": [1]}).replace_schema_metadata({"huggingface": metadata}), tmp_path / "t.parquet"
        )
        assert str(open_parquet([tmp_path / "t.parquet"]).schema["x"]) == "int64"
    for record in (b"{", b'{"name": "text"}', b'{"name": "nothing"}', b"[" * 100_000):
        schema = pa.schema([pa.field("x", pa.int64(), metadata={"cas.type": record})])
        parquet.write_table(pa.table({"x": [1]}, schema=schema), tmp_path / "t.parquet")
        assert str(open_parquet([tmp_path / "t.parquet"]).schema["x"]) == "int64"
