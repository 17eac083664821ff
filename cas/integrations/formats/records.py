"""Rows of text formats as a source, with the images that a column of them names."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from cas import types
from cas.errors import InvalidInputError
from cas.integrations.formats.image_files import ImageFiles
from cas.integrations.formats.source import Collector, Source, Table, Unusable
from cas.integrations.values import plain_type
from cas.types import Type

IMAGE: Final = "image"
PATH: Final = "path"
_LOOKED_AT: Final = 100
IMAGE_SUFFIXES: Final = (
    *(".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jp2", ".jxl"),
    *(".ico", ".ppm", ".pgm", ".pbm", ".pnm"),
)

Records = Callable[[], Iterator[Mapping[str, Any]]]
"""Gives the rows of a file from the beginning, each time it is called."""


def plain_source(schema: Mapping[str, Type], records: Records) -> Source:
    """Returns a source of rows that name no images."""

    def batches() -> Iterator[Table]:
        collector = Collector(list(schema))
        for record in records():
            yield from collector.add(record, sum(len(value) for value in record.values() if isinstance(value, str)))
        yield from collector.rest()

    return Source(schema, batches)


def source_with_images(
    schema: Mapping[str, Type], records: Records, paths: str, folder: str | os.PathLike[str], **facts: Any
) -> Source:
    """Returns a source of rows that name an image each, by its path below a folder, in the column ``paths``.

    The image's bytes go to the column ``image``. A column of paths that has this name becomes ``path``. Raises
    :class:`~cas.errors.InvalidInputError` where none of the first images is there: the folder will be another one.
    """
    files = ImageFiles(folder)
    key = PATH if paths == IMAGE else paths
    if IMAGE in schema.keys() - {paths} or (key != paths and key in schema):
        taken = key if key in schema.keys() - {paths} else IMAGE
        raise InvalidInputError(
            f"there are columns {paths!r} and {taken!r}; the bytes of images go to {IMAGE!r}: rename one",
            column=paths,
        )
    _check_some_there(records, paths, files)
    renamed = {key if name == paths else name: type_ for name, type_ in schema.items()}

    def batches() -> Iterator[Table]:
        collector = Collector([*renamed, IMAGE])
        for number, record in enumerate(records()):
            path = record.get(paths)
            image = files.read(path) if path else Unusable(f"row {number}", "it names no image")
            row = {key if name == paths else name: value for name, value in record.items()}
            yield from collector.add({**row, IMAGE: image}, len(image) if isinstance(image, bytes) else 0)
        yield from collector.rest()

    return Source({**renamed, IMAGE: types.Image()}, batches, key=key, **facts)


def _check_some_there(records: Records, paths: str, files: ImageFiles) -> None:
    named = [path for record in itertools.islice(records(), _LOOKED_AT) if (path := record.get(paths))]
    if named and all(isinstance(files.read(path), Unusable) for path in named):
        raise InvalidInputError(
            f"none of the first {len(named)} images is below {files.folder}, such as {named[0]!r}; say with --images "
            f"where they are"
        )


def choose_image_column(schema: Mapping[str, Type], records: Records, wanted: str | None) -> str | None:
    """Returns the column that names images: the one wanted, or the only one whose first values end as images do.

    ``wanted=""`` means none.
    """
    if wanted == "":
        return None
    if wanted is not None:
        if not _is_text(schema.get(wanted)):
            texts = [name for name, type_ in schema.items() if _is_text(type_)]
            raise InvalidInputError(
                f"{wanted!r} is no column of paths; the columns of text are {texts}",
                column=wanted,
            )
        return wanted
    first = list(itertools.islice(records(), _LOOKED_AT))
    found = [name for name, type_ in schema.items() if _is_text(type_) and _all_images([r.get(name) for r in first])]
    if len(found) > 1:
        raise InvalidInputError(f"the columns {found} all seem to name images; choose one with --image")
    return found[0] if found else None


def _is_text(type_: Type | None) -> bool:
    return type_ is not None and isinstance(plain_type(type_), types.Text)


def _all_images(values: list[Any]) -> bool:
    named = [value for value in values if value]
    return bool(named) and all(value.lower().endswith(IMAGE_SUFFIXES) for value in named)
