"""Values to rows and back, exactly or not at all."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cas import types
from cas.codec.values import decode_values, encode_values
from cas.errors import CorruptedError, InvalidInputError, InvalidTypeError
from cas.types import NUMPY_DTYPES, Array, Bytes, Nullable, Text, Type

INTEGERS = [name for name in NUMPY_DTYPES if "int" in name]
FLOATS = ["float16", "float32", "float64"]


def round_trip(type_: Type, values: Any) -> Any:
    streams = encode_values(type_, values, "c")
    assert set(streams) == set(type_.layouts())
    assert {rows.count for rows in streams.values()} == {len(values)}
    assert all(rows.row_bytes == type_.layouts()[name].row_bytes for name, rows in streams.items())
    return decode_values(type_, streams)


# --- what comes back ------------------------------------------------------------------------------------------------


@settings(max_examples=400)
@given(st.sampled_from(NUMPY_DTYPES), st.sampled_from("<>"), st.data())
def test_arrays_come_back_bit_by_bit(dtype: str, order: str, data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3))
    values = data.draw(hnp.arrays(np.dtype(dtype).newbyteorder(order), shape))
    type_ = Array(dtype, shape[1:]) if len(shape) > 1 else types.Scalar(dtype)
    decoded = round_trip(type_, values)
    assert decoded.dtype == np.dtype(dtype)
    assert decoded.shape == shape
    assert decoded.tobytes() == values.astype(dtype).tobytes()
    assert decoded.flags.writeable


@given(st.lists(hnp.arrays("int16", st.tuples(st.integers(0, 3), st.just(2), st.integers(0, 3))), max_size=5))
def test_arrays_of_free_shape(values: list[np.ndarray]) -> None:
    decoded = round_trip(Array("int16", (None, 2, None)), values)
    assert [(each.shape, each.tolist()) for each in decoded] == [(each.shape, each.tolist()) for each in values]


@given(st.lists(st.text(), max_size=6))
def test_text(values: list[str]) -> None:
    assert round_trip(Text(), values) == values


@given(st.lists(st.binary(), max_size=6))
def test_bytes(values: list[bytes]) -> None:
    assert round_trip(Bytes(), values) == values
    assert round_trip(Bytes(dedup="row"), [bytearray(value) for value in values]) == values


def test_bytes_of_a_memoryview() -> None:
    table = np.arange(8, dtype="<u2").reshape(2, 4)
    assert round_trip(Bytes(), [memoryview(table)]) == [table.tobytes()]


def test_bytes_of_a_strided_memoryview() -> None:
    view = memoryview(bytes(range(8)))[::2]
    assert round_trip(Bytes(), [view]) == [b"\0\2\4\6"]


NULLABLE = {
    "int64": (types.Int64, st.integers(-(2**63), 2**63 - 1)),
    "text": (Text(), st.text()),
    "bytes": (Bytes(), st.binary()),
    "fixed": (Array("uint8", (2,)), st.lists(st.integers(0, 255), min_size=2, max_size=2)),
    "free": (Array("int8", (None,)), st.lists(st.integers(-128, 127), max_size=3)),
}


@pytest.mark.parametrize("name", NULLABLE)
@given(data=st.data())
def test_missing_values(name: str, data: st.DataObject) -> None:
    type_, values = NULLABLE[name]
    given_values = data.draw(st.lists(st.none() | values, max_size=6))
    decoded = round_trip(Nullable(type_), given_values)
    assert [item.tolist() if isinstance(item, (np.ndarray, np.generic)) else item for item in decoded] == given_values


def test_rows_without_a_value_are_empty_or_zero() -> None:
    streams = encode_values(Nullable(types.Int32), [None, -1], "c")
    assert streams["data"].flat.tobytes() == bytes(4) + b"\xff" * 4
    assert streams["mask"].flat.tobytes() == b"\0\1"
    streams = encode_values(Nullable(Text()), ["ab", None, "c"], "c")
    assert [bytes(row) for row in streams["data"]] == [b"ab", b"", b"c"]


def test_nan_is_a_value() -> None:
    decoded = round_trip(Nullable(types.Float64), np.array([np.nan, 1.0]))
    assert np.isnan(decoded[0])
    assert decoded[1] == 1.0


# --- what fits ------------------------------------------------------------------------------------------------------


@settings(max_examples=400)
@given(st.sampled_from(INTEGERS), st.data())
def test_python_integers_fit_or_are_refused(dtype: str, data: st.DataObject) -> None:
    limits = np.iinfo(dtype)
    edge = st.sampled_from([int(limits.min), int(limits.max)]).flatmap(lambda at: st.integers(at - 2, at + 2))
    values = data.draw(st.lists(edge | st.integers(-300, 300) | st.integers(-(2**65), 2**65), min_size=1, max_size=4))
    bad = [row for row, value in enumerate(values) if not limits.min <= value <= limits.max]
    if not bad:
        assert round_trip(types.Scalar(dtype), values).tolist() == values
        return
    with pytest.raises(InvalidInputError, match="'c'") as caught:
        encode_values(types.Scalar(dtype), values, "c")
    assert (caught.value.column, caught.value.row) == ("c", bad[0])


@settings(max_examples=600)
@given(st.sampled_from(INTEGERS), st.sampled_from(INTEGERS), st.data())
def test_integer_arrays_fit_or_are_refused(source: str, target: str, data: st.DataObject) -> None:
    given_limits, limits = np.iinfo(source), np.iinfo(target)
    low, high = int(given_limits.min), int(given_limits.max)
    elements = st.integers(low, high) | st.integers(max(low, -2), min(high, 300))
    values = data.draw(hnp.arrays(source, 2, elements=elements))
    fits = all(limits.min <= value <= limits.max for value in values.tolist())
    if fits:
        assert round_trip(types.Scalar(target), values).tolist() == values.tolist()
    else:
        with pytest.raises(InvalidInputError):
            encode_values(types.Scalar(target), values, "c")


@settings(max_examples=400)
@given(st.sampled_from([*FLOATS, *INTEGERS]), hnp.arrays("float64", 2, elements=st.floats() | st.integers(-300, 300)))
def test_float_arrays_fit_or_are_refused(target: str, values: np.ndarray) -> None:
    try:
        decoded = round_trip(types.Scalar(target), values)
    except InvalidInputError:
        return
    # Exact for Python, which compares integers and floats by value.
    assert all(a == b or (a != a and b != b) for a, b in zip(decoded.tolist(), values.tolist(), strict=True))


@settings(max_examples=200)
@given(st.sampled_from(FLOATS), st.lists(st.integers(-(2**70), 2**70), min_size=1, max_size=3))
def test_integers_into_floats_fit_or_are_refused(target: str, values: list[int]) -> None:
    # Of one size, since NumPy makes floats of a list of small and of huge ones.
    values = [value for value in values if value.bit_length() == values[0].bit_length() < 63]
    try:
        decoded = encode_values(types.Scalar(target), values, "c")
    except InvalidInputError:
        return
    assert decode_values(types.Scalar(target), decoded).tolist() == values


@pytest.mark.parametrize("target", FLOATS)
def test_python_floats_are_rounded_to_the_nearest(target: str) -> None:
    values = [0.1, -1 / 3, 1e-9, float("inf"), -0.0]
    assert round_trip(types.Scalar(target), values).tobytes() == np.array(values, target).tobytes()


REFUSED: dict[str, tuple[Type, Any]] = {
    "2**40 into int32": (types.Int32, [2**40]),
    "2**40 of an array into int32": (types.Int32, np.array([2**40])),
    "1.7 into int64": (types.Int64, [1.7]),
    "1.7 of an array into int64": (types.Int64, np.array([1.7])),
    "1.0 into int64": (types.Int64, [1.0]),
    "nan into int8": (types.Int8, np.array([np.nan])),
    "inf into int64": (types.Int64, np.array([np.inf])),
    "2.0**63 into int64": (types.Int64, np.array([2.0**63])),
    "-1 into uint8": (types.UInt8, [np.int64(-1)]),
    "-1 of an array into uint8": (types.UInt8, np.array([-1], np.int64)),
    "-1.0 into uint64": (types.UInt64, np.array([-1.0])),
    "2**64 into uint64": (types.UInt64, [2**64]),
    "-1 beside 2**63 into uint64": (types.UInt64, [2**63, -1]),
    "2**63 into int64": (types.Int64, [2**63]),
    "uint64 2**63 into int64": (types.Int64, np.array([2**63], np.uint64)),
    "300 of a list into uint8": (Array("uint8", (2,)), [[1, 300]]),
    "2**53 + 1 into float64": (types.Float64, [2**53 + 1]),
    "2**63 - 1 of an array into float64": (types.Float64, np.array([2**63 - 1])),
    "1e300 into float32": (types.Float32, [1e300]),
    "1e300 of an array into float32": (types.Float32, np.array([1e300])),
    "65520.0 into float16": (types.Float16, [65520.0]),
    "0.1 of an array into float32": (types.Float32, np.array([0.1])),
    "True into int64": (types.Int64, [True]),
    "True into float64": (types.Float64, [True]),
    "1 into bool": (types.Bool, [1]),
    "1.0 into bool": (types.Bool, np.array([1.0])),
    "text into int64": (types.Int64, ["1"]),
    "text into float64": (types.Float64, ["nan"]),
    "bytes into int64": (types.Int64, b"12"),
    "a text as values": (Text(), "abc"),
    "None into int64": (types.Int64, [None]),
    "None into text": (Text(), [None]),
    "times into int64": (types.Int64, np.zeros(2, "M8[s]")),
    "a number": (types.Int64, 5),
    "a table into a scalar": (types.Int64, [[1]]),
    "a scalar into a table": (Array("int64", (1,)), [1]),
    "a longer row": (Array("int8", (2,)), [[1, 2, 3]]),
    "ragged rows": (Array("int8", (2,)), [[1, 2], [3]]),
    "too many axes": (Array("int8", (None,)), [[[1]]]),
    "another fixed size": (Array("int8", (None, 2)), [np.zeros((1, 3), np.int8)]),
    "a mapping": (Text(), {"a": "b"}),
    "an iterator": (Bytes(), iter([b"a"])),
    "bytes into text": (Text(), [b"a"]),
    "text into bytes": (Bytes(), ["a"]),
    "half a character": (Text(), ["\ud800"]),
    "a number into an image": (types.Image(), [5]),
    "bytes that are no image": (types.Image(), [b"no image"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    type_, values = REFUSED[name]
    with pytest.raises(InvalidInputError, match="'c'"):
        encode_values(type_, values, "c")


@pytest.mark.parametrize("name", [name for name in REFUSED if not name.startswith("None")])
def test_refused_where_values_may_be_missing(name: str) -> None:
    type_, values = REFUSED[name]
    with pytest.raises(InvalidInputError, match="'c'"):
        encode_values(Nullable(type_), values, "c")


@pytest.mark.parametrize(
    ("type_", "values", "row"),
    [
        (types.Int8, [1, 2, 300], 2),
        (types.Int8, np.array([1, 300, 300]), 1),
        (types.UInt64, [2**63, 5, -1], 2),
        (Array("int8", (2,)), [[1, 2], [3, 400]], 1),
        (Text(), ["a", 5], 1),
        (Array("int8", (None,)), [[1], [[2]]], 1),
    ],
)
def test_the_error_names_the_row(type_: Type, values: Any, row: int) -> None:
    with pytest.raises(InvalidInputError, match=f"row {row}") as caught:
        encode_values(type_, values, "c")
    assert (caught.value.column, caught.value.row) == ("c", row)


def test_a_wrong_kind_is_a_type_error() -> None:
    for type_, values in ((types.Int64, [True]), (types.Int64, ["1"]), (Text(), [5])):
        with pytest.raises(InvalidTypeError):
            encode_values(type_, values, "c")


@pytest.mark.parametrize("dtype", NUMPY_DTYPES)
def test_no_values(dtype: str) -> None:
    assert len(round_trip(types.Scalar(dtype), [])) == 0
    assert round_trip(Array(dtype, (2, 3)), []).shape == (0, 2, 3)
    assert round_trip(Array(dtype, (2, None)), []) == []
    assert round_trip(Nullable(types.Scalar(dtype)), []) == []


def test_a_stored_shape_that_does_not_fit_is_damage() -> None:
    type_ = Array("int16", (None,))
    streams = encode_values(type_, [[1, 2]], "c")
    wrong = encode_values(Array("int16", (None,)), [[1, 2, 3]], "c")
    with pytest.raises(CorruptedError):
        decode_values(type_, {"data": streams["data"], "shape": wrong["shape"]})


# --- once defects, each with its smallest case ---------------------------------------------------------------------


def _named(*cases: tuple[str, Type, Any]) -> list[Any]:
    return [pytest.param(*rest, id=name) for name, *rest in cases]


@pytest.mark.parametrize(
    ("type_", "values"),
    _named(
        ("1.7 in a nested list is cut to 1", Array("int64", (1,)), [[1.7]]),
        ("True beside integers becomes 1", types.Int64, [True, 2]),
        ("True beside floats becomes 1.0", types.Float64, [True, 1.5]),
        ("2**53 + 1 beside a float is rounded", types.Float64, [2**53 + 1, 0.5]),
        ("2**53 + 1 beside a complex is rounded", types.Complex128, [1j, 2**53 + 1]),
        ("2**100 + 1 is rounded", types.Float64, [2**100 + 1]),
        ("10**400 raises OverflowError", types.Float64, [10**400]),
        ("2**63 beside -1, nested, raises OverflowError", Array("int64", (1,)), [[2**63], [-1]]),
        ("None raises TypeError", types.Int64, None),
        ("the keys of a mapping are taken", types.Int64, {1: 2}),
        ("the items of a set are taken in any order", types.Int64, {1, 2}),
        ("a mask is dropped", types.Int64, np.ma.array([1, 2], mask=[False, True])),
        ("0.1 beside nan in a wider complex is rounded", types.Complex64, np.array([complex(np.nan, 0.1)])),
        ("a complex into a float warns", types.Float64, [1j]),
    ),
)
def test_values_that_were_once_taken_are_refused(type_: Type, values: Any) -> None:
    with pytest.raises(InvalidInputError):
        encode_values(type_, values, "c")


def test_integers_into_complex_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert round_trip(types.Complex64, [1, 2]).tolist() == [1, 2]


def test_large_values_that_fit_exactly() -> None:
    assert round_trip(types.UInt64, np.array([2.0**63])).tolist() == [2**63]
    assert round_trip(types.Float64, np.array([2**63], np.uint64)).tolist() == [2.0**63]


@pytest.mark.parametrize(
    ("type_", "values", "row"),
    [
        (Nullable(types.Int32), [None, 2**40], 1),
        (Nullable(Text()), [None, 3], 1),
        (types.Bool, [True, None], 1),
    ],
)
def test_errors_name_the_row_as_it_was_given(type_: Type, values: Any, row: int) -> None:
    with pytest.raises(InvalidInputError) as caught:
        encode_values(type_, values, "c")
    assert caught.value.row == row
