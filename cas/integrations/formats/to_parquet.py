"""A version to a parquet file, with Hugging Face's features and the exact types of its columns in the metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from cas import types
from cas.codec.given import refused_again
from cas.errors import InvalidInputError
from cas.integrations.arrow.arrays import arrow_array
from cas.integrations.arrow.library import pa
from cas.integrations.formats.arrow_source import TYPE_KEY
from cas.integrations.formats.destination import new_file
from cas.integrations.formats.exporting import ExportTable
from cas.integrations.formats.hub_arrays import hub_array, hub_type
from cas.integrations.formats.hub_features import METADATA_KEY, features_metadata
from cas.integrations.formats.source import is_image
from cas.types import Type

_GROUP_ROWS: Final = 1 << 16
_GROUP_BYTES: Final = 32 << 20


def write_parquet(table: ExportTable, target: Path, *, force: bool) -> None:
    """Writes a file of row groups of about 32 MiB.

    Images are structs of ``bytes`` and ``path``, as Hugging Face has them; the path is taken from a column
    ``NAME_path`` of text, which is not written by itself.
    """
    from pyarrow import parquet

    paths = _path_columns(table.schema)
    written = {name: type_ for name, type_ in table.schema.items() if name not in paths.values()}
    schema = pa.schema(
        [_field(name, type_) for name, type_ in written.items()], {METADATA_KEY: features_metadata(written)}
    )
    with new_file(target, force=force) as file:
        with parquet.ParquetWriter(file, schema) as writer:
            for start, found in table.read(arrow_array, _GROUP_ROWS, _GROUP_BYTES):
                arrays = [_array(type_, found, name, paths.get(name), start) for name, type_ in written.items()]
                writer.write_batch(pa.record_batch(arrays, schema=schema))


def _field(name: str, type_: Type) -> Any:
    metadata = {TYPE_KEY: json.dumps(type_.to_record())}
    return pa.field(name, hub_type(type_), nullable=True, metadata=metadata)


def _path_columns(schema: dict[str, Type]) -> dict[str, str]:
    """The columns with the paths of images, by those of the images."""
    texts = (types.Text(), types.Nullable(types.Text()))
    images = [name for name, type_ in schema.items() if is_image(type_)]
    return {name: f"{name}_path" for name in images if schema.get(f"{name}_path") in texts}


def _array(type_: Type, found: dict[str, Any], name: str, path: str | None, start: int) -> Any:
    """The array to be written for a column, of rows from one of a number."""
    try:
        return hub_array(type_, found[name], name, None if path is None else found[path])
    except InvalidInputError as error:
        raise error if error.row is None else refused_again(error, name, start + error.row) from None
