"""Stored bytes and records that no writer made; types without the packages that their values need."""

from __future__ import annotations

import contextlib
import dataclasses
import struct
import subprocess
import sys
import tracemalloc
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typed_values import ALL

from cas import types
from cas.codec.cbor import decode_value, encode, encode_value
from cas.codec.rows import Rows
from cas.codec.values import decode_values, encode_values
from cas.errors import CorruptedError, InvalidInputError, InvalidTypeError, UnsupportedError
from cas.types import Array, BoundingBox, ClassLabel, DateTime, Dict, Image, Nullable, SegmentMask, Sequence, Type


def fixed(*rows: bytes) -> Rows:
    return Rows.fixed(np.frombuffer(b"".join(rows), np.uint8), len(rows), len(rows[0]))


def varying(*rows: bytes) -> Rows:
    return Rows.from_list(rows)


def words(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}Q", *numbers)


def signed(number: int) -> bytes:
    return struct.pack("<q", number)


HUGE = 2**63
DAMAGED: dict[str, tuple[Type, dict[str, Rows]]] = {
    "a sequence without a number": (Sequence("int8"), {"data": varying(b"\0" * 7)}),
    "an empty row": (Sequence("int8"), {"data": varying(words(0), b"")}),
    "more items than bytes": (Sequence("int8"), {"data": varying(words(3) + b"ab")}),
    "fewer items than bytes": (Sequence("int8"), {"data": varying(words(1) + b"ab")}),
    "half an item": (Sequence("int16"), {"data": varying(words(1) + b"a")}),
    "very many items": (Sequence("int64"), {"data": varying(words(HUGE))}),
    "items that overflow": (Sequence("int64"), {"data": varying(words(2**61) + b"")}),
    "very many texts": (Sequence("text"), {"data": varying(words(2**64 - 1))}),
    "ends cut off": (Sequence("text"), {"data": varying(words(2, 1) + b"a")}),
    "an end after the row": (Sequence("text"), {"data": varying(words(1, 5) + b"a", words(1, 4) + b"abcd")}),
    "an end far after the row": (Sequence("text"), {"data": varying(words(1, 2**64 - 1) + b"a")}),
    "an end before the row's": (Sequence("text"), {"data": varying(words(1, 0) + b"a")}),
    "ends that go back": (Sequence("text"), {"data": varying(words(2, 2, 1) + b"a")}),
    "bytes but no items": (Sequence("text"), {"data": varying(words(0) + b"a")}),
    "bytes for the next row": (Sequence("text"), {"data": varying(words(1, 1), words(1, 1) + b"ab")}),
    "text that is no UTF-8": (Sequence("text"), {"data": varying(words(1, 1) + b"\xff")}),
    "another number of masks": (
        Sequence(Nullable("int8")),
        {"data": varying(words(2) + b"ab"), "item_mask": varying(words(1) + b"\1")},
    ),
    "masks of 2": (
        Sequence(Nullable("int8")),
        {"data": varying(words(1) + b"a"), "item_mask": varying(words(1) + b"\2")},
    ),
    "endless items of nothing": (
        Sequence(Nullable(Array("int8", (0,)))),
        {"data": varying(words(2**40)), "item_mask": varying(words(1) + b"\1")},
    ),
    "many items of nothing": (
        Sequence(Nullable(Array("int8", (0,)))),
        {"data": varying(words(2**31)), "item_mask": varying(words(1) + b"\1")},
    ),
    "a nested number": (Sequence(Sequence("int8")), {"data": varying(words(1, 8, HUGE))}),
    "pixels of another number": (SegmentMask(), {"data": varying(b"abc"), "shape": fixed(words(2, 2, 0))}),
    "very high pixels": (SegmentMask(), {"data": varying(b"abc"), "shape": fixed(words(HUGE, HUGE, 3))}),
    "pixels that overflow": (SegmentMask(), {"data": varying(b""), "shape": fixed(words(2**32, 2**32, 1))}),
    "half a pixel": (SegmentMask("uint16"), {"data": varying(b"abc"), "shape": fixed(words(1, 1, 0))}),
    "neither true nor false": (types.BinaryMask(), {"data": varying(b"\2"), "shape": fixed(words(1, 1, 0))}),
    "half a box": (BoundingBox("int8"), {"data": varying(b"abcdef")}),
    "sizes of another type": (Array("int8", (None, 2)), {"data": varying(b"abc"), "shape": fixed(words(1, 3))}),
    "a time before year 1": (DateTime("s"), {"data": fixed(signed(-62_135_596_801))}),
    "a time after year 9999": (DateTime("ms"), {"data": fixed(signed(253_402_300_800_000))}),
    "NaT": (DateTime("ns"), {"data": fixed(signed(-(2**63)))}),
    "NaT of microseconds": (DateTime("us"), {"data": fixed(signed(-(2**63)))}),
    "an unknown class": (ClassLabel(["a", "b"]), {"data": fixed(b"\2")}),
    "a list for a dict": (Dict(), {"data": varying(encode([1]))}),
    "no CBOR": (Dict(), {"data": varying(b"")}),
    "a dict with numbers for keys": (Dict(), {"data": varying(encode({1: 2}))}),
    "an unknown value": (Dict(), {"data": varying(b"\xa1\x61a\xd8\x63\x80")}),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_rows(name: str) -> None:
    type_, streams = DAMAGED[name]
    tracemalloc.start()
    try:
        with pytest.raises(CorruptedError):
            decode_values(type_, streams)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


SEQUENCES = [name for name in ALL if "sequence" in name]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SEQUENCES), st.data())
def test_flipped_bytes_of_sequences_are_damage_or_other_values(name: str, data: st.DataObject) -> None:
    kind = ALL[name]
    streams = encode_values(kind.type, data.draw(st.lists(kind.values, min_size=1, max_size=3)), "c")
    stream = data.draw(st.sampled_from(sorted(streams)))
    rows = streams[stream]
    if rows.nbytes == 0:
        return
    flat = rows.flat.copy()
    flat[data.draw(st.integers(0, len(flat) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = Rows(flat, rows.count, rows.row_bytes, rows.ends)
    with contextlib.suppress(CorruptedError, InvalidInputError, UnsupportedError):
        decode_values(kind.type, {**streams, stream: damaged})


# --- records ----------------------------------------------------------------------------------------------------------

UNKNOWN: list[Any] = [
    None,
    "int8",
    {},
    {"name": 5},
    {"name": "decimal"},
    {"name": "scalar", "dtype": "int8"},
    {"name": "int8", "dedup": "row"},
    {"name": "float8_e3m4"},
    {"name": "text", "language": "en"},
    {"name": "bytes", "dedup": "all"},
    {"name": "array", "dtype": "float32"},
    {"name": "array", "dtype": "f4", "shape": [2]},
    {"name": "array", "dtype": "int8", "shape": [True]},
    {"name": "array", "dtype": "int8", "shape": "ab"},
    {"name": "array", "dtype": "int8", "shape": [2], "dimensions": 1},
    {"name": "array", "dtype": ["int8"], "shape": [2]},
    {"name": "embedding", "dtype": "float32"},
    {"name": "embedding", "size": 0, "dtype": "float32"},
    {"name": "embedding", "size": 2.0, "dtype": "float32"},
    {"name": "embedding", "size": 2},
    {"name": "embedding", "size": 2, "dtype": "int8"},
    {"name": "bounding_box", "dtype": "float32", "format": "xyxy"},
    {"name": "bounding_box", "dtype": "float32", "format": None},
    {"name": "bounding_box", "dtype": "bool"},
    {"name": "bounding_box", "dtype": "float32", "bbox_type": "Pixel"},
    {"name": "image", "sample_compression": "png"},
    {"name": "image", "sample_compression": "gif"},
    {"name": "image", "sample_compression": None},
    {"name": "image", "dtype": "uint16"},
    {"name": "raw_image"},
    {"name": "raw_image", "dtype": "complex64"},
    {"name": "raw_image", "dtype": "uint8", "sample_compression": "png"},
    {"name": "segment_mask", "dtype": "float32"},
    {"name": "segment_mask"},
    {"name": "binary_mask", "dtype": "bool"},
    {"name": "class_label", "names": [], "dtype": "uint8"},
    {"name": "class_label", "names": ["a", "a"], "dtype": "uint8"},
    {"name": "class_label", "names": ["a"]},
    {"name": "class_label", "names": ["a"], "dtype": "int8"},
    {"name": "class_label", "names": "abc", "dtype": "uint8"},
    {"name": "class_label", "names": [5], "dtype": "uint8"},
    {"name": "class_label", "names": [str(n) for n in range(257)], "dtype": "uint8"},
    {"name": "datetime"},
    {"name": "datetime", "unit": "D"},
    {"name": "datetime", "unit": ["us"]},
    {"name": "dict", "of": {"name": "text"}},
    {"name": "sequence"},
    {"name": "sequence", "of": "text"},
    {"name": "sequence", "of": {"name": "decimal"}},
    {"name": "sequence", "of": {"name": "array", "dtype": "int8", "shape": [0]}},
    {"name": "nullable", "of": {"name": "nullable", "of": {"name": "text"}}},
    {"name": "nullable", "of": {"name": "text"}, "default": ""},
]


@pytest.mark.parametrize("record", UNKNOWN, ids=repr)
def test_records_that_this_version_does_not_write(record: Any) -> None:
    with pytest.raises(UnsupportedError):
        types.from_record(record)


def test_deep_records() -> None:
    record: dict[str, Any] = {"name": "text"}
    for _ in range(16):
        record = {"name": "sequence", "of": record}
    assert types.from_record(record).to_record() == record
    for _ in range(5000):
        record = {"name": "sequence", "of": record}
    with pytest.raises(UnsupportedError):
        types.from_record(record)


# --- making types -----------------------------------------------------------------------------------------------------


def test_types_by_name_and_by_other_libraries() -> None:
    named = {name: str(types.as_type(name)) for name in ("datetime", "dict", "image", "bounding_box", "segment_mask")}
    assert named == {
        "datetime": "datetime[us]",
        "dict": "dict",
        "image": "image",
        "bounding_box": "bounding_box[float32]",
        "segment_mask": "segment_mask[uint8]",
    }
    assert types.as_type(np.str_) == types.as_type(np.dtype("U5")) == types.as_type(str) == types.Text()
    assert types.as_type(np.bytes_) == types.as_type(bytes) == types.Bytes()
    assert types.as_type(np.dtype("M8[ns]")) == DateTime("ns")
    assert types.as_type(ml_dtypes.bfloat16) == types.BFloat16 == types.as_type("bfloat16")
    assert types.as_type(np.dtype((ml_dtypes.float8_e5m2, (2,)))) == Array("float8_e5m2", (2,))
    assert types.as_type(types.BinaryMask) == types.BinaryMask() == types.as_type("binary_mask")
    assert types.as_type(types.Int8()) is types.Int8
    assert types.Sequence("str") == types.Sequence(types.Text)


def test_arguments_of_arrays() -> None:
    assert Array(types.Float32(), (2,)) == Array("float32", [2]) == Array(np.float32, (np.int64(2),))  # type: ignore[arg-type]
    assert Array("uint8", dimensions=3) == Array("uint8", (None, None, None)) == Array("uint8", None, 3)
    assert Array("uint8", (2, None), dimensions=2).shape == (2, None)
    assert Array("uint8", (2, None)).dimensions == 2
    assert dataclasses.replace(Array("uint8", (2, None)), dtype="int8") == Array("int8", (2, None))
    assert BoundingBox(format="XYWH") == BoundingBox("float32", "tlwh") == BoundingBox(format="ltwh")
    assert BoundingBox(format="tlbr").format == "ltrb"
    assert BoundingBox(format="CXCYWH", bbox_type="Pixel").to_record()["bbox_type"] == "pixel"
    assert ClassLabel(iter("ab")).names == ("a", "b")  # type: ignore[arg-type]
    assert (ClassLabel(["a"], "uint32").dtype, ClassLabel(map(str, range(256))).dtype) == ("uint32", "uint8")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Array("uint8"),
        lambda: Array("uint8", (2,), dimensions=2),
        lambda: Array("uint8", dimensions=-1),
        lambda: Array("uint8", dimensions=1.5),
        lambda: Array(None, (2,)),
        lambda: types.Embedding(0),
        lambda: types.Embedding(None),
        lambda: types.Embedding(2, "int8"),
        lambda: types.SegmentMask("float32"),
        lambda: Image("uint16"),
        lambda: Image("complex64", None),
        lambda: Image(sample_compression="gif"),
        lambda: Image(sample_compression=5),
        lambda: BoundingBox("complex64"),
        lambda: BoundingBox(format="corners"),
        lambda: BoundingBox(bbox_type="parts"),
        lambda: DateTime("D"),
        lambda: ClassLabel([]),
        lambda: ClassLabel(["a", ""]),
        lambda: ClassLabel(["a", "b", "a"]),
        lambda: ClassLabel({"a", "b"}),
        lambda: ClassLabel("ab"),
        lambda: ClassLabel(5),
        lambda: ClassLabel(["\ud800"]),
        lambda: ClassLabel(["a"], "int8"),
        lambda: ClassLabel(map(str, range(257)), "uint8"),
        lambda: Sequence(Array("int8", (0, 2))),
        lambda: Nullable(Nullable("int8")),
        lambda: types.as_type("sequence"),
        lambda: types.as_type("embedding"),
        lambda: types.as_type(types.ClassLabel),
        lambda: types.as_type(Array),
        lambda: types.as_type(np.dtype("M8[D]")),
        lambda: types.as_type(np.datetime64),
        lambda: types.as_type(np.dtype("m8[s]")),
        lambda: types.as_type(ml_dtypes.int4),
        lambda: types.as_type("decimal"),
    ],
)
def test_arguments_that_are_refused(make: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"expected|needs a|give one|differ|as it is|nothing|UTF-8|raw"):
        make()


def test_names_and_codes_of_classes() -> None:
    pets = ClassLabel(["cat", "dog"])
    assert (pets.str2int("dog"), pets.str2int(["dog", "cat"]), pets.num_classes) == (1, [1, 0], 2)
    assert (pets.int2str(1), pets.int2str(np.array([1, 0])), pets.int2str(np.uint8(0))) == (
        "dog",
        ["dog", "cat"],
        "cat",
    )
    for use in (lambda: pets.str2int("owl"), lambda: pets.int2str(2), lambda: pets.int2str([-1])):
        with pytest.raises(InvalidInputError, match="is not the"):
            use()
    for use in (lambda: pets.str2int([5]), lambda: pets.int2str(True), lambda: pets.int2str(["dog"])):  # type: ignore[list-item]
        with pytest.raises(InvalidTypeError):
            use()
    with pytest.raises(InvalidInputError, match="'4' and 95 more"):
        ClassLabel(map(str, range(100))).str2int("owl")  # type: ignore[arg-type]


# --- optional packages ------------------------------------------------------------------------------------------------


def test_metadata_arrays_of_ml_dtypes() -> None:
    for dtype in types.ML_DTYPES:
        values = np.array([[1.0, 2.0]], types.native_dtype(dtype))
        for value in (values, values[0, 1]):
            again = decode_value(encode_value({"v": value}), what="v")["v"]
            assert (type(again), again.dtype, again.tolist()) == (type(value), value.dtype, value.tolist())


WITHOUT = """
import sys, tempfile
sys.modules["ml_dtypes"] = None
import cas
import cas.codec.cbor
from cas.errors import UnsupportedError
url = sys.argv[1]
def refused(use):
    try: use()
    except UnsupportedError as error: assert "pip install 'tensor-cas[dtypes]'" in str(error), error
    else: raise SystemExit("not refused")
with cas.open(url) as ds:
    assert ds["n"][:].tolist() == [1, 2]
    assert str(ds.schema) and ds["half"].shape == (2,) and ds["vector"].shape == (2, 3)
    refused(lambda: ds["half"][:])
    refused(lambda: ds["vector"][0])
    refused(lambda: ds["half"].dtype)
    refused(lambda: ds.append({"n": [3], "half": [1.0], "vector": [[1.0] * 3]}))
    refused(lambda: cas.codec.cbor.decode_value(bytes.fromhex(sys.argv[2]), what="mean"))
    ds["n"][0] = 5
    ds.delete([1])
    ds.commit()
made = cas.create(url + "2", {
    "half": cas.types.Nullable(cas.types.BFloat16()),
    "e": cas.types.Embedding(4, "float8_e5m2"),
    "a": cas.types.Array("bfloat16", dimensions=1),
    "n": int,
})
made.commit()
assert made["e"].shape == (0, 4)
assert cas.types.from_record({"name": "bfloat16"}).layouts()["data"].row_bytes == 2
"""


def test_without_ml_dtypes_all_but_the_values_works(tmp_path: Any) -> None:
    import cas

    with cas.create(tmp_path / "ds", {"n": int, "half": "bfloat16", "vector": types.Embedding(3, "bfloat16")}) as ds:
        ds.append({"n": [1, 2], "half": [0.5, 1.0], "vector": [[1.0, 2.0, 3.0]] * 2})
        ds.commit()
    mean = encode_value(np.zeros(2, ml_dtypes.bfloat16)).hex()
    command = [sys.executable, "-c", WITHOUT, str(tmp_path / "ds"), mean]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
