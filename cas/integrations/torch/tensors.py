"""Values of columns as tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils import data

from cas import types
from cas.errors import UnsupportedError
from cas.integrations.torch.reading import CHANNELS_LAST
from cas.types import ML_DTYPES, Type


def to_tensors(type_: Type, values: Any, layout: str) -> Any:
    """Returns the values of several rows as one tensor whose first axis counts them, or as a list of an item each."""
    match type_:
        case types.Nullable(of):
            return [None if value is None else _single(of, value, layout) for value in values]
        case types.Sequence(of):
            return [to_tensors(of, items, layout) for items in values]
        case types.ClassLabel():
            return as_tensor(values.astype(np.int64))
        case types.DateTime():
            return as_tensor(values)
        case types.Image() | types.SegmentMask() | types.BinaryMask():
            return [_pixels(type_, pixels, layout) for pixels in values]
        case types.Scalar(dtype) | types.Embedding(_, dtype) | types.Array(dtype) | types.BoundingBox(dtype):
            if isinstance(values, list):
                return [as_tensor(array, dtype) for array in values]
            return as_tensor(values, dtype)
    return values


def _single(type_: Type, value: Any, layout: str) -> Any:
    """One value, as an item of several would be."""
    if isinstance(value, (np.ndarray, np.generic)) and not _is_listed(type_):
        return to_tensors(type_, np.asarray(value), layout)
    return to_tensors(type_, [value], layout)[0]


def _is_listed(type_: Type) -> bool:
    """Whether several values are a list of arrays."""
    if isinstance(type_, types.Array):
        return not type_.fixed
    return not isinstance(type_, (types.Scalar, types.Embedding, types.ClassLabel, types.DateTime))


def as_tensor(array: NDArray[Any], dtype: str | None = None) -> torch.Tensor:
    """Returns an array as a tensor, which shares its memory where that may be written to.

    With a ``dtype`` of machine learning, the array holds the bits of its elements as integers.
    """
    tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    if dtype is None or dtype not in ML_DTYPES:
        return tensor
    of_torch = getattr(torch, dtype, None)
    if of_torch is None:
        raise UnsupportedError(f"PyTorch {torch.__version__} has no dtype {dtype}; install a newer one")
    return tensor.view(of_torch)


def _pixels(type_: Type, pixels: NDArray[Any], layout: str) -> Any:
    """An image or mask in the layout: with its channels first as a tensor, or last, as an array that is writable."""
    dtype = type_.dtype if isinstance(type_, types.Image) and type_.raw else None
    if layout == CHANNELS_LAST and dtype not in ML_DTYPES:
        return pixels if pixels.flags.writeable else pixels.copy()
    tensor = as_tensor(pixels, dtype)
    if layout == CHANNELS_LAST:
        return tensor
    if tensor.ndim == 3:
        return tensor.permute(2, 0, 1)
    return tensor[None] if isinstance(type_, types.Image) else tensor


def split_rows(columns: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the rows of columns, each as a dict; tensors of one share their memory."""
    parts = [values.unbind(0) if isinstance(values, torch.Tensor) else values for values in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*parts, strict=True)]


def to_batch(type_: Type, values: Any, layout: str) -> Any:
    """Returns the values of several rows as one tensor where they are numbers of one shape; others as a list."""
    found = to_tensors(type_, values, layout)
    if not isinstance(found, list) or not found:
        return found
    forms = {_form(value) for value in found}
    if None in forms:
        return found
    if len(forms) == 1:
        return _stacked(found)
    alike = isinstance(found[0], torch.Tensor) and len({value.dtype for value in found}) == 1
    return _Packed(found) if alike and data.get_worker_info() is not None else found


def _form(value: Any) -> tuple[Any, ...] | None:
    """What tensors that can be stacked have in common; None for what is no tensor."""
    return (value.dtype, tuple(value.shape)) if isinstance(value, (torch.Tensor, np.ndarray)) else None


class _Packed(list[Any]):
    """Tensors of one dtype and several shapes, which leave a worker as one: each takes a file and a connection."""

    def __copy__(self) -> _Packed:
        return _Packed(self)  # which PyTorch makes of lists, to convert what is in them

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, (torch.cat([tensor.reshape(-1) for tensor in self]), [tensor.shape for tensor in self])


def _unpacked(flat: torch.Tensor, shapes: Sequence[tuple[int, ...]]) -> list[torch.Tensor]:
    """The tensors that were packed; they share memory."""
    parts = flat.split([math.prod(shape) for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def _stacked(values: Sequence[Any]) -> torch.Tensor:
    """Several tensors or arrays of one form as one tensor.

    In a worker of a ``DataLoader`` it is made in the memory that is shared with the parent. Elsewhere NumPy does it: it
    takes large pages, which the system gives in a third of the time, and one thread, where PyTorch's wait for another.
    """
    tensor = isinstance(values[0], torch.Tensor)
    if data.get_worker_info() is not None or (tensor and str(values[0].dtype).removeprefix("torch.") in ML_DTYPES):
        stacked: torch.Tensor = data.default_collate(list(values))
        return stacked
    arrays = [np.asarray(value) for value in values]
    whole = np.empty((len(arrays), *arrays[0].shape), arrays[0].dtype)
    for number, array in enumerate(arrays):
        whole[number] = array
    return torch.from_numpy(whole)
