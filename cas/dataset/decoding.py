"""Images of a column decoded in the reader's threads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from cas import types
from cas.codec.images import decode_image
from cas.codec.rows import Rows
from cas.codec.values import decode_values
from cas.errors import InvalidInputError
from cas.store.threads import map_in_pool
from cas.types import DATA, Type

_TASK_BYTES: Final = 64 << 10
"""Of encoded images: decoding them takes about a millisecond, and handing a task over some hundredths of one."""

Decode = Callable[[bytes], Any]


def as_stored(type_: Type) -> Type:
    """Returns the type whose values are the files of encoded images, where a type has such; others as they are.

    >>> str(as_stored(types.Sequence("image"))), str(as_stored(types.Image("uint8", None)))
    ('sequence[bytes]', 'image[raw, uint8]')
    """
    if isinstance(type_, types.Image) and not type_.raw:
        return types.Bytes()
    if isinstance(type_, (types.Nullable, types.Sequence)):
        return dataclasses.replace(type_, of=as_stored(type_.of))
    return type_


def decode_rows(type_: Type, streams: Mapping[str, Rows]) -> Any:
    """Returns the values of rows as :func:`~cas.codec.values.decode_values` does, images in several threads."""
    stored = as_stored(type_)
    values = decode_values(stored, streams)
    if stored is type_ or stored == type_:
        return values
    return decode_files(values, decode_image, streams[DATA].nbytes)


def decode_files(files: Sequence[Any], decode: Decode, size_bytes: int, threads: bool = True) -> list[Any]:
    """Returns what a function makes of each row's file, of those of ``size_bytes`` in all, in several ``threads``.

    Rows that are missing stay so, and those that are lists of files become lists. The error of one that cannot be
    decoded has its number among them as ``row``.
    """
    batch = 1 + (_TASK_BYTES * len(files) // max(1, size_bytes) if threads else len(files))
    return map_in_pool(partial(_decode_row, decode), list(enumerate(files)), batch=batch)


def _decode_row(decode: Decode, numbered: tuple[int, Any]) -> Any:
    row, file = numbered
    try:
        return _decode_nested(decode, file)
    except InvalidInputError as error:
        error.row = row
        raise


def _decode_nested(decode: Decode, file: Any) -> Any:
    if isinstance(file, list):
        return [_decode_nested(decode, inner) for inner in file]
    return None if file is None else decode(file)
