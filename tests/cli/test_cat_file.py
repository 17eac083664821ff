"""``cas cat-file``: any blob by its hash, as it is or as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import png
from terminal import ok, process, refused, run, usage_error

import cas
from cas.cli import cat_file
from cas.errors import AmbiguousRevisionError, BlobNotFoundError, DatasetNotFoundError, InvalidInputError
from cas.hashing import Kind, hash_blob, hash_chunk
from cas.history.records import decode_tree, decode_version
from cas.types import Nullable, Text

IMAGE = png(1)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "ds"
    with cas.create(path, {"image": "image", "note": Nullable(Text())}) as ds:
        ds.append({"image": [IMAGE] * 3, "note": ["a", None, "b"]})
        ds.metadata["about"] = "cats"
        ds["note"].metadata["long"] = np.zeros(500)
        ds.commit("three", author="Ada", details={"import": {"added": 3}, "key": b"\x01"})
    return path


def version(url: Path) -> cas.Version:
    with cas.open_read_only(url) as ds:
        return ds.version


def show(url: Path, hash_: str) -> Any:
    return json.loads(ok("cat-file", url, hash_))


def test_a_chunk_is_printed_bit_for_bit(url: Path) -> None:
    hash_ = hash_chunk(IMAGE).hex()
    assert process("cat-file", url, hash_).stdout == IMAGE
    assert run("cat-file", url, hash_, "--raw").stdout_bytes == IMAGE
    assert run("cat-file", url, hash_.upper()).stdout_bytes == IMAGE
    assert ok("cat-file", url, hash_, "--kind") == "chunk\n"


def test_a_version(url: Path) -> None:
    head = version(url)
    found = show(url, head.id)
    client_time = found.pop("client_timestamp")
    assert isinstance(client_time, int)
    assert found == {
        "kind": "version",
        "hash": head.id,
        "tree": head.tree,
        "parents": list(head.parents),
        "row_maps": [[[0, 0, 3]]],
        "column_maps": [],
        "defaults": {},
        "message": "three",
        "author": "Ada",
        "details": {"import": {"added": 3}, "key": "01"},
    }
    raw = run("cat-file", url, head.id, "--raw").stdout_bytes
    assert hash_blob(Kind.VERSION, raw).hex() == head.id
    assert decode_version(raw, "").client_timestamp == client_time
    assert ok("cat-file", url, head.id, "--kind") == "version\n"


def test_a_tree_and_its_nodes(url: Path) -> None:
    found = show(url, version(url).tree)
    assert (found["kind"], found["hash"], found["rows"]) == ("tree", version(url).tree, 3)
    image, note = found["columns"]
    assert (image["name"], image["type"], list(image["streams"])) == ("image", {"name": "image"}, ["data"])
    assert note["type"] == {"name": "nullable", "of": {"name": "text"}}
    assert list(note["streams"]) == ["data", "mask"]
    assert found["metadata"] == {"about": "cats"}
    # What is too long for the record is a stream of its own, whose chunk holds it.
    assert "metadata" not in note
    assert note["metadata_stream"]["rows"] == 1
    raw = run("cat-file", url, version(url).tree, "--raw").stdout_bytes
    assert decode_tree(raw, "").rows == 3

    root = image["streams"]["data"]
    assert (root["rows"], root["size_bytes"]) == (3, 3 * len(IMAGE))
    assert show(url, root["root"]) == {
        "kind": "node",
        "hash": root["root"],
        "level": 0,
        "rows": 3,
        "size_bytes": 3 * len(IMAGE),
        "children": [{"hash": hash_chunk(IMAGE).hex(), "rows": 1, "size_bytes": len(IMAGE)}] * 3,
    }
    assert ok("cat-file", url, root["root"], "--kind") == "node\n"
    assert hash_blob(Kind.NODE, run("cat-file", url, root["root"], "--raw").stdout_bytes).hex() == root["root"]


def test_a_prefix_of_a_version(url: Path) -> None:
    head = version(url).id
    for digits in (4, 5, 12, 63):
        assert show(url, head[:digits])["hash"] == head
    refused(InvalidInputError, "cat-file", url, head[:3])


def test_what_is_not_there(url: Path) -> None:
    assert refused(BlobNotFoundError, "cat-file", url, "ab" * 32) == f"the store {url} has no blob {'ab' * 32}"
    prefix = hash_chunk(IMAGE).hex()[:20]
    assert "other blobs are named by all 64 digits" in refused(BlobNotFoundError, "cat-file", url, prefix)


@pytest.mark.parametrize("text", ["", "abc", "main", "0x12345", "g" * 64, "a" * 65, "1234\n"])
def test_what_is_no_hash(url: Path, text: str) -> None:
    assert "is no hash; expected 64 hexadecimal digits" in refused(InvalidInputError, "cat-file", url, text)


def test_a_prefix_of_several_versions_says_so(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(view: object, prefix: str) -> bytes:
        raise AmbiguousRevisionError("begins several", candidates=["a", "b"])

    monkeypatch.setattr(cat_file, "find_prefix", find)
    assert refused(AmbiguousRevisionError, "cat-file", url, "abcd") == "begins several"


def test_blobs_belong_to_the_store(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    cas.init(lake)
    with cas.create(lake / "cats", {"image": "image"}) as ds:
        ds.append({"image": [IMAGE]})
        ds.commit()
    hash_ = hash_chunk(IMAGE).hex()
    assert run("cat-file", lake, hash_).stdout_bytes == IMAGE
    assert run("cat-file", lake / "cats", hash_).stdout_bytes == IMAGE
    refused(DatasetNotFoundError, "cat-file", lake / "dogs", hash_)
    assert "ends in @main" in usage_error("cat-file", f"{lake / 'cats'}@main", hash_)


def test_options_that_do_not_go_together(url: Path) -> None:
    assert "give one of them" in usage_error("cat-file", url, "ab" * 32, "--kind", "--raw")


def test_help_shows_an_example() -> None:
    assert "Example: cas cat-file " in ok("cat-file", "--help")


def test_inside_a_store_no_url_is_needed(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(url)
    assert run("cat-file", hash_chunk(IMAGE).hex()).stdout_bytes == IMAGE
    assert "got 3 arguments" in usage_error("cat-file", url, "a" * 64, "b" * 64)
