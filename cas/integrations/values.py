"""Stored values in words: read without decoding images, and in short form, for the command line and for notebooks."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cas.codec.image_format import NotAnImageError, image_format, image_size
from cas.codec.json_terms import to_json
from cas.codec.rows import Ints, Rows
from cas.codec.sequences import unframe_items
from cas.dataset.column import ReadOnlyColumn
from cas.dataset.summary import format_bytes
from cas.hashing import hash_chunk
from cas.history.missing import MISSING
from cas.types import (
    Array,
    BinaryMask,
    BoundingBox,
    Bytes,
    ClassLabel,
    DateTime,
    Dict,
    Embedding,
    Image,
    Nullable,
    SegmentMask,
    Sequence,
    Type,
)

CHARACTERS: Final = 60
_SHORT_ARRAY: Final = 8
_HASH_DIGITS: Final = 8


def plain_type(type_: Type) -> Type:
    """Returns the type of the values that are there, of a column that may miss some."""
    return type_.of if isinstance(type_, Nullable) else type_


def printable(text: str) -> str:
    """Returns text that is safe on a terminal: control characters are shown as escapes.

    >>> printable("cat\\x1b[2J")
    'cat\\\\x1b[2J'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# Reading


def read_values(column: ReadOnlyColumn, rows: range | Ints) -> Iterator[Any]:
    """Yields the values of rows; for images the facts of :func:`image_facts`, for classes their names.

    A range must have step 1. Images are not decoded; arrays, which may be large, are read one at a time.
    """
    kind, item = plain_type(column.type), _innermost(column.type)
    if isinstance(item, Image) and not item.raw:
        yield from (_undecoded(kind, data) for data in _stored(column, rows))
    elif _may_be_large(kind):
        yield from (named_value(kind, column[int(row)]) for row in rows)
    else:
        yield from (named_value(kind, value) for value in column[rows])


def _stored(column: ReadOnlyColumn, rows: range | Ints) -> Iterator[bytes]:
    if isinstance(rows, range):
        for batch in column.bytes_batches(rows.start, rows.stop):
            yield from batch
    else:
        yield from (column.bytes(int(row)) for row in rows)


def _may_be_large(kind: Type) -> bool:
    return isinstance(kind, (Array, Embedding, BoundingBox, SegmentMask, BinaryMask, Image, Sequence))


def _innermost(type_: Type) -> Type:
    """The type of the items of the items of a sequence."""
    kind = plain_type(type_)
    return _innermost(kind.of) if isinstance(kind, Sequence) else kind


def named_value(type_: Type, value: Any) -> Any:
    """Returns a value with names in place of codes of classes, and facts in place of pixels of images."""
    kind = plain_type(type_)
    if value is None or value is MISSING:
        return value
    if isinstance(kind, Sequence) and isinstance(_innermost(kind), (ClassLabel, Image)):
        return [named_value(kind.of, item) for item in value]
    if isinstance(kind, ClassLabel):
        return kind.int2str(int(value))
    return _pixel_facts(kind, value) if isinstance(kind, Image) else value


def _pixel_facts(type_: Image, pixels: Any) -> dict[str, Any]:
    return {
        "format": "raw" if type_.raw else "pixels",
        "dtype": str(pixels.dtype),
        "shape": list(pixels.shape),
        "size_bytes": pixels.nbytes,
        "hash": hash_chunk(pixels.tobytes()).hex(),
    }


def _undecoded(type_: Type, data: bytes) -> Any:
    """The facts of an encoded image, or of those of a sequence; neither is ever empty where there is one."""
    kind = plain_type(type_)
    if not data:
        return None
    if isinstance(kind, Sequence):
        items, _ = unframe_items(Rows.from_list([data]), None)
        return [_undecoded(kind.of, bytes(item)) for item in items]
    return image_facts(data)


def picture_at(column: ReadOnlyColumn, row: int) -> bytes | NDArray[Any] | None:
    """Returns the encoded image of a row, which is never empty, the pixels of a raw one, or none."""
    kind = plain_type(column.type)
    if isinstance(kind, Image) and not kind.raw:
        return column.bytes(row) or None
    found: Any = column[row]
    assert found is None or isinstance(found, np.ndarray)
    return found


def image_facts(data: bytes) -> dict[str, Any]:
    """Returns the format, the size, the BLAKE3 hash of an encoded image, and width and height where a header has them.

    The hash is what ``b3sum`` prints for the file.
    """
    try:
        name = image_format(data)
    except NotAnImageError:
        name = "unknown"
    size = image_size(data)
    extent = {} if size is None else {"width": size[0], "height": size[1]}
    return {"format": name, "size_bytes": len(data), **extent, "hash": hash_chunk(data).hex()}


# Short form


def show_value(type_: Type, value: Any) -> str:
    """Returns a value, as it is read by :func:`read_values`, for a table of values."""
    return _shown(type_, value)[0]


def describe_value(type_: Type | None, value: Any) -> str:
    """Returns a value in a form in which different values look different; of metadata ``type_`` is None.

    Text stands in quotes; what is not shown in full ends with the first digits of its hash; what is missing is a dash.

    >>> from cas.types import Int64, Text
    >>> describe_value(Text(), "a cat"), describe_value(Int64, 5), describe_value(Int64, MISSING)
    ('"a cat"', '5', '-')
    """
    if value is MISSING:
        return "-"
    kind = None if type_ is None else plain_type(type_)
    if isinstance(value, str):
        text, whole = _shortened(value)
        text = text if isinstance(kind, ClassLabel) else f'"{text}"'
    else:
        text, whole = _shown(kind, value)
    if isinstance(kind, Image) and value is not None:
        text = image_text(value)
    return text if whole else f"{text}, {_digits(value)}"


def image_text(facts: dict[str, Any]) -> str:
    """Returns the facts of an image, but its hash, in a few words.

    >>> image_text({"format": "png", "size_bytes": 2048, "width": 32, "height": 24})
    'png 32x24, 2.0 KiB'
    """
    what = facts["format"]
    if "width" in facts:
        what += f" {facts['width']}x{facts['height']}"
    elif "shape" in facts:
        what += f" {_array_text(facts['dtype'], facts['shape'])}"
    return f"{what}, {format_bytes(facts['size_bytes'])}"


def _digits(value: Any) -> str:
    match value:
        case {"format": _, "hash": str(digits)}:
            return digits[:_HASH_DIGITS]
        case bytes():
            data = value
        case str():
            data = value.encode()
        case np.ndarray():
            data = value.tobytes()
        case _:
            data = json.dumps(to_json(value)).encode()
    return hash_chunk(data).hex()[:_HASH_DIGITS]


def _shown(type_: Type | None, value: Any) -> tuple[str, bool]:
    """A value in short form, and whether that is all of it."""
    if value is None:
        return "null", True
    kind = None if type_ is None else plain_type(type_)
    if isinstance(kind, Image):
        return f"{value['format']}, {format_bytes(value['size_bytes'])}", False
    if isinstance(kind, Sequence):
        return _shown_items(kind, value)
    if isinstance(kind, (DateTime, Dict)) or isinstance(value, (dict, list, dt.datetime)):
        return _shortened(_text(to_json(value)))
    if isinstance(kind, Bytes) or isinstance(value, bytes):
        return format_bytes(len(value)), False
    if isinstance(value, np.ndarray):
        return _shown_array(value)
    return _shortened(str(value))


def _shown_items(type_: Sequence, value: Any) -> tuple[str, bool]:
    if len(value) > _SHORT_ARRAY:
        return f"{len(value):,} items", False
    items = [_shown_item(type_.of, item) for item in value]
    text, whole = _shortened(f"[{', '.join(item for item, _ in items)}]")
    return text, whole and all(whole for _, whole in items)


def _shown_item(type_: Type, value: Any) -> tuple[str, bool]:
    return (json.dumps(value, ensure_ascii=False), True) if isinstance(value, str) else _shown(type_, value)


def _shown_array(value: np.ndarray[Any, Any]) -> tuple[str, bool]:
    if value.size <= _SHORT_ARRAY and max(value.shape, default=0) <= _SHORT_ARRAY:
        return json.dumps(to_json(value)), True
    return _array_text(str(value.dtype), value.shape), False


def _array_text(dtype: str, shape: Any) -> str:
    return f"{dtype}[{', '.join(map(str, shape))}]"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shortened(value: str) -> tuple[str, bool]:
    """The beginning of a text, safe on a terminal, and whether it is all of it."""
    whole = len(value) <= CHARACTERS
    text = printable(value if whole else value[:CHARACTERS])
    return (text, True) if whole and len(text) <= CHARACTERS else (text[: CHARACTERS - 1] + "…", False)
