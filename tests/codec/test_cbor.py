"""Metadata values: every one comes back equal and of its type, has one encoding, and nothing else is read."""

import datetime as dt
import decimal
import fractions
import math
import struct
from typing import Any

import cbor2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cas.codec import cbor
from cas.errors import CasError, CorruptedError, InvalidInputError, InvalidTypeError
from cas.types import NUMPY_DTYPES

dtypes = st.sampled_from(NUMPY_DTYPES).flatmap(lambda name: st.sampled_from([name, np.dtype(name).newbyteorder(">")]))
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
scalars = dtypes.flatmap(lambda dtype: hnp.arrays(dtype, ())).map(lambda array: array[()])
offsets = st.integers(-86_399, 86_399).map(lambda seconds: dt.timezone(dt.timedelta(seconds=seconds)))
# A day away from the ends of the calendar, where no offset leads outside of it.
moments = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.none() | st.just(dt.UTC) | offsets)
atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**90), 2**90),
    st.floats(),
    st.floats(width=16),
    st.floats(width=32),
    st.text(),
    st.binary(),
    moments,
    arrays,
    scalars,
)
values = st.recursive(
    atoms, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


def identical(a: Any, b: Any) -> bool:
    """Equal in value and type: 1 is not 1.0 nor True, -0.0 is not 0.0, nan is nan, dtypes and shapes are the same."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (np.ndarray, np.generic)):
        native = a.astype(a.dtype.newbyteorder("="))
        return native.dtype == b.dtype and a.shape == b.shape and native.tobytes() == b.tobytes()
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or struct.pack("<d", a) == struct.pack("<d", b)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(identical, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(identical(a[key], b[key]) for key in a)
    if isinstance(a, dt.datetime):
        return a == b and a.utcoffset() == b.utcoffset()
    return bool(a == b)


@given(values)
@example(2**80)
@example(-(2**80))
@example([2**64 - 1, 2**64, -(2**64), -(2**64) - 1])
@example(float("nan"))
@example(-0.0)
@example(np.array([1.5, -0.0, np.nan, 65504], np.float16))
@example(np.zeros((0, 3), "complex128"))
@example(np.asfortranarray(np.arange(6).reshape(2, 3)))
@example(dt.datetime(2026, 11, 1, 12, 30, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))))
@example(dt.datetime(1969, 12, 31, 23, 59, 59, 999_999))
@example({"a": {"b": [[{"c": None}]]}})
def test_round_trip(value: Any) -> None:
    data = cbor.encode_value(value)
    decoded = cbor.decode_value(data, what="value")
    assert identical(value, decoded), decoded
    assert cbor.encode_value(decoded) == data


def test_tuples_come_back_as_lists() -> None:
    assert cbor.decode_value(cbor.encode_value((1, ("a", []))), what="value") == [1, ["a", []]]


def test_subclasses_are_stored_as_what_they_are() -> None:
    class Colour(int):
        pass

    class Name(str):
        pass

    decoded = cbor.decode_value(cbor.encode_value([Colour(3), Name("x"), {Name("k"): 1}]), what="value")
    assert decoded == [3, "x", {"k": 1}]
    assert [type(item) for item in decoded] == [int, str, dict]


@given(st.dictionaries(st.text(), st.integers(), max_size=6), st.randoms())
def test_the_order_of_keys_does_not_count(mapping: dict[str, int], random: Any) -> None:
    items = list(mapping.items())
    random.shuffle(items)
    assert cbor.encode_value(dict(items)) == cbor.encode_value(mapping)


def test_arrays_come_back_writable_and_native() -> None:
    decoded = cbor.decode_value(cbor.encode_value(np.arange(3, dtype=">i4")), what="value")
    assert decoded.dtype == np.int32
    assert decoded.dtype.isnative
    decoded[0] = 7


REFUSED = {
    "object": object(),
    "set": {1},
    "complex": 1j,
    "bytearray": bytearray(b"x"),
    "range": range(3),
    "date": dt.date(2026, 1, 1),
    "timedelta": dt.timedelta(1),
    "decimal": decimal.Decimal("1.5"),
    "fraction": fractions.Fraction(1, 3),
    "class": int,
    "text array": np.array(["a"]),
    "object array": np.array([None]),
    "record array": np.zeros(2, [("a", "i4")]),
    "time array": np.zeros(2, "M8[s]"),
    "time scalar": np.datetime64("2026-01-01"),
    "long double": np.longdouble(1),
    "integer key": {1: 2},
    "byte key": {b"a": 2},
    "deep inside": {"a": [1, {"b": {2}}]},
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(InvalidTypeError):
        cbor.encode_value(value)


@pytest.mark.parametrize("value", ["\ud800", ["a\udfff"], {"\ud800": 1}])
def test_text_that_is_not_unicode_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError):
        cbor.encode_value(value)


def test_an_offset_of_part_of_a_second_is_refused() -> None:
    zone = dt.timezone(dt.timedelta(seconds=1, microseconds=1))
    with pytest.raises(InvalidInputError):
        cbor.encode_value(dt.datetime(2026, 1, 1, tzinfo=zone))


def test_depth_has_a_limit() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidInputError):
        cbor.encode_value(endless)


def test_everything_up_to_the_limit_of_depth_can_be_read() -> None:
    value: Any = np.zeros(2)
    depth = 0
    while True:
        try:
            data = cbor.encode_value(["key", value])
        except InvalidInputError:
            break
        assert identical(["key", value], cbor.decode_value(data, what="value"))
        value = [value]
        depth += 1
    assert depth > 50


NOT_DETERMINISTIC = {
    "nothing": "",
    "0 in two bytes": "1800",
    "1 in nine bytes": "1b0000000000000001",
    "-1 in two bytes": "3800",
    "a short text with a long length": "780161",
    "a short array with a long length": "980101",
    "indefinite text": "7f6161ff",
    "indefinite bytes": "5f4101ff",
    "indefinite array": "9f01ff",
    "indefinite map": "bf616100ff",
    "keys out of order": "a2616200616100",
    "a longer key first": "a262616100616200",
    "a key twice": "a2616100616101",
    "1.0 as a double": "fb3ff0000000000000",
    "1.0 as a single": "fa3f800000",
    "nan as a double": "fb7ff8000000000000",
    "nan with a payload": "f97e01",
    "a bignum of one byte": "c24101",
    "a bignum with a zero in front": "c24a00010000000000000000",
    "a bignum within 64 bits": "c248ffffffffffffffff",
    "an integer of 1,025 bytes": "c2590401" + "ff" * 1025,
    "a negative integer of 1,025 bytes": "c3590401" + "ff" * 1025,
    "a bignum of text": "c26161",
    "bytes after the value": "0000",
    "a text cut off": "6261",
    "an array cut off": "8201",
    "a map cut off": "a16161",
    "a text that is not UTF-8": "61ff",
    "a break alone": "ff",
    "a reserved length": "1c",
    "a text of 2^63 bytes": "7b7fffffffffffffff",
    "bytes of 2^40 bytes": "5b0000010000000000",
    "an array of 2^60 items": "9b1000000000000000",
    "a map of 2^60 items": "bb1000000000000000",
    "an array that is too deep": "81" * 100 + "00",
    "an array that is much too deep": "81" * 200_000 + "00",
}


@pytest.mark.parametrize("data", NOT_DETERMINISTIC.values(), ids=NOT_DETERMINISTIC)
def test_other_forms_are_refused(data: str) -> None:
    for decode in (cbor.decode, cbor.decode_value):
        with pytest.raises(CorruptedError, match="the record"):
            decode(bytes.fromhex(data), what="the record")


@pytest.mark.parametrize("value", [2**8192 - 1, 1 - 2**8192, 2**64, -(2**64) - 1])
def test_integers_that_python_can_show(value: int) -> None:
    assert cbor.decode_value(cbor.encode_value(value), what="value") == value
    assert str(value)


@pytest.mark.parametrize("value", [2**8192, -(2**8192), [{"a": 10**5000}]])
def test_larger_integers_are_refused(value: object) -> None:
    with pytest.raises(InvalidInputError, match=r"an integer of \d+ bits cannot be stored; at most 8,192"):
        cbor.encode_value(value)


def tagged(number: int, *items: Any) -> bytes:
    return cbor2.dumps(cbor2.CBORTag(number, list(items)), canonical=True)


NOT_VALUES = {
    "an integer key": bytes.fromhex("a10100"),
    "undefined": bytes.fromhex("f7"),
    "a simple value": bytes.fromhex("e0"),
    "a time as text": cbor2.dumps(dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
    "a fraction": cbor2.dumps(fractions.Fraction(1, 3)),
    "a set": bytes.fromhex("d901028101"),
    "a regular expression": bytes.fromhex("d8236161"),
    "another tag": tagged(28, "array"),
    "an empty tag": tagged(27),
    "a tag without an array": cbor2.dumps(cbor2.CBORTag(27, "datetime")),
    "another kind": tagged(27, "os.system", "true"),
    "a datetime without an offset": tagged(27, "datetime", 0),
    "a datetime beyond the calendar": tagged(27, "datetime", 2**62, None),
    "a datetime with text": tagged(27, "datetime", "now", None),
    "an offset of two days": tagged(27, "datetime", 0, 172_800),
    "an array of another dtype": tagged(27, "array", "object", [1], bytes(8)),
    "an array that is too short": tagged(27, "array", "int32", [2], bytes(4)),
    "an array cut inside an element": tagged(27, "array", "int32", [1], bytes(3)),
    "an array of huge shape": tagged(27, "array", "int8", [2**62, 2**62], b""),
    "an array whose shape is a number": tagged(27, "array", "int8", 1, b"\1"),
    "an array whose shape is text": tagged(27, "array", "int8", ["1"], b"\1"),
    "an array of text": tagged(27, "array", "int8", [1], "a"),
    "a scalar of two elements": tagged(27, "scalar", "int8", b"\1\2"),
    "a scalar of none": tagged(27, "scalar", "int8", b""),
}


@pytest.mark.parametrize("data", NOT_VALUES.values(), ids=NOT_VALUES)
def test_other_values_are_not_read(data: bytes) -> None:
    with pytest.raises(CasError):
        cbor.decode_value(data, what="the value")


def test_a_free_size_in_a_shape_is_not_read() -> None:
    with pytest.raises(CorruptedError):
        cbor.decode_value(tagged(27, "array", "int8", [-1], b"\1\2"), what="the value")


@given(st.binary(max_size=40) | st.builds(lambda a, b: a + b, st.sampled_from([b"\xd8\x1b\x84", b"\xa1"]), st.binary()))
def test_any_bytes_are_refused_or_read_in_one_way(data: bytes) -> None:
    try:
        value = cbor.decode_value(data, what="value")
    except CasError:
        return
    assert cbor.encode_value(value) == data
