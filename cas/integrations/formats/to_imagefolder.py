"""A version to a folder of images, as torchvision's and Hugging Face's ``ImageFolder`` read it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Final

from cas import types
from cas.codec.image_format import image_format
from cas.errors import InvalidInputError
from cas.integrations.folder.confined import split_path
from cas.integrations.formats.destination import new_folder
from cas.integrations.formats.exporting import ExportTable
from cas.integrations.formats.plain_values import check_plain, to_plain
from cas.integrations.formats.to_text import json_line
from cas.integrations.formats.to_webdataset import EXTENSIONS
from cas.types import Type

_METADATA: Final = "metadata.jsonl"
_FILE_NAME: Final = "file_name"
_PATH: Final = "path"
_LABEL: Final = "label"
_DIGITS: Final = 9


def write_imagefolder(table: ExportTable, target: Path, *, image: str | None, force: bool) -> None:
    """Writes the images of one column to files, bit for bit.

    A file is at the row's ``path`` where there is such a column of text, otherwise at ``LABEL/NUMBER.EXTENSION``, or
    without a column ``label`` at ``NUMBER.EXTENSION``. If there are other columns than these, all but the images stand
    in ``metadata.jsonl``, with ``file_name``, as Hugging Face's loader takes them. Rows without an image are refused,
    and two of one path.
    """
    column = table.image_column(image)
    by_path = table.schema.get(_PATH) == types.Text()
    label = table.schema.get(_LABEL)
    rest: dict[str, Type] = {name: type_ for name, type_ in table.schema.items() if name not in (column, _PATH)}
    extra = any(name != _LABEL for name in rest)
    if extra:
        check_plain(rest, f"the {_METADATA} of imagefolder")
        if _FILE_NAME in rest:
            raise InvalidInputError(f"there is a column {_FILE_NAME!r}, which {_METADATA} needs; rename it")
    with new_folder(target, force=force) as folder, contextlib.ExitStack() as stack:
        metadata = stack.enter_context(open(folder / _METADATA, "xb")) if extra else None
        for row, record in table.records():
            content = record[column]
            if content is None:
                raise InvalidInputError(f"row {row} has no image, so a folder has no place for it", row=row)
            path = record[_PATH] if by_path else _path(row, content, label, record.get(_LABEL))
            _write(folder, path, content, row)
            if metadata is not None:
                values = {_FILE_NAME: path, **{name: record[name] for name in rest}}
                metadata.write(json_line({_FILE_NAME: types.Text(), **rest}, values, row))


def _path(row: int, content: bytes, label: Type | None, value: Any) -> str:
    format_ = image_format(content)
    name = f"{row:0{_DIGITS}}.{EXTENSIONS.get(format_, format_)}"
    if label is None or value is None:
        return name
    # A class that is called like a path is one folder.
    return f"{str(to_plain(label, value)).replace('/', '_')}/{name}"


def _write(folder: Path, path: str, content: bytes, row: int) -> None:
    """Writes a file below the folder, which holds nothing but what was written here."""
    parts, name = split_path(path)
    directory = folder.joinpath(*parts)
    if path == _METADATA:
        raise InvalidInputError(f"row {row} has the path {path!r}, which the folder keeps for itself", row=row)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with open(directory / name, "xb") as file:
            file.write(content)
    except (FileExistsError, IsADirectoryError, NotADirectoryError):
        reason = "where another row's file or folder is"
        raise InvalidInputError(f"row {row} has the path {path!r}, {reason}", row=row) from None
