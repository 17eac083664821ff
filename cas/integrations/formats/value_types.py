"""Types of columns by what is in them: values of JSON, and text of CSV, without loss."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from re import compile as pattern
from typing import Any, Final

from cas import types
from cas.errors import InvalidInputError
from cas.integrations.values import plain_type
from cas.types import Type

_INTEGER: Final = pattern(r"0|-?[1-9][0-9]{0,19}")
_NUMBER: Final = pattern(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?")
_NOT_FINITE: Final = ("nan", "NaN", "inf", "-inf", "Infinity", "-Infinity")
_BOOLS: Final = (("true", "false"), ("True", "False"), ("TRUE", "FALSE"))
_MOST_DIGITS: Final = 60


class JsonValues:
    """What was seen of the values of one column of JSON, or of the items of its lists."""

    def __init__(self) -> None:
        self._kinds: dict[type, Any] = {}
        self._missing = False
        self._least = self._greatest = 0
        self._items: JsonValues | None = None

    def add(self, value: Any) -> None:
        """Looks at a value."""
        if value is None:
            self._missing = True
            return
        self._kinds.setdefault(type(value), value)
        if type(value) is int:
            self._least, self._greatest = min(self._least, value), max(self._greatest, value)
        elif type(value) is list:
            if self._items is None:
                self._items = JsonValues()
            for item in value:
                self._items.add(item)

    def miss(self) -> None:
        """Notes that a row has no value."""
        self._missing = True

    def type(self, column: str) -> Type:
        """Returns the type that holds all of them; raises :class:`~cas.errors.InvalidInputError` where none does."""
        present = self._present_type(column)
        return types.Nullable(present) if self._missing else present

    def _present_type(self, column: str) -> Type:
        kinds = set(self._kinds)
        if kinds <= {str}:
            return types.Text()
        if kinds == {bool}:
            return types.Bool
        if kinds == {dict}:
            return types.Dict()
        if kinds == {list}:
            return types.Sequence((self._items or JsonValues()).type(f"{column}[]"))
        if kinds <= {int, float}:
            return self._number_type(column, whole=kinds == {int})
        shown = " and ".join(f"{kind.__name__} ({str(value)[:20]!r})" for kind, value in self._kinds.items())
        raise InvalidInputError(
            f"column {column!r} holds {shown}, which no type holds together without loss; make them alike",
            column=column,
        )

    def _number_type(self, column: str, *, whole: bool) -> Type:
        if whole and self._least >= -(2**63) and self._greatest < 2**63:
            return types.Int64
        if whole and self._least >= 0 and self._greatest < 2**64:
            return types.UInt64
        if not whole and max(-self._least, self._greatest) <= 2**53:
            return types.Float64
        beside = "" if whole else " beside numbers with fractions"
        raise InvalidInputError(
            f"column {column!r} holds integers from {self._least} to {self._greatest}{beside}, which no type holds "
            f"without loss; write them as text",
            column=column,
        )


class TextValues:
    """What was seen of the fields of one column of CSV."""

    def __init__(self) -> None:
        self._integer = self._float = True
        self._bools = set(_BOOLS)
        self._some = self._empty = False
        self._least = self._greatest = 0

    def add(self, text: str) -> None:
        """Looks at a field."""
        if not text:
            self._empty = True
            return
        self._some = True
        self._bools = {pair for pair in self._bools if text in pair}
        if self._integer:
            self._integer = _INTEGER.fullmatch(text) is not None
            if self._integer:
                number = int(text)
                self._least, self._greatest = min(self._least, number), max(self._greatest, number)
        if self._float:
            self._float = is_float(text)

    def type(self) -> Type:
        """Returns the type of the column: numbers or bools where all fields are some, exactly; otherwise text.

        An empty field is a missing value, but in a column of text, where it is empty text.
        """
        present = self._present_type()
        return types.Nullable(present) if self._empty and not isinstance(present, types.Text) else present

    def _present_type(self) -> Type:
        if not self._some:
            return types.Text()
        if self._bools:
            return types.Bool
        if self._integer and self._least >= -(2**63) and self._greatest < 2**63:
            return types.Int64
        if self._integer and self._least >= 0 and self._greatest < 2**64:
            return types.UInt64
        return types.Float64 if self._float else types.Text()


def is_float(text: str) -> bool:
    """Tells whether text is a number that a float64 holds, to the digits that are given.

    >>> [is_float(text) for text in ("0.1", "1e-3", "nan", "007", "+1", "0.1234567890123456789")]
    [True, True, True, False, False, False]
    """
    if text in _NOT_FINITE:
        return True
    if len(text) > _MOST_DIGITS or _NUMBER.fullmatch(text) is None:
        return False
    try:
        given, value = Decimal(text), float(text)
        # As many digits as were given; or the fewest that mean this float, which need not be its digits rounded.
        rounded = f"{value:.{max(0, len(given.as_tuple().digits) - 1)}e}"
        return given in (Decimal(rounded), Decimal(repr(value)))
    except (InvalidOperation, OverflowError, ValueError):
        return False


def reader_of(type_: Type) -> Callable[[str], Any]:
    """Returns what makes a value of a field of CSV, for a type that :class:`TextValues` gave."""
    inner = plain_type(type_)
    if isinstance(inner, types.Text):
        return str
    read: Callable[[str], Any] = int
    if inner == types.Bool:
        read = _read_bool
    elif inner == types.Float64:
        read = float
    return (lambda text: read(text) if text else None) if type_.nullable else read


def _read_bool(text: str) -> bool:
    return text.lower() == "true"
