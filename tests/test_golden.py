"""Hashes of each kind of object, written down: a change of one of them is a change of the stored format."""

import datetime as dt
from typing import Any

import numpy as np
import pytest
from pictures import png
from workbench import Workbench

from cas import types
from cas.codec.cbor import encode
from cas.codec.values import encode_values
from cas.hashing import Kind, hash_blob, hash_chunk
from cas.history.records import ColumnRecord, TreeRecord, VersionRecord, encode_tree, encode_version
from cas.history.row_map import RowMap
from cas.tree.node import Entries, encode_node
from cas.tree.read import StreamRef
from cas.types import Layout


def entries(count: int) -> Entries:
    hashes = b"".join(hash_chunk(b"%d" % i) for i in range(count))
    numbers = np.arange(1, count + 1, dtype=np.int64)
    return Entries(np.frombuffer(hashes, np.uint8).reshape(count, 32), numbers, numbers * 1000)


def tree() -> bytes:
    columns = (
        ColumnRecord("image", types.Image(), {"data": StreamRef(hash_chunk(b"root"), 2, 5000)}, b"\xa0"),
        ColumnRecord("label", types.Int64, {"data": StreamRef(hash_chunk(b"other"), 2, 16)}, b"\xa1aa\x01"),
    )
    return encode_tree(TreeRecord(2, columns, b"\xa0"))


def version() -> bytes:
    row_map = RowMap.from_runs([(5000, 3, 10), (3997, 0, 0)]).encode()
    when = 1_793_545_200_000_000
    return encode_version(
        VersionRecord(hash_chunk(b"tree"), (hash_chunk(b"parent"),), (row_map,), "message", "author", when, {"n": 1})
    )


def stream(name: str) -> StreamRef:
    if name == "numbers":
        return Workbench(Layout(8)).build([(i * i % 1_000_003).to_bytes(8, "little") for i in range(100_000)])
    if name == "texts":
        return Workbench(Layout(None)).build([f"text {i * i % 1_000_003}".encode() for i in range(100_000)])
    return Workbench(Layout(None, alone=True)).build([f"text {i * i % 1_000_003}".encode() for i in range(100_000)])


PAYLOADS = {
    "chunk": (Kind.CHUNK, lambda: b"payload"),
    "leaf": (Kind.NODE, lambda: encode_node(0, entries(20))),
    "inner node": (Kind.NODE, lambda: encode_node(1, entries(20))),
    "tree": (Kind.TREE, tree),
    "version": (Kind.VERSION, version),
    "row map": (Kind.CHUNK, lambda: RowMap.from_runs([(5000, 3, 10), (3997, 0, 0)]).encode()),
}
HASHES = {
    "chunk": "ec90915fa26ab012a89a88ecc8b47e4dd76c4adfd6abd1fc10e321b0fca18d1d",
    "leaf": "8b91c7bcefe01adfab460ce021ac23d0d59efd229a9a64d36d1fb2ef837b2dee",
    "inner node": "f5fd9c9219e3a97bd7eac1822fe290add0e0ba6efb1feb4e204f32fe0eb13ef9",
    "tree": "36404c649fe14748a1e456a0207fde06a381e90116be5940ecfb0236f1b0c4d9",
    "version": "3da926fcd67457c6ae39d6ccbc98df535d3a2251b53b98ee3e92b6aa21230032",
    "row map": "7e0d61f1a8b2fe0a975b8772bb09c07fc051fa00babb8290a952503aa8c37514",
}
STREAMS = {
    "numbers": ("659b730547201b54c52601b0daa89cc5b5ebc0faf7ab5fdef4305b56f2022b13", 800_000),
    "texts": ("38b6cdda4e03fccd30bdf2bec953de6fb6a668f17fcbbe4b472976c2c16db65c", 1_488_541),
    "texts alone": ("04d8be862063038c9b99a8d34df9c21f0cfdbe76bb72e4232e9a443a8371187c", 1_088_541),
}

VALUES: dict[str, tuple[Any, Any]] = {
    "int32": (types.Int32, [1, -1]),
    "text": (types.Text(), ["a", "é"]),
    "bytes": (types.Bytes(), [b"", b"\0"]),
    "array": (types.Array("float32", (2,)), [[0.5, -0.0]]),
    "free array": (types.Array("uint8", (None, 2)), [[[1, 2]], [[3, 4], [5, 6]]]),
    "nullable": (types.Nullable(types.Int16), [None, -2]),
    "image": (types.Image(), [png(1)]),
    "bfloat16": (types.BFloat16, [1.5, -2.0]),
    "embedding": (types.Embedding(2), [[1.0, 2.0]]),
    "boxes": (types.BoundingBox("uint16", "ltrb"), [[[1, 2, 3, 4]], []]),
    "segment mask": (types.SegmentMask(), [[[1, 2, 3]], [[[1], [2]]]]),
    "binary mask": (types.BinaryMask(), [[[True, False]]]),
    "raw image": (types.Image("uint16", None), [[[1, 2], [3, 4]]]),
    "jpeg image": (types.Image(sample_compression="jpg"), [png(2)]),
    "class label": (types.ClassLabel(["cat", "dog"]), ["dog", 0]),
    "datetime": (types.DateTime("ms"), [dt.datetime(2026, 11, 1, tzinfo=dt.UTC)]),
    "dict": (types.Dict(), [{"b": 1, "a": [None, 0.5]}, {}]),
    "sequence of text": (types.Sequence("text"), [["a", "bc"], []]),
    "sequence of numbers": (types.Sequence("int16"), [[1, 2], [3]]),
    "missing sequence": (types.Nullable(types.Sequence(types.Nullable("int8"))), [[1, None], None]),
}
VALUE_HASHES = {
    "int32": "32aec3ab9b0de319",
    "text": "ea0294cee8be1679",
    "bytes": "dae62692466e880b",
    "array": "ad84e42f660eafbb",
    "free array": "2359f5a560cd8f3c",
    "nullable": "71570189f52a1cce",
    "image": "b7a1d28f2195fce6",
    "bfloat16": "b3ab8a66687ccec9",
    "embedding": "57ca9e9b56d29711",
    "boxes": "64fe5d30158f8f05",
    "segment mask": "d08f41e350ebe8c4",
    "binary mask": "919a1f9f9ab21cbc",
    "raw image": "dcbfd6fec5f6091f",
    "jpeg image": "03a679893330fe2d",
    "class label": "dcba6b0c6be68928",
    "datetime": "81d1801f1c1573b3",
    "dict": "b7aa7378b8f66e7c",
    "sequence of text": "90f1ca7063e7e0a7",
    "sequence of numbers": "77ffaf44565d7eec",
    "missing sequence": "98ef7c6267cb2aa6",
}


def value_payload(name: str) -> bytes:
    """The record of a type, and the rows of each stream, lengths first."""
    type_, values = VALUES[name]
    streams = encode_values(type_, values, name)
    rows = {stream: [bytes(row) for row in rows] for stream, rows in streams.items()}
    return encode({"type": type_.to_record(), "rows": rows})


@pytest.mark.parametrize("name", VALUES)
def test_types_and_their_rows(name: str) -> None:
    assert hash_chunk(value_payload(name)).hex()[:16] == VALUE_HASHES[name]


@pytest.mark.parametrize("name", PAYLOADS)
def test_hashes(name: str) -> None:
    kind, payload = PAYLOADS[name]
    assert hash_blob(kind, payload()).hex() == HASHES[name]


@pytest.mark.parametrize("name", STREAMS)
def test_roots(name: str) -> None:
    root, size_bytes = STREAMS[name]
    assert stream(name).to_record() == [bytes.fromhex(root), 100_000, size_bytes]
