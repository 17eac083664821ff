"""Column types to Arrow fields.

A field made here keeps the exact column type under the key ``cas`` of its metadata.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cas import types
from cas.errors import CasError
from cas.integrations.arrow.dicts import dict_from_json, dict_to_json
from cas.integrations.arrow.library import pa
from cas.types import ML_DTYPES, Type

KEY: Final = b"cas"


def arrow_field(name: str, type_: Type, metadata: Mapping[str, Any] | None = None, *, tensors: bool = False) -> Any:
    """Returns the Arrow field of a column, with its exact type and its metadata under ``cas``.

    With ``tensors``, arrays of one shape with two axes and more are of the extension type ``arrow.fixed_shape_tensor``,
    otherwise fixed-size lists in each other.
    """
    facts = {"type": type_.to_record()} | ({"metadata": metadata} if metadata else {})
    known = {KEY: dict_to_json(facts)}
    return pa.field(name, arrow_type(type_, tensors=tensors), nullable=type_.nullable, metadata=known)


def arrow_type(type_: Type, *, tensors: bool = False) -> Any:
    """Returns the Arrow type for the values of a column type."""
    match type_:
        case types.Nullable():
            return arrow_type(type_.of, tensors=tensors)
        case types.Sequence():
            return _list(arrow_type(type_.of), nullable=type_.of.nullable)
        case types.Text() | types.Dict():
            return pa.large_string()
        case types.Scalar():
            return element_type(type_.dtype)
        case types.DateTime():
            return pa.timestamp(type_.unit, "UTC")
        case types.ClassLabel():
            return pa.dictionary(element_type(str(type_.dtype)), pa.large_string())
    if isinstance(type_, types.Bytes) or (isinstance(type_, types.Image) and not type_.raw):
        return pa.large_binary()
    return _array_type(type_, tensors)


def _array_type(type_: Any, tensors: bool) -> Any:
    """Lists in each other, of which the outermost may be of any length; elements and shape where that is not enough."""
    of = element_type(type_.dtype)
    pixels = isinstance(type_, (types.Image, types.SegmentMask, types.BinaryMask))
    if pixels or None in type_.row_shape[1:]:
        parts = {"data": _list(of), "shape": _list(pa.int64())}
        return pa.struct([pa.field(name, part, nullable=False) for name, part in parts.items()])
    if tensors and is_tensor(type_):
        return pa.fixed_shape_tensor(of, type_.shape)
    if type_.row_shape[:1] == (None,):
        return _list(fixed_lists(of, type_.row_shape[1:]))
    return fixed_lists(of, type_.row_shape)


def is_tensor(type_: Type) -> bool:
    """Whether values are arrays of one shape with two axes or more."""
    return isinstance(type_, types.Array) and type_.fixed and len(type_.shape) > 1


def element_type(dtype: str) -> Any:
    """Returns the Arrow type of one element: what Arrow has no number for, as its bytes or its parts."""
    if dtype in ML_DTYPES:
        return pa.binary(ML_DTYPES[dtype])
    if dtype.startswith("complex"):
        return fixed_lists(element_type(f"float{int(dtype[7:]) // 2}"), (2,))
    return pa.bool_() if dtype == "bool" else pa.from_numpy_dtype(dtype)


def _list(of: Any, *, nullable: bool = False) -> Any:
    return pa.large_list(pa.field("item", of, nullable=nullable))


def fixed_lists(of: Any, shape: Sequence[int | None]) -> Any:
    """Returns the Arrow type of arrays of one shape: fixed-size lists in each other."""
    for size in reversed(shape):
        of = pa.list_(pa.field("item", of, nullable=False), size)
    return of


def field_facts(field: Any) -> dict[str, Any]:
    """Returns what a field tells under ``cas``: its column type and its metadata; empty where it does not."""
    try:
        facts = dict_from_json((field.metadata or {})[KEY].decode())
        type_ = types.from_record(facts.get("type"))
    except (KeyError, CasError, UnicodeDecodeError):
        return {}
    metadata = facts.get("metadata")
    return {"type": type_, "metadata": metadata if isinstance(metadata, dict) else {}}
