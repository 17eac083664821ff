"""The lock file as text: TOML in one fixed form, so that equal locks are equal files and a diff shows what moved.

format = 1

[datasets.train]
url = "lake/train"
version = "<64 hexadecimal digits>"
tree = "<64 hexadecimal digits>"
revision = "main"
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cas.errors import InvalidInputError, UnsupportedError, shown
from cas.hashing import hash_named
from cas.integrations.folder.confined import UnsafePathError, split_path

FORMAT: Final = 1
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
# What a basic string of TOML 1.0 must escape; everything else stands for itself.
_ESCAPED: Final = re.compile(r'["\\\x00-\x1f\x7f]')
_SHORT_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
_LINE: Final = re.compile(r"at line (\d+)")
_MARKER: Final = re.compile(r"^(<<<<<<<|=======|>>>>>>>)", re.MULTILINE)
_FIELDS: Final = frozenset(("url", "version", "tree", "revision"))


class LockFileError(InvalidInputError):
    """A lock file is malformed; ``path`` is the file, ``line`` where it is wrong, as far as it is known."""

    def __init__(self, message: str, *, path: str | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.line = line


@dataclass(frozen=True, slots=True)
class Entry:
    """A pinned dataset: its url as the file has it, version id and tree hash.

    ``revision`` is the branch or tag that it was pinned by, from which ``update`` takes a newer version; None where
    it was pinned by a version id.
    """

    url: str
    version: str
    tree: str
    revision: str | None = None


Entries = Mapping[str, Entry]
"""Pinned datasets by name."""


def check_name(name: object) -> str:
    """Returns a valid name for a pinned dataset, which is also that of the folder it is checked out to."""
    if isinstance(name, str) and name and name == name.strip() and name.isprintable() and not name.startswith("-"):
        try:
            if not split_path(name)[0]:
                return name
        except (UnsafePathError, UnicodeEncodeError):
            pass
    raise InvalidInputError(
        f"{shown(name)} cannot name a dataset of a lock file: expected text that can name a folder, without '/', "
        f"control characters, spaces around it or a '-' in front"
    )


def format_lock(entries: Entries) -> str:
    """Returns the text of a lock file, entries sorted by name.

    >>> print(format_lock({"train": Entry("lake/train", "3f" * 32, "9c" * 32, "main")})[:47])
    format = 1
    <BLANKLINE>
    [datasets.train]
    url = "lake/train"
    """
    parts = [f"format = {FORMAT}\n"]
    for name, entry in sorted(entries.items()):
        lines = [f"url = {quote(entry.url)}", f"version = {quote(entry.version)}", f"tree = {quote(entry.tree)}"]
        if entry.revision is not None:
            lines.append(f"revision = {quote(entry.revision)}")
        parts.append("\n".join([_heading(name), *lines]) + "\n")
    return "\n".join(parts)


def quote(text: str) -> str:
    """Returns text as a basic string of TOML; raises :class:`~cas.errors.InvalidInputError` for what is no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(f"{shown(text)} is not UTF-8, so a lock file cannot hold it") from None
    return '"' + _ESCAPED.sub(lambda found: _escape(found[0]), text) + '"'


def _escape(character: str) -> str:
    return _SHORT_ESCAPES.get(character) or f"\\u{ord(character):04X}"


def _heading(name: str) -> str:
    return f"[datasets.{name if _BARE_KEY.fullmatch(name) else quote(name)}]"


def parse_lock(data: bytes, path: Path) -> dict[str, Entry]:
    """Returns the entries of a lock file by name.

    Raises :class:`LockFileError`, with the line, for what is no lock file, and ``UnsupportedError`` for a format that
    a newer version wrote.
    """
    return _Parser(path, _decode(data, path)).entries()


def _decode(data: bytes, path: Path) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LockFileError(f"{path}, line {line}: it is not UTF-8", path=str(path), line=line) from None


class _Parser:
    """One reading of a file: TOML first, then what must stand in it."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines()
        try:
            self._table: dict[str, Any] = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise self._not_toml(text, error) from None

    def _not_toml(self, text: str, error: Exception) -> LockFileError:
        marker = _MARKER.search(text)
        if marker is not None:
            line = text.count("\n", 0, marker.start()) + 1
            return self._error("a merge left its marks here; keep one side of each entry, and remove the marks", line)
        found = _LINE.search(str(error))
        line = int(found[1]) if found else len(self._lines) or 1
        return self._error(f"it is not TOML: {error}", line)

    def _error(self, message: str, line: int | None) -> LockFileError:
        where = "" if line is None else f", line {line}"
        return LockFileError(f"{self._path}{where}: {message}", path=str(self._path), line=line)

    def entries(self) -> dict[str, Entry]:
        """Returns what the file pins."""
        number = self._table.get("format")
        if type(number) is not int or number < FORMAT:
            raise self._error(f"expected 'format = {FORMAT}', found {shown(number)}", self._line_of("format"))
        if number > FORMAT:
            raise UnsupportedError(
                f"{self._path} has format {number}; this version reads {FORMAT}: install a newer one"
            )
        datasets = self._table.get("datasets", {})
        unknown = sorted(set(self._table) - {"format", "datasets"})
        if unknown:
            raise self._error(f"{unknown[0]!r} has no meaning in a lock file", self._line_of(unknown[0]))
        if not isinstance(datasets, dict):
            raise self._error("expected tables [datasets.NAME]", self._line_of("datasets"))
        return {name: self._entry(name, fields) for name, fields in datasets.items()}

    def _entry(self, name: str, fields: Any) -> Entry:
        heading = self._heading_line(name)
        try:
            check_name(name)
        except InvalidInputError as error:
            raise self._error(str(error), heading) from None
        if not isinstance(fields, dict):
            raise self._error(f"expected a table [datasets.{name}]", heading)
        for key in sorted(set(fields) - _FIELDS):
            raise self._error(f"{key!r} has no meaning in {name!r}", self._line_of(key, heading))
        for key in ("url", "version", "tree"):
            if key not in fields:
                raise self._error(f"{name!r} has no {key!r}", heading)
        for key, value in fields.items():
            if not isinstance(value, str) or not value:
                raise self._error(f"{key!r} of {name!r} is {shown(value)}; expected text", self._line_of(key, heading))
            if key in ("version", "tree") and hash_named(value) is None:
                what = f"{key!r} of {name!r} is {shown(value)}; expected 64 hexadecimal digits, in lower case"
                raise self._error(what, self._line_of(key, heading))
        return Entry(**fields)

    def _heading_line(self, name: str) -> int | None:
        """The line on which the table of a dataset begins, where it begins as this package writes it."""
        try:
            heading = _heading(name)
        except InvalidInputError:
            return None
        return next((at for at, line in enumerate(self._lines, 1) if line.strip() == heading), None)

    def _line_of(self, key: str, after: int | None = 0) -> int | None:
        """The first line below another one that sets a key."""
        if after is None:
            return None
        starts = tuple(f"{quote(key) if quoted else key}" for quoted in (False, True))
        for at, line in enumerate(self._lines[after:], after + 1):
            if line.lstrip("[ \t").startswith(starts):
                return at
        return after or None
