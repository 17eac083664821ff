"""Names of refs, columns and datasets, and the records of refs."""

import pytest

from cas.codec import cbor
from cas.errors import CorruptedError, InvalidNameError
from cas.history.refs import (
    MAX_NAME_BYTES,
    RefRecord,
    check_column_name,
    check_dataset_name,
    check_ref_name,
    keys_of_kind,
)

GOOD = ["main", "v1.0", "feature/x", "a b", "é" * 127, "x" * MAX_NAME_BYTES, "数据", "1", "_", "a-", "a.b", "HEAD"]
BAD_EVERYWHERE = [
    "",
    " ",
    " main",
    "main ",
    "a\nb",
    "a\0b",
    "\t",
    "a\x7fb",
    "\x85",
    "\ud800",
    "x" * (MAX_NAME_BYTES + 1),
]
BAD_EVERYWHERE += ["é" * 128]
BAD_REFS = ["-main", "a..b", "..", "a@b", "@", "main~2", "a:b", "a^", "a\\b"]


@pytest.mark.parametrize("name", GOOD)
def test_good_names(name: str) -> None:
    assert check_ref_name(name, "tag") == check_column_name(name) == check_dataset_name(name) == name


@pytest.mark.parametrize("name", BAD_EVERYWHERE)
def test_bad_names(name: str) -> None:
    for check in (lambda name: check_ref_name(name, "column"), check_column_name):
        with pytest.raises(InvalidNameError, match="column"):
            check(name)
    with pytest.raises(InvalidNameError, match="dataset"):
        check_dataset_name(name)


@pytest.mark.parametrize("name", BAD_REFS)
def test_bad_names_of_refs(name: str) -> None:
    with pytest.raises(InvalidNameError, match="tag name"):
        check_ref_name(name, "tag")
    with pytest.raises(InvalidNameError):
        check_dataset_name(f"good/{name}")
    assert check_column_name(name) == name


@pytest.mark.parametrize("name", ["a//b", "/a", "a/", ".", "./a", "a/.", "a/../b", "a/ b"])
def test_bad_names_of_datasets(name: str) -> None:
    with pytest.raises(InvalidNameError, match="dataset"):
        check_dataset_name(name)


@pytest.mark.parametrize("name", [None, 5, b"main", ["main"]])
def test_names_are_text(name: object) -> None:
    with pytest.raises(InvalidNameError):
        check_ref_name(name, "tag")
    with pytest.raises(InvalidNameError):
        check_column_name(name)


RECORD = {"kind": "tag", "version": bytes(32), "timestamp": 5, "message": "m", "id": bytes(16)}


def test_records_come_back() -> None:
    ref = RefRecord("tag", bytes(32), 5, "m", bytes(16))
    assert ref.encode() == cbor.encode(RECORD)
    assert RefRecord.decode(ref.encode(), "ref") == ref


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"version": bytes(31)},
        {"version": "0" * 64},
        {"timestamp": "5"},
        {"message": b"m"},
        {"id": 5},
    ],
)
def test_damaged_records_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(CorruptedError, match="the ref"):
        RefRecord.decode(cbor.encode(RECORD | change), "the ref")


@pytest.mark.parametrize("field", RECORD)
def test_records_without_a_field_are_refused(field: str) -> None:
    with pytest.raises(CorruptedError):
        RefRecord.decode(cbor.encode({name: value for name, value in RECORD.items() if name != field}), "the ref")


@pytest.mark.parametrize("kind", ["branch", "tag"])
@pytest.mark.parametrize("message", ["", "kind" * 100])
def test_the_kind_is_told_by_the_first_bytes(kind: str, message: str) -> None:
    data = RefRecord(kind, bytes(32), 5, message, b"1234\x64kind\x63tag567").encode()
    for asked in ("branch", "tag"):
        assert keys_of_kind([(b"key", data)], asked) == ([b"key"] if asked == kind else [])
    with pytest.raises(CorruptedError):
        keys_of_kind([(b"key", data.replace(b"\x64kind", b"\x64kint"))], kind)
