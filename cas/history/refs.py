"""Names for datasets, columns, branches and tags, and the records of refs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from cas.codec import cbor
from cas.codec.fields import is_hash, is_id, is_time
from cas.errors import CorruptedError, InvalidNameError

BRANCH: Final = "branch"
TAG: Final = "tag"
MAIN: Final = "main"
MAX_NAME_BYTES: Final = 255
_FORBIDDEN: Final = "@~:^\\"
# CBOR: in a map of five the shortest key comes first, "id", a string of 16 bytes; then "kind".
_KIND_AT: Final = len(b"\xa5\x62id\x50") + 16
_KIND_HEADS: Final = {TAG: b"\x64kind\x63tag", BRANCH: b"\x64kind\x66branch"}
_HEADS: Final = tuple(_KIND_HEADS.values())
# Of versions, and of branches, tags and datasets.
_ID: Final = re.compile(r"[0-9a-f]{64}|[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class RefRecord:
    """A branch or tag: the version it names, when that was, and a tag's own message and id."""

    kind: str
    version: bytes
    timestamp: int
    message: str
    id: bytes

    def encode(self) -> bytes:
        """Returns the stored form."""
        fields = ("kind", "version", "timestamp", "message", "id")
        return cbor.encode({field: getattr(self, field) for field in fields})

    @classmethod
    def decode(cls, data: bytes, what: str) -> RefRecord:
        """Returns the ref in its stored form; ``what`` names it in the error."""
        match cbor.decode(data, what=what):
            case {
                "kind": "branch" | "tag" as kind,
                "version": version,
                "timestamp": timestamp,
                "message": str(message),
                "id": id_,
            } if is_hash(version) and is_time(timestamp) and is_id(id_):
                return cls(kind, version, timestamp, message, id_)
        raise CorruptedError(f"{what} is not a valid ref", blob=what)


def keys_of_kind(rows: Iterable[tuple[bytes, bytes]], kind: str) -> list[bytes]:
    """Returns the keys of those rows of the table of refs that are branches, or tags, as their first bytes tell.

    For lists of names, of which nothing else is asked; rows of the table are sound, for they have seals.
    """
    head = _KIND_HEADS[kind]
    return [key for key, data in rows if data.startswith(head, _KIND_AT) or _is_unusual(data, kind)]


def _is_unusual(data: bytes, kind: str) -> bool:
    """Whether a ref that does not begin as they do is of a kind all the same."""
    return not data.startswith(_HEADS, _KIND_AT) and RefRecord.decode(data, "a ref").kind == kind


@dataclass(frozen=True, slots=True)
class ReflogRecord:
    """One move of a ref."""

    old: bytes | None
    new: bytes | None
    command: str
    message: str

    def encode(self) -> bytes:
        """Returns the stored form."""
        fields = ("old", "new", "command", "message")
        record: dict[str, Any] = {field: getattr(self, field) for field in fields}
        return cbor.encode(record)

    @classmethod
    def decode(cls, data: bytes) -> ReflogRecord:
        """Returns the entry in its stored form."""
        match cbor.decode(data, what="reflog entry"):
            case {
                "old": old,
                "new": new,
                "command": str(command),
                "message": str(message),
            } if (old is None or is_hash(old)) and (new is None or is_hash(new)):
                return cls(old, new, command, message)
        raise CorruptedError("an entry of the reflog is damaged", blob="reflog")


def check_ref_name(name: object, what: str) -> str:
    """Returns a valid name for a branch or tag; ``what`` says which in the error."""
    text = _check_text(name, what)
    if text.startswith("-") or ".." in text or any(character in _FORBIDDEN for character in text):
        raise InvalidNameError(
            f"{what} name {text!r} is not valid: it must not begin with '-' nor hold '..' or any of {_FORBIDDEN}"
        )
    if _ID.fullmatch(text):
        raise InvalidNameError(f"{what} name {text!r} is not valid: it looks like an id, by which others are found")
    return text


def check_column_name(name: object) -> str:
    """Returns a valid column name."""
    return _check_text(name, "column")


def check_title(name: object) -> str:
    """Returns a valid name for people to read, of a dataset."""
    return _check_text(name, "dataset")


def check_dataset_name(name: str) -> str:
    """Returns a valid dataset name: path segments joined by ``/``."""
    for segment in name.split("/"):
        check_ref_name(segment, "dataset")
        if segment == ".":
            raise InvalidNameError(f"dataset name {name!r} is not valid: a segment is '.'")
    _check_text(name, "dataset")
    return name


def _check_text(name: object, what: str) -> str:
    if not isinstance(name, str):
        raise InvalidNameError(f"{what} name {name!r} is not valid: expected text")
    if not name or name != name.strip():
        raise InvalidNameError(f"{what} name {name!r} is not valid: it is empty or has spaces around it")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise InvalidNameError(f"{what} name {name!r} is not valid: it holds control characters")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise InvalidNameError(f"{what} name {name[:20]!r}... is longer than {MAX_NAME_BYTES} bytes")
    return name
