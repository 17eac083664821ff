"""What is kept of a run, and where: all but the content of files in the details of its version.

So a list of runs reads one record a version and nothing else. Files are rows of the experiment's dataset, one for each
part of a file; the rows that a version inserts are those of its run.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from cas import types
from cas.errors import CorruptedError, UnsupportedError
from cas.hashing import hash_named

DETAIL: Final = "experiment"
FORMAT: Final = 1
FINISHED: Final = "finished"
FAILED: Final = "failed"
COLUMNS: Final = {
    "run": types.Text(),
    "path": types.Text(),
    "part": types.Int64,
    "content": types.Bytes(dedup="row"),
}
LOG_PATH: Final = "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class RunInput:
    """A version that a run used: url (relative ones begin at the experiment's store), id, tree, branch or tag."""

    url: str
    version: str
    tree: str
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class RunFile:
    """A file of a run: its path in a checkout, its size, and what identifies its content (:func:`row_key`), in hex."""

    path: str
    size_bytes: int
    key: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """All that is kept of a run but the content of its files; times are the client's, in UTC.

    ``code`` is None where there was no git; ``error`` is the type of what made the run fail; ``logged`` counts the
    rows of ``log``, the file of what was logged.
    """

    id: str
    status: str
    error: str | None
    started: dt.datetime
    ended: dt.datetime
    params: dict[str, Any]
    metrics: dict[str, Any]
    seeds: dict[str, Any]
    inputs: dict[str, RunInput]
    outputs: dict[str, RunFile]
    log: RunFile
    logged: int
    code: dict[str, Any] | None
    environment: dict[str, Any]

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.ended - self.started).total_seconds()

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields by name, as values that metadata takes."""
        return asdict(self)

    def to_details(self) -> dict[str, Any]:
        """Returns the details of the run's version."""
        return {DETAIL: {"format": FORMAT, **self.to_dict()}}


def record_of(details: Mapping[str, Any], what: str) -> RunRecord | None:
    """Returns the run that the details of a version tell of; None where they tell of none.

    Raises :class:`~cas.errors.UnsupportedError` for a format of a newer version, and ``CorruptedError`` for what this
    package would not have written; ``what`` names the version in errors.
    """
    fields = details.get(DETAIL)
    if not isinstance(fields, dict) or type(number := fields.get("format")) is not int:
        return None
    if number != FORMAT:
        raise UnsupportedError(
            f"the run of {what} has format {number}; this version reads {FORMAT}: install a newer one"
        )
    try:
        return _record_from({name: value for name, value in fields.items() if name != "format"})
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CorruptedError(f"the run of {what} lacks a field or holds a wrong one: {error}") from error


def _record_from(fields: dict[str, Any]) -> RunRecord:
    for name in ("params", "metrics", "seeds", "inputs", "outputs", "environment"):
        _check(fields[name], dict)
    _check(fields["id"], str)
    _check(fields["logged"], int)
    _check(fields["code"], dict, type(None))
    _check(fields["error"], str, type(None))
    if fields["status"] not in (FINISHED, FAILED):
        raise ValueError(f"the status is {fields['status']!r}")
    for name in ("started", "ended"):
        if _check(fields[name], dt.datetime).tzinfo is None:
            raise ValueError(f"{name} has no time zone")
    inputs = {name: _input_from(value) for name, value in fields["inputs"].items()}
    outputs = {name: _file_from(value) for name, value in fields["outputs"].items()}
    return RunRecord(**fields | {"inputs": inputs, "outputs": outputs, "log": _file_from(fields["log"])})


def _check(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        raise TypeError(f"{type(value).__name__} in the place of {kinds[0].__name__}")
    return value


def _input_from(value: Any) -> RunInput:
    found = RunInput(**value)
    for text in (found.url, found.version, found.tree):
        _check(text, str)
    _check(found.revision, str, type(None))
    if hash_named(found.version) is None or hash_named(found.tree) is None:
        raise ValueError("an input is named by what is no hash")
    return found


def _file_from(value: Any) -> RunFile:
    found = RunFile(**value)
    _check(found.path, str)
    if _check(found.size_bytes, int) < 0 or hash_named(_check(found.key, str)) is None:
        raise ValueError("a file has an impossible size or key")
    return found
