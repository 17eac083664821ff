"""``cas ls``, ``show``, ``cat-file`` and ``duplicates`` on columns of every type."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pytest
from pictures import png, png_facts
from terminal import ok, refused

import cas
from cas import types
from cas.errors import InvalidInputError
from cas.hashing import hash_chunk

MOMENT = dt.datetime(2026, 11, 1, 9, 30, tzinfo=dt.UTC)
RAW, RAWS = (hash_chunk(bytes(size)).hex() for size in (12, 2))
LABEL = types.ClassLabel(["cat", "dog"])
FULL = {
    "half": 0.5,
    "embedding": [1.0, 2.0],
    "boxes": [[1.0, 2.0, 3.0, 4.0]],
    "raw": np.zeros((2, 3), np.uint16),
    "mask": np.zeros((100, 100), np.uint8),
    "binary": [[True, False]],
    "label": "dog",
    "time": MOMENT,
    "fine": MOMENT,
    "dict": {"b": [1, None], "a": "\x1b"},
    "words": ["", "a\tb"],
    "numbers": list(range(1000)),
    "pictures": [png(1), png(2)],
    "labels": ["cat", 1],
    "raws": [np.zeros((1, 2), np.uint8)],
    "times": [MOMENT],
    "deep": [[b"ab"], []],
}
SCHEMA = {
    "half": types.BFloat16,
    "embedding": types.Embedding(2),
    "boxes": types.BoundingBox(),
    "raw": types.Image("uint16", None),
    "mask": types.SegmentMask(),
    "binary": types.BinaryMask(),
    "label": LABEL,
    "time": types.DateTime(),
    "fine": types.DateTime("ns"),
    "dict": types.Dict(),
    "words": types.Sequence("text"),
    "numbers": types.Sequence("int64"),
    "pictures": types.Sequence(types.Nullable("image")),
    "labels": types.Sequence(LABEL),
    "raws": types.Sequence(types.Image("uint8", None)),
    "times": types.Sequence("datetime"),
    "deep": types.Sequence(types.Sequence("bytes")),
}
CELLS = {
    "half": "0.5",
    "embedding": "[1.0, 2.0]",
    "boxes": "[[1.0, 2.0, 3.0, 4.0]]",
    "raw": "raw, 12 B",
    "mask": "uint8[100, 100]",
    "binary": "[[true, false]]",
    "label": "dog",
    "time": "2026-11-01T09:30:00+00:00",
    "fine": "2026-11-01T09:30:00.000000000+00:00",
    "dict": '{"a": "\\u001b", "b": [1, null]}',
    "words": '["", "a\\tb"]',
    "numbers": "1,000 items",
    "pictures": f"[png, {len(png(1))} B, png, {len(png(2))} B]",
    "labels": '["cat", "dog"]',
    "raws": "[raw, 2 B]",
    "times": "[2026-11-01T09:30:00+00:00]",
    "deep": "[[2 B], []]",
}
FACTS = {
    "half": 0.5,
    "embedding": [1.0, 2.0],
    "boxes": [[1.0, 2.0, 3.0, 4.0]],
    "raw": {"format": "raw", "dtype": "uint16", "shape": [2, 3], "size_bytes": 12, "hash": RAW},
    "mask": [[0] * 100] * 100,
    "binary": [[True, False]],
    "label": "dog",
    "time": "2026-11-01T09:30:00+00:00",
    "fine": "2026-11-01T09:30:00.000000000+00:00",
    "dict": {"a": "\x1b", "b": [1, None]},
    "words": ["", "a\tb"],
    "numbers": list(range(1000)),
    "pictures": [png_facts(png(seed)) for seed in (1, 2)],
    "labels": ["cat", "dog"],
    "raws": [{"format": "raw", "dtype": "uint8", "shape": [1, 2], "size_bytes": 2, "hash": RAWS}],
    "times": ["2026-11-01T09:30:00+00:00"],
    "deep": [["6162"], []],
}


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "nullable"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "ds"
    schema = {name: types.Nullable(kind) if request.param else kind for name, kind in SCHEMA.items()}
    with cas.create(path, schema) as ds:
        ds.append([FULL])
        if request.param:
            ds.append([{}])
        ds.commit()
    return path


@pytest.mark.parametrize("name", SCHEMA)
def test_a_cell_of_a_table(url: Path, name: str) -> None:
    lines = [line.strip() for line in ok("ls", url, "--columns", name).splitlines()]
    assert lines[1] == f"0  {CELLS[name]}"
    assert len(lines) == 3 or lines[2] == "1  null"


@pytest.mark.parametrize("name", SCHEMA)
def test_a_value_as_json(url: Path, name: str) -> None:
    items = json.loads(ok("ls", url, "--columns", name, "--json"))["items"]
    assert items[0] == {name: FACTS[name]}
    assert items[1:] in ([], [{name: None}])


def test_schema_and_records(url: Path) -> None:
    with cas.open_read_only(url) as ds:
        tree, schema = ds.version.tree, ds.schema
    shown = json.loads(ok("show", url, "--json"))["columns"]
    assert [column["type"] for column in shown] == [str(type_) for type_ in schema.values()]
    assert all(str(type_) in ok("show", url) for type_ in schema.values())
    stored = json.loads(ok("cat-file", url, tree))["columns"]
    assert [types.from_record(column["type"]) for column in stored] == list(schema.values())


def test_damaged_images_are_listed(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", {"x": types.Sequence("image")}) as ds:
        ds.append({"x": [[b"\xff\xd8\xff broken \xff\xd9"]]})
        ds.commit()
    assert "[jpeg, 13 B]" in ok("ls", tmp_path / "ds")


def test_sequences_whose_data_does_not_tell_them_apart_are_not_compared(tmp_path: Path) -> None:
    """Equal bytes of data: one row has 2 rows of 4,096 numbers, the other one of 8,192."""
    schema = {"x": types.Sequence(types.Array("uint8", dimensions=2)), "y": types.Sequence("uint8")}
    shapes = (2, 4096), (1, 8192), (2, 4096)
    with cas.create(tmp_path / "ds", schema) as ds:
        ds.append({"x": [[np.zeros(shape, np.uint8)] for shape in shapes], "y": [[7] * 5000] * 3})
        ds.commit()
    refused(InvalidInputError, "duplicates", tmp_path / "ds", "--column", "x")
    assert "1 groups, 2 repeated rows" in ok("duplicates", tmp_path / "ds", "--column", "y")
