"""Strategies: one value of every column type, as users give it and as it reads."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pictures import png
from PIL import Image as Pillow

from cas import types
from cas.types import ML_DTYPES, NUMPY_DTYPES, Type, numpy_dtype

CLASSES = types.ClassLabel(["cat", "dog", "owl"])
SECONDS = {"s": 1, "ms": 10**3, "us": 10**6}


class Kind(NamedTuple):
    """A type, a strategy for one value, and what that value reads as."""

    type: Type
    values: st.SearchStrategy[Any]
    reads: Callable[[Any], Any] = lambda value: value


def plain(value: Any) -> Any:
    """A value so that equal ones compare equal: NaN to itself, 0.0 not to -0.0, arrays with their shapes."""
    match value:
        case np.ndarray() if value.ndim == 1:
            return [plain(item) for item in value]
        case np.ndarray():
            return ("array", value.dtype.name, value.shape, plain(value.reshape(-1)))
        case np.datetime64() if np.datetime_data(value.dtype)[0] == "ns":
            return ("ns", int(value.astype(np.int64)))
        case np.datetime64():
            return plain(value.astype("M8[us]").item().replace(tzinfo=dt.UTC))
        case np.generic():
            return plain(value.item())
        case dt.datetime():
            return value.astimezone(dt.UTC).isoformat()
        case float() | complex():
            return repr(value)
        case list() | tuple():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
    return value


def numbers(dtype: str) -> st.SearchStrategy[Any]:
    if dtype in ML_DTYPES:
        size = ML_DTYPES[dtype]
        bits = st.integers(0, 256**size - 1)
        return bits.map(lambda bits: float(np.array([bits], f"u{size}").view(numpy_dtype(dtype))[0]))
    if dtype == "bool":
        return st.booleans()
    if dtype.startswith("complex"):
        return st.complex_numbers(width=int(dtype[7:]), allow_nan=False)  # type: ignore[call-overload]
    if dtype.startswith("float"):
        return st.floats(width=int(dtype[5:]))  # type: ignore[arg-type]
    limits = np.iinfo(dtype)
    return st.integers(int(limits.min), int(limits.max))


def pixels(dtype: str, least: int = 0) -> st.SearchStrategy[Any]:
    side = st.integers(least, 3)
    return hnp.arrays(dtype, st.tuples(side, side) | st.tuples(side, side, st.integers(1, 3)))


@st.composite
def times(draw: st.DrawFn, unit: str) -> Any:
    """A time at any place in the unit's range, as datetime64 of a unit it fits or as datetime in any zone."""
    if unit == "ns":
        return np.datetime64(draw(st.integers(-(2**63) + 1, 2**63 - 1)), "ns")
    count = draw(st.integers(-62_135_596_800 * SECONDS[unit], 253_402_300_800 * SECONDS[unit] - 1))
    time = np.datetime64(count, unit)
    if draw(st.booleans()) or not -62_000_000_000 < count // SECONDS[unit] < 253_000_000_000:
        return time
    zone = dt.timezone(dt.timedelta(minutes=draw(st.integers(-1439, 1439))))
    return time.astype("M8[us]").item().replace(tzinfo=dt.UTC).astimezone(zone)


def decoded(value: Any) -> Any:
    """What a PNG, an array or an image of Pillow reads as."""
    if isinstance(value, np.ndarray):
        return value[:, :, 0] if value.ndim == 3 and value.shape[2] == 1 else value
    return np.asarray(value if isinstance(value, Pillow.Image) else Pillow.open(io.BytesIO(value)))


def array_of(dtype: str, *shape: int) -> Callable[[Any], Any]:
    return lambda value: np.array(value, numpy_dtype(dtype)).reshape(*shape)


def listed(of: Kind) -> Callable[[Any], Any]:
    return lambda items: [of.reads(item) for item in items]


json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
images = st.integers(0, 5).map(png) | pixels("uint8", 1)
KINDS = {
    **{dtype: Kind(types.Scalar(dtype), numbers(dtype)) for dtype in (*NUMPY_DTYPES, *ML_DTYPES)},
    "text": Kind(types.Text(), st.text(max_size=8)),
    "bytes": Kind(types.Bytes(), st.binary(max_size=8)),
    "array": Kind(types.Array("int16", (2, 1)), hnp.arrays("int16", (2, 1))),
    "free_array": Kind(types.Array("float32", dimensions=2), pixels("float32").filter(lambda value: value.ndim == 2)),
    "embedding": Kind(types.Embedding(2), st.lists(numbers("float32"), min_size=2, max_size=2), array_of("float32", 2)),
    "boxes": Kind(
        types.BoundingBox("float64", "cxcywh", "fractional"),
        st.lists(st.lists(numbers("float64"), min_size=4, max_size=4), max_size=3),
        array_of("float64", -1, 4),
    ),
    "segment_mask": Kind(types.SegmentMask("uint16"), pixels("uint16")),
    "binary_mask": Kind(types.BinaryMask(), pixels("bool")),
    "image": Kind(types.Image(), images | pixels("uint8", 1).map(decoded).filter(
        lambda value: value.ndim == 2 or value.shape[2] > 2).map(Pillow.fromarray), decoded),
    "webp": Kind(types.Image(sample_compression="webp"), st.integers(0, 5).map(png) | hnp.arrays("uint8", (2, 3, 3)),
                 decoded),
    "jpeg": Kind(types.Image(sample_compression="JPG"), st.integers(0, 5).map(png), decoded),
    "raw_image": Kind(types.Image("float64", None), pixels("float64")),
    "class": Kind(CLASSES, st.integers(0, 2) | st.sampled_from(CLASSES.names),
                  lambda value: CLASSES.str2int(value) if isinstance(value, str) else value),
    **{f"time_{unit}": Kind(types.DateTime(unit), times(unit)) for unit in types.TIME_UNITS},
    "dict": Kind(types.Dict(), st.dictionaries(st.text(max_size=4), json, max_size=3)),
}  # fmt: skip
NESTED = {
    **{f"sequence of {name}": Kind(types.Sequence(kind.type), st.lists(kind.values, max_size=3), listed(kind))
       for name, kind in KINDS.items() if name not in ("array", "embedding")},
    "sequence of array": Kind(types.Sequence(KINDS["array"].type), st.lists(KINDS["array"].values, max_size=3),
                              array_of("int16", -1, 2, 1)),
    "sequence of embedding": Kind(types.Sequence(KINDS["embedding"].type),
                                  st.lists(KINDS["embedding"].values, max_size=3), array_of("float32", -1, 2)),
}  # fmt: skip
OPTIONAL = {
    f"nullable {name}": Kind(
        types.Nullable(kind.type),
        st.none() | kind.values,
        lambda value, kind=kind: None if value is None else kind.reads(value),
    )
    for name, kind in {**KINDS, **NESTED}.items()
}
_optional_boxes, _optional_text = OPTIONAL["nullable free_array"], OPTIONAL["nullable text"]
_texts = Kind(types.Sequence(_optional_text.type), st.lists(_optional_text.values, max_size=3), listed(_optional_text))
DEEP = {
    "sequence of nullable arrays": Kind(
        types.Sequence(_optional_boxes.type), st.lists(_optional_boxes.values, max_size=3), listed(_optional_boxes)
    ),
    "nullable sequences of sequences of nullable text": Kind(
        types.Nullable(types.Sequence(_texts.type)),
        st.none() | st.lists(_texts.values, max_size=3),
        lambda value: None if value is None else listed(_texts)(value),
    ),
}
ALL = {**KINDS, **NESTED, **OPTIONAL, **DEEP}
