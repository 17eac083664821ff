"""WebDataset shards as a source: tar files whose members of one key are one row."""

from __future__ import annotations

import itertools
import os
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cas import types
from cas.errors import InvalidInputError
from cas.history.refs import check_column_name
from cas.integrations.folder.scan import Skipped
from cas.integrations.formats.json_lines import parse_json
from cas.integrations.formats.records import IMAGE_SUFFIXES
from cas.integrations.formats.source import Collector, Source, Table, begins_as_image
from cas.integrations.formats.value_types import TextValues
from cas.integrations.values import plain_type
from cas.types import Type

KEY: Final = "key"
_NAME: Final = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.DOTALL)
_MOST_BYTES: Final = 2**31 - 1
_MOST_SHARDS: Final = 1_000_000
_TEXTS: Final = ("txt", "text", "transcript")
_NUMBERS: Final = ("cls", "cls2", "class", "count", "index", "inx", "id")


def open_webdataset(paths: Sequence[str | os.PathLike[str]]) -> Source:
    """Returns the rows of shards, one after the other: a row for members that follow each other with one key.

    A path may name several shards in braces: ``shard-{000..010}.tar``, ``{train,val}.tar``; they may be compressed, and
    a folder stands for the ``.tar`` files in it, by name. As in WebDataset, the key is the name up to the first dot
    after the last slash; what follows, in lower case, names the column. Extensions of images (``jpg``, ``seg.png``,
    ...) are image columns with the bytes as they are; ``cls`` and the like int64 where all are whole numbers as they
    are written; ``json`` dicts where all are objects; ``txt`` and ``json`` otherwise text; everything else bytes. A
    column takes missing values if a row does not have it. Rows with the same ``key`` are the same row in two imports.

    Members that are no files, have no extension, names that lead out of a folder, or 2 GiB and more are listed as left
    out. The shards are read once to find the columns. Raises :class:`~cas.errors.InvalidInputError` for a file that is
    no tar file, or cut off, and for a row with two members of the same extension.
    """
    shards = [shard for path in paths for shard in expand_shards(path)]
    if not shards:
        raise InvalidInputError("there are no shards; expected files that end in .tar")
    skipped: list[Skipped] = []
    columns: dict[str, _Column] = {}
    rows = 0
    for sample in _samples(shards, skipped):
        for extension, content in sample.members.items():
            if extension not in columns:
                columns[extension] = _Column(check_column_name(extension))
            columns[extension].look_at(content)
        rows += 1
    if not columns:
        raise InvalidInputError(f"{shards[0]} has no members with a key and an extension, such as 0001.jpg")
    if KEY in columns:
        raise InvalidInputError(f"an extension is {KEY!r}, which is the column for keys; rename the members")
    schema = {KEY: types.Text(), **{name: column.type(rows) for name, column in columns.items()}}

    def batches() -> Iterator[Table]:
        collector = Collector(list(schema))
        for sample in _samples(shards, []):
            row = {name: _value(schema[name], content) for name, content in sample.members.items() if name in schema}
            yield from collector.add({KEY: sample.key, **row}, sum(map(len, sample.members.values())))
        yield from collector.rest()

    return Source(schema, batches, key=KEY, skipped=skipped)


# Shards


def expand_shards(path: str | os.PathLike[str]) -> list[Path]:
    """Returns the files that a path with braces, or of a folder, stands for.

    >>> [str(path) for path in expand_shards("s-{08..10}-{a,b}.tar")][:3]
    ['s-08-a.tar', 's-08-b.tar', 's-09-a.tar']
    """
    found = Path(path).expanduser()
    if found.is_dir():
        return sorted(file for file in found.iterdir() if file.suffix == ".tar")
    if found.exists():
        return [found]
    parts = [_choices(part) for part in re.split(r"(\{[^{}]*\})", os.fspath(found))]
    count = 1
    for part in parts:
        count *= len(part)
    if count > _MOST_SHARDS:
        raise InvalidInputError(f"{path} stands for {count:,} shards; expected at most {_MOST_SHARDS:,}")
    return [Path("".join(chosen)) for chosen in itertools.product(*parts)]


def _choices(part: str) -> Sequence[str]:
    numbers = re.fullmatch(r"\{([0-9]{1,9})\.\.([0-9]{1,9})\}", part)
    if numbers:
        first, last = numbers.groups()
        if int(last) < int(first) or int(last) - int(first) >= _MOST_SHARDS:
            raise InvalidInputError(f"{part} is no range of shards; expected one such as {{000..010}}")
        width = len(first) if first.startswith("0") else 0
        return [str(number).zfill(width) for number in range(int(first), int(last) + 1)]
    return part[1:-1].split(",") if part.startswith("{") and "," in part else [part]


# Samples


@dataclass(slots=True)
class _Sample:
    """Members of one key, by extension."""

    key: str
    members: dict[str, bytes] = field(default_factory=dict)


def _samples(shards: list[Path], skipped: list[Skipped]) -> Iterator[_Sample]:
    for shard in shards:
        sample: _Sample | None = None
        for key, extension, content in _members(shard, skipped):
            if sample is None or sample.key != key:
                if sample is not None:
                    yield sample
                sample = _Sample(key)
            if extension in sample.members:
                raise InvalidInputError(f"{shard}: there are two members {key}.{extension} in one row")
            sample.members[extension] = content
        if sample is not None:
            yield sample


def _members(shard: Path, skipped: list[Skipped]) -> Iterator[tuple[str, str, bytes]]:
    try:
        with tarfile.open(shard, "r|*") as tar:
            for member in tar:
                if member.isdir():
                    continue
                name = _NAME.fullmatch(member.name)
                reason = _unusable(member, name)
                if reason is not None or name is None:
                    skipped.append(Skipped(f"{shard.name}: {member.name}", reason or ""))
                    continue
                yield name[1], name[2].lower(), _content(tar, member)
                # The library keeps all members it has seen; a shard may have millions.
                tar.members.clear()  # type: ignore[attr-defined]
    except (tarfile.TarError, EOFError, zlib.error, UnicodeError, ValueError) as error:
        raise InvalidInputError(f"{shard} cannot be read as a tar file: {error}") from error
    except OSError as error:
        raise InvalidInputError(f"{shard} cannot be read: {error.strerror or error}") from error


def _unusable(member: tarfile.TarInfo, name: re.Match[str] | None) -> str | None:
    if not member.isreg() or member.issparse():
        return "it is not a regular file"
    if ".." in member.name.split("/") or member.name.startswith("/") or "\0" in member.name:
        return "its name leads out of a folder"
    try:
        member.name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if name is None:
        return "its name has no key and extension, as in 0001.jpg"
    return f"it has {member.size:,} bytes, which is too much for one value" if member.size > _MOST_BYTES else None


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    content = file.read()
    if len(content) != member.size:
        raise tarfile.ReadError(f"it is cut off in {member.name!r}")
    return content


# Columns


class _Column:
    """What was seen of the members of one extension."""

    def __init__(self, extension: str) -> None:
        self._kind = extension.rsplit(".", 1)[-1]
        self._texts = TextValues()
        self._count = 0
        self._is_image = f".{self._kind}" in IMAGE_SUFFIXES
        self._some_image = False
        self._is_text = self._is_dict = True

    def look_at(self, content: bytes) -> None:
        """Takes note of a member."""
        self._count += 1
        if self._is_image:
            self._some_image = self._some_image or begins_as_image(content)
            return
        text = _text(content)
        self._is_text = self._is_text and text is not None
        if self._kind in _NUMBERS and text is not None:
            self._texts.add(text)
        if self._kind == "json" and self._is_dict:
            self._is_dict = _dict(content) is not None

    def type(self, rows: int) -> Type:
        """Returns the type of the column in a table of so many rows."""
        present = self._present_type()
        return present if self._count == rows else types.Nullable(present)

    def _present_type(self) -> Type:
        if self._is_image and self._some_image:
            return types.Image()
        if self._kind == "json" and self._is_dict:
            return types.Dict()
        if self._kind in _NUMBERS and self._is_text and self._texts.type() == types.Int64:
            return types.Int64
        return types.Text() if self._is_text and self._kind in (*_TEXTS, *_NUMBERS, "json") else types.Bytes()


def _value(type_: Type, content: bytes) -> Any:
    match plain_type(type_):
        case types.Dict():
            return _dict(content)
        case types.Text():
            return content.decode()
        case types.Scalar():
            return int(content)
    return content


def _text(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _dict(content: bytes) -> dict[str, Any] | None:
    try:
        value = parse_json(content, "a member")
    except InvalidInputError:
        return None
    return value if isinstance(value, dict) else None
