"""Tables of other libraries to rows of a dataset, piece by piece."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from cas.codec.given import refused, refused_again
from cas.codec.values import Streams
from cas.errors import InvalidInputError
from cas.types import Type

Pieces = Iterator[tuple[dict[str, Streams], int]]
"""The rows of every column's streams, and their count."""
PIECE_BYTES: Final = 16 << 20


def encode_pieces(pieces: Iterable[Any], encode: Callable[[Any], tuple[dict[str, Streams], int]]) -> Pieces:
    """Yields what a function makes of each piece; its errors then name the row among those of all pieces."""
    done = 0
    for piece in pieces:
        try:
            encoded, count = encode(piece)
        except InvalidInputError as error:
            if error.row is None or error.column is None:
                raise
            raise refused_again(error, error.column, done + error.row) from None
        yield encoded, count
        done += count


def missing_value(type_: Type, column: str, row: int) -> InvalidInputError:
    """Returns the error for a value that is missing where none may be."""
    return refused(InvalidInputError, column, row, f"the value is missing, and the column type {type_} is not nullable")


def check_names(names: Iterable[object]) -> None:
    """Refuses names of columns that are no text, or that are there twice."""
    for name, count in Counter(names).items():
        if not isinstance(name, str):
            raise InvalidInputError(f"a column of the table is called {name!r}; rename it, for names are text")
        if count > 1:
            raise InvalidInputError(f"the table has two columns of the name {name!r}; rename one", column=name)


def check_known(names: Sequence[str], types: Mapping[str, Type]) -> None:
    """Refuses a column that the dataset does not have."""
    for name in names:
        if name not in types:
            raise InvalidInputError(f"there is no column {name!r}; the columns are {list(types)}", column=name)
