"""Dicts as JSON text and back, without loss.

What JSON has no equal for, such as bytes, times, arrays and infinity, stands as ``{"$cbor": "<base64>"}``, the bytes
that the store itself has for it; so does a dict that would be taken for one of these.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from typing import Any, Final

from cas.codec import cbor
from cas.errors import CorruptedError, InvalidInputError, InvalidTypeError, shown

_TAG: Final = "$cbor"
TAGGED: Final = f'{{"{_TAG}": '
"""How a value that JSON has no equal for begins in the text; a string in a dict has other quotes."""


def dict_to_json(value: dict[str, Any]) -> str:
    """Returns the JSON text of a dict.

    >>> dict_to_json({"id": 7, "tags": ["a"], "raw": b"hm"})
    '{"id": 7, "tags": ["a"], "raw": {"$cbor": "Qmht"}}'
    """
    return json.dumps(_to_json(value), ensure_ascii=False, allow_nan=False)


def dict_from_json(text: str) -> dict[str, Any]:
    """Returns the dict of a JSON text; refuses any other text."""
    try:
        value = json.loads(text, object_hook=_from_tagged, parse_constant=_refuse)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InvalidInputError(f"{shown(text)} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidTypeError(f"{shown(text)} is JSON, but not of a dict")
    return value


def _to_json(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() != {_TAG}:
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    plain = value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value))
    return value if plain else {_TAG: base64.b64encode(cbor.encode_value(value)).decode()}


def _from_tagged(value: dict[str, Any]) -> Any:
    if value.keys() != {_TAG}:
        return value
    try:
        return cbor.decode_value(base64.b64decode(value[_TAG], validate=True), what=f"a value under {_TAG!r}")
    except (CorruptedError, TypeError, ValueError, binascii.Error) as error:
        raise InvalidInputError(f"{shown(value)} is not base64 of a value: {error}") from None


def _refuse(constant: str) -> None:
    raise InvalidInputError(f"{constant} is not JSON")
