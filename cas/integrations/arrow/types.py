"""Arrow types to column types.

Where the Arrow type of a field is no longer that of the column type it keeps, as after a cast, the Arrow type counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from cas import types
from cas.errors import InvalidTypeError
from cas.integrations.arrow.fields import arrow_type, field_facts, fixed_lists
from cas.integrations.arrow.library import pa, pc
from cas.types import Type

_MAX_CLASSES: Final = 2**16
"""More distinct values of an Arrow dictionary are texts rather than classes."""
_ADVICE: Final = {
    "null": "all of its values are missing: say what they would be, as schema={{{column!r}: Nullable('text')}}",
    "decimal": "cast it to string, to keep every digit, or to float64 or int64",
    "duration": "cast it to int64, the count of its unit",
    "time": "cast it to int64, the count of its unit since midnight",
    "interval": "cast it to a struct or to string",
}


def cas_type(field: Any, chunks: Sequence[Any] | None = None) -> Type:
    """Returns the column type for an Arrow field.

    With ``chunks``, all of its values, it is nullable where a value is missing; without, where the field allows it.
    Raises :class:`~cas.errors.InvalidTypeError`, with the column, for an Arrow type that has no equal.
    """
    chunks = None if chunks is None else [stored(chunk) for chunk in chunks]
    kept = field_facts(field).get("type")
    if kept is not None and _same(field.type, arrow_type(kept)):
        return types.Nullable(kept) if _missing(field, chunks) and not kept.nullable else kept
    return _from_field(field, chunks, field.name)


def type_of_array(array: Any, column: str) -> Type:
    """Returns the column type for all values of a column, an Arrow array or a chunked one."""
    chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    return cas_type(pa.field(column, array.type), chunks)


def _same(given: Any, expected: Any) -> bool:
    """Whether two Arrow types hold the same values, whatever they allow to be missing and however long lists may be."""
    return bool(_form(given) == _form(expected))


def _form(type_: Any) -> Any:
    kinds = pa.types
    if isinstance(type_, pa.FixedShapeTensorType):
        return _form(fixed_lists(type_.value_type, tensor_shape(type_)))
    if kinds.is_dictionary(type_):
        return "dictionary", _form(type_.value_type)
    if kinds.is_fixed_size_list(type_):
        return type_.list_size, _form(type_.value_type)
    if is_list(type_):
        return "list", _form(type_.value_type)
    if kinds.is_struct(type_):
        return tuple((field.name, _form(field.type)) for field in type_)
    if is_text(type_):
        return "text"
    return "bytes" if is_bytes(type_) else str(type_)


def is_text(type_: Any) -> bool:
    """Whether values of an Arrow type are text, in any layout."""
    kinds = pa.types
    return bool(kinds.is_string(type_) or kinds.is_large_string(type_) or kinds.is_string_view(type_))


def is_bytes(type_: Any) -> bool:
    """Whether values of an Arrow type are byte strings of any length, in any layout."""
    kinds = pa.types
    return bool(kinds.is_binary(type_) or kinds.is_large_binary(type_) or kinds.is_binary_view(type_))


def is_list(type_: Any) -> bool:
    """Whether values of an Arrow type are lists of any length, in any layout."""
    kinds = pa.types
    views = kinds.is_list_view(type_) or kinds.is_large_list_view(type_)
    return bool(kinds.is_list(type_) or kinds.is_large_list(type_) or views)


def has_items(type_: Any) -> bool:
    """Whether values of an Arrow type are lists, of any length or of one."""
    return is_list(type_) or bool(pa.types.is_fixed_size_list(type_))


def tensor_shape(type_: Any) -> tuple[int, ...]:
    """Returns the shape of the tensors of an extension type, as they are seen: with its axes permuted."""
    shape = type_.shape
    return tuple(shape[axis] for axis in type_.permutation) if type_.permutation else tuple(shape)


def _from_field(field: Any, chunks: Sequence[Any] | None, column: str) -> Type:
    """The column type for an Arrow type, and for what is in it; ``column`` is for the error."""
    of = _from_arrow(field.type, chunks, column)
    return types.Nullable(of) if _missing(field, chunks) else of


def _missing(field: Any, chunks: Sequence[Any] | None) -> bool:
    return bool(field.nullable if chunks is None else any(chunk.null_count for chunk in chunks))


def stored(array: Any) -> Any:
    """Returns an array without what is only another form of its values: extensions, run lengths, views, dictionaries.

    Tensors stay, and dictionaries of text in which none is missing.
    """
    if isinstance(array, pa.ExtensionArray) and not isinstance(array.type, pa.FixedShapeTensorType):
        return stored(array.storage)
    if pa.types.is_run_end_encoded(array.type):
        return stored(pc.run_end_decode(array))
    if pa.types.is_dictionary(array.type):
        names = stored(array.dictionary)
        plain = pa.DictionaryArray.from_arrays(array.indices, names)
        return plain if is_text(names.type) and not names.null_count else plain.dictionary_decode()
    if pa.types.is_list_view(array.type) or pa.types.is_large_list_view(array.type):
        return _lists_of_views(array)
    return array.cast(_without_views(array.type)) if _has_views(array.type) else array


def _lists_of_views(array: Any) -> Any:
    """Lists in order, for list views; the cast of pyarrow 26 loses their items."""
    return list_array(array, stored(array.flatten()))


def list_array(array: Any, items: Any) -> Any:
    """Returns lists as long as those of an array, and missing where they are, of other items, one after the other."""
    counts = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.cumsum(np.concatenate([[0], counts]), dtype=np.int64))
    return pa.LargeListArray.from_arrays(offsets, items, mask=array.is_null())


def _has_views(type_: Any) -> bool:
    """Whether there are views of text or bytes in an Arrow type, for which pyarrow lacks most functions."""
    if pa.types.is_string_view(type_) or pa.types.is_binary_view(type_):
        return True
    return any(_has_views(type_.field(number).type) for number in range(type_.num_fields))


def _without_views(type_: Any) -> Any:
    kinds = pa.types
    if is_text(type_) or is_bytes(type_):
        return pa.large_string() if is_text(type_) else pa.large_binary()
    if kinds.is_list(type_) or kinds.is_large_list(type_):
        return pa.large_list(type_.value_field.with_type(_without_views(type_.value_type)))
    if kinds.is_fixed_size_list(type_):
        return pa.list_(type_.value_field.with_type(_without_views(type_.value_type)), type_.list_size)
    if kinds.is_struct(type_):
        return pa.struct([field.with_type(_without_views(field.type)) for field in type_])
    return type_


def _from_arrow(type_: Any, chunks: Sequence[Any] | None, column: str) -> Type:
    kinds = pa.types
    if isinstance(type_, pa.FixedShapeTensorType):
        return types.Array(_dtype(type_.value_type, column), tensor_shape(type_))
    if isinstance(type_, pa.BaseExtensionType):
        return _from_arrow(type_.storage_type, chunks, column)
    if kinds.is_dictionary(type_) and is_text(type_.value_type):
        return _classes(chunks)
    if kinds.is_run_end_encoded(type_) or kinds.is_dictionary(type_):
        return _from_arrow(type_.value_type, chunks, column)
    if kinds.is_fixed_size_list(type_) and _is_array(type_, chunks):
        shape, of = _fixed_shape(type_)
        return types.Array(_dtype(of, column), shape)
    if has_items(type_):
        items = None if chunks is None else [stored(chunk.flatten()) for chunk in chunks]
        return types.Sequence(_from_field(type_.value_field, items, column))
    for is_kind, equal in _PLAIN.items():
        if is_kind(type_):
            return equal(type_)
    return types.Scalar(_dtype(type_, column))


def _fixed_shape(type_: Any) -> tuple[tuple[int, ...], Any]:
    shape: tuple[int, ...] = ()
    while pa.types.is_fixed_size_list(type_):
        shape, type_ = (*shape, type_.list_size), type_.value_type
    return shape, type_


def _is_array(type_: Any, chunks: Sequence[Any] | None) -> bool:
    """Whether fixed-size lists are arrays: of numbers, none of which is missing."""
    kinds = pa.types
    while kinds.is_fixed_size_list(type_):
        chunks = None if chunks is None else [chunk.flatten() for chunk in chunks]
        if any(chunk.null_count for chunk in chunks or ()):
            return False
        type_ = type_.value_type
    return bool(kinds.is_boolean(type_) or kinds.is_integer(type_) or kinds.is_floating(type_))


def _classes(chunks: Sequence[Any] | None) -> Type:
    """The classes that an Arrow dictionary of text names; text where it is none, of too many or not of names."""
    if not chunks or not all(pa.types.is_dictionary(chunk.type) for chunk in chunks):
        return types.Text()
    names = pa.chunked_array(chunks).unify_dictionaries().chunk(0).dictionary.to_pylist()
    if 0 < len(names) <= _MAX_CLASSES and all(names) and len(set(names)) == len(names):
        return types.ClassLabel(names)
    return types.Text()


def _dtype(type_: Any, column: str) -> str:
    """The dtype of numbers."""
    kinds = pa.types
    if kinds.is_boolean(type_):
        return "bool"
    if kinds.is_integer(type_) or kinds.is_floating(type_):
        return str(np.dtype(type_.to_pandas_dtype()).name)
    advice = next((advice for kind, advice in _ADVICE.items() if kind in str(type_)), "cast it, or leave it out")
    raise InvalidTypeError(
        f"column {column!r} is of the Arrow type {type_}, which has no equal; {advice.format(column=column)}",
        column=column,
    )


_PLAIN: Final[Mapping[Callable[[Any], Any], Callable[[Any], Type]]] = {
    pa.types.is_timestamp: lambda type_: types.DateTime(type_.unit),
    pa.types.is_date: lambda _: types.DateTime("s"),
    pa.types.is_struct: lambda _: types.Dict(),
    pa.types.is_map: lambda _: types.Dict(),
    is_text: lambda _: types.Text(),
    is_bytes: lambda _: types.Bytes(),
    pa.types.is_fixed_size_binary: lambda _: types.Bytes(),
}
