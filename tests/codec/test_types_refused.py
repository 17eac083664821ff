"""Values that a type refuses, with column and row, and what is kept although it looks odd."""

from __future__ import annotations

import datetime as dt
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from typed_values import plain

from cas import types
from cas.codec.values import decode_values, encode_values, is_one_value, single_values
from cas.errors import InvalidInputError, InvalidTypeError
from cas.types import (
    Array,
    BinaryMask,
    BoundingBox,
    ClassLabel,
    DateTime,
    Dict,
    Embedding,
    Image,
    Nullable,
    SegmentMask,
    Sequence,
    Type,
)

UTC = dt.UTC
GOOD_TIME = dt.datetime(2026, 11, 1, tzinfo=UTC)
PETS = ClassLabel(["cat", "dog"])
ZEROS = np.zeros((2, 2), np.uint8)

# The type, a value that fits and one that does not, and a part of the reason.
REFUSED: dict[str, tuple[Type, Any, Any, str]] = {
    "2**40 into int32": (types.Int32, 1, 2**40, "does not fit int32"),
    "1.7 into int": (types.Int32, 1, 1.7, "does not fit int32"),
    "2**127 into float8": (types.Float8E5M2, 1.0, 2.0**127, "does not fit float8_e5m2"),
    "449 into float8_e4m3fn": (types.Float8E4M3FN, 448, 449, "exactly"),
    "inf into float8_e4m3fn": (types.Float8E4M3FN, 1.0, float("inf"), "does not fit"),
    "-0.0 into fnuz": (types.Float8E4M3FNUZ, 0.0, -0.0, "does not fit"),
    "0 into e8m0": (types.Float8E8M0FNU, 1, 0, "does not fit"),
    "0.0 into e8m0": (types.Float8E8M0FNU, 1.0, 0.0, "does not fit"),
    "-1.0 into e8m0": (types.Float8E8M0FNU, 1.0, -1.0, "does not fit"),
    "1e-300 into e8m0": (types.Float8E8M0FNU, 1.0, 1e-300, "does not fit"),
    "257 into bfloat16": (types.BFloat16, 256, 257, "exactly"),
    "10**400 into bfloat16": (types.BFloat16, 256, 10**400, "exactly"),
    "True into bfloat16": (types.BFloat16, 1, True, "does not fit"),
    "text into bfloat16": (types.BFloat16, 1, "1", "does not fit"),
    "float32 0.1 into bfloat16": (types.BFloat16, np.float32(0.5), np.float32(0.1), "exactly"),
    "bfloat16 into int": (types.Int32, 1, ml_dtypes.bfloat16(2), "does not fit"),
    "wrong shape, fixed": (Array("uint8", (2, 2)), ZEROS, np.zeros((2, 3), np.uint8), r"shape \(2, 3\)"),
    "wrong shape, listed": (Array("uint8", (2,)), [1, 2], [1, 2, 3], r"shape \(3,\)"),
    "ragged": (Array("uint8", (2, 2)), [[1, 2], [3, 4]], [[1, 2], [3]], "nested evenly"),
    "wrong shape, free": (Array("uint8", (None, 2)), ZEROS, np.zeros((2, 3), np.uint8), r"\(free, 2\)"),
    "wrong size of embedding": (Embedding(2), [0.5, 1.0], [0.5], r"shape \(1,\)"),
    "wide embedding": (Embedding(1), np.array([0.5]), np.array([0.1]), "exactly"),
    "three numbers a box": (BoundingBox(), [[1.0, 2.0, 3.0, 4.0]], [[1.0, 2.0, 3.0]], r"\(boxes, 4\)"),
    "one flat box": (BoundingBox(), [], [1.0, 2.0, 3.0, 4.0], r"\(boxes, 4\)"),
    "mask of one axis": (SegmentMask(), ZEROS, np.zeros(4, np.uint8), "height"),
    "mask of no channels": (SegmentMask(), ZEROS, np.zeros((2, 2, 0), np.uint8), "height"),
    "300 into a mask": (SegmentMask(), ZEROS, [[300]], "does not fit uint8"),
    "integers into a binary mask": (BinaryMask(), ZEROS > 0, ZEROS, "takes bool"),
    "bytes into a raw image": (Image("uint8", None), ZEROS, b"\x89PNG\r\n\x1a\n", "expected a list or array"),
    "pixels into jpeg": (Image(sample_compression="jpeg"), b"\xff\xd8\xff\xff\xd9", ZEROS, "would not read back"),
    "Pillow into jpeg": (Image(sample_compression="jpeg"), b"\xff\xd8\xff\xff\xd9", Pillow.new("L", (1, 1)), "JPEG"),
    "grey into webp": (Image(sample_compression="webp"), np.zeros((1, 1, 3), np.uint8), ZEROS, "no exact WebP form"),
    "colours of print": (Image(), Pillow.new("RGB", (2, 2)), Pillow.new("CMYK", (2, 2)), "convert it first"),
    "naive datetime": (DateTime(), GOOD_TIME, dt.datetime(2026, 11, 1), "has no time zone.*replace"),
    "NaT": (DateTime(), GOOD_TIME, np.datetime64("NaT", "us"), "NaT.*nullable"),
    "a date": (DateTime(), GOOD_TIME, dt.date(2026, 11, 1), "is not a time"),
    "a number as time": (DateTime(), GOOD_TIME, 5, "is not a time"),
    "half a second": (DateTime("s"), GOOD_TIME, GOOD_TIME.replace(microsecond=500_000), "whole number"),
    "a nanosecond": (DateTime("us"), GOOD_TIME, np.datetime64(1, "ns"), "whole number"),
    "year 0": (DateTime("s"), GOOD_TIME, np.datetime64("0000-12-31T23:59:59"), "years 1 to 9999"),
    "year 10000": (DateTime("us"), GOOD_TIME, np.datetime64("10000-01-01", "D"), "years 1 to 9999"),
    "year 0 by zone": (DateTime(), GOOD_TIME, dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))), "years"),
    "year 2300 in ns": (DateTime("ns"), GOOD_TIME, np.datetime64("2300", "Y"), "outside of what the unit ns"),
    "year 2300 in ns, aware": (DateTime("ns"), GOOD_TIME, dt.datetime(2300, 1, 1, tzinfo=UTC), "outside of what"),
    "a year beyond days": (DateTime("s"), GOOD_TIME, np.datetime64(2**60, "Y"), "outside"),
    "an unknown class": (PETS, "dog", "owl", "'owl'.*'cat', 'dog'"),
    "an unknown code": (PETS, 1, 2, "2 is not the code"),
    "a negative code": (PETS, 1, -1, "-1 is not the code"),
    "True as a code": (PETS, 1, True, "does not fit"),
    "a float as a code": (PETS, 1, 1.0, "does not fit"),
    "an int as a key": (Dict(), {"a": 1}, {1: 2}, "expected str keys"),
    "a list into a dict": (Dict(), {}, [1], "is not a dict"),
    "a set in a dict": (Dict(), {}, {"a": {1}}, "cannot be stored"),
    "no sequence": (Sequence("int8"), [1], 5, "is not a sequence"),
    "text as a sequence": (Sequence("text"), ["ab"], "ab", "is not a sequence"),
    "a dict as a sequence": (Sequence("text"), ["ab"], {"ab": 1}, "is not a sequence"),
    "a mask as a sequence": (Sequence("int8"), [1], np.ma.array([1], mask=[True]), "is not a sequence"),
    "an item": (Sequence("int8"), [1, 2], [1, 2, 300], "item 2: 300 does not fit"),
    "an item of an item": (Sequence(Sequence("text")), [["a"]], [[], ["a", 5]], "item 1: item 1: 5 is not text"),
    "a missing item": (Sequence("int8"), [], [None], "item 0: None"),
    "an item of another shape": (Sequence(Array("int8", (2,))), [[1, 2]], [[1, 2], [1]], r"item 1: shape \(1,\)"),
    "wide numbers in a sequence": (Sequence("float32"), [0.1], np.array([0.1]), "exactly"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("row", [0, 2])
@pytest.mark.parametrize("nullable", [False, True])
def test_refused_with_column_and_row(name: str, row: int, nullable: bool) -> None:
    type_, good, bad, reason = REFUSED[name]
    if nullable:
        if name == "NaT":
            pytest.skip("a missing value")
        type_ = Nullable(type_)
    values = [None if nullable else good] * row + [bad, good]
    with pytest.raises(InvalidInputError, match=f"(?s)column 'c', row {row} of the values: .*{reason}") as caught:
        encode_values(type_, values, "c")
    assert (caught.value.column, caught.value.row) == ("c", row)
    encode_values(type_, [good, good], "c")
    if name != "wide numbers in a sequence":
        with pytest.raises(InvalidInputError, match="row 1 of the values: item 2: "):
            encode_values(Sequence(type_), [[], [good, good, bad], [good]], "c")


ARRAYS_REFUSED: dict[str, tuple[Type, Any, int]] = {
    "NaT among times": (DateTime(), np.array(["2026", "NaT"], "M8[us]"), 1),
    "too fine times": (DateTime("s"), np.array([1000, 1001], "M8[ms]"), 1),
    "too large times": (DateTime("ns"), np.array([0, 2**62], "M8[s]"), 1),
    "months": (DateTime("ns"), np.array([0, 2**40], "M8[M]"), 1),
    "steps": (DateTime("us"), np.array([0, 1], "M8[3ns]"), 1),
    "unknown codes": (PETS, np.array([0, 1, 7]), 2),
    "unknown names": (PETS, np.array(["cat", "owl"]), 1),
    "numbers beyond codes": (PETS, np.array([0, 2**63], np.uint64), 1),
    "wide floats": (types.BFloat16, np.array([1.0, 1.001]), 1),
    "wide half floats": (types.Float8E5M2, np.array([1.0, 1.001], np.float16), 1),
    "negative zero": (types.Float8E5M2FNUZ, np.array([0.0, -0.0]), 1),
    "large integers": (types.BFloat16, np.array([1, 2**53 + 1]), 1),
    "longer floats": (types.BFloat16, np.array([1, np.longdouble(1) + np.finfo(np.longdouble).eps]), 1),
    "floats of a byte": (types.Float8E4M3FN, np.array([1, 1000], ml_dtypes.bfloat16), 1),
    "bfloat16 into int8": (types.Int8, np.array([1, 1000], ml_dtypes.bfloat16), 1),
    "bfloat16 into float16": (types.Float16, np.array([1, 2.0**100], ml_dtypes.bfloat16), 1),
    "rows of a table": (Sequence("int8"), np.array([[1, 2], [3, 300]]), 1),
    "rows of unlike arrays": (Sequence("int8"), [np.array([1], np.int8), [2], np.array([300])], 2),
}


@pytest.mark.parametrize("name", ARRAYS_REFUSED)
def test_arrays_refused_with_their_row(name: str) -> None:
    type_, values, row = ARRAYS_REFUSED[name]
    with pytest.raises(InvalidInputError, match=f"column 'c', row {row} ") as caught:
        encode_values(type_, values, "c")
    assert caught.value.row == row


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        (DateTime(), np.zeros((2, 2), "M8[us]")),
        (DateTime(), np.zeros(2, "M8")),
        (DateTime(), [[GOOD_TIME]]),
        (DateTime(), GOOD_TIME),
        (DateTime(), np.zeros(2, "m8[s]")),
        (PETS, np.zeros((2, 2), int)),
        (PETS, "cat"),
        (PETS, [b"cat"]),
        (PETS, {"cat": 1}),
        (types.BFloat16, np.zeros(2, bool)),
        (types.BFloat16, np.zeros(2, "M8[s]")),
        (types.BFloat16, np.zeros(2, complex)),
        (types.Bool, np.zeros(2, ml_dtypes.bfloat16)),
        (Sequence("int8"), 5),
        (Sequence("int8"), np.zeros(3, np.int8)),
        (Sequence("int8"), np.ma.zeros((2, 2), np.int8)),
        (Dict(), {"a": 1}),
        (SegmentMask(), ZEROS),
        (Image("uint8", None), b"abc"),
    ],
)
def test_values_refused_as_a_whole(type_: Type, values: Any) -> None:
    for kind in (type_, Nullable(type_)):
        with pytest.raises(InvalidInputError, match="'c'"):
            encode_values(kind, values, "c")


# --- what is taken --------------------------------------------------------------------------------------------------


def reads(type_: Type, values: Any) -> Any:
    return decode_values(type_, encode_values(type_, values, "c"))


FLOAT32S = st.floats(width=32, allow_nan=False)


@pytest.mark.parametrize("dtype", types.ML_DTYPES)
@settings(max_examples=300)
@given(value=st.floats(allow_nan=False) | FLOAT32S | st.floats(-500, 500), nudge=st.sampled_from([0, 1, -1]))
def test_python_floats_round_to_the_nearest(dtype: str, value: float, nudge: int) -> None:
    """Also where rounding twice, through float32, would not: just beside the middle of two values."""
    size = types.element_bytes(dtype)
    with np.errstate(all="ignore"):
        every = np.arange(256**size, dtype=f"u{size}").view(types.native_dtype(dtype)).astype(np.float64)
    finite = np.unique(every[np.isfinite(every)])
    below = finite[max(0, int(np.searchsorted(finite, value)) - 1)]
    above = finite[min(len(finite) - 1, int(np.searchsorted(finite, value)))]
    middle = (below + above) / 2
    value = float(np.nextafter(middle, np.inf * nudge) if nudge else middle)
    try:
        (found,) = reads(types.Scalar(dtype), [value]).astype(np.float64)
    except InvalidInputError:
        # Rounded beyond the ends; where there is no zero or no sign; or a zero whose sign is lost.
        assert value >= finite[-1] or value <= finite[0] or (value == 0 and dtype.endswith("fnuz"))
        return
    assert abs(found - value) == min(abs(below - value), abs(above - value))
    if nudge:
        assert found == (above if nudge > 0 else below) or below == above or value in (below, above)


def test_arrays_of_other_byte_order_and_of_each_other() -> None:
    values = np.array([1.5, -2.0, np.inf], ml_dtypes.bfloat16)
    swapped = values.astype(values.dtype.newbyteorder(">"))
    assert reads(types.BFloat16, swapped).tobytes() == values.tobytes()
    assert reads(types.Float32, values).tolist() == [1.5, -2.0, np.inf]
    assert reads(types.Float8E5M2, values).tolist() == [1.5, -2.0, np.inf]
    assert reads(types.BFloat16, [ml_dtypes.bfloat16(2), 1, np.float16(0.5), 0.25]).tolist() == [2, 1, 0.5, 0.25]
    assert reads(types.Float32, [ml_dtypes.bfloat16(2), 1.5]).tolist() == [2, 1.5]
    assert reads(types.Int8, np.array([3, -4], ml_dtypes.float8_e4m3fn)).tolist() == [3, -4]
    assert reads(types.Complex64, values[:2]).tolist() == [1.5, -2.0]


@pytest.mark.parametrize("dtype", types.ML_DTYPES)
def test_every_bit_pattern_is_kept(dtype: str) -> None:
    bits = np.arange(256 ** types.element_bytes(dtype), dtype=f"<u{types.element_bytes(dtype)}")
    values = bits.view(types.numpy_dtype(dtype))
    assert reads(types.Scalar(dtype), values).tobytes() == bits.tobytes()


def test_times_of_any_unit_and_zone() -> None:
    india = dt.timezone(dt.timedelta(hours=5, minutes=30))
    given_times = [
        dt.datetime(2026, 11, 1, 5, 30, tzinfo=india),
        np.datetime64("2026-11", "M"),
        np.datetime64("2026-11-01", "D"),
        np.array("2026-11-01", "M8[h]"),
        np.datetime64(20758 * 8640, "10s"),
    ]
    for unit in types.TIME_UNITS:
        times = reads(DateTime(unit), given_times)
        assert times.dtype == np.dtype(f"M8[{unit}]")
        assert (times == np.datetime64("2026-11-01")).all()
    assert single_values(DateTime(), reads(DateTime(), given_times))[0] == dt.datetime(2026, 11, 1, tzinfo=UTC)
    assert single_values(DateTime("ns"), reads(DateTime("ns"), [np.datetime64(1, "ns")])) == [np.datetime64(1, "ns")]
    swapped = np.array([1, 2], "M8[s]").astype(">M8[s]")
    assert reads(DateTime("ms"), swapped).astype(np.int64).tolist() == [1000, 2000]
    assert len(reads(DateTime(), [])) == len(reads(DateTime(), np.zeros(0, "M8[D]"))) == 0


def test_nat_is_a_missing_time() -> None:
    expected = [dt.datetime(2026, 1, 1, tzinfo=UTC), None]
    assert reads(Nullable(DateTime()), np.array(["2026", "NaT"], "M8[us]")) == expected
    assert reads(Nullable(DateTime()), [np.datetime64("2026"), np.datetime64("NaT", "us")]) == expected
    assert reads(Nullable(DateTime("ns")), [None, np.datetime64(5, "ns")]) == [None, np.datetime64(5, "ns")]


def test_classes_by_name_and_code() -> None:
    for values in (["dog", 0], [1, np.str_("cat")], np.array(["dog", "cat"]), np.array([1, 0], np.int8)):
        assert reads(PETS, values).tolist() == [1, 0]
    assert reads(PETS, np.array(["dog", 0], object)).dtype == np.uint8
    many = ClassLabel([str(n) for n in range(257)])
    assert reads(many, ["256"]).tolist() == [256]
    assert reads(many, ["256"]).dtype == np.uint16


def test_pillow_images_are_their_pixels() -> None:
    rgb = Pillow.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    palette = rgb.quantize(4)
    for type_ in (Image(), Image("uint8", None), Image(sample_compression="webp")):
        first, second = reads(type_, [rgb, palette])
        assert np.array_equal(first, np.asarray(rgb))
        assert np.array_equal(second, np.asarray(palette.convert("RGB")))


def test_webp_keeps_colours_below_full_transparency() -> None:
    pixels = np.arange(2 * 2 * 4, dtype=np.uint8).reshape(2, 2, 4)
    pixels[..., 3] = [[0, 255], [0, 7]]
    type_ = Image(sample_compression="webp")
    streams = encode_values(type_, [pixels], "c")
    assert streams["data"].flat.tobytes()[8:12] == b"WEBP"
    assert np.array_equal(decode_values(type_, streams)[0], pixels)


def test_sequences_of_unlike_rows_keep_their_order() -> None:
    values = [np.array([1], np.int16), [2, 3], np.array([], np.float64), np.array([4, 5]), (), range(6, 8)]
    assert [row.tolist() for row in reads(Sequence("int64"), values)] == [[1], [2, 3], [], [4, 5], [], [6, 7]]
    values = [[1], np.array([2, 3, 4]), [5]]
    assert [row.tolist() for row in reads(Sequence("int8"), values)] == [[1], [2, 3, 4], [5]]
    assert reads(Sequence("text"), [["a"], np.array(["b", "c", "d"]), ["e"]]) == [["a"], ["b", "c", "d"], ["e"]]
    assert [row.tolist() for row in reads(Sequence("int8"), np.array([[1, 2], [3, 4]]))] == [[1, 2], [3, 4]]
    words = [np.array(["a", "bc"]), ["d"], np.array([], object)]
    assert reads(Sequence("text"), words) == [["a", "bc"], ["d"], []]
    tables = [np.ones((2, 1, 2), np.uint8), [], np.zeros((1, 3, 1), np.uint8)]
    shapes = [[item.shape for item in row] for row in reads(Sequence(Array("uint8", (None, None))), tables)]
    assert shapes == [[(1, 2), (1, 2)], [], [(3, 1)]]


def test_sequences_of_small_and_of_large_items() -> None:
    for size in (0, 1, 300, 5000):
        for count in (1, 3, 40):
            values = [[bytes([row, item]) * size for item in range(row % 4)] for row in range(count)]
            assert reads(Sequence("bytes"), values) == values
            numbers = [np.arange(row % 3 * size, dtype=np.int16) for row in range(count)]
            assert plain(reads(Sequence("int16"), numbers)) == plain(numbers)


def test_rows_of_a_sequence_own_their_memory() -> None:
    first, second = reads(Sequence("int8"), [[1, 2], [3]])
    first[:] = 9
    assert (first.base, second.tolist()) == (None, [3])


# --- one value or several -------------------------------------------------------------------------------------------

PICTURE = Pillow.new("L", (2, 2))
ONE: list[tuple[Type, list[Any], list[Any]]] = [
    (
        types.Int32,
        [1, True, 1.5, np.int8(1), np.array(1), ml_dtypes.bfloat16(1)],
        [[1], (1,), np.array([1]), "1"],
    ),
    (types.Text(), ["a", np.str_("a")], [["a"], np.array(["a"]), b"a"]),
    (types.Bytes(), [b"a", bytearray(b"a"), memoryview(b"a")], [[b"a"], "a"]),
    (Image(), [b"a", PICTURE, ZEROS], [[b"a"], np.zeros((2, 2, 3), np.uint8), np.zeros(2)]),
    (Image("uint8", None), [PICTURE, ZEROS], [b"a", np.zeros((2, 2, 3), np.uint8)]),
    (SegmentMask(), [ZEROS], [np.zeros((2, 2, 1), np.uint8), [[1]]]),
    (BinaryMask(), [ZEROS > 0], [np.zeros((2, 2, 1), bool), [[True]]]),
    (Array("uint8", (2, 2)), [ZEROS], [np.zeros((2, 2, 2)), np.zeros(2), [[1, 2], [3, 4]], 5]),
    (Array("uint8", (None,)), [np.zeros(2)], [ZEROS, 5, [1]]),
    (Array("uint8", ()), [5, np.array(5)], [[5], np.zeros(2)]),
    (Embedding(2), [np.zeros(2)], [ZEROS, [1.0, 2.0]]),
    (BoundingBox(), [np.zeros((3, 4))], [np.zeros((1, 3, 4)), np.zeros(4), [[1, 2, 3, 4]]]),
    (Dict(), [{}], [[{}]]),
    (DateTime(), [GOOD_TIME, np.datetime64(1, "s"), np.array(1, "M8[s]")], [[GOOD_TIME], np.zeros(1, "M8[s]"), 5]),
    (PETS, ["cat", 1, np.int8(1)], [["cat"], np.array(["cat"]), 1.0, True]),
    (Sequence("int8"), [], [[1], np.zeros(1), 1]),
    (Nullable("int8"), [None, 1], [[None], [1]]),
    (Nullable(Sequence("int8")), [None], [[1]]),
]


@pytest.mark.parametrize(("type_", "one", "several"), ONE, ids=[str(type_) for type_, _, _ in ONE])
def test_is_one_value(type_: Type, one: list[Any], several: list[Any]) -> None:
    assert [is_one_value(type_, value) for value in one] == [True] * len(one)
    assert [is_one_value(type_, value) for value in several] == [False] * len(several)


# --- the types themselves -------------------------------------------------------------------------------------------


def test_an_unknown_type_takes_no_values() -> None:
    class Mine(Type):
        name = "mine"

    for use in (lambda: encode_values(Mine(), [], "c"), lambda: decode_values(Mine(), {})):
        with pytest.raises(InvalidTypeError, match="mine"):
            use()
    assert not is_one_value(Mine(), 1)
