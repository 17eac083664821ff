"""All errors of the package, grouped by what the catcher does about them.

    CasError
    ├── NotFoundError (LookupError)         look elsewhere, or create it
    │   ├── StoreNotFoundError
    │   ├── DatasetNotFoundError
    │   ├── VersionNotFoundError
    │   │   ├── AmbiguousRevisionError
    │   │   └── VersionIndexError (IndexError)
    │   ├── BranchNotFoundError
    │   ├── TagNotFoundError
    │   ├── ColumnNotFoundError (KeyError)
    │   ├── RowNotFoundError (IndexError)
    │   ├── SessionNotFoundError
    │   └── BlobNotFoundError
    ├── ExistsError                         take another name
    │   ├── StoreExistsError
    │   ├── DatasetExistsError
    │   ├── TagExistsError
    │   ├── BranchExistsError
    │   └── ColumnExistsError
    ├── ConflictError                       refresh, merge or try again
    ├── ReadOnlyError (TypeError)           open for writing
    │   └── ReadOnlyAttributeError (AttributeError)
    ├── InvalidInputError (ValueError)      correct the input
    │   ├── InvalidTypeError (TypeError)
    │   ├── InvalidNameError
    │   ├── ClosedError
    │   └── UncommittedChangesError
    ├── CorruptedError                      restore from a copy
    ├── UnsupportedError                    another version, or an optional package
    └── StoreError                          look at the disk
        └── StoreFullError

    UncommittedChangesWarning (UserWarning) commit, roll back, or recover

Facts stand in attributes; the message says what was wrong, what was expected and what to do. All survive pickling,
which makes an error anew from its message alone and then sets the facts: so facts have defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def shown(value: object, most: int = 60) -> str:
    """Returns a value as text of at most so many characters, for a message."""
    try:
        text = repr(value)
    except ValueError:
        # Of integers with thousands of digits Python makes no text.
        text = f"<{type(value).__name__} that is too long to be shown>"
    return text if len(text) <= most else f"{text[: most - 3]}..."


class CasError(Exception):
    """The base of every error that this package raises on purpose."""


class NotFoundError(CasError, LookupError):
    """Something that was named does not exist; ``name`` is what was asked for."""

    def __init__(self, message: str, *, name: object = None) -> None:
        super().__init__(message)
        self.name = name

    def __str__(self) -> str:
        return str(self.args[0])


class StoreNotFoundError(NotFoundError):
    """There is no store at the path."""


class DatasetNotFoundError(NotFoundError):
    """The store has no dataset of that name."""


class VersionNotFoundError(NotFoundError):
    """A revision names no version."""


class VersionIndexError(VersionNotFoundError, IndexError):
    """A number is outside of the history."""


class AmbiguousRevisionError(VersionNotFoundError):
    """A hash prefix fits several versions; ``candidates`` lists them."""

    def __init__(self, message: str, *, name: object = None, candidates: Sequence[str] = ()) -> None:
        super().__init__(message, name=name)
        self.candidates = candidates


class BranchNotFoundError(NotFoundError):
    """The dataset has no branch of that name."""


class TagNotFoundError(NotFoundError):
    """The dataset has no tag of that name or id."""


class ColumnNotFoundError(NotFoundError, KeyError):
    """The dataset has no column of that name."""


class RowNotFoundError(NotFoundError, IndexError):
    """A row number is outside the dataset."""


class SessionNotFoundError(NotFoundError):
    """The dataset has no session of that id."""


class BlobNotFoundError(NotFoundError):
    """The store has no blob with that hash."""


class ExistsError(CasError):
    """A name is taken; ``name`` is the name."""

    def __init__(self, message: str, *, name: object = None) -> None:
        super().__init__(message)
        self.name = name


class StoreExistsError(ExistsError):
    """There is a store, or something else, at the path already."""


class DatasetExistsError(ExistsError):
    """The store has a dataset of that name already."""


class TagExistsError(ExistsError):
    """A tag or branch of that name exists already."""


class BranchExistsError(ExistsError):
    """A branch or tag of that name exists already."""


class ColumnExistsError(ExistsError):
    """The dataset has a column of that name already."""


class ConflictError(CasError):
    """Two changes do not go together; nothing was changed.

    Where another writer moved a branch, ``expected`` and ``found`` are version ids. Where versions do not merge,
    ``conflicts`` lists what both sides changed, each with row, column and the three values (``cas.Conflict``).
    """

    def __init__(
        self,
        message: str,
        *,
        expected: str | None = None,
        found: str | None = None,
        conflicts: Sequence[Any] = (),
    ) -> None:
        super().__init__(message)
        self.expected = expected
        self.found = found
        self.conflicts = conflicts


class ReadOnlyError(CasError, TypeError):
    """A change was asked of something opened for reading only."""


class ReadOnlyAttributeError(ReadOnlyError, AttributeError):
    """A method that changes something was asked of an object that is open for reading only."""


class InvalidInputError(CasError, ValueError):
    """An argument does not fit; ``column``, ``row`` and ``reason`` say where and why, when it was a value."""

    def __init__(self, message: str, *, column: str | None = None, row: int | None = None) -> None:
        super().__init__(message)
        self.column = column
        self.row = row
        self.reason: str | None = None


class InvalidTypeError(InvalidInputError, TypeError):
    """A value is of a kind that the column or the function does not take."""


class InvalidNameError(InvalidInputError):
    """A name for a dataset, column, tag or branch breaks the rules for names."""


class ClosedError(InvalidInputError):
    """The dataset was closed; open it again."""


class UncommittedChangesError(InvalidInputError):
    """The operation needs committed rows, and some are not."""


class CorruptedError(CasError):
    """Stored bytes are damaged; ``blob`` names them, as far as it is known.

    Where a column was read, ``column`` and ``version`` say of what, and ``rows`` which rows cannot be read because of
    it, as pairs of a start and a stop, among those that were asked for. All other rows can be.
    """

    def __init__(
        self,
        message: str,
        *,
        blob: str | None = None,
        version: str | None = None,
        column: str | None = None,
        rows: Sequence[tuple[int, int]] = (),
    ) -> None:
        super().__init__(message)
        self.blob = blob
        self.version = version
        self.column = column
        self.rows = rows


class UnsupportedError(CasError):
    """The store needs a newer version of this package, or the feature an optional package."""


class StoreError(CasError):
    """The storage below failed: permissions, input and output, locks."""


class StoreFullError(StoreError):
    """The disk is full; the store is as it was before the operation."""


class UncommittedChangesWarning(UserWarning):
    """A dataset was left with staged changes that were not committed."""
