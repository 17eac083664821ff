"""Tensors of PyTorch and NumPy as bytes, without a copy where they lie as they are stored, and back."""

from __future__ import annotations

import sys
from typing import Any, Final

import numpy as np

from cas import types
from cas.codec.masked import is_masked
from cas.codec.rows import Flat
from cas.errors import InvalidInputError, InvalidTypeError, UnsupportedError, shown
from cas.integrations.tensors.table import TORCH, Row, check_size, no_elements
from cas.types import DTYPES

NUMPY: Final = "numpy"
FRAMEWORKS: Final = (NUMPY, "torch")
_LITTLE: Final = sys.byteorder == "little"


def is_tensor(value: object) -> bool:
    """Whether a value is an array of NumPy or a tensor of PyTorch, which is not imported for it."""
    return isinstance(value, np.ndarray) or _is_torch(value)


def _is_torch(value: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def elements_of(value: Any, name: str) -> tuple[str, tuple[int, ...], Flat]:
    """Returns the dtype, shape and bytes of a tensor, in C order and little-endian.

    Raises :class:`~cas.errors.InvalidInputError` for what has no such bytes: sparse and quantised tensors, arrays of
    objects, text or times.
    """
    dtype, shape, elements = _torch_elements(value, name) if _is_torch(value) else _numpy_elements(value, name)
    if dtype.removeprefix(TORCH) == "bool" and elements.max(initial=0) > 1:
        elements = (elements != 0).view(np.uint8)
    return dtype, shape, elements


def _numpy_elements(array: np.ndarray[Any, Any], name: str) -> tuple[str, tuple[int, ...], Flat]:
    if is_masked(array):
        raise InvalidTypeError(f"tensor {name!r} is a masked array; save its data and its mask")
    dtype = array.dtype
    if dtype.name not in DTYPES and dtype.type.__module__ != "ml_dtypes":
        raise InvalidTypeError(f"tensor {name!r} is of dtype {dtype}, which no checkpoint takes; expected numbers")
    flat = np.ascontiguousarray(array, dtype.newbyteorder("<")).reshape(-1)
    return dtype.name, array.shape, flat.view(np.uint8) if flat.size else no_elements()


def _torch_elements(tensor: Any, name: str) -> tuple[str, tuple[int, ...], Flat]:
    import torch

    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        kind = "quantised" if tensor.is_quantized else f"of layout {tensor.layout} on device {tensor.device}"
        raise InvalidTypeError(f"tensor {name!r} is {kind}; expected a dense one, as tensor.to_dense() gives")
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    if tensor.dtype.itemsize == 1:
        plain = plain.view(torch.uint8)  # some dtypes cannot be put in another order as what they are
    plain = plain.contiguous().reshape(-1)
    shape = tuple(tensor.shape)
    if not plain.numel():
        return str(tensor.dtype), shape, no_elements()
    elements: Flat = plain.view(torch.uint8).numpy()
    if not _LITTLE:
        elements = _swapped(elements, _real_bytes(tensor.dtype))
    return str(tensor.dtype), shape, elements


def _real_bytes(dtype: Any) -> int:
    """The bytes of one real number of a dtype of PyTorch."""
    return int(dtype.itemsize) // (2 if dtype.is_complex else 1)


def _swapped(elements: Flat, size: int) -> Flat:
    return elements.reshape(-1, size)[:, ::-1].reshape(-1)


def check_framework(framework: object) -> None:
    """Refuses what is no framework, and one that is not installed."""
    if framework is not None and framework not in FRAMEWORKS:
        raise InvalidInputError(
            f"framework={shown(framework)} is unknown; expected one of {FRAMEWORKS}, or None for what was saved"
        )
    if framework == "torch":
        _torch()


def tensor_of(row: Row, elements: Flat, framework: str | None) -> Any:
    """Returns the tensor of a row, which takes over the memory: of ``framework``, or as it was saved where None.

    Raises :class:`~cas.errors.UnsupportedError` for a dtype that the framework does not have.
    """
    column = row.dtype.removeprefix(TORCH)
    if framework == "torch" or (framework is None and row.dtype.startswith(TORCH)):
        return _torch_tensor(row, column, elements)
    return _numpy_array(row, column, elements)


def _numpy_array(row: Row, column: str, elements: Flat) -> np.ndarray[Any, Any]:
    dtype = types.numpy_dtype(column) if column in DTYPES else _other_dtype(row)
    check_size(row, elements, dtype.itemsize)
    array = elements.view(dtype).reshape(row.shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _other_dtype(row: Row) -> np.dtype[Any]:
    """A dtype that is none of a column, such as int4."""
    found = getattr(sys.modules.get("ml_dtypes"), row.dtype, None)
    if found is None:
        raise UnsupportedError(
            f"tensor {row.name!r} is of dtype {row.dtype}, which NumPy does not have; load it with framework='torch'"
        )
    dtype: np.dtype[Any] = np.dtype(found)
    return dtype


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise UnsupportedError(
            "tensors of PyTorch need the package torch; install it with: pip install 'tensor-cas[torch]', or load "
            "arrays with framework='numpy'"
        ) from None
    return torch


def _torch_tensor(row: Row, column: str, elements: Flat) -> Any:
    torch = _torch()
    dtype = getattr(torch, column, None)
    if not isinstance(dtype, torch.dtype):
        raise UnsupportedError(
            f"tensor {row.name!r} is of dtype {row.dtype}, which PyTorch does not have; load it with framework='numpy'"
        )
    check_size(row, elements, dtype.itemsize)
    if not len(elements):
        return torch.empty(row.shape, dtype=dtype)
    if not _LITTLE:
        elements = _swapped(elements, _real_bytes(dtype))
    return torch.from_numpy(elements).view(dtype).reshape(row.shape)
