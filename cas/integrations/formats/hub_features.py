"""Features of Hugging Face, as the JSON in a schema's metadata has them, and the column types they stand for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cas import types
from cas.errors import CasError, InvalidInputError, InvalidTypeError, UnsupportedError
from cas.integrations.arrow.library import pa, pc
from cas.integrations.arrow.types import cas_type, has_items, stored
from cas.integrations.formats.hub_arrays import counted_type, image_there, is_image_struct
from cas.types import Type

METADATA_KEY: Final = b"huggingface"
_LISTS: Final = ("List", "LargeList", "Sequence")

Feature = Any
"""A feature as JSON: a dict with ``_type``, a dict of features by name, or a list of one."""
Levels = tuple[bool, ...]
"""Whether there are missing values: among the rows, among the items of their lists, and so on inwards."""


def features_of(schema: Any) -> dict[str, Feature]:
    """Returns the features that a schema's metadata tells of, by column; empty where there are none.

    Raises :class:`~cas.errors.InvalidInputError` for metadata that is not as Hugging Face writes it.
    """
    text = (schema.metadata or {}).get(METADATA_KEY)
    if text is None:
        return {}
    try:
        features = json.loads(text)["info"]["features"]
        if not isinstance(features, dict):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidInputError("the metadata 'huggingface' of the schema cannot be read as features") from None
    return features


@dataclass(frozen=True, slots=True)
class Field:
    """A column to be made of a field, or of what lies below it: its name, the way to it, and what is known of it."""

    name: str
    way: tuple[str, ...]
    arrow: Any
    feature: Feature

    def of(self, array: Any) -> Any:
        """Returns the field's part of an array of the outermost field."""
        for name in self.way[1:]:
            array = pc.struct_field(stored(array), name)
        return array


def flat_fields(field: Field) -> Iterator[Field]:
    """Yields a field; of a dict of features the fields in it, ``objects.bbox``, as ``flatten`` names them."""
    inner = _inner_features(field.feature)
    arrow = stored_type(field.arrow)
    if inner is None or not pa.types.is_struct(arrow):
        yield field
        return
    for child in arrow.fields:
        below = Field(f"{field.name}.{child.name}", (*field.way, child.name), child.type, inner.get(child.name))
        yield from flat_fields(below)


def _inner_features(feature: Feature) -> Mapping[str, Feature] | None:
    """The features of a dict; those of a sequence of dicts, which earlier versions wrote as a dict of sequences."""
    if not isinstance(feature, dict):
        return None
    if not isinstance(feature.get("_type"), str):
        return feature
    inner = feature.get("feature")
    if feature["_type"] == "Sequence" and isinstance(inner, dict) and not isinstance(inner.get("_type"), str):
        return {name: {"_type": "List", "feature": child} for name, child in inner.items()}
    return None


def _kind(feature: Feature) -> str | None:
    kind = feature.get("_type") if isinstance(feature, dict) else None
    return kind if isinstance(kind, str) else None


def _item(feature: Feature) -> Feature:
    if isinstance(feature, list):
        return feature[0] if feature else None
    return feature.get("feature") if _kind(feature) in _LISTS else None


def stored_type(arrow: Any) -> Any:
    """Returns an Arrow type without what is only another form of its values."""
    return stored(pa.nulls(0, arrow)).type


def no_levels(arrow: Any, feature: Feature) -> Levels:
    """Returns what is missing in a field as long as it has no rows: nothing, at any depth."""
    return feature_levels(pa.nulls(0, arrow), feature)


def merged_levels(one: Levels, other: Levels) -> Levels:
    """Returns where either of two parts of a column has missing values."""
    return tuple(left or right for left, right in zip(one, other, strict=True))


def feature_levels(array: Any, feature: Feature) -> Levels:
    """Returns at which depths of lists values are missing, also where a class is -1.

    Cost: their counts, and no values but those of classes.
    """
    array = stored(array)
    missing = array.null_count > 0
    if has_items(array.type):
        return (missing, *feature_levels(array.flatten(), _item(feature)))
    if is_image_struct(array.type):
        return (not image_there(array).all(),)
    if _kind(feature) == "ClassLabel" and pa.types.is_integer(array.type):
        return (missing or bool(pc.any(pc.less(array, 0)).as_py()),)
    return (missing,)


def feature_type(arrow: Any, feature: Feature, levels: Levels) -> Type:
    """Returns the column type for an Arrow type, the feature it stands for, and what is missing.

    Raises :class:`~cas.errors.UnsupportedError` for types that have no counterpart, such as maps and unions.
    """
    arrow = stored_type(arrow)
    inner = _special_type(arrow, feature, levels)
    if inner is None and has_items(arrow) and _item(feature) is not None:
        inner = _list_type(arrow, _item(feature), levels)
    if inner is None:
        return _type_without_feature(arrow, levels)
    return types.Nullable(inner) if levels[0] else inner


def _special_type(arrow: Any, feature: Feature, levels: Levels) -> Type | None:
    kind = _kind(feature)
    if kind == "Image" and (is_image_struct(arrow) or pa.types.is_binary(arrow)):
        return types.Image()
    try:
        if kind == "ClassLabel" and pa.types.is_integer(arrow) and feature.get("names"):
            return types.ClassLabel(feature["names"])
        if kind in ("Array2D", "Array3D", "Array4D", "Array5D") and not any(levels[1:]):
            return types.Array(feature["dtype"], tuple(feature["shape"]))
    except (CasError, KeyError, TypeError):
        # What such a feature cannot be is told by the Arrow type alone.
        return None
    return None


def _list_type(arrow: Any, item: Feature, levels: Levels) -> Type | None:
    inner = feature_type(arrow.value_type, item, levels[1:])
    return None if inner == _type_without_feature(arrow.value_type, levels[1:]) else types.Sequence(inner)


def _type_without_feature(arrow: Any, levels: Levels) -> Type:
    """The column type for an Arrow type alone."""
    if not pa.types.is_map(arrow):
        try:
            return cas_type(pa.field("", _with_levels(arrow, levels), nullable=levels[0]))
        except InvalidTypeError:
            pass
    raise UnsupportedError(f"the Arrow type {arrow} has no column type; convert the column, or leave it out")


def _with_levels(arrow: Any, levels: Levels) -> Any:
    """An Arrow type that says what is missing, and has counts as int64; with missing numbers lists are no arrays."""
    arrow = stored_type(arrow)
    if not has_items(arrow):
        return pa.int64() if pa.types.is_time(arrow) else counted_type(arrow)
    item = pa.field("item", _with_levels(arrow.value_type, levels[1:]), nullable=levels[1])
    fixed = pa.types.is_fixed_size_list(arrow) and not any(levels[1:])
    return pa.list_(item, arrow.list_size) if fixed else pa.large_list(item)


# Types to features


def features_metadata(schema: Mapping[str, Type]) -> bytes:
    """Returns the metadata from which Hugging Face's library takes the features of a file."""
    features = {name: type_feature(type_) for name, type_ in schema.items()}
    return json.dumps({"info": {"features": features}}).encode()


def type_feature(type_: Type) -> Feature:
    """Returns the feature for a column type, as JSON."""
    match type_:
        case types.Nullable() | types.Sequence():
            inner = type_feature(type_.of)
            return inner if isinstance(type_, types.Nullable) else _list(inner)
        case types.ClassLabel():
            return {"names": list(type_.names), "_type": "ClassLabel"}
        case types.Image(raw=False):
            return {"_type": "Image"}
        case types.Image() | types.SegmentMask() | types.BinaryMask():
            return {"shape": _list(_value("int64")), "data": _value("binary")}
        case types.Array() | types.Embedding() | types.BoundingBox():
            feature = _value(type_.dtype)
            for size in type_.row_shape[::-1]:
                feature = _list(feature) | ({"length": size} if size else {})
            return feature
    return _value(_dtype(type_))


def _dtype(type_: Type) -> str:
    match type_:
        case types.DateTime():
            return f"timestamp[{type_.unit}, tz=UTC]"
        case types.Scalar():
            return type_.dtype
    return "binary" if isinstance(type_, types.Bytes) else "string"


def _value(dtype: str) -> Feature:
    return {"dtype": dtype, "_type": "Value"}


def _list(feature: Feature) -> Feature:
    return {"feature": feature, "_type": "List"}
