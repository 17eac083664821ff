"""Datasets of Hugging Face: image bytes verbatim, class names, sequences, nulls, splits; and parquet like theirs."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_readers import hub_datasets
from pictures import png

import cas
from cas import types
from cas.errors import InvalidInputError, InvalidTypeError
from cas.integrations.formats.huggingface import open_saved
from cas.integrations.formats.landing import import_into
from cas.integrations.formats.parquet import open_parquet


@pytest.fixture
def hub(tmp_path: Path) -> Any:
    return hub_datasets(tmp_path / "cache")


def features(hub: Any) -> Any:
    value, many = hub.Value, hub.Sequence
    return hub.Features(
        {
            "image": hub.Image(),
            "label": hub.ClassLabel(names=["cat", "dog"]),
            "objects": {"bbox": many(many(value("float32"), length=4)), "category": many(hub.ClassLabel(names=["x"]))},
            "records": [{"a": value("int8")}],
            "matrix": hub.Array2D((2, 3), "float32"),
            "free": hub.Array2D((None, 3), "int16"),
            "large": hub.LargeList(value("int32")),
            "time": value("timestamp[us, tz=UTC]"),
            "text": value("string"),
            "small": value("int8"),
            "vector": many(value("float64"), length=3),
            "images": many(hub.Image()),
            "date": value("date32"),
            "nested": many(many(value("string"))),
            "maybe": value("uint16"),
        }
    )


def row(i: int) -> dict[str, Any]:
    return {
        "image": {"bytes": png(i), "path": f"{i}.png"} if i != 4 else None,
        "label": i % 2,
        "objects": {"bbox": [[1, 2, 3, i]] * (i % 3), "category": [0] * (i % 3)},
        "records": [{"a": i}, {"a": None}],
        "matrix": np.full((2, 3), i, np.float32),
        "free": np.full((i, 3), i, np.int16),
        "large": list(range(i)),
        "time": dt.datetime(2020, 1, 1 + i, 12, 30, 1, 5, tzinfo=dt.UTC),
        "text": None if i == 2 else f"text {i}",
        "small": -i,
        "vector": [i, 0.5, 0.25],
        "images": [{"bytes": png(i), "path": None}] * i,
        "date": dt.date(2020, 2, 1 + i),
        "nested": [["a", None], [], ["b"]][:i],
        "maybe": None if i == 1 else 65535,
    }


def data(hub: Any, rows: int = 6) -> Any:
    return hub.Dataset.from_list([row(i) for i in range(rows)], features=features(hub))


SCHEMA = {
    "image": "image?",
    "image_path": "text?",
    "label": "class_label[2]",
    "objects.bbox": "sequence[float32[4]]",
    "objects.category": "sequence[class_label[1]]",
    "records": "sequence[dict]",
    "matrix": "float32[2, 3]",
    "free": "int16[?, 3]",
    "large": "sequence[int32]",
    "time": "datetime[us]",
    "text": "text?",
    "small": "int8",
    "vector": "float64[3]",
    "images": "sequence[image]",
    "date": "datetime[s]",
    "nested": "sequence[sequence[text?]]",
    "maybe": "uint16?",
}


def check(ds: Any, rows: list[int]) -> None:
    """Every value is that of the rows that were given."""
    assert {name: str(type_) for name, type_ in ds.schema.items()} == SCHEMA
    assert ds.schema["label"] == types.ClassLabel(("cat", "dog"))
    assert len(ds) == len(rows)
    for number, i in enumerate(rows):
        given = row(i)
        image = given["image"]
        assert (ds["image"].bytes(number) if image else None) == (image and image["bytes"])
        assert ds["image_path"][number] == (image and image["path"])
        assert ds["label"][number] == given["label"]
        assert ds["objects.bbox"][number].tolist() == given["objects"]["bbox"]
        assert ds["objects.category"][number].tolist() == given["objects"]["category"]
        for name in ("large", "vector", "matrix", "free"):
            assert np.array_equal(ds[name][number], np.array(given[name]).reshape(ds[name][number].shape)), name
        assert ds["free"][number].shape == (i, 3)
        for name in ("records", "time", "text", "small", "nested", "maybe"):
            assert ds[name][number] == given[name], name
        assert ds["date"][number].date() == given["date"]
        assert len(ds["images"][number]) == i


def test_values_are_those_of_the_dataset(hub: Any, tmp_path: Path) -> None:
    with cas.from_huggingface(data(hub), tmp_path / "ds", message="from the hub") as ds:
        check(ds, [0, 1, 2, 3, 4, 5])
        assert ds.version.message == "from the hub"
        assert ds.metadata["huggingface"]["features"]["label"] == {"names": ["cat", "dog"], "_type": "ClassLabel"}


def test_chosen_and_shuffled_rows(hub: Any, tmp_path: Path) -> None:
    with cas.from_huggingface(data(hub).select([4, 0, 2, 2, 1]), tmp_path / "ds") as ds:
        check(ds, [4, 0, 2, 2, 1])


def test_saved_folders_and_parquet_give_the_same_tree(hub: Any, tmp_path: Path) -> None:
    with cas.from_huggingface(data(hub), tmp_path / "ds") as ds:
        tree = ds.version.tree
    data(hub).save_to_disk(tmp_path / "saved")
    data(hub).to_parquet(tmp_path / "t.parquet")
    import_into(tmp_path / "a", open_saved(tmp_path / "saved"))
    import_into(tmp_path / "b", open_parquet([tmp_path / "t.parquet"]))
    for name in "ab":
        with cas.open_read_only(tmp_path / name) as ds:
            check(ds, [0, 1, 2, 3, 4, 5])
            assert ds.version.tree == tree


def test_import_again(hub: Any, tmp_path: Path) -> None:
    with cas.from_huggingface(data(hub), tmp_path / "ds") as ds:
        first = ds.version
    with cas.from_huggingface(data(hub), tmp_path / "ds") as ds:
        assert ds.version == first

    def fix(example: dict[str, Any], index: int) -> dict[str, Any]:
        return {"label": 1 if index == 2 else example["label"]}

    fixed = data(hub).map(fix, with_indices=True, features=features(hub))
    with cas.from_huggingface(fixed, tmp_path / "ds") as ds:
        diff = ds.diff(first)
        assert (list(diff.updated), len(diff.inserted), len(diff.deleted)) == (["label"], 0, 0)


def test_splits_are_a_column(hub: Any, tmp_path: Path) -> None:
    splits = hub.DatasetDict({"train": data(hub), "test": data(hub, 2)})
    with cas.from_huggingface(splits, tmp_path / "ds") as ds:
        assert list(ds.schema)[:2] == ["split", "image"]
        assert ds.schema["split"] == types.ClassLabel(("train", "test"))
        assert ds["split"][:].tolist() == [0] * 6 + [1] * 2
        tree = ds.version.tree
    splits.save_to_disk(tmp_path / "saved")
    import_into(tmp_path / "saved-ds", open_saved(tmp_path / "saved"))
    with cas.open_read_only(tmp_path / "saved-ds") as ds:
        assert ds.version.tree == tree
    with pytest.raises(InvalidInputError, match="'other' has other columns"):
        cas.from_huggingface(
            hub.DatasetDict({"one": data(hub), "other": hub.Dataset.from_dict({"a": [1]})}), tmp_path / "no"
        )


def test_labels_that_are_missing(hub: Any, tmp_path: Path) -> None:
    one = hub.Features({"label": hub.ClassLabel(names=["a", "b"])})
    unlabelled = hub.Dataset.from_dict({"label": [0, -1, None, 1]}, features=one)
    unlabelled.to_parquet(tmp_path / "t.parquet")
    with cas.from_huggingface(unlabelled, tmp_path / "ds") as ds:
        assert ds["label"][:] == [0, None, None, 1]
    import_into(tmp_path / "again", open_parquet([tmp_path / "t.parquet"]))
    with cas.open_read_only(tmp_path / "again") as ds:
        assert ds["label"][:] == [0, None, None, 1]


def test_images_that_are_only_paths(hub: Any, tmp_path: Path) -> None:
    """Of an object of the user they are read; of a stranger's file only below its folder."""
    (tmp_path / "in").mkdir()
    for place, seed in (("in/a.png", 1), ("b.png", 2)):
        (tmp_path / place).write_bytes(png(seed))
    paths = [str(tmp_path / "in/a.png"), str(tmp_path / "b.png"), str(tmp_path / "gone.png")]
    external = hub.Dataset.from_dict({"image": paths}).cast_column("image", hub.Image())
    with cas.from_huggingface(external, tmp_path / "ds") as ds:
        assert [ds["image"].bytes(number) for number in range(len(ds))] == [png(1), png(2)]
        assert ds["image_path"][:] == paths[:2]
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table(
        {"image": pa.array([{"bytes": None, "path": path} for path in paths])}, external.features.arrow_schema
    )
    parquet.write_table(table, tmp_path / "in/t.parquet")
    result = import_into(tmp_path / "own", open_parquet([tmp_path / "in/t.parquet"]))
    assert [item.path for item in result.skipped] == paths[1:]
    assert "leads out of" in result.skipped[0].reason
    with cas.open_read_only(tmp_path / "own") as ds:
        assert [ds["image"].bytes(number) for number in range(len(ds))] == [png(1)]


def test_images_that_are_none_are_left_out(hub: Any, tmp_path: Path) -> None:
    one = hub.Features({"image": hub.Image(), "n": hub.Value("int64")})
    given = {"image": [{"bytes": b"junk", "path": "x.png"}, {"bytes": png(1), "path": None}], "n": [1, 2]}
    broken = hub.Dataset.from_dict(given, features=one)
    with cas.from_huggingface(broken, tmp_path / "ds") as ds:
        assert ds["n"][:].tolist() == [2]
    with cas.from_huggingface(broken, tmp_path / "all", missing="null") as ds:
        assert ds["n"][:].tolist() == [1, 2]
        assert ds["image"][0] is None


def test_what_is_refused(hub: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidTypeError, match="IterableDataset cannot be imported"):
        cas.from_huggingface(data(hub).to_iterable_dataset(), tmp_path / "ds")
    with pytest.raises(InvalidTypeError, match="dict cannot be imported"):
        cas.from_huggingface({"a": [1]}, tmp_path / "ds")
    data(hub).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved/state.json").write_text("{")
    with pytest.raises(InvalidInputError, match="cannot be loaded as a saved dataset"):
        open_saved(tmp_path / "saved")
    assert not cas.exists(tmp_path / "ds")
