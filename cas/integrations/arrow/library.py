"""pyarrow, imported here only: the error for those who lack it is one."""

from cas.errors import UnsupportedError

try:
    import pyarrow as pa
    import pyarrow.compute as pc
except ImportError:
    raise UnsupportedError(
        "reading and writing Arrow needs the package pyarrow; install it with: pip install 'tensor-cas[arrow]'"
    ) from None

__all__ = ["pa", "pc"]
