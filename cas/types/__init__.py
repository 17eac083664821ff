"""Column types: what a value is, how it is described in the schema, and how its rows are laid out.

A type is an immutable value. It knows the streams that hold its rows (FORMAT sections 3 and 6); turning
values into rows and back is the work of :mod:`cas.codec.values`.

>>> from cas import types
>>> schema = {"photo": types.Image(), "label": types.ClassLabel(["cat", "dog"]), "boxes": types.BoundingBox()}
"""

from cas.types.arrays import Array, BoundingBox, Embedding
from cas.types.base import Type
from cas.types.dtypes import (
    DTYPES,
    ML_DTYPES,
    NUMPY_DTYPES,
    dtype_name,
    element_bytes,
    element_kind,
    native_dtype,
    numpy_dtype,
)
from cas.types.labels import ClassLabel
from cas.types.layout import DATA, MASK, SHAPE, Layout
from cas.types.nesting import Nullable, Sequence, as_type, from_record
from cas.types.pixels import BinaryMask, Image, SegmentMask
from cas.types.plain import TIME_UNITS, Bytes, DateTime, Dict, Scalar, Text

__all__ = [
    "DATA",
    "DTYPES",
    "MASK",
    "ML_DTYPES",
    "NUMPY_DTYPES",
    "SHAPE",
    "TIME_UNITS",
    "Array",
    "BFloat16",
    "BinaryMask",
    "Bool",
    "BoundingBox",
    "Bytes",
    "ClassLabel",
    "Complex64",
    "Complex128",
    "DateTime",
    "Dict",
    "Embedding",
    "Float8E4M3FN",
    "Float8E4M3FNUZ",
    "Float8E5M2",
    "Float8E5M2FNUZ",
    "Float8E8M0FNU",
    "Float16",
    "Float32",
    "Float64",
    "Image",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Layout",
    "Nullable",
    "Scalar",
    "SegmentMask",
    "Sequence",
    "Text",
    "Type",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "as_type",
    "dtype_name",
    "element_bytes",
    "element_kind",
    "from_record",
    "native_dtype",
    "numpy_dtype",
]

Bool = Scalar("bool")
Int8, Int16, Int32, Int64 = (Scalar(f"int{bits}") for bits in (8, 16, 32, 64))
UInt8, UInt16, UInt32, UInt64 = (Scalar(f"uint{bits}") for bits in (8, 16, 32, 64))
Float16, Float32, Float64 = (Scalar(f"float{bits}") for bits in (16, 32, 64))
Complex64, Complex128 = Scalar("complex64"), Scalar("complex128")
BFloat16 = Scalar("bfloat16")
Float8E4M3FN, Float8E4M3FNUZ = Scalar("float8_e4m3fn"), Scalar("float8_e4m3fnuz")
Float8E5M2, Float8E5M2FNUZ = Scalar("float8_e5m2"), Scalar("float8_e5m2fnuz")
Float8E8M0FNU = Scalar("float8_e8m0fnu")
