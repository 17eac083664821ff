"""Arrow tables of any kind to datasets: what each type becomes, and what is refused with column and row."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrow_tables import make
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import png
from typed_values import plain

import cas
from cas import types
from cas.codec.values import decode_values
from cas.errors import ColumnNotFoundError, DatasetExistsError, InvalidInputError, InvalidTypeError

pa = pytest.importorskip("pyarrow")

from cas.integrations.arrow.encoding import encode_array  # noqa: E402
from cas.integrations.arrow.fields import arrow_field  # noqa: E402
from cas.integrations.arrow.types import cas_type, type_of_array  # noqa: E402


def tensor(values: Any, shape: tuple[int, ...], **axes: Any) -> Any:
    extension = pa.fixed_shape_tensor(pa.int8(), shape, **axes)
    return pa.ExtensionArray.from_storage(extension, pa.array(values, extension.storage_type))


SEQUENCE = types.Sequence
OPTIONAL = types.Nullable
KINDS: dict[str, tuple[Any, object, Any]] = {
    "int8": (pa.array([1, -2], pa.int8()), "int8", [1, -2]),
    "uint64": (pa.array([2**64 - 1, 0], pa.uint64()), "uint64", [2**64 - 1, 0]),
    "half": (pa.array([1.5, 2], pa.float16()), "float16", [1.5, 2.0]),
    "bool": (pa.array([True, False]), "bool", [True, False]),
    "missing numbers": (pa.array([1, None, 3]), OPTIONAL("int64"), [1, None, 3]),
    "string": (pa.array(["a", "ä"]), "text", ["a", "ä"]),
    "large string": (pa.array(["a", None], pa.large_string()), OPTIONAL("text"), ["a", None]),
    "string view": (pa.array(["a", None, "a" * 30], pa.string_view()), OPTIONAL("text"), ["a", None, "a" * 30]),
    "binary": (pa.array([b"a", b""]), "bytes", [b"a", b""]),
    "binary view": (pa.array([b"a"], pa.binary_view()), "bytes", [b"a"]),
    "fixed binary": (pa.array([b"ab", b"cd"], pa.binary(2)), "bytes", [b"ab", b"cd"]),
    "uuid": (pa.array([b"0123456789abcdef"], pa.uuid()), "bytes", [b"0123456789abcdef"]),
    "dictionary": (pa.array(["b", "a", "b"]).dictionary_encode(), types.ClassLabel(["b", "a"]), [0, 1, 0]),
    "missing classes": (pa.array(["b", None]).dictionary_encode(), OPTIONAL(types.ClassLabel(["b"])), [0, None]),
    "dictionary of numbers": (pa.array([7, 5, 7]).dictionary_encode(), "int64", [7, 5, 7]),
    "dictionary without names": (pa.array(["", "a"]).dictionary_encode(), "text", ["", "a"]),
    "dictionary of missing names": (
        pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["a", None])),
        OPTIONAL("text"),
        ["a", None],
    ),
    "run ends": (
        pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", "b"])),
        "text",
        ["a", "a", "b"],
    ),
    "timestamp": (
        pa.array([1, None], pa.timestamp("ms")),
        OPTIONAL(types.DateTime("ms")),
        [np.datetime64(1, "ms"), None],
    ),
    "zoned": (pa.array([1], pa.timestamp("us", "Europe/Berlin")), types.DateTime("us"), [np.datetime64(1, "us")]),
    "date32": (
        pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
        types.DateTime("s"),
        [np.datetime64("0001-01-01T00:00:00"), np.datetime64("9999-12-31T00:00:00")],
    ),
    "date64": (pa.array([86_400_000], pa.date64()), types.DateTime("s"), [np.datetime64("1970-01-02T00:00:00")]),
    "list": (pa.array([[1, 2], [], [3]]), SEQUENCE("int64"), [[1, 2], [], [3]]),
    "missing lists and items": (
        pa.array([[1, None], None, []]),
        OPTIONAL(SEQUENCE(OPTIONAL("int64"))),
        [[1, None], None, []],
    ),
    "list view": (pa.array([[1, 2], None], pa.list_view(pa.int8())), OPTIONAL(SEQUENCE("int8")), [[1, 2], None]),
    "list of views": (
        pa.array([["a", None], None], pa.list_(pa.string_view())),
        OPTIONAL(SEQUENCE(OPTIONAL("text"))),
        [["a", None], None],
    ),
    "list of lists": (pa.array([[["a"], []], []]), SEQUENCE(SEQUENCE("text")), [[["a"], []], []]),
    "list of dictionaries": (
        pa.array([["a"], ["b", "a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        SEQUENCE(types.ClassLabel(["a", "b"])),
        [[0], [1, 0]],
    ),
    "fixed list": (pa.array([[1, 2]], pa.list_(pa.float32(), 2)), types.Array("float32", (2,)), [[1.0, 2.0]]),
    "fixed list of missing items": (
        pa.array([[1, None], [3, 4]], pa.list_(pa.int8(), 2)),
        SEQUENCE(OPTIONAL("int8")),
        [[1, None], [3, 4]],
    ),
    "fixed list of text": (pa.array([["a", "b"]], pa.list_(pa.string(), 2)), SEQUENCE("text"), [["a", "b"]]),
    "fixed lists of fixed lists": (
        pa.array([None, [[1], [2]], [[3], [4]]], pa.list_(pa.list_(pa.int8(), 1), 2)),
        OPTIONAL(types.Array("int8", (2, 1))),
        [None, np.array([[1], [2]], np.int8), np.array([[3], [4]], np.int8)],
    ),
    "tensor": (tensor([[1, 2], [3, 4]], (1, 2)), types.Array("int8", (1, 2)), np.array([[[1, 2]], [[3, 4]]], np.int8)),
    "missing tensors": (
        tensor([[1, 2], None], (2, 1)),
        OPTIONAL(types.Array("int8", (2, 1))),
        [np.array([[1], [2]], np.int8), None],
    ),
    "permuted tensor": (
        tensor([[1, 2, 3, 4, 5, 6]], (2, 3), permutation=[1, 0]),
        types.Array("int8", (3, 2)),
        np.array([[[1, 4], [2, 5], [3, 6]]], np.int8),
    ),
    "struct": (
        pa.array([{"a": 1, "b": ["x", None]}, {"a": None, "b": None}]),
        "dict",
        [{"a": 1, "b": ["x", None]}, {"a": None, "b": None}],
    ),
    "map": (pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int8())), "dict", [{"k": 1}, {}]),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_an_arrow_type_becomes(name: str, tmp_path: Path) -> None:
    """Of a whole array, of a slice, whose buffers begin elsewhere, and of chunks."""
    array, spec, expected = KINDS[name]
    type_ = types.as_type(spec)
    assert type_of_array(array, "x") == type_
    twice = pa.chunked_array([array, array])
    table = pa.table({"x": twice}).slice(1)
    with cas.from_arrow(tmp_path / "ds", table) as ds:
        assert ds.version.message == "Rows from Arrow"
        assert str(ds.schema["x"]).rstrip("?") == str(type_).rstrip("?")
        assert plain(list(ds["x"][:])) == plain([*expected, *expected][1:])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (pa.array([1], pa.decimal128(5, 2)), "decimal128.*cast it to string"),
        (pa.array([1], pa.time32("s")), "time32.*since midnight"),
        (pa.array([1], pa.duration("s")), "duration.*cast it to int64"),
        (pa.array([[1]], pa.list_(pa.duration("s"))), "duration.*cast it to int64"),
        (pa.nulls(2), r"null.*schema=\{'x': Nullable\('text'\)\}"),
    ],
)
def test_types_without_an_equal(array: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidTypeError, match=f"column 'x' is of the Arrow type .*{words}") as caught:
        cas.from_arrow(tmp_path / "ds", pa.table({"x": array}))
    assert caught.value.column == "x"
    assert not cas.exists(tmp_path / "ds")


REFUSED = [
    (pa.array([1, 2, 300]), "int8", 2, "300 of dtype int64 does not fit int8 exactly"),
    (pa.array([1.5, None, 1.1]), OPTIONAL("float32"), 2, "does not fit float32 exactly"),
    (pa.array([1, None]), "int64", 1, "the value is missing, and the column type int64 is not nullable"),
    (pa.array(["a", "c"]), types.ClassLabel(["a", "b"]), 1, "'c' is not the name of a class"),
    (pa.array(["a", "c"]).dictionary_encode(), types.ClassLabel(["a", "b"]), 1, "'c' is not the name of a class"),
    (pa.array(['{"a": 1}', "[]"]), "dict", 1, "not of a dict"),
    (pa.array(['{"a": 1}', '{"a": NaN}']), "dict", 1, "NaN is not JSON"),
    (pa.array([[1], [2, 300]]), SEQUENCE("int8"), 1, "item 1: 300"),
    (pa.array([[1], [2, None]]), SEQUENCE("int64"), 1, "item 1: the value is missing"),
    (pa.array([[[1.5]], [[2.5], []]]), types.Array("float64", dimensions=2), 1, "shape|inhomogeneous"),
    (pa.array([[1, 2], [1]]), types.Array("int64", (2,)), 1, "shape"),
    (pa.array([b"GIF", b"not an image"]), "image", 0, "not an encoded image"),
    (pa.array([0, -(2**63)], pa.timestamp("ns")), types.DateTime("ns"), 1, "NaT is no point in time"),
    (pa.array([1000, 1500], pa.timestamp("ms")), types.DateTime("s"), 1, "not a whole number of the unit s"),
    (pa.array([b"ok", b"\xff"]).view(pa.string()), "text", 1, "not valid Arrow: Invalid UTF8"),
    (
        pa.DictionaryArray.from_arrays(pa.array([0, 5]), ["a"], safe=False),
        types.ClassLabel(["a"]),
        1,
        "not valid Arrow",
    ),
    (
        pa.array([{"data": [1.0, 2.0], "shape": [1, 2]}, {"data": [1.0, 2.0], "shape": [-1, 2]}]),
        types.Array("float64", dimensions=2),
        1,
        r"2 elements do not have the shape \[-1, 2\]",
    ),
    (
        pa.array([{"data": [1.0, None], "shape": [1, 2]}]),
        types.Array("float64", dimensions=2),
        0,
        "None",
    ),
    (
        pa.array([{"data": [1.0, 2.0], "shape": [2, 2]}]),
        types.Array("float64", dimensions=2),
        0,
        r"2 elements do not have the shape \[2, 2\]",
    ),
]


@pytest.mark.parametrize(("array", "spec", "row", "words"), REFUSED)
def test_values_that_do_not_fit(array: Any, spec: object, row: int, words: str, tmp_path: Path) -> None:
    """Nothing is staged; the row is counted in the whole table, in whatever chunk it stands."""
    with cas.create(tmp_path / "ds", {"x": spec}) as ds:
        with pytest.raises(InvalidInputError, match=f"column 'x', row {row} of the values: .*{words}"):
            ds.append(pa.table({"x": array}))
        chunks = [array.slice(number, 1) for number in range(len(array))]
        with pytest.raises(InvalidInputError, match=words) as caught:
            ds.append(pa.table({"x": pa.chunked_array(chunks)}))
        assert (caught.value.column, caught.value.row) == ("x", row)
        assert len(ds) == 0
        assert not ds.has_changes


def test_a_dataset_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    cas.init(tmp_path / "lake")
    table = pa.table({"x": [1, 2, 300]})
    with pytest.raises(InvalidInputError, match="row 2"):
        cas.from_arrow(tmp_path / "lake/ds", table, schema={"x": "int8"})
    assert not cas.exists(tmp_path / "lake/ds")
    cas.from_arrow(tmp_path / "lake/ds", table, "my rows").close()
    assert cas.open_read_only(tmp_path / "lake/ds").version.message == "my rows"
    with pytest.raises(DatasetExistsError):
        cas.from_arrow(tmp_path / "lake/ds", table)
    with pytest.raises(ColumnNotFoundError, match="'y', which is no column"):
        cas.from_arrow(tmp_path / "lake/other", table, schema={"y": "int8"})
    with pytest.raises(InvalidInputError, match="two columns of the name 'x'"):
        cas.from_arrow(tmp_path / "lake/other", pa.Table.from_arrays([pa.array([1])] * 2, ["x", "x"]))
    pandas = pytest.importorskip("pandas")
    for wrong in (5, [1], pa.array([1]), "text", pandas.DataFrame({"x": [1]})):
        with pytest.raises(InvalidTypeError):
            cas.from_arrow(tmp_path / "lake/other", wrong)


def test_what_append_takes(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", {"x": "int32", "word": OPTIONAL("text")}) as ds:
        table = pa.table({"word": ["a", None], "x": pa.array([1, 2], pa.int64())})
        ds.append(table)
        ds.append(table.to_batches()[0])
        ds.append(table.to_reader())
        ds.append(table.select(["x"]))
        ds.append(batch for batch in table.to_batches(max_chunksize=1))
        ds.append(pa.array([{"x": 1, "word": "a"}, {"x": 2, "word": None}]))
        ds.insert(0, pa.table({"x": [0]}))
        assert ds["x"][:].tolist() == [0, *[1, 2] * 6]
        assert ds["word"][:] == [None, *["a", None] * 3, None, None, *["a", None] * 2]
        ds.append({"x": pa.array([3, 4]), "word": pa.chunked_array([["b"], ["c"]])})
        ds["x"][-2:] = pa.array([5, 6])
        assert ds[-2:].to_dict() == {"x": pytest.approx([5, 6]), "word": ["b", "c"]}
        for wrong, words in (
            (pa.table({"y": [1]}), "no column 'y'"),
            (pa.table({"word": ["a"]}), "column 'x' has no values"),
            (pa.array([1]), "is no table of columns"),
            ({"x": pa.table({"x": [1]}), "word": ["a"]}, "x"),
        ):
            with pytest.raises(InvalidInputError, match=words):
                ds.append(wrong)
        ds.rollback()


def test_images_as_hugging_face_has_them(tmp_path: Path) -> None:
    images = pa.array([{"bytes": png(1), "path": "a.png"}, {"bytes": png(2), "path": None}])
    with cas.from_arrow(tmp_path / "ds", pa.table({"image": images}), schema={"image": "image"}) as ds:
        assert [ds["image"].bytes(row) for row in range(2)] == [png(1), png(2)]
        with pytest.raises(InvalidInputError, match=r"row 0 .*missing"):
            ds.append(pa.table({"image": pa.array([{"bytes": None, "path": "a.png"}], images.type)}))


def test_a_stream_is_nullable_where_its_fields_are(tmp_path: Path) -> None:
    fields = [pa.field("x", pa.int64(), nullable=False), pa.field("y", pa.int64())]
    reader = pa.table({"x": [1], "y": [1]}, schema=pa.schema(fields)).to_reader()
    with cas.from_arrow(tmp_path / "a", reader) as ds:
        assert {name: str(type_) for name, type_ in ds.schema.items()} == {"x": "int64", "y": "int64?"}


def test_the_arrow_type_counts_where_it_was_cast(tmp_path: Path) -> None:
    with make(tmp_path / "ds") as ds:
        table = ds[["number", "label", "word"]].to_arrow()
    cast = table.cast(pa.schema([table.schema.field(0).with_type(pa.int8()), *list(table.schema)[1:]]))
    assert cas_type(cast.schema.field("number")) == types.Int8
    with cas.from_arrow(tmp_path / "b", cast.rename_columns(["n", "label", "word"])) as ds:
        assert {name: str(type_) for name, type_ in ds.schema.items()} == {
            "n": "int8",
            "label": "class_label[3]",
            "word": "text",
        }
    field = arrow_field("x", types.Image())
    assert cas_type(field.with_type(pa.binary_view())) == types.Image()
    assert cas_type(field.with_metadata({b"cas": b"no JSON"})) == types.Bytes()
    assert cas_type(field.with_metadata({b"cas": b'{"type": {"name": "new"}}'})) == types.Bytes()


LEAVES = {
    "int8": st.integers(-128, 127),
    "float": st.floats(width=32, allow_nan=False),
    "bool": st.booleans(),
    "string": st.text("aä", max_size=3),
    "large_string": st.text("aä", max_size=3),
    "string_view": st.text("aä", max_size=20),
    "binary": st.binary(max_size=3),
    "binary_view": st.binary(max_size=20),
}
LISTS = ["list_", "large_list", "list_view", "large_list_view", "fixed"]


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    """An Arrow array of up to three lists in each other, of any layouts, with values missing on every level."""
    leaf = draw(st.sampled_from(sorted(LEAVES)))
    type_, values = pa.type_for_alias(leaf) if leaf != "float" else pa.float32(), LEAVES[leaf]
    for kind in draw(st.lists(st.sampled_from(LISTS), max_size=3)):
        size = draw(st.integers(1, 2))
        items = values | st.none() if draw(st.booleans()) else values
        fixed = kind == "fixed"
        type_ = pa.list_(type_, size) if fixed else getattr(pa, kind)(type_)
        values = st.lists(items, min_size=size if fixed else 0, max_size=size if fixed else 3)
    rows = draw(st.lists(values | st.none() if draw(st.booleans()) else values, min_size=1, max_size=6))
    return pa.array(rows, type_).slice(draw(st.integers(0, len(rows) - 1)))


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(array=arrays())
def test_any_layout_slice_and_nesting(array: Any) -> None:
    type_ = type_of_array(array, "x")
    found = decode_values(type_, encode_array(type_, array, "x"))
    assert flat(found) == flat(array.to_pylist())


def flat(value: Any) -> Any:
    """Values as lists of Python's own; every NaN and zero is as good as another here."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return [flat(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("shape", "rows", "shapes"),
    [
        ((None, 3), [[[1, 2, 3]], []], [(1, 3), (0, 3)]),
        ((None, None), [[], [[], []], [[5]]], [(0, 0), (2, 0), (1, 1)]),
        ((2, None), [[[], []]], [(2, 0)]),
        ((None, None, 2), [[[]], [[[1, 2]]]], [(1, 0, 2), (1, 1, 2)]),
    ],
)
def test_lists_without_elements_take_their_sizes_from_the_type(
    shape: tuple[int | None, ...], rows: list[Any], shapes: list[tuple[int, ...]]
) -> None:
    type_ = types.Array("int16", shape)
    given: Any = pa.int16()
    for _ in shape:
        given = pa.list_(given)
    values = decode_values(type_, encode_array(type_, pa.array(rows, given), "x"))
    assert [value.shape for value in values] == shapes
    with pytest.raises(InvalidInputError, match=r"row 0 .*shape"):
        encode_array(types.Array("int16", (None, 3)), pa.array([[[], []]], pa.list_(pa.list_(pa.int16()))), "x")


def test_duckdb_and_polars_relations(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    with make(tmp_path / "ds") as ds:
        connection = duckdb.connect()
        connection.register("rows", ds[["number", "word", "label", "tags"]])
        relation = connection.sql("select * from rows where number >= 8 order by number")
        with cas.from_arrow(tmp_path / "few", relation, schema={"number": "uint8"}) as few:
            assert {name: str(type_) for name, type_ in few.schema.items()} == {
                "number": "uint8",
                "word": "text?",
                "label": "text?",
                "tags": "sequence[text?]?",
            }
            assert few["label"][:] == ["owl", "cat"]
        ds.append(connection.sql("select * replace (number + 100 as number) from rows limit 0"))
        assert len(ds) == 10
