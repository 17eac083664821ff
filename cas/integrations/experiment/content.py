"""What a run gives out, as the content of a file: in parts, so that equal parts are stored once."""

from __future__ import annotations

import io
import json
import math
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cas.chunking.cut import PIECE_BYTES
from cas.codec import cbor
from cas.errors import InvalidInputError, InvalidTypeError, shown
from cas.hashing import Bytes, hash_chunk
from cas.integrations.safetensors.header import METADATA, file_dtype, make_header
from cas.integrations.tensors.memory import elements_of, is_tensor
from cas.repo.location import local_path
from cas.tree.stream import row_key

PART_BYTES: Final = 64 * PIECE_BYTES
"""A part begins where a piece of a longer row would, so a file has the same chunks in one row or in many."""


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a file: what its name should end in, and its bytes, part by part, read when they are asked."""

    suffix: str
    parts: Iterable[Bytes]


class ContentKey:
    """What identifies the bytes that were fed to it, in parts of any length: the key of a row that holds them."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._rest = bytearray()
        self.size_bytes = 0

    def feed(self, part: Bytes) -> None:
        """Takes the next bytes."""
        self.size_bytes += len(part)
        view = memoryview(part)
        if self._rest:
            missing = PIECE_BYTES - len(self._rest)
            self._rest += view[:missing]
            view = view[missing:]
            if len(self._rest) < PIECE_BYTES:
                return
            self._pieces.append(hash_chunk(bytes(self._rest)))
            self._rest.clear()
        whole = len(view) - len(view) % PIECE_BYTES
        self._pieces += [hash_chunk(view[at : at + PIECE_BYTES]) for at in range(0, whole, PIECE_BYTES)]
        self._rest += view[whole:]

    def digest(self) -> bytes:
        """Returns the key."""
        last = [hash_chunk(bytes(self._rest))] if self._rest or not self._pieces else []
        return row_key([*self._pieces, *last])


def key_of(data: Bytes) -> str:
    """Returns what identifies the content of a file that is held in memory, in hexadecimal digits."""
    key = ContentKey()
    key.feed(data)
    return key.digest().hex()


def content_of(value: object) -> Content:
    """Returns the content of a file for what a run gives out.

    A path is the file itself, byte strings are what they are, a dict of tensors is a ``safetensors`` file, an array or
    tensor an ``npy`` file, and what JSON has, a ``json`` file.
    """
    if isinstance(value, (str, os.PathLike)):
        path = local_path(value, "the file")
        return Content(path.suffix, _file_parts(path))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Content("", [bytes(value)])
    if is_tensor(value):
        return Content(".npy", [_npy(value)])
    if isinstance(value, Mapping) and value and all(map(is_tensor, value.values())):
        return Content(".safetensors", tensor_parts(value))
    return Content(".json", [_json(value)])


def split_parts(parts: Iterable[Bytes]) -> Iterator[bytes]:
    """Yields parts of at most 16 MiB; one empty part where there is none."""
    any_part = False
    for part in parts:
        view = memoryview(part)
        for at in range(0, len(view), PART_BYTES):
            any_part = True
            yield bytes(view[at : at + PART_BYTES])
    if not any_part:
        yield b""


def _file_parts(path: str | os.PathLike[Any]) -> Iterator[bytes]:
    try:
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    except OSError as error:
        raise InvalidInputError(
            f"the file {os.fspath(path)!r} cannot be read: {error.strerror}; text itself is given as bytes or in a dict"
        ) from error
    with file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise InvalidInputError(f"{os.fspath(path)!r} is no regular file; give each file of a folder")
        while part := file.read(PART_BYTES):
            yield part
        after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise InvalidInputError(f"the file {os.fspath(path)!r} changed while it was read; give it when it is done")


def tensor_parts(tensors: Mapping[str, Any]) -> Iterator[Bytes]:
    """Yields a ``safetensors`` file of NumPy arrays and torch tensors: its header, and each tensor as a part.

    Tensors that are as they were in another run are thus stored once. It is the file that the reference implementation
    writes, so equal tensors are equal files.
    """
    header = make_header([_told(name, tensor) for name, tensor in tensors.items()], {})
    yield header.head
    for tensor in header.tensors:
        yield elements_of(tensors[tensor.name], tensor.name)[2].data


def _told(name: object, tensor: Any) -> tuple[str, str, tuple[int, ...], int]:
    """What a header tells of a tensor: its name, dtype as the file names it, shape and bytes."""
    if not isinstance(name, str) or name == METADATA:
        raise InvalidTypeError(f"a tensor is named {shown(name)}; expected text other than {METADATA!r}")
    dtype = getattr(tensor.dtype, "name", str(tensor.dtype))
    stored = file_dtype(dtype)
    if stored is None:
        raise InvalidTypeError(
            f"tensor {name!r} has dtype {dtype}, which safetensors has not; give it as an array, or convert it"
        )
    shape = tuple(tensor.shape)
    return name, stored, shape, tensor.dtype.itemsize * math.prod(shape)


def _npy(value: Any) -> bytes:
    array = value
    if not isinstance(value, np.ndarray):
        try:
            array = value.detach().cpu().numpy()
        except TypeError as error:
            raise InvalidTypeError(f"NumPy cannot hold the tensor: {error}; give it in a dict of tensors") from None
    if array.dtype.kind not in "biufcSUmM":
        raise InvalidTypeError(f"an array of dtype {array.dtype} has no exact npy file; give it in a dict of tensors")
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _json(value: object) -> bytes:
    try:
        cbor.encode_value(value)  # refuses keys that are no text, and text that is no Unicode
        return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise InvalidTypeError(
            f"an output of type {type(value).__name__} cannot be kept: {error}; expected a path, bytes, an array or "
            f"tensor, a dict of these tensors, or what JSON has"
        ) from None
