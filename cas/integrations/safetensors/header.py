"""The header of a file of safetensors: parsed with suspicion, written as the library does."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from cas.errors import InvalidInputError, shown

METADATA: Final = "__metadata__"
MOST_HEADER_BYTES: Final = 100_000_000
"""As in the library."""
_MOST: Final = 2**63
# From the name in a file to the name of the dtype and its bits; in the order in which the library writes tensors.
_DTYPES: Final[Mapping[str, tuple[str | None, int]]] = {
    "BOOL": ("bool", 8),
    "F4": (None, 4),
    "F6_E2M3": (None, 6),
    "F6_E3M2": (None, 6),
    "U8": ("uint8", 8),
    "I8": ("int8", 8),
    "F8_E5M2": ("float8_e5m2", 8),
    "F8_E4M3": ("float8_e4m3fn", 8),
    "F8_E8M0": ("float8_e8m0fnu", 8),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", 8),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", 8),
    "I16": ("int16", 16),
    "U16": ("uint16", 16),
    "F16": ("float16", 16),
    "BF16": ("bfloat16", 16),
    "I32": ("int32", 32),
    "U32": ("uint32", 32),
    "F32": ("float32", 32),
    "C64": ("complex64", 64),
    "F64": ("float64", 64),
    "I64": ("int64", 64),
    "U64": ("uint64", 64),
}
_ORDER: Final = list(_DTYPES)
_NAMES: Final = {dtype: name for name, (dtype, _) in _DTYPES.items() if dtype is not None}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as a header tells of it; ``start`` and ``stop`` count from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Header:
    """A header: the tensors in the order of its text, its metadata, and the text with the spaces behind it."""

    tensors: tuple[Tensor, ...]
    metadata: Mapping[str, str]
    text: bytes

    @property
    def data_bytes(self) -> int:
        """The bytes of all tensors."""
        return sum(tensor.stop - tensor.start for tensor in self.tensors)

    @property
    def head(self) -> bytes:
        """The bytes of the file before the tensors."""
        return len(self.text).to_bytes(8, "little") + self.text


def row_dtype(dtype: str) -> str:
    """Returns the dtype of a row for one of a file; those that no column has keep their name.

    >>> row_dtype("BF16"), row_dtype("F4")
    ('bfloat16', 'F4')
    """
    return _DTYPES[dtype][0] or dtype


def file_dtype(dtype: str) -> str | None:
    """Returns the dtype in a file for that of a row; None where files have none such.

    >>> file_dtype("torch.bfloat16"), file_dtype("BOOL"), file_dtype("complex128")
    ('BF16', 'BOOL', None)
    """
    base = dtype.removeprefix("torch.")
    return _NAMES.get(base) or (dtype if dtype in _DTYPES else None)


def parse_header(text: bytes, what: str) -> Header:
    """Returns a header; ``what`` names the file in errors.

    Raises :class:`~cas.errors.InvalidInputError` for what the library would refuse: JSON that is none, names or fields
    given twice, unknown dtypes, sizes that do not fit, and tensors that overlap or leave gaps.
    """
    try:
        fields = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise _invalid(what, f"its header is no valid JSON: {error}") from None
    if not isinstance(fields, dict):
        raise _invalid(what, "its header is no JSON object")
    metadata = fields.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _invalid(what, f"its {METADATA} are no texts")
    tensors = tuple(_tensor(name, entry, what) for name, entry in fields.items())
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.start, tensor.stop)):
        if tensor.start != end:
            raise _invalid(what, f"tensor {shown(tensor.name)} begins at {tensor.start}, where {end} is expected")
        end = tensor.stop
    return Header(tensors, metadata, text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _invalid(what: str, reason: str) -> InvalidInputError:
    return InvalidInputError(f"{what} is no valid file of safetensors: {reason}")


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < _MOST


def _tensor(name: str, entry: object, what: str) -> Tensor:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [start, stop]}:
            pass
        case _:
            raise _invalid(what, f"of tensor {shown(name)} it does not tell dtype, shape and data_offsets")
    if dtype not in _DTYPES:
        raise _invalid(what, f"tensor {shown(name)} has the unknown dtype {shown(dtype)}")
    if not all(map(_is_size, [*shape, start, stop])) or len(shape) > 64:
        raise _invalid(what, f"the sizes of tensor {shown(name)} are none")
    bits = math.prod(shape) * _DTYPES[dtype][1]
    if bits >= _MOST or bits != 8 * (stop - start):
        raise _invalid(
            what, f"tensor {shown(name)} of dtype {dtype} and shape {shape} does not take {stop - start} bytes"
        )
    try:
        name.encode()
    except UnicodeEncodeError:
        raise _invalid(what, f"the name {shown(name)} is no Unicode text") from None
    return Tensor(name, dtype, tuple(shape), start, stop)


def make_header(tensors: Iterable[tuple[str, str, Sequence[int], int]], metadata: Mapping[str, str]) -> Header:
    """Returns the header that the library writes for tensors, given as name, dtype of a file, shape and bytes."""
    fields: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    made = []
    end = 0
    for name, dtype, shape, size in sorted(tensors, key=lambda tensor: (-_ORDER.index(tensor[1]), tensor[0].encode())):
        fields[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        made.append(Tensor(name, dtype, tuple(shape), end, end + size))
        end += size
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    return Header(tuple(made), metadata, text + b" " * (-len(text) % 8))
