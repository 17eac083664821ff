"""Exports: read by the libraries they are for, image bytes verbatim, never half there, nobody's files replaced."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_readers import hub_datasets, webdataset_samples
from pictures import png, read_tree, write_tree

import cas
from cas import types
from cas.errors import ColumnNotFoundError, ExistsError, InvalidInputError, UnsupportedError
from cas.integrations.folder.importing import import_folder
from cas.integrations.formats.landing import import_into
from cas.integrations.formats.opening import open_source

UTC = dt.UTC
SCHEMA: dict[str, Any] = {
    "image": types.Nullable("image"),
    "label": types.ClassLabel(["cat", "dog"], "uint16"),
    "flag": "bool",
    "small": types.Nullable("uint8"),
    "half": "float16",
    "text": types.Nullable("text"),
    "raw": "bytes",
    "time": types.DateTime("ms"),
    "nanos": types.Nullable(types.DateTime("ns")),
    "fields": "dict",
    "vector": types.Embedding(3),
    "array": types.Array("int16", (2, 3)),
    "free": types.Array("float32", (None, 2)),
    "boxes": types.BoundingBox("float64", "ltwh", "pixel"),
    "mask": "segment_mask",
    "pixels": types.Image("uint16", None),
    "numbers": types.Sequence("int32"),
    "classes": types.Sequence(types.ClassLabel(["x", "y"])),
    "words": types.Sequence(types.Nullable("text")),
    "nested": types.Sequence(types.Sequence("float64")),
    "times": types.Sequence(types.DateTime("us")),
    "images": types.Sequence("image"),
    "many": types.Sequence(types.Array("uint8", (2,))),
}


def row(i: int) -> dict[str, Any]:
    moment = dt.datetime(2020, 1, 1, i, tzinfo=UTC)
    return {
        "image": None if i == 2 else png(i),
        "label": i % 2,
        "flag": i % 2 == 0,
        "small": None if i == 1 else 255,
        "half": np.float16(0.5 * i),
        "text": None if i == 3 else f"Wört {i}",
        "raw": bytes(range(i)),
        "time": moment,
        "nanos": None if i == 0 else np.datetime64(i, "ns"),
        "fields": {"a": [1, 2.5, None, "x"], "b": {"c": True}, "i": 2**70},
        "vector": np.arange(3, dtype=np.float32) + i,
        "array": np.arange(6, dtype=np.int16).reshape(2, 3) - i,
        "free": np.ones((i, 2), np.float32),
        "boxes": np.full((i % 3, 4), i, np.float64),
        "mask": np.full((2, i + 1), i, np.uint8),
        "pixels": np.full((2, 2, 3), 65535 - i, np.uint16),
        "numbers": np.arange(i, dtype=np.int32),
        "classes": ["x", "y"][: i % 3],
        "words": ["a", None][: i % 3],
        "nested": [[0.5] * i, []],
        "times": [moment] * (i % 2),
        "images": [png(i)] * (i % 3),
        "many": np.full((i, 2), i, np.uint8),
    }


@pytest.fixture
def full(tmp_path: Path) -> Path:
    with cas.create(tmp_path / "full", schema=SCHEMA) as ds:
        ds.append([row(i) for i in range(6)])
        ds.commit("rows")
    return tmp_path / "full"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    files = {"cat/1.png": png(1), "cat/2.png": png(2), "dog/1.png": png(1), "top.png": png(4)}
    write_tree(tmp_path / "photos", files)
    with cas.create(tmp_path / "pictures") as ds:
        import_folder(tmp_path / "photos", ds)
    return tmp_path / "pictures"


def export(url: Path, target: Path, *arguments: Any, **options: Any) -> int:
    with cas.open_read_only(url) as ds:
        return ds.export(target, *arguments, **options)


def tree_of(url: Path) -> str:
    with cas.open_read_only(url) as ds:
        return ds.version.tree


def bring(format_: str, path: Path, url: Path) -> Path:
    import_into(url, open_source(format_, [str(path)]))
    return url


# Parquet


@pytest.fixture
def parquet_file(full: Path, tmp_path: Path) -> Path:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    assert export(full, tmp_path / "t.parquet") == 6
    return tmp_path / "t.parquet"


def test_parquet_and_back_is_the_same_dataset(full: Path, parquet_file: Path, tmp_path: Path) -> None:
    """All columns, their types and values."""
    assert tree_of(bring("parquet", parquet_file, tmp_path / "back")) == tree_of(full)


NULLABLE, MANY = types.Nullable, types.Sequence
ODD: dict[str, tuple[types.Type, list[Any]]] = {
    "missing arrays": (NULLABLE(types.Array("int16", (2, 3))), [np.ones((2, 3), np.int16), None]),
    "free first size": (types.Array("int16", (None, 3)), [np.ones((2, 3), np.int16), np.zeros((0, 3), np.int16)]),
    "free last size": (types.Array("float16", (2, None)), [np.ones((2, 3), np.float16), np.zeros((2, 0), np.float16)]),
    "missing free sizes": (
        NULLABLE(types.Array("float32", (None, None))),
        [np.ones((2, 3), np.float32), None, np.zeros((0, 0), np.float32)],
    ),
    "free arrays in sequences": (MANY(types.Array("bool", (None, None))), [[np.ones((2, 3), np.bool_)] * 2, []]),
    "size 0": (types.Array("int8", (0,)), [np.zeros(0, np.int8)] * 2),
    "size 0 within": (types.Array("int8", (2, 0)), [np.zeros((2, 0), np.int8)] * 2),
    "missing raw images": (
        NULLABLE(types.Image("uint16", None)),
        [np.ones((2, 3, 3), np.uint16), None, np.ones((2, 2), np.uint16)],
    ),
    "missing masks in sequences": (
        NULLABLE(MANY(NULLABLE(types.BinaryMask()))),
        [[np.eye(2, 3, dtype=np.bool_), None], None, []],
    ),
    "missing classes in sequences": (MANY(MANY(NULLABLE(types.ClassLabel(["a", "b"])))), [[[0, None], []], [], [[1]]]),
    "missing images in sequences": (MANY(NULLABLE(types.Image())), [[png(1), None], [], [png(2)]]),
    "missing dicts": (NULLABLE(types.Dict()), [{"a": '{"$cbor": "x"}'}, None, {}]),
    "missing dicts in sequences": (MANY(NULLABLE(types.Dict())), [[{"a": "ü"}, None], []]),
    "missing times": (NULLABLE(types.DateTime("ns")), [np.datetime64(5, "ns"), None]),
    "missing sequences": (MANY(NULLABLE(MANY(types.Text()))), [[["a"], None, []], []]),
}


@pytest.mark.parametrize("name", ODD)
def test_parquet_and_back_with_odd_types(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    type_, values = ODD[name]
    with cas.create(tmp_path / "ds", schema={"x": type_}) as ds:
        ds.append({"x": values})
        ds.commit("rows")
    export(tmp_path / "ds", tmp_path / "t.parquet")
    assert tree_of(bring("parquet", tmp_path / "t.parquet", tmp_path / "back")) == tree_of(tmp_path / "ds")


def test_refused_values_are_told_by_their_row(tmp_path: Path) -> None:
    """Also behind the first batch, and within sequences."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    schema = {"d": types.Sequence("dict"), "pad": "bytes"}
    with cas.create(tmp_path / "ds", schema=schema) as ds:
        ds.append({"d": [[{}, {}], [{}]] * 3 + [[], [{}, {"b": b"bytes"}]], "pad": [bytes(12 << 20)] * 8})
        ds.commit("rows")
    with pytest.raises(InvalidInputError, match=r"column 'd', row 7 .*item 1: the dict has no exact JSON"):
        export(tmp_path / "ds", tmp_path / "t.parquet")


def test_hugging_face_reads_the_parquet(parquet_file: Path, tmp_path: Path) -> None:
    hub = hub_datasets(tmp_path / "cache")
    data = hub.load_dataset("parquet", data_files=str(parquet_file), split="train", cache_dir=str(tmp_path / "cache"))
    assert data.features["image"] == hub.Image()
    assert data.features["label"] == hub.ClassLabel(names=["cat", "dog"])
    assert data.features["array"] == hub.Sequence(hub.Sequence(hub.Value("int16"), length=3), length=2)
    assert data.features["classes"] == hub.Sequence(hub.ClassLabel(names=["x", "y"]))
    assert data.features["time"] == hub.Value("timestamp[ms, tz=UTC]")
    undecoded = data.cast_column("image", hub.Image(decode=False))
    assert [item and item["bytes"] for item in undecoded["image"]] == [row(i)["image"] for i in range(6)]
    assert data[1]["image"].size == (8, 8)
    assert data[3]["boxes"] == []
    assert data[5]["numbers"] == [0, 1, 2, 3, 4]
    assert data[4]["text"] == "Wört 4"
    assert json.loads(data[0]["fields"]) == row(0)["fields"]


def test_pyarrow_and_pandas_read_the_parquet(parquet_file: Path) -> None:
    from pyarrow import parquet

    table = parquet.read_table(parquet_file)
    assert table.num_rows == 6
    assert table.column("image").to_pylist()[1] == {"bytes": png(1), "path": None}
    assert table.column("small").to_pylist() == [255, None, 255, 255, 255, 255]
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.read_parquet(parquet_file)
    assert frame["label"].tolist() == [0, 1, 0, 1, 0, 1]
    assert frame["time"][2] == pandas.Timestamp("2020-01-01T02:00:00Z")


def test_paths_stand_beside_the_bytes(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    schema = {"image": "image", "image_path": types.Nullable("text")}
    with cas.create(tmp_path / "ds", schema=schema) as ds:
        ds.append({"image": [png(1), png(2)], "image_path": ["a.png", None]})
        ds.commit("rows")
    export(tmp_path / "ds", tmp_path / "t.parquet")
    table = parquet.read_table(tmp_path / "t.parquet")
    assert table.column_names == ["image"]
    assert [item["path"] for item in table.column("image").to_pylist()] == ["a.png", None]
    with cas.open_read_only(bring("parquet", tmp_path / "t.parquet", tmp_path / "back")) as ds:
        assert ds["image_path"][:] == ["a.png", None]


def test_row_groups_are_bounded(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    with cas.create(tmp_path / "ds", schema={"x": "bytes"}) as ds:
        ds.append({"x": [np.random.default_rng(i).bytes(1 << 20) for i in range(70)]})
        ds.commit("rows")
    export(tmp_path / "ds", tmp_path / "t.parquet")
    metadata = parquet.ParquetFile(tmp_path / "t.parquet").metadata
    assert metadata.num_row_groups == 3


def test_what_parquet_cannot_hold_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    with cas.create(tmp_path / "ds", schema={"z": "complex64", "n": "int8", "d": "dict"}) as ds:
        ds.append([{"z": 1j, "n": 1, "d": {"b": b"bytes"}}])
        ds.commit("row")
    with pytest.raises(UnsupportedError, match="dtype complex64"):
        export(tmp_path / "ds", tmp_path / "t.parquet")
    with pytest.raises(InvalidInputError, match=r"column 'd', row 0 .* no exact JSON"):
        export(tmp_path / "ds", tmp_path / "t.parquet", columns=["d"])
    assert not list(tmp_path.glob("*.parquet")) + list(tmp_path.glob(".cas-*"))
    assert export(tmp_path / "ds", tmp_path / "t.parquet", columns=["n"]) == 1


def test_shapes_that_lists_do_not_tell_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    with cas.create(tmp_path / "ds", schema={"x": types.Array("int8", (None, None))}) as ds:
        ds.append({"x": [np.zeros((2, 3), np.int8), np.zeros((0, 5), np.int8)]})
        ds.commit("rows")
    with pytest.raises(InvalidInputError, match=r"column 'x', row 1 .*\(0, 5\)"):
        export(tmp_path / "ds", tmp_path / "t.parquet")


# WebDataset


def test_webdataset_reads_the_shards(photos: Path, tmp_path: Path) -> None:
    assert export(photos, tmp_path / "shards", "webdataset") == 4
    samples = webdataset_samples(tmp_path / "shards/shard-000000.tar")
    assert samples == [
        {"__key__": "cat/1", "png": png(1), "label.txt": b"cat"},
        {"__key__": "cat/2", "png": png(2), "label.txt": b"cat"},
        {"__key__": "dog/1", "png": png(1), "label.txt": b"dog"},
        {"__key__": "top", "png": png(4)},
    ]


def test_shards_and_back_are_the_same(tmp_path: Path) -> None:
    """Members, their names, order and bytes; and the dataset again."""
    members = [
        ("a/1.jpg", png(1)), ("a/1.cls", b"7"), ("a/1.json", b'{"x": [1, 2.5]}'), ("a/1.txt", "ö".encode()),
        ("a/1.seg.png", png(2)), ("a/1.npy", b"any bytes"),
        ("a/2.jpg", png(3)), ("a/2.cls", b"-1"), ("a/2.json", b"{}"), ("a/2.txt", b""),
    ]  # fmt: skip
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    url = bring("webdataset", tmp_path / "in.tar", tmp_path / "ds")
    export(url, tmp_path / "out.tar")
    with tarfile.open(tmp_path / "out.tar") as tar:
        assert [(member.name, tar.extractfile(member).read()) for member in tar] == members  # type: ignore[union-attr]
    assert tree_of(bring("webdataset", tmp_path / "out.tar", tmp_path / "back")) == tree_of(url)


def test_values_as_members(full: Path, tmp_path: Path) -> None:
    columns = [name for name in SCHEMA if name not in ("mask", "pixels", "images")]
    export(full, tmp_path / "t.tar", columns=columns)
    sample = webdataset_samples(tmp_path / "t.tar")[3]
    assert sample["__key__"] == "000000003"
    assert sample["png"] == png(3)
    assert (sample["cls"], sample["small.cls"], sample["raw"]) == (b"1", b"255", bytes(range(3)))
    assert "text.txt" not in sample  # missing
    assert json.loads(sample["fields.json"]) == row(3)["fields"]
    assert json.loads(sample["time.json"]) == "2020-01-01T03:00:00Z"
    assert np.array_equal(np.load(io.BytesIO(sample["array.npy"])), row(3)["array"])
    assert json.loads(sample["flag.json"]) is False
    for name in ("mask", "pixels", "images"):
        with pytest.raises(UnsupportedError, match=f"cannot hold column '{name}'"):
            export(full, tmp_path / "u.tar", columns=["image", name])


def test_shards_are_full_from_a_size_on_and_equal_again(photos: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export(photos, tmp_path / name, "webdataset", shard_bytes=2000)
    assert sorted(read_tree(tmp_path / "one")) == [
        ".cas-export",
        "shard-000000.tar",
        "shard-000001.tar",
        "shard-000002.tar",
        "shard-000003.tar",
    ]
    assert read_tree(tmp_path / "one") == read_tree(tmp_path / "two")
    assert len(webdataset_samples(tmp_path / "one/shard-{000000..000003}.tar")) == 4
    back = bring("webdataset", tmp_path / "one", tmp_path / "back")
    with cas.open_read_only(back) as ds:
        assert ds["key"][:] == ["cat/1", "cat/2", "dog/1", "top"]


def test_keys_that_shards_cannot_tell_apart_are_refused(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", schema={"key": "text", "n": "int64"}) as ds:
        ds.append({"key": ["a", "a"], "n": [1, 2]})
        first = ds.commit("twice")
        ds["key"][:] = ["a", "b.c"]
        second = ds.commit("a dot")
        ds["key"][:] = ["a", "../b"]
        third = ds.commit("outside")
    for version, reason in ((first, "both have the key 'a'"), (second, "a dot"), (third, "is not safe")):
        with pytest.raises(InvalidInputError, match=reason):
            export(Path(f"{tmp_path}/ds@{version}"), tmp_path / "t.tar")
    assert export(tmp_path / "ds", tmp_path / "t.tar", columns=["n"]) == 2


# ImageFolder


def test_a_folder_of_images_and_back(photos: Path, tmp_path: Path) -> None:
    assert export(photos, tmp_path / "out", "imagefolder") == 4
    files = read_tree(tmp_path / "out")
    assert files.pop(".cas-export") == b""
    assert files == read_tree(tmp_path / "photos")
    with cas.create(tmp_path / "back") as ds:
        import_folder(tmp_path / "out", ds)
    assert tree_of(tmp_path / "back") == tree_of(photos)


def test_images_without_paths_are_numbered_by_class(full: Path, tmp_path: Path) -> None:
    with cas.open(full) as ds:
        ds.delete([2])  # the row without an image
        ds.commit("less")
    export(full, tmp_path / "out", "imagefolder", columns=["image", "label"])
    files = read_tree(tmp_path / "out")
    assert sorted(files) == [
        ".cas-export",
        "cat/000000000.png",
        "cat/000000003.png",
        "dog/000000001.png",
        "dog/000000002.png",
        "dog/000000004.png",
    ]
    assert files["dog/000000002.png"] == png(3)
    hub = hub_datasets(tmp_path / "cache")
    data = hub.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"]
    assert data.features["label"] == hub.ClassLabel(names=["cat", "dog"])
    assert data["label"] == [0, 0, 1, 1, 1]


def test_other_columns_stand_in_the_metadata(full: Path, tmp_path: Path) -> None:
    with cas.open(full) as ds:
        ds.delete([2])
        ds.commit("less")
    export(full, tmp_path / "out", "imagefolder", columns=["image", "label", "text", "boxes", "time"])
    lines = [json.loads(line) for line in (tmp_path / "out/metadata.jsonl").read_text().splitlines()]
    assert lines[2] == {
        "file_name": "dog/000000002.png",
        "label": "dog",
        "text": None,
        "boxes": [],
        "time": "2020-01-01T03:00:00Z",
    }
    hub = hub_datasets(tmp_path / "cache")
    data = hub.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"]
    assert data["text"] == ["Wört 0", "Wört 1", None, "Wört 4", "Wört 5"]


def test_folders_that_are_refused(full: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="row 2 has no image"):
        export(full, tmp_path / "out", "imagefolder", columns=["image"])
    with pytest.raises(UnsupportedError, match=r"metadata.jsonl of imagefolder cannot hold column 'raw'"):
        export(full, tmp_path / "out", "imagefolder")
    with pytest.raises(InvalidInputError, match="choose one of"):
        export(full, tmp_path / "out", "imagefolder", columns=["label"])
    for paths in (["a.png", "a.png"], ["a", "a/b.png"], ["../a.png", "b.png"], ["/a.png", "b.png"]):
        with cas.create(tmp_path / "ds", schema={"path": "text", "image": "image"}) as ds:
            ds.append({"path": paths, "image": [png(1), png(2)]})
            ds.commit("rows")
        with pytest.raises(InvalidInputError):
            export(tmp_path / "ds", tmp_path / "out", "imagefolder")
        cas.delete(tmp_path / "ds")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".cas-*"))
    assert not (tmp_path.parent / "a.png").exists()


# Text


def test_jsonl(full: Path, tmp_path: Path) -> None:
    plain = [name for name in SCHEMA if name not in ("image", "raw", "mask", "pixels", "images")]
    export(full, tmp_path / "t.jsonl", columns=plain)
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()]
    assert list(lines[0]) == plain
    assert lines[4]["array"] == row(4)["array"].tolist()
    assert lines[5]["classes"] == ["x", "y"]
    assert lines[3]["nanos"] == "1970-01-01T00:00:00.000000003Z"
    assert lines[0]["nanos"] is None
    bring("jsonl", tmp_path / "t.jsonl", tmp_path / "back")
    with pytest.raises(UnsupportedError, match="jsonl cannot hold column 'image'"):
        export(full, tmp_path / "u.jsonl")


def test_csv(full: Path, tmp_path: Path) -> None:
    columns = ["label", "flag", "small", "half", "text", "time"]
    export(full, tmp_path / "t.csv", columns=columns)
    with open(tmp_path / "t.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    assert lines[:3] == [
        columns,
        ["cat", "true", "255", "0.0", "Wört 0", "2020-01-01T00:00:00Z"],
        ["dog", "false", "", "0.5", "Wört 1", "2020-01-01T01:00:00Z"],
    ]
    with cas.open_read_only(bring("csv", tmp_path / "t.csv", tmp_path / "back")) as ds:
        assert ds["flag"][:].tolist() == [True, False] * 3
        assert ds["small"][:] == [255, None, 255, 255, 255, 255]
    with pytest.raises(UnsupportedError, match="csv cannot hold column 'numbers'"):
        export(full, tmp_path / "u.csv", columns=["numbers"])


def test_not_a_number_has_no_json(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", schema={"x": "float32"}) as ds:
        ds.append({"x": [1.0, float("nan")]})
        ds.commit("rows")
    with pytest.raises(InvalidInputError, match="column 'x', row 1 has no exact JSON"):
        export(tmp_path / "ds", tmp_path / "t.jsonl")
    assert export(tmp_path / "ds", tmp_path / "t.csv") == 2
    assert (tmp_path / "t.csv").read_text() == "x\n1.0\nnan\n"


# Destinations


@pytest.mark.parametrize(("name", "format_"), [("t.csv", None), ("t.tar", None), ("shards", "webdataset")])
def test_what_is_there_is_replaced_only_by_force(photos: Path, tmp_path: Path, name: str, format_: str | None) -> None:
    target = tmp_path / name
    export(photos, target, format_, columns=["path"])
    before = read_tree(tmp_path)
    with pytest.raises(ExistsError, match="is there already"):
        export(photos, target, format_, columns=["path", "label"])
    assert read_tree(tmp_path) == before
    export(photos, target, format_, columns=["path", "label"], force=True)
    assert read_tree(tmp_path) != before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".cas-")]


def test_folders_of_others_are_never_replaced(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ExistsError, match="was not made by an export"):
        export(photos, tmp_path / "photos", "imagefolder", force=True)
    assert len(read_tree(tmp_path / "photos")) == 4
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    (tmp_path / "file").write_text("mine")
    for name in ("link", "file"):
        with pytest.raises(ExistsError):
            export(photos, tmp_path / name, "imagefolder", force=True)
    with pytest.raises(InvalidInputError, match="is a folder"):
        export(photos, tmp_path / "photos", "csv", columns=["path"], force=True)
    (tmp_path / "empty").mkdir()
    assert export(photos, tmp_path / "empty", "imagefolder") == 4


def test_a_failure_leaves_what_was_there(photos: Path, tmp_path: Path) -> None:
    with cas.open(photos) as ds:
        ds.add_column("x", "float64", default=float("nan"))
        ds.commit("no JSON")
    (tmp_path / "t.jsonl").write_text("old")
    export(photos, tmp_path / "out", "imagefolder", columns=["path", "image"])
    for target, format_, columns in (("t.jsonl", None, ["x"]), ("out", "imagefolder", ["path", "image", "x"])):
        with pytest.raises(InvalidInputError):
            export(photos, tmp_path / target, format_, columns=columns, force=True)
    assert (tmp_path / "t.jsonl").read_text() == "old"
    assert "metadata.jsonl" not in read_tree(tmp_path / "out")
    assert not list(tmp_path.glob(".cas-*"))


@pytest.mark.parametrize("target", ["t.parquet", "t.tar", "shards", "out"])
def test_a_killed_export_leaves_nothing_under_the_name(photos: Path, tmp_path: Path, target: str) -> None:
    format_ = {"shards": "webdataset", "out": "imagefolder"}.get(target)
    code = f"""
import os, signal
import cas
with cas.open_read_only({str(photos)!r}) as ds:
    from cas.integrations.formats.exporting import export
    def report(*told):
        os.kill(os.getpid(), signal.SIGKILL)
    export(ds, {str(tmp_path / target)!r}, {format_!r}, report=report)
"""
    run = subprocess.run([sys.executable, "-c", code], env=os.environ)
    assert run.returncode == -signal.SIGKILL
    assert not (tmp_path / target).exists()
    assert export(photos, tmp_path / target, format_) == 4


def test_arguments_that_are_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"format 'out' is unknown; expected one of imagefolder"):
        export(photos, tmp_path / "out")
    with pytest.raises(ColumnNotFoundError, match="no column 'nothing'"):
        export(photos, tmp_path / "t.csv", columns=["nothing"])
    with pytest.raises(InvalidInputError, match="has no use for image"):
        export(photos, tmp_path / "t.csv", image="image")
    with pytest.raises(InvalidInputError, match="is not a folder; make it first"):
        export(photos, tmp_path / "none/t.csv", columns=["path"])
    with cas.create(tmp_path / "bare") as ds:
        with pytest.raises(InvalidInputError, match="has no columns"):
            ds.export(tmp_path / "t.csv")


def test_staged_rows_and_empty_datasets(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    with cas.create(tmp_path / "ds", schema={"x": "int64"}) as ds:
        for name in ("t.csv", "t.jsonl", "t.tar", "t.parquet"):
            assert ds.export(tmp_path / name) == 0
        ds.append({"x": [1]})
        assert ds.export(tmp_path / "u.csv") == 1
        ds.rollback()
    assert (tmp_path / "t.csv").read_text() == "x\n"
    with cas.open_read_only(bring("parquet", tmp_path / "t.parquet", tmp_path / "back")) as ds:
        assert dict(ds.schema) == {"x": types.Int64}
