"""The type of named classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, overload

import numpy as np

from cas.errors import InvalidInputError, InvalidTypeError, shown
from cas.types.base import Type
from cas.types.dtypes import dtype_name, element_bytes, element_kind, native_dtype
from cas.types.layout import DATA, Layout

_MAX_CLASSES: Final = 2**32
_LISTED: Final = 5


@dataclass(frozen=True, slots=True)
class ClassLabel(Type):
    """One of several named classes a row, stored as its code, the place of its name in ``names`` from 0 on.

    ``dtype`` is the unsigned integer dtype of the codes, by default the smallest that holds them. Takes names and
    codes, also mixed; reads as an array of codes.

    >>> from cas import types
    >>> animals = types.ClassLabel(["cat", "dog", "owl"])
    >>> animals.str2int("dog"), animals.int2str([2, 0]), animals.num_classes, str(animals)
    (1, ['owl', 'cat'], 3, 'class_label[3]')

    Raises :class:`~cas.errors.InvalidInputError` for names that are not unique non-empty text.
    """

    names: tuple[str, ...]
    dtype: str | None = None
    name: ClassVar[str] = "class_label"

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", _class_names(self.names))
        codes = len(self.names) - 1
        smallest = "uint8" if codes < 2**8 else "uint16" if codes < 2**16 else "uint32"
        dtype = smallest if self.dtype is None else dtype_name(self.dtype)
        if element_kind(dtype) != "u" or codes > np.iinfo(dtype).max:
            raise InvalidInputError(
                f"dtype {dtype} does not hold the codes of {len(self.names)} classes; expected an unsigned integer "
                f"dtype, such as {smallest}"
            )
        object.__setattr__(self, "dtype", dtype)

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.names)

    @overload
    def str2int(self, names: str) -> int: ...  # type: ignore[overload-overlap]
    @overload
    def str2int(self, names: Iterable[str]) -> list[int]: ...
    def str2int(self, names: str | Iterable[str]) -> int | list[int]:
        """Returns the code of a name, or the codes of several; raises ``InvalidInputError`` for unknown names."""
        if isinstance(names, str):
            return self._code(names, {names: self.names.index(names)} if names in self.names else {})
        codes = self.codes()
        return [self._code(name, codes) for name in names]

    @overload
    def int2str(self, codes: int) -> str: ...
    @overload
    def int2str(self, codes: Iterable[int]) -> list[str]: ...
    def int2str(self, codes: int | Iterable[int]) -> str | list[str]:
        """Returns the name of a code, or the names of several; raises ``InvalidInputError`` for unknown codes."""
        if isinstance(codes, (int, np.integer)):
            return self._name(codes)
        return [self._name(code) for code in codes]

    def codes(self) -> dict[str, int]:
        """Returns the code of every name."""
        return {name: code for code, name in enumerate(self.names)}

    def unknown_name(self, name: object) -> str:
        """Returns what is wrong with a name that is no class."""
        some = ", ".join(map(repr, self.names[:_LISTED]))
        more = f" and {len(self.names) - _LISTED} more" if len(self.names) > _LISTED else ""
        return f"{name!r} is not the name of a class; the classes are {some}{more}"

    def unknown_code(self, code: object) -> str:
        """Returns what is wrong with a code that is no class."""
        return f"{code} is not the code of a class; there are {len(self.names)}, from 0 on"

    def _code(self, name: object, codes: dict[str, int]) -> int:
        if not isinstance(name, str):
            raise InvalidTypeError(f"{name!r} is not the name of a class; expected text")
        if name not in codes:
            raise InvalidInputError(self.unknown_name(name))
        return codes[name]

    def _name(self, code: object) -> str:
        if isinstance(code, bool) or not isinstance(code, (int, np.integer)):
            raise InvalidTypeError(f"{shown(code)} is not the code of a class; expected an int")
        if not 0 <= code < len(self.names):
            raise InvalidInputError(self.unknown_code(code))
        return self.names[int(code)]

    def layouts(self) -> dict[str, Layout]:
        size = element_bytes(str(self.dtype))
        return {DATA: Layout(size, element_bytes=size)}

    def to_record(self) -> dict[str, Any]:
        return {"name": self.name, "names": list(self.names), "dtype": self.dtype}

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        return native_dtype(str(self.dtype))

    def __str__(self) -> str:
        return f"{self.name}[{len(self.names)}]"


def _class_names(names: object) -> tuple[str, ...]:
    if isinstance(names, (str, bytes, dict, set, frozenset)) or not isinstance(names, Iterable):
        raise InvalidTypeError(
            f"names {shown(names)} of classes are not valid; expected a list of text, as in ClassLabel(['cat', 'dog'])"
        )
    checked = tuple(str.__str__(name) if isinstance(name, str) else name for name in names)
    for name in checked:
        if not isinstance(name, str) or not name:
            raise InvalidTypeError(f"the name {name!r} of a class is not valid; expected text that is not empty")
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError(f"the name {name!r} of a class is no UTF-8: {error.reason}") from None
    if not checked or len(checked) > _MAX_CLASSES:
        raise InvalidInputError(f"there are {len(checked)} classes; expected at least one name, and at most 2**32")
    if len(set(checked)) < len(checked):
        twice = Counter(checked).most_common(1)[0][0]
        raise InvalidInputError(f"two classes have the name {twice!r}; names must differ")
    return checked
