"""Masked arrays of NumPy, told without loading the module that makes them, which takes 10 ms."""

from __future__ import annotations

import sys


def is_masked(value: object) -> bool:
    """Whether a value is a masked array; there is none where nobody has loaded ``numpy.ma``.

    >>> import numpy as np
    >>> is_masked(np.ma.array([1, 2], mask=[True, False])), is_masked(np.array([1, 2]))
    (True, False)
    """
    return isinstance(value, getattr(sys.modules.get("numpy.ma"), "MaskedArray", ()))
