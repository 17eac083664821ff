"""Tree and version records: one form each, and damage named."""

from typing import Any

import pytest
from workbench import Workbench

from cas import types
from cas.codec import cbor
from cas.errors import CorruptedError, UnsupportedError
from cas.hashing import Kind
from cas.history.records import (
    EMPTY_METADATA,
    EMPTY_TREE,
    ColumnRecord,
    TreeRecord,
    VersionRecord,
    decode_tree,
    decode_version,
    encode_tree,
    encode_version,
    load_tree,
    load_version,
    read_payload,
    write_payload,
)
from cas.tree.read import EMPTY_STREAM, StreamRef
from cas.types import Layout

HASH = bytes(range(32))
TREE = TreeRecord(
    3,
    (
        ColumnRecord("a", types.Text(), {"data": StreamRef(HASH, 3, 10)}, EMPTY_METADATA),
        ColumnRecord(
            "b",
            types.Nullable(types.Array("int8", (None,))),
            {name: StreamRef(HASH, 3, 24) for name in ("data", "shape", "mask")},
            StreamRef(HASH, 1, 5000),
        ),
    ),
    cbor.encode({"k": 1}),
)
VERSION = VersionRecord(HASH, (HASH, bytes(32)), (b"", StreamRef(HASH, 1, 2400)), "message", "author", -5, {"n": 2**70})


def test_records_come_back() -> None:
    for tree in (TREE, EMPTY_TREE):
        assert decode_tree(encode_tree(tree), "tree") == tree
    assert decode_version(encode_version(VERSION), "version") == VERSION


def test_absent_details_are_left_out() -> None:
    record = VersionRecord(HASH, (), (), "", "", 0)
    assert "details" not in cbor.decode(encode_version(record), what="version")
    assert decode_version(encode_version(record), "version") == record


def tree_with(**changes: Any) -> bytes:
    return cbor.encode(cbor.decode(encode_tree(TREE), what="tree") | changes)


def column_with(**changes: Any) -> bytes:
    columns = cbor.decode(encode_tree(TREE), what="tree")["columns"]
    return tree_with(columns=[columns[0] | changes])


def version_with(**changes: Any) -> bytes:
    return cbor.encode(cbor.decode(encode_version(VERSION), what="version") | changes)


WRONG_TREES = {
    "nothing": b"",
    "a list": cbor.encode([]),
    "cut off": encode_tree(TREE)[:-1],
    "rows as text": tree_with(rows="3"),
    "rows below 0": tree_with(rows=-3),
    "other rows than its columns": tree_with(rows=4),
    "columns as a number": tree_with(columns=5),
    "metadata as text": tree_with(metadata="{}"),
    "a name as bytes": column_with(name=b"a"),
    "no streams": column_with(streams={}),
    "another stream": column_with(streams={"other": [HASH, 3, 10]}),
    "a short hash": column_with(streams={"data": [b"short", 3, 10]}),
    "two columns of one name": tree_with(columns=cbor.decode(encode_tree(TREE), what="t")["columns"][:1] * 2),
}
WRONG_VERSIONS = {
    "no tree": version_with(tree=None),
    "a short parent": version_with(parents=[HASH, b"short"]),
    "a row map too few": version_with(row_maps=[b""]),
    "a message as bytes": version_with(message=b"m"),
    "an author as a number": version_with(author=5),
    "a time as a float": version_with(client_timestamp=1.5),
    "a time as a bool": version_with(client_timestamp=True),
}


@pytest.mark.parametrize("payload", WRONG_TREES.values(), ids=WRONG_TREES)
def test_damaged_trees_are_refused(payload: bytes) -> None:
    with pytest.raises(CorruptedError, match="the tree"):
        decode_tree(payload, "the tree")


@pytest.mark.parametrize("payload", WRONG_VERSIONS.values(), ids=WRONG_VERSIONS)
def test_damaged_versions_are_refused(payload: bytes) -> None:
    with pytest.raises(CorruptedError, match="the version"):
        decode_version(payload, "the version")


@pytest.mark.parametrize("field", ["tree", "parents", "row_maps", "message", "author", "client_timestamp"])
def test_versions_without_a_field_are_refused(field: str) -> None:
    record = cbor.decode(encode_version(VERSION), what="version")
    del record[field]
    with pytest.raises(CorruptedError):
        decode_version(cbor.encode(record), "the version")


def test_other_formats_and_types_are_unsupported() -> None:
    for payload in (
        tree_with(format=2),
        column_with(type={"name": "tensor"}),
        column_with(type={"name": "text", "language": "en"}),
        column_with(type={"name": "array", "dtype": "float128", "shape": [1]}),
    ):
        with pytest.raises(UnsupportedError):
            decode_tree(payload, "the tree")
    with pytest.raises(UnsupportedError):
        decode_version(version_with(format=2), "the version")


def test_reserved_fields_are_passed_over() -> None:
    assert decode_version(version_with(later=5), "version") == VERSION
    assert decode_tree(tree_with(later=5), "tree") == TREE
    assert decode_tree(column_with(later=5), "tree").columns == TREE.columns[:1]


@pytest.mark.parametrize("length", [0, 1, 1023, 1024, 1025, 262_080, 262_081, 700_000])
def test_payload_fields(length: int) -> None:
    bench = Workbench(Layout(None, alone=True))
    data = bytes(i % 251 for i in range(length))
    payload = write_payload(data, bench.nodes, bench.writer)
    bench.writer.flush()
    assert isinstance(payload, bytes) == (length <= 1024)
    assert read_payload(payload, bench.nodes) == data


def test_a_payload_field_of_no_rows_is_damage() -> None:
    """A field whose stream is empty holds no bytes at all, not even none."""
    bench = Workbench(Layout(None, alone=True))
    with pytest.raises(CorruptedError):
        read_payload(EMPTY_STREAM, bench.nodes)


def test_a_record_that_is_missing_is_named() -> None:
    bench = Workbench(Layout(1))
    for load in (load_tree, load_version):
        with pytest.raises(CorruptedError) as caught:
            load(bench.nodes.gate, HASH)
        assert caught.value.blob == HASH.hex()


def test_a_record_of_another_kind_does_not_pass() -> None:
    bench = Workbench(Layout(1))
    tree = bench.writer.add_record(Kind.TREE, encode_tree(TREE))
    bench.writer.flush()
    assert load_tree(bench.nodes.gate, tree) == TREE
    with pytest.raises(CorruptedError):
        load_version(bench.nodes.gate, tree)
