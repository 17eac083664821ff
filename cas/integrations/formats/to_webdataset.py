"""A version to WebDataset shards."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

import numpy as np

from cas import types
from cas.codec.image_format import image_format
from cas.errors import InvalidInputError, UnsupportedError
from cas.integrations.folder.confined import split_path
from cas.integrations.formats.destination import new_file, new_folder
from cas.integrations.formats.exporting import ExportTable
from cas.integrations.formats.plain_values import is_plain
from cas.integrations.formats.records import IMAGE_SUFFIXES
from cas.integrations.formats.source import is_image
from cas.integrations.formats.to_text import json_text
from cas.integrations.values import plain_type
from cas.types import Type

SHARD_BYTES: Final = 512 << 20
_KEY: Final = "key"
_PATH: Final = "path"
_KEY_DIGITS: Final = 9
EXTENSIONS: Final = {"jpeg": "jpg", "tiff": "tif", "jpeg2000": "jp2", "jpegxl": "jxl", "heif": "heic"}


def write_webdataset(table: ExportTable, target: Path, *, shard_bytes: int, force: bool) -> None:
    """Writes a folder of ``shard-000000.tar`` and so on, or one file where the target ends in ``.tar``.

    A row is the members of one key: the column ``key``, else ``path`` without its extension (dots in it become ``_``),
    else the number of the row. A column is a member: of images ``image`` by its format (``jpg``), others ``NAME.jpg``;
    integers and codes of classes ``NAME.cls``, ``label`` just ``cls``; text ``NAME.txt``; arrays ``NAME.npy``; bytes
    ``NAME``; other values ``NAME.json``. A column whose name ends in such an extension already keeps it, so what was
    imported from shards is written as it was. What is missing has no member. Equal rows give equal files.
    """
    writers = {name: _member_writer(name, type_) for name, type_ in table.schema.items()}
    by_key = _KEY in table.schema and table.schema[_KEY] == types.Text()
    by_path = not by_key and table.schema.get(_PATH) == types.Text()
    if by_key or by_path:
        del writers[_KEY if by_key else _PATH]
    samples = _samples(table, writers, by_key=by_key, by_path=by_path)
    if target.suffix == ".tar":
        with new_file(target, force=force) as file:
            _write_shard(file, samples, None)
        return
    with new_folder(target, force=force) as folder:
        number = 0
        rest = _Ahead(samples)
        while rest.more or number == 0:
            with open(folder / f"shard-{number:06}.tar", "xb") as file:
                _write_shard(file, rest, shard_bytes)
            number += 1


Sample = tuple[str, dict[str, bytes]]


class _Ahead(Iterator[Sample]):
    """Samples, of which it is known whether more come."""

    def __init__(self, samples: Iterator[Sample]) -> None:
        self._samples = samples
        self._next = next(samples, None)

    @property
    def more(self) -> bool:
        """Whether there are more."""
        return self._next is not None

    def __next__(self) -> Sample:
        sample = self._next
        if sample is None:
            raise StopIteration
        self._next = next(self._samples, None)
        return sample


def _write_shard(file: IO[bytes], samples: Iterator[Sample], most_bytes: int | None) -> None:
    """Writes samples until the shard is full, or all."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for key, members in samples:
            for extension, content in members.items():
                member = tarfile.TarInfo(f"{key}.{extension}")
                member.size, member.mode = len(content), 0o644
                tar.addfile(member, io.BytesIO(content))
            # The library keeps all members it has written.
            tar.members.clear()  # type: ignore[attr-defined]
            if most_bytes is not None and tar.offset >= most_bytes:
                break


def _samples(table: ExportTable, writers: Mapping[str, Any], *, by_key: bool, by_path: bool) -> Iterator[Sample]:
    last = None
    for row, record in table.records():
        key = _key(record, row, by_key=by_key, by_path=by_path)
        if key == last:
            raise InvalidInputError(
                f"rows {row - 1} and {row} both have the key {key!r}, and would be one row of a shard; name the "
                f"columns to write with --column, without the one that makes keys, to have rows numbered",
                row=row,
            )
        last = key
        members: dict[str, bytes] = {}
        for name, write in writers.items():
            if record[name] is not None:
                extension, content = write(record[name], row)
                if extension in members:
                    raise InvalidInputError(
                        f"column {name!r} and another would be the member {extension!r}: rename one"
                    )
                members[extension] = content
        yield key, members


def _key(record: Mapping[str, Any], row: int, *, by_key: bool, by_path: bool) -> str:
    if not by_key and not by_path:
        return f"{row:0{_KEY_DIGITS}}"
    key = record[_KEY if by_key else _PATH]
    if by_path:
        path = PurePosixPath(key)
        key = str(path.with_name(path.stem.replace(".", "_"))) if path.name else key
    split_path(key)
    if "." in key.rsplit("/", 1)[-1]:
        raise InvalidInputError(f"row {row} has the key {key!r}; a dot in its last part would end the key", row=row)
    return str(key)


def _member_writer(name: str, type_: Type) -> Any:
    """What makes the extension and the bytes of a member from a value of a column."""
    if "/" in name or name.startswith("."):
        raise InvalidInputError(f"column {name!r} cannot name members of a shard; rename it", column=name)
    inner = plain_type(type_)
    suffix = f".{name.rsplit('.', 1)[-1]}".lower()
    if is_image(type_):
        if suffix in IMAGE_SUFFIXES:
            return lambda value, row: (name, value)
        return lambda value, row: (_image_extension(name, value), value)
    if isinstance(inner, types.Bytes):
        return lambda value, row: (name, value)
    if isinstance(inner, types.ClassLabel) or (isinstance(inner, types.Scalar) and "int" in inner.dtype):
        extension = "cls" if name == "label" else _extended(name, "cls")
        return lambda value, row: (extension, str(int(value)).encode())
    if isinstance(inner, types.Text):
        return lambda value, row: (_extended(name, "txt"), value.encode())
    if isinstance(inner, types.Array | types.Embedding) and inner.dtype in types.NUMPY_DTYPES:
        return lambda value, row: (_extended(name, "npy"), _npy(value))
    if not is_plain(inner):
        raise UnsupportedError(
            f"webdataset cannot hold column {name!r} of type {type_}; name the columns to write with --column"
        )
    return lambda value, row: (_extended(name, "json"), json_text(inner, value, name, row).encode())


def _extended(name: str, extension: str) -> str:
    known = {"cls": ("cls",), "txt": ("txt", "text", "json", "cls"), "json": ("json",), "npy": ("npy",)}[extension]
    return name if name.rsplit(".", 1)[-1] in known else f"{name}.{extension}"


def _image_extension(name: str, content: bytes) -> str:
    format_ = image_format(content)
    extension = EXTENSIONS.get(format_, format_)
    return extension if name == "image" else f"{name}.{extension}"


def _npy(value: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(value), allow_pickle=False)
    return buffer.getvalue()
