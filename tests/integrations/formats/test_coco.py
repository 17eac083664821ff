"""COCO files: images bit for bit, boxes, classes, every segmentation exactly, nothing said is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import png, write_tree

import cas
from cas import types
from cas.errors import InvalidInputError
from cas.integrations.formats.coco import open_coco
from cas.integrations.formats.landing import import_into

POLYGON = [[10.5, 20, 30.25, 20, 30.25, 40.125], [1, 2, 3, 4, 5, 6]]
RUNS = {"counts": [0, 5, 59], "size": [8, 8]}
COMPRESSED = {"counts": "j035000006", "size": [8, 8]}


def content() -> dict[str, Any]:
    return {
        "info": {"year": 2017, "description": "made up"},
        "licenses": [{"id": 4, "name": "CC"}],
        "images": [
            {"id": 9, "file_name": "b.png", "width": 8, "height": 8, "license": 4, "coco_url": "http://x/b.png"},
            {"id": 3, "file_name": "sub/a.png", "width": 8, "height": 8},
            {"id": 5, "file_name": "empty.png", "width": 8, "height": 8},
        ],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 18, "bbox": [1, 2, 3.5, 4], "area": 14.0, "iscrowd": 0,
             "segmentation": POLYGON, "keypoints": [1, 2, 2], "num_keypoints": 1},
            {"id": 2, "image_id": 9, "category_id": 1, "bbox": [0, 0, 8, 8], "area": 5, "iscrowd": 1,
             "segmentation": RUNS},
            {"id": 7, "image_id": 3, "category_id": 1, "bbox": [0.1, 0.2, 0.3, 0.4], "area": 0.12, "iscrowd": 1,
             "segmentation": COMPRESSED},
        ],
        "categories": [
            {"id": 1, "name": "person", "supercategory": "living", "keypoints": ["nose"], "skeleton": [[1, 1]]},
            {"id": 18, "name": "dog", "supercategory": "living"},
        ],
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tree(tmp_path / "coco/images", {"b.png": png(1), "sub/a.png": png(2), "empty.png": png(3)})
    (tmp_path / "coco/instances.json").write_text(json.dumps(content()))
    return tmp_path / "coco"


def run(folder: Path, url: Path, **options: Any) -> Any:
    return import_into(url, open_coco(folder / "instances.json", images=folder / "images"), **options)


def test_a_row_is_an_image_with_its_annotations(folder: Path, tmp_path: Path) -> None:
    result = run(folder, tmp_path / "ds")
    assert (result.added, result.skipped) == (3, [])
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert {name: str(type_) for name, type_ in ds.schema.items()} == {
            "path": "text",
            "image_id": "int64",
            "width": "int64",
            "height": "int64",
            "image_fields": "dict",
            "boxes": "bounding_box[float64, ltwh, pixel]",
            "categories": "sequence[class_label[2]]",
            "segmentations": "sequence[dict]",
            "annotation_ids": "sequence[int64]",
            "areas": "sequence[float64]",
            "iscrowd": "sequence[int64]",
            "annotation_fields": "sequence[dict]",
            "image": "image",
        }
        assert ds["path"][:] == ["b.png", "sub/a.png", "empty.png"]
        assert [ds["image"].bytes(row) for row in range(3)] == [png(1), png(2), png(3)]
        assert ds["boxes"][1].tolist() == [[1, 2, 3.5, 4], [0.1, 0.2, 0.3, 0.4]]
        assert ds["boxes"][2].shape == (0, 4)
        label = ds.schema["categories"]
        assert isinstance(label, types.Sequence)
        assert isinstance(label.of, types.ClassLabel)
        assert [label.of.int2str(codes) for codes in ds["categories"][:]] == [["person"], ["dog", "person"], []]
        assert ds["annotation_ids"][1].tolist() == [1, 7]
        assert ds["iscrowd"][0].tolist() == [1]
        assert ds["image_fields"][0] == {"license": 4, "coco_url": "http://x/b.png"}
        assert ds["annotation_fields"][1] == [{"keypoints": [1, 2, 2], "num_keypoints": 1}, {}]


def test_segmentations_are_exact(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "ds")
    with cas.open_read_only(tmp_path / "ds") as ds:
        found = ds["segmentations"][:]
    assert found == [[RUNS], [{"polygons": POLYGON}, COMPRESSED], []]
    assert json.dumps(found[1][0]["polygons"]) == json.dumps(POLYGON)  # integers stay integers


def test_the_file_can_be_made_again(folder: Path, tmp_path: Path) -> None:
    """Everything that it says is in the dataset, ids of categories included."""
    run(folder, tmp_path / "ds")
    images, annotations = [], []
    with cas.open_read_only(tmp_path / "ds") as ds:
        rest = ds.metadata["coco"]
        for row in ds:
            named = {"id": row["image_id"], "file_name": row["path"], "width": row["width"], "height": row["height"]}
            images.append(named | row["image_fields"])
            for item, id_ in enumerate(row["annotation_ids"]):
                segmentation = row["segmentations"][item]
                annotations.append(
                    {
                        "id": id_,
                        "image_id": row["image_id"],
                        "category_id": rest["categories"][row["categories"][item]]["id"],
                        "bbox": row["boxes"][item].tolist(),
                        "area": row["areas"][item],
                        "iscrowd": row["iscrowd"][item],
                        "segmentation": segmentation.get("polygons", segmentation),
                        **row["annotation_fields"][item],
                    }
                )
    annotations.sort(key=lambda entry: entry["id"])
    assert {"images": images, "annotations": annotations, **rest} == content()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pycocotools_reads_the_segmentations(folder: Path, tmp_path: Path) -> None:
    mask = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    run(folder, tmp_path / "ds")
    official = coco.COCO(str(folder / "instances.json"))
    with cas.open_read_only(tmp_path / "ds") as ds:
        for row in ds:
            for id_, kept in zip(row["annotation_ids"], row["segmentations"], strict=True):
                annotation = official.loadAnns([int(id_)])[0]
                if "polygons" in kept:
                    runs = mask.merge(mask.frPyObjects(kept["polygons"], 8, 8))
                else:
                    runs = mask.frPyObjects(kept, 8, 8) if isinstance(kept["counts"], list) else kept
                assert np.array_equal(mask.decode(runs), official.annToMask(annotation))


def test_import_again(folder: Path, tmp_path: Path) -> None:
    first = run(folder, tmp_path / "ds")
    assert run(folder, tmp_path / "ds").version == first.version
    changed = content()
    changed["annotations"][0]["bbox"][0] = 2
    del changed["images"][2]
    (folder / "instances.json").write_text(json.dumps(changed))
    result = run(folder, tmp_path / "ds")
    assert result.counts() == {"added": 0, "changed": 1, "removed": 1, "unchanged": 1}
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert list(ds.diff(first.version).updated) == ["boxes"]


def test_missing_images_and_homeless_annotations_are_listed(folder: Path, tmp_path: Path) -> None:
    (folder / "images/empty.png").unlink()
    changed = content()
    changed["annotations"].append({"id": 8, "image_id": 77, "category_id": 1, "bbox": [0, 0, 1, 1]})
    (folder / "instances.json").write_text(json.dumps(changed))
    result = run(folder, tmp_path / "ds")
    assert [(item.path, item.reason) for item in result.skipped] == [
        ("annotation 8", "it is of image 77, which the file does not list"),
        ("empty.png", "there is no such file"),
    ]
    assert result.added == 2
    assert run(folder, tmp_path / "all", missing="null").added == 3


def test_captions_and_annotations_without_boxes(folder: Path, tmp_path: Path) -> None:
    changed = content()
    changed["annotations"] = [
        {"id": 1, "image_id": 9, "caption": "a picture"},
        {"id": 2, "image_id": 9, "caption": "noise", "bbox": [1, 2, 3, 4]},
    ]
    del changed["categories"]
    (folder / "instances.json").write_text(json.dumps(changed))
    run(folder, tmp_path / "ds")
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert ds["captions"][:] == [["a picture", "noise"], [], []]
        assert np.isnan(ds["boxes"][0][0]).all()
        assert "categories" not in ds.schema


def test_categories_of_one_name_are_told_apart(folder: Path) -> None:
    changed = content()
    changed["categories"][1]["name"] = "person"
    (folder / "instances.json").write_text(json.dumps(changed))
    type_ = open_coco(folder / "instances.json", images=folder / "images").schema["categories"]
    assert isinstance(type_, types.Sequence)
    assert type_.of == types.ClassLabel(("person (1)", "person (18)"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"images": 5}, "no COCO annotation file"),
        ({"images": [{"id": 1}]}, r"images\[0\] is no object with id and file_name"),
        ({"images": [{"id": 1, "file_name": 5}]}, r"images\[0\] has the file_name 5"),
        ({"images": [{"id": 1, "file_name": "b.png"}] * 2}, "two images have the same id"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "two categories have the same id"),
        ({"annotations": [{"id": 1, "image_id": 9, "category_id": 5}]}, "annotation 1 has the category_id 5"),
        ({"annotations": [{"id": 1, "image_id": 9, "bbox": [1, 2, 3]}]}, "annotation 1 has the bbox"),
        ({"annotations": [{"id": 1, "image_id": 9, "segmentation": 5}]}, "annotation 1 has the segmentation 5"),
        ({"annotations": {}}, "'annotations' is dict; expected a list"),
    ],
)
def test_what_is_refused(folder: Path, tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    (folder / "instances.json").write_text(json.dumps(content() | change))
    with pytest.raises(InvalidInputError, match=reason):
        run(folder, tmp_path / "ds")
    assert not cas.exists(tmp_path / "ds")


def test_broken_json_is_one_error(folder: Path) -> None:
    (folder / "instances.json").write_bytes(b'{"images": [')
    with pytest.raises(InvalidInputError, match="it is no JSON"):
        open_coco(folder / "instances.json")
