"""Tables of Arrow as a source: one way for parquet files and for the datasets of Hugging Face."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cas import types
from cas.codec.given import refused_again
from cas.errors import CasError, InvalidInputError
from cas.integrations.arrow.library import pa
from cas.integrations.arrow.types import stored
from cas.integrations.formats.hub_arrays import hub_type, hub_values, image_paths, is_image_struct
from cas.integrations.formats.hub_features import (
    Feature,
    Field,
    feature_levels,
    feature_type,
    features_of,
    flat_fields,
    merged_levels,
    no_levels,
)
from cas.integrations.formats.source import ReadFile, Source, Table, begins_as_image, is_image
from cas.types import Type

TYPE_KEY: Final = b"cas.type"
"""The metadata of a field in which an export keeps the exact type of a column."""


class ArrowInput(Protocol):
    """Tables of one schema, read as often as needed."""

    @property
    def schema(self) -> Any:
        """The schema, with its metadata."""

    def parts(self, column: str) -> Iterator[Any]:
        """Yields arrays of a column that show what is missing in it, and of images which have paths."""

    def tables(self) -> Iterator[Any]:
        """Yields all rows, in tables of bounded size."""


@dataclass(frozen=True, slots=True)
class _Column:
    """A column to be made: of a field, or of the paths that stand beside the images of one."""

    name: str
    field: Field
    type: Type
    is_path: bool = False

    def values(self, table: Any, start: int, read_file: ReadFile) -> Any:
        """Returns the values of a table, whose first row is the one of a number."""
        array = _array(table, self.field)
        try:
            return hub_values(image_paths(array) if self.is_path else array, self.type, self.name, read_file)
        except InvalidInputError as error:
            raise error if error.row is None else refused_again(error, self.name, start + error.row) from None


def arrow_source(given: ArrowInput, read_file: ReadFile, image: str | None = None) -> Source:
    """Returns a source for tables of Arrow, with Hugging Face's features where the schema tells of them.

    ``read_file`` gives the bytes of an image of which a table has only the path. ``image`` names a column of byte
    strings that are images.
    """
    features = features_of(given.schema)
    columns = [column for outer in given.schema for column in _columns(given, outer, features.get(outer.name), image)]
    names = [column.name for column in columns]
    if image is not None and image not in names:
        raise InvalidInputError(f"there is no column {image!r} of images; the columns are {names}", column=image)
    for name in names:
        if names.count(name) > 1:
            raise InvalidInputError(f"two columns would have the name {name!r}; rename one", column=name)
    if not columns:
        raise InvalidInputError("the table has no columns, so there is nothing to import")

    def batches() -> Iterator[Table]:
        start = 0
        for table in given.tables():
            if table.num_rows:
                yield {column.name: column.values(table, start, read_file) for column in columns}
            start += table.num_rows

    # What an export wrote beside the types of columns says nothing more.
    told = any(_stored_type(outer) is None for outer in given.schema)
    metadata = {"huggingface": {"features": _plain(features)}} if features and told else {}
    return Source({column.name: column.type for column in columns}, batches, metadata=metadata)


def _plain(features: Feature) -> Feature:
    """JSON as metadata gives it back, so that it is equal to what was stored."""
    return json.loads(json.dumps(features))


def _columns(given: ArrowInput, outer: Any, feature: Feature, image: str | None) -> Iterator[_Column]:
    """The columns to be made of a field of the schema."""
    whole = Field(outer.name, (outer.name,), outer.type, feature)
    stored = _stored_type(outer)
    fields = flat_fields(whole) if stored is None else iter([whole])
    for field in fields:
        type_ = _type(given, field, image) if stored is None else stored
        yield _Column(field.name, field, type_)
        if is_image(type_) and (path := _path_column(given, field)) is not None:
            yield path


def _type(given: ArrowInput, field: Field, image: str | None) -> Type:
    """The type of a column, by the schema and by what is missing."""
    feature = field.feature
    if feature is None and (field.name == image or (is_image_struct(field.arrow) and _begins_as_image(given, field))):
        feature = {"_type": "Image"}
    levels = no_levels(field.arrow, feature)
    for part in given.parts(field.way[0]):
        levels = merged_levels(levels, feature_levels(field.of(part), feature))
    return feature_type(field.arrow, feature, levels)


def _stored_type(outer: Any) -> Type | None:
    """The type that an export of ours left with a field, if the field still is what was written."""
    record = (outer.metadata or {}).get(TYPE_KEY)
    if record is None:
        return None
    try:
        type_ = types.from_record(json.loads(record))
        return type_ if hub_type(type_) == outer.type else None
    except (CasError, ValueError, RecursionError):
        return None


def _begins_as_image(given: ArrowInput, field: Field) -> bool:
    for table in given.tables():
        for content in _array(table, field).field("bytes"):
            if content.is_valid:
                return begins_as_image(content.as_buffer()[:32].to_pybytes())
    return False


def _path_column(given: ArrowInput, field: Field) -> _Column | None:
    """The column for the paths that stand beside images; None where there are none."""
    if not is_image_struct(field.arrow):
        return None
    missing = present = False
    for part in given.parts(field.way[0]):
        paths = image_paths(stored(field.of(part)))
        missing |= paths.null_count > 0
        present |= paths.null_count < len(paths)
    if not present:
        return None
    type_ = types.Nullable(types.Text()) if missing else types.Text()
    return _Column(f"{field.name}_path", field, type_, is_path=True)


def _array(table: Any, field: Field) -> Any:
    """The array of a field, in one piece."""
    outer = table.column(field.way[0])
    return stored(field.of(outer.combine_chunks() if isinstance(outer, pa.ChunkedArray) else outer))
