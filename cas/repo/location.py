"""Where a url leads: the directory of a store, the dataset in it, and the revision."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from cas.errors import InvalidInputError, InvalidTypeError, UnsupportedError, shown
from cas.store.lmdb import is_store

_REMOTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
Url = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Location:
    """A place named by a url: the path as given, the store at or above it, the name below, the revision."""

    path: Path
    store: Path | None
    name: str
    revision: str | None


def parse_url(url: Url) -> Location:
    """Returns where a url leads; nothing needs to exist there.

    The store is the nearest directory at or above the path that is one. What follows an ``@`` is the revision, if
    the path before it is in a store. Raises :class:`~cas.errors.InvalidInputError` for an empty url.
    """
    text = _path_text(url, "url").removeprefix("file://")
    if not text:
        raise InvalidInputError(f"url {text!r} is not a path; expected the path of a store or dataset")
    if _REMOTE.match(text):
        raise UnsupportedError(f"url {text!r} is not a local path; other stores are not supported yet")
    whole = _locate(text, None)
    if "@" not in text or (whole.store is not None and "@" not in whole.name):
        return whole
    at = len(text)
    while (at := text.rfind("@", 0, at)) > 0:
        found = _locate(text[:at], text[at + 1 :])
        if found.store is not None and "@" not in found.name:
            return found
    return whole


def local_path(path: Url, what: str) -> Path:
    """Returns a path that somebody gave, with ``~`` expanded; ``what`` says in errors which path it is.

    Raises :class:`~cas.errors.InvalidTypeError` for what is no path, ``InvalidInputError`` for one that cannot be.
    """
    return _expanded(_path_text(path, what), what)


def _path_text(path: object, what: str) -> str:
    try:
        text: object = os.fspath(path)  # type: ignore[call-overload]
    except TypeError as error:
        raise _no_path(path, what) from error
    if not isinstance(text, str):
        raise _no_path(path, what)
    if not text or "\0" in text or not _encodable(text):
        raise InvalidInputError(f"{what} {shown(text)} is not a path; expected that of a file or folder")
    return text


def _no_path(path: object, what: str) -> InvalidTypeError:
    return InvalidTypeError(f"{what} {shown(path)} is not a path; expected a str or pathlib.Path")


def _expanded(text: str, what: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InvalidInputError(f"{what} {shown(text)} is not a path: {error}") from None


def _encodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _locate(text: str, revision: str | None) -> Location:
    path = Path(os.path.abspath(_expanded(text, "url")))
    for candidate in chain((path,), path.parents):
        if is_store(candidate):
            name = "" if path == candidate else path.relative_to(candidate).as_posix()
            return Location(path, candidate, name, revision)
    return Location(path, None, "", revision)
