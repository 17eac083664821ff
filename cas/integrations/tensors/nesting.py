"""Dicts of tensors, nested as those of optimizers are, as rows with a name each, and back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from cas.codec import cbor
from cas.errors import CorruptedError, InvalidInputError, InvalidTypeError, shown
from cas.integrations.tensors.memory import elements_of, is_tensor
from cas.integrations.tensors.table import VALUE, Entry

_DICT: Final = "dict"
_LIST: Final = "list"
_TUPLE: Final = "tuple"
_KINDS: Final = (_DICT, _LIST, _TUPLE)
_MOST_LEVELS: Final = 32
_SCALARS: Final = (bool, int, float, str, bytes, dt.datetime, np.generic)
Key = str | int
Step = tuple[str, Key]
"""What a key is a key of, and the key."""


def flatten(tensors: object) -> list[Entry]:
    """Returns the rows for a dict of tensors: one for each tensor, and one for each part that holds none.

    A row of the outermost dict has its key as name; one further in has the keys that lead there, joined by dots, and
    its path. Raises :class:`~cas.errors.InvalidInputError`, which names it, for what cannot be kept, and where two
    rows would have one name.
    """
    if not isinstance(tensors, Mapping):
        raise InvalidTypeError(
            f"{shown(tensors)} is {type(tensors).__name__}; expected a dict of tensors, as model.state_dict() gives"
        )
    entries: dict[str, Entry] = {}
    for steps, leaf in _leaves(tensors, ()):
        entry = _entry(steps, leaf)
        if entry.name in entries:
            raise InvalidInputError(f"two parts would be called {entry.name!r}; give them other keys")
        entries[entry.name] = entry
    return list(entries.values())


def _leaves(value: Any, steps: tuple[Step, ...]) -> Iterator[tuple[tuple[Step, ...], Any]]:
    """The tensors in a container, and its largest parts without any, with the steps that lead there."""
    for step, part in _children(value, steps):
        if _holds_tensors(part, len(steps) + 1):
            yield from _leaves(part, (*steps, step))
        else:
            yield (*steps, step), part


def _children(value: Any, steps: tuple[Step, ...]) -> Iterator[tuple[Step, Any]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            if isinstance(key, bool) or not isinstance(key, (str, int) if steps else str):
                raise InvalidTypeError(f"key {shown(key)} {_below(steps)} is {type(key).__name__}; expected a str")
            yield (_DICT, key), part
    else:
        kind = _TUPLE if isinstance(value, tuple) else _LIST
        for number, part in enumerate(value):
            yield (kind, number), part


def _below(steps: tuple[Step, ...]) -> str:
    return f"in {_name(steps)!r}" if steps else "of the dict"


def _name(steps: tuple[Step, ...]) -> str:
    return ".".join(str(key) for _, key in steps)


def _is_container(value: object) -> bool:
    return isinstance(value, (Mapping, list, tuple))


def _holds_tensors(value: Any, level: int) -> bool:
    if not _is_container(value):
        return False
    if level > _MOST_LEVELS:
        raise InvalidInputError(f"the dict is nested more than {_MOST_LEVELS} deep, or holds itself; flatten it")
    parts = value.values() if isinstance(value, Mapping) else value
    return any(is_tensor(part) or _holds_tensors(part, level + 1) for part in parts)


def _entry(steps: tuple[Step, ...], leaf: Any) -> Entry:
    name = _name(steps)
    nested = len(steps) > 1
    path = {"in": [kind for kind, _ in steps], "keys": [key for _, key in steps]} if nested else None
    if is_tensor(leaf):
        dtype, shape, elements = elements_of(leaf, name)
        return Entry(name, dtype, shape, path, elements)
    try:
        value = {VALUE: _to_plain(leaf)}
        cbor.encode_value(value)
    except InvalidInputError as error:
        raise type(error)(f"{name!r} cannot be saved: {error}") from None
    return Entry(name, VALUE, path=path, value=value)


def _to_plain(value: Any) -> Any:
    """A value as one that a column of dicts takes: other containers than lists as a dict that says what they are."""
    if value is None or isinstance(value, _SCALARS):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if isinstance(key, bool) or not isinstance(key, (str, int)):
                raise InvalidTypeError(f"key {shown(key)} is {type(key).__name__}; expected a str or an int")
        return {_DICT: [[key, _to_plain(part)] for key, part in value.items()]}
    if isinstance(value, tuple):
        return {_TUPLE: [_to_plain(part) for part in value]}
    if isinstance(value, list):
        return [_to_plain(part) for part in value]
    raise InvalidTypeError(
        f"{shown(value)} is {type(value).__name__}; expected a tensor, None, bool, int, float, str, bytes, datetime, "
        f"or lists, tuples and dicts of these"
    )


def value_of(row: Mapping[str, Any] | None) -> Any:
    """Returns the value that a row of the column of values holds."""
    if row is None or VALUE not in row:
        raise CorruptedError(f"a row holds {shown(row)} where a value is expected")
    return _from_plain(row[VALUE])


def _from_plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_plain(part) for part in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"tuple": list(parts)}:
            return tuple(_from_plain(part) for part in parts)
        case {"dict": list(pairs)} if all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            return {key: _from_plain(part) for key, part in pairs}
    raise CorruptedError(f"a row holds {shown(value)} where a value is expected")


def unflatten(parts: Iterable[tuple[str, Mapping[str, Any] | None, Any]]) -> dict[str, Any]:
    """Returns the dict that rows come from, given as name, path and value or tensor."""
    root = _Container(_DICT)
    for name, path, value in parts:
        steps = [(_DICT, name)] if path is None else _steps(name, path)
        root.put(steps, name, value)
    built: dict[str, Any] = root.build()
    return built


def _steps(name: str, path: Mapping[str, Any]) -> Sequence[tuple[str, Any]]:
    match path:
        case {"in": list(kinds), "keys": list(keys)} if len(kinds) == len(keys) > 0:
            steps = list(zip(kinds, keys, strict=True))
            if kinds[0] == _DICT and all(kind in _KINDS and isinstance(key, (str, int)) for kind, key in steps):
                return steps
    raise CorruptedError(f"the path of {name!r} is none: {shown(path)}")


class _Container:
    """A dict, list or tuple that is being put together."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._parts: dict[Any, Any] = {}

    def put(self, steps: Sequence[tuple[str, Any]], name: str, value: Any) -> None:
        """Puts a value where some steps lead."""
        container = self
        for (_, key), (kind, _) in pairwise(steps):
            inner = container._parts.setdefault(key, _Container(kind))
            if not isinstance(inner, _Container) or inner._kind != kind:
                raise CorruptedError(f"the path of {name!r} leads through what is no {kind}")
            container = inner
        key = steps[-1][1]
        if key in container._parts:
            raise CorruptedError(f"the path of {name!r} leads to where another row stands")
        container._parts[key] = value

    def build(self) -> Any:
        """Returns what was put together; parts of lists and tuples in the order of their numbers."""
        built = {key: part.build() if isinstance(part, _Container) else part for key, part in self._parts.items()}
        if self._kind == _DICT:
            return built
        ordered = [built[key] for key in sorted(built)]
        return ordered if self._kind == _LIST else tuple(ordered)
