"""COCO annotation files with their images as a source: a row an image, its annotations in sequences."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from cas import types
from cas.errors import InvalidInputError
from cas.integrations.folder.scan import Skipped
from cas.integrations.formats.json_lines import parse_json
from cas.integrations.formats.records import PATH, source_with_images
from cas.integrations.formats.source import Source
from cas.integrations.formats.value_types import JsonValues
from cas.types import Type

METADATA: Final = "coco"
BOXES: Final = "boxes"
CATEGORIES: Final = "categories"
SEGMENTATIONS: Final = "segmentations"
_POLYGONS: Final = "polygons"
_IMAGE_FIELDS: Final = {"id": "image_id", "width": "width", "height": "height"}
_ITEM_FIELDS: Final = {"id": "annotation_ids", "area": "areas", "iscrowd": "iscrowd", "caption": "captions"}
_HANDLED: Final = (*_ITEM_FIELDS, "image_id", "bbox", "category_id", "segmentation")


def open_coco(path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None) -> Source:
    """Returns a row for each image of a COCO file, in its order, read from below the folder ``images``.

    By default that is the folder of the file. The columns, of which those are left out that the file has nothing for:

    ===================  ========================================================================================
    ``path``             ``file_name``, which tells the same image in two imports
    ``image``            the file, bit for bit
    ``image_id``, ``width``, ``height``  as they are
    ``image_fields``     a dict of what else is said of the image: licence, urls, dates
    ``boxes``            ``bbox`` as bounding boxes (left, top, width, height); one that is missing is four NaN
    ``categories``       the classes of the boxes, by name, in the order of the file
    ``segmentations``    a dict each: ``{"polygons": [[x, y, ...], ...]}``, a run-length encoding
                         ``{"counts": ..., "size": ...}`` as it is, or ``{}`` where there is none
    ``annotation_ids``, ``areas``, ``iscrowd``, ``captions``  a value an annotation
    ``annotation_fields``  a dict an annotation of what else is said of it: keypoints, attributes
    ===================  ========================================================================================

    Item ``i`` of each sequence belongs to annotation ``i`` of the image. What else the file says, with the ids of its
    categories, stands in the metadata under ``coco``. Annotations of images that the file does not list are listed as
    left out.

    Memory: the whole file as objects of Python. Raises :class:`~cas.errors.InvalidInputError` for a file that is no
    COCO annotation file.
    """
    file = Path(path).expanduser()
    given = _Coco(file, _load(file))
    facts = {"metadata": {METADATA: given.rest}, "skipped": given.homeless}
    return source_with_images(given.schema, given.rows, PATH, images or file.parent, **facts)


def is_coco(value: object) -> bool:
    """Tells whether a JSON value is an annotation file: it lists images."""
    return isinstance(value, dict) and isinstance(value.get("images"), list)


def _load(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from error
    value = parse_json(text, str(path))
    if not is_coco(value):
        raise InvalidInputError(f"{path} is no COCO annotation file: expected an object with a list 'images'")
    return dict(value)


class _Coco:
    """The images and annotations of a file, checked, and the columns they make."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self._path = path
        self._images = self._list(content.pop("images"), "images", ("id", "file_name"))
        annotations = self._list(content.pop("annotations", []), "annotations", ("image_id",))
        categories = self._list(content.get("categories", []), "categories", ("id", "name"))
        self.rest = content
        self._codes = {entry["id"]: code for code, entry in enumerate(categories)}
        self._label = types.ClassLabel(tuple(_unique_names(categories))) if categories else None
        if len(self._codes) < len(categories):
            raise InvalidInputError(f"{path}: two categories have the same id")
        self._of_image: dict[Any, list[dict[str, Any]]] = {entry["id"]: [] for entry in self._images}
        if len(self._of_image) < len(self._images):
            raise InvalidInputError(f"{path}: two images have the same id")
        self.homeless: list[Skipped] = []
        for entry in annotations:
            if entry["image_id"] in self._of_image:
                self._of_image[entry["image_id"]].append(entry)
            else:
                reason = f"it is of image {entry['image_id']!r}, which the file does not list"
                self.homeless.append(Skipped(f"annotation {entry.get('id')!r}", reason))
        self._fields = {name for entry in annotations for name in entry}
        self.schema = self._schema()

    def _list(self, entries: object, name: str, needed: tuple[str, ...]) -> list[dict[str, Any]]:
        if not isinstance(entries, list):
            raise InvalidInputError(f"{self._path}: {name!r} is {type(entries).__name__}; expected a list")
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict) or any(field not in entry for field in needed):
                raise InvalidInputError(f"{self._path}: {name}[{number}] is no object with {' and '.join(needed)}")
            for field in needed:
                wanted = str if field in ("file_name", "name") else (str, int)
                if not isinstance(entry[field], wanted) or isinstance(entry[field], bool):
                    raise InvalidInputError(f"{self._path}: {name}[{number}] has the {field} {entry[field]!r}")
        return entries

    def _schema(self) -> dict[str, Type]:
        """The columns in order, without those that the file has nothing for."""
        schema: dict[str, Type] = {PATH: types.Text()}
        for field, column in _IMAGE_FIELDS.items():
            if any(field in entry for entry in self._images):
                schema[column] = _type_of([entry.get(field) for entry in self._images], column)
        if any(self._image_rest(entry) for entry in self._images):
            schema["image_fields"] = types.Dict()
        return schema | self._item_schema()

    def _item_schema(self) -> dict[str, Type]:
        """The columns of sequences, with an item for each annotation."""
        schema: dict[str, Type] = {}
        if "bbox" in self._fields:
            schema[BOXES] = types.BoundingBox("float64", "ltwh", "pixel")
        if "category_id" in self._fields:
            if self._label is None:
                raise InvalidInputError(f"{self._path}: annotations have categories, and the file lists none")
            there = all(e.get("category_id") is not None for entries in self._of_image.values() for e in entries)
            schema[CATEGORIES] = types.Sequence(self._label if there else types.Nullable(self._label))
        if "segmentation" in self._fields:
            schema[SEGMENTATIONS] = types.Sequence(types.Dict())
        for field, column in _ITEM_FIELDS.items():
            if field in self._fields:
                values = [[entry.get(field) for entry in entries] for entries in self._of_image.values()]
                schema[column] = _type_of(values, column)
        if self._fields - set(_HANDLED):
            schema["annotation_fields"] = types.Sequence(types.Dict())
        return schema

    def _image_rest(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in entry.items() if name not in (*_IMAGE_FIELDS, "file_name")}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yields the rows, images by their paths."""
        for image in self._images:
            row: dict[str, Any] = {column: image.get(field) for field, column in _IMAGE_FIELDS.items()}
            row |= {PATH: image["file_name"], "image_fields": self._image_rest(image)}
            row |= self._items(self._of_image[image["id"]])
            yield {name: row[name] for name in self.schema}

    def _items(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        items: dict[str, Any] = {column: [e.get(field) for e in entries] for field, column in _ITEM_FIELDS.items()}
        items[BOXES] = np.array([self._box(entry) for entry in entries], np.float64).reshape(-1, 4)
        items[CATEGORIES] = [self._code(entry) for entry in entries]
        items[SEGMENTATIONS] = [self._segmentation(entry) for entry in entries]
        items["annotation_fields"] = [
            {name: value for name, value in entry.items() if name not in _HANDLED} for entry in entries
        ]
        return items

    def _box(self, entry: Mapping[str, Any]) -> list[float]:
        box = entry.get("bbox")
        if box is None:
            return [np.nan] * 4
        if not isinstance(box, list) or len(box) != 4 or not all(type(number) in (int, float) for number in box):
            raise self._wrong(entry, "bbox", "four numbers")
        if any(type(number) is int and float(number) != number for number in box):
            raise self._wrong(entry, "bbox", "numbers that a float64 holds")
        return box

    def _code(self, entry: Mapping[str, Any]) -> int | None:
        id_ = entry.get("category_id")
        if id_ is None:
            return None
        if not isinstance(id_, (int, str)) or id_ not in self._codes:
            raise self._wrong(entry, "category_id", "one of the categories")
        return self._codes[id_]

    def _segmentation(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        match entry.get("segmentation"):
            case None:
                return {}
            case list() as polygons:
                return {_POLYGONS: polygons}
            case dict() as runs if _POLYGONS not in runs and runs:
                return runs
        raise self._wrong(entry, "segmentation", "a list of polygons, or a run-length encoding")

    def _wrong(self, entry: Mapping[str, Any], field: str, expected: str) -> InvalidInputError:
        shown = str(entry.get(field))[:60]
        return InvalidInputError(
            f"{self._path}: annotation {entry.get('id')!r} has the {field} {shown}; expected {expected}"
        )


def _unique_names(categories: list[dict[str, Any]]) -> list[str]:
    """The names of categories; those that several have, or none, with their ids."""
    names = [entry["name"] for entry in categories]
    return [
        name if name and names.count(name) == 1 else f"{name} ({entry['id']})".strip()
        for name, entry in zip(names, categories, strict=True)
    ]


def _type_of(values: list[Any], column: str) -> Type:
    seen = JsonValues()
    for value in values:
        seen.add(value)
    return seen.type(column)
