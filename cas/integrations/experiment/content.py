"""What a run gives out, as the content of a file: in parts, so that equal parts are stored once."""

from __future__ import annotations

import io
import json
import math
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cas.chunking.cut import PIECE_BYTES
from cas.codec import cbor
from cas.errors import InvalidInputError, InvalidTypeError, shown
from cas.hashing import Bytes, hash_chunk
from cas.repo.location import local_path
from cas.tree.stream import row_key

PART_BYTES: Final = 64 * PIECE_BYTES
"""A part begins where a piece of a longer row would, so a file has the same chunks in one row or in many."""

_SAFETENSORS_DTYPES: Final = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e8m0fnu": "F8_E8M0",
    "int16": "I16",
    "uint16": "U16",
    "float16": "F16",
    "bfloat16": "BF16",
    "int32": "I32",
    "uint32": "U32",
    "float32": "F32",
    "complex64": "C64",
    "float64": "F64",
    "int64": "I64",
    "uint64": "U64",
}
"""In the order in which the reference implementation has them, which writes tensors of the last ones first."""
_RANKS: Final = {name: rank for rank, name in enumerate(_SAFETENSORS_DTYPES.values())}


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
    if _is_tensor(value):
        return Content(".npy", [_npy(value)])
    if isinstance(value, Mapping) and value and all(map(_is_tensor, value.values())):
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


def _is_tensor(value: object) -> bool:
    return isinstance(value, np.ndarray) or _is_torch(value)


def _is_torch(value: object) -> bool:
    torch = sys.modules.get("torch")  # a tensor of it is there only once it was imported
    return torch is not None and isinstance(value, torch.Tensor)


def tensor_parts(tensors: Mapping[str, Any]) -> Iterator[bytes]:
    """Yields a ``safetensors`` file of NumPy arrays and torch tensors: its header, and each tensor as a part.

    Tensors that are as they were in another run are thus stored once. It is the file that the reference implementation
    writes, so equal tensors are equal files.
    """
    found = sorted((_checked_tensor(name, tensor) for name, tensor in tensors.items()), key=_Tensor.order)
    header: dict[str, Any] = {}
    end = 0
    for tensor in found:
        start, end = end, end + tensor.size_bytes
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for tensor in found:
        yield tensor.read()


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor to be written: its name, dtype as the file names it, shape, size, and what gives its bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    read: Callable[[], bytes]

    def order(self) -> tuple[int, str]:
        """Returns what tensors are sorted by."""
        return -_RANKS[self.dtype], self.name


def _checked_tensor(name: object, tensor: Any) -> _Tensor:
    if not isinstance(name, str) or name == "__metadata__":
        raise InvalidTypeError(f"a tensor is named {shown(name)}; expected text other than '__metadata__'")
    dtype = str(tensor.dtype).removeprefix("torch.") if _is_torch(tensor) else tensor.dtype.name
    if dtype not in _SAFETENSORS_DTYPES:
        raise InvalidTypeError(
            f"tensor {name!r} has dtype {dtype}, which safetensors has not; give it as an array, or convert it"
        )
    shape = tuple(tensor.shape)
    size_bytes = tensor.dtype.itemsize * math.prod(shape)
    return _Tensor(name, _SAFETENSORS_DTYPES[dtype], shape, size_bytes, _reader(tensor))


def _reader(tensor: Any) -> Callable[[], bytes]:
    """What gives the bytes of a tensor in C order, little-endian."""
    if not _is_torch(tensor):
        return lambda: tensor.astype(tensor.dtype.newbyteorder("<"), copy=False).tobytes("C")
    torch = sys.modules["torch"]
    if tensor.layout != torch.strided or tensor.is_meta:
        raise InvalidTypeError(f"a tensor of layout {tensor.layout} on {tensor.device} has no plain values to keep")

    def read() -> bytes:
        flat = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
        data: bytes = flat.view(torch.uint8).numpy().tobytes()
        return data

    return read


def _npy(value: Any) -> bytes:
    array = value
    if _is_torch(value):
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
