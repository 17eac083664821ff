"""Metadata of a dataset or column, as a mapping."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, TypeVar

from cas.codec import cbor
from cas.errors import InvalidTypeError, shown
from cas.repo import metadata as table
from cas.store.contract import Transaction, View

if TYPE_CHECKING:
    from cas.dataset.dataset import Dataset

T = TypeVar("T")


class ReadOnlyMetadata(Mapping[str, Any]):
    """The metadata of a version: a mapping of text keys to values, as it was committed."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def to_dict(self) -> dict[str, Any]:
        """Returns a plain dict of the values."""
        return dict(self._values)

    def __repr__(self) -> str:
        return f"ReadOnlyMetadata({self._values!r})"


class Metadata(MutableMapping[str, Any]):
    """The live metadata of a dataset or column on a branch.

    Every change is durable when the statement ends, in a transaction of its own, and other processes see it at once;
    a commit takes it into the version. Keys are text, in sorted order. Values: None, bool, int, float, str, bytes,
    list, tuple (read back as list), dict with str keys, datetime, NumPy scalars and arrays. A value read is a copy:
    to change one, assign it again.

    Cost: reading or setting a key takes one look-up, setting one durable transaction.
    """

    __slots__ = ("_column", "_dataset")

    def __init__(self, dataset: Dataset, column: str | None) -> None:
        self._dataset = dataset
        self._column = column

    def _read(self, read: Callable[[View, bytes], T]) -> T:
        """Reads in a view of its own, while the handle stands still: a commit moves the metadata of new columns."""
        with self._dataset._lock, self._dataset._repository.store.read() as view:
            return read(view, self._dataset._metadata_scope(self._column, view))

    def _write(self, write: Callable[[Transaction, bytes], None]) -> None:
        """Writes in a transaction of its own, while the handle stands still."""
        with self._dataset._lock:
            self._dataset._repository.store.write(
                lambda txn: write(txn, self._dataset._metadata_scope(self._column, txn))
            )

    def __getitem__(self, key: str) -> Any:
        return self._read(lambda view, scope: table.get_value(view, scope, key))

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def update(self, other: Any = (), /, **values: Any) -> None:
        """Sets several keys in one durable transaction."""
        try:
            items = dict(other, **values)
        except (TypeError, ValueError):
            raise InvalidTypeError(f"{shown(other, 80)} is no mapping of keys to values; expected a dict") from None
        for key, value in items.items():
            if not isinstance(key, str):
                raise InvalidTypeError(f"metadata key {key!r} is not valid: expected text")
            cbor.encode_value([key, value])

        def put(txn: Transaction, scope: bytes) -> None:
            table.put_mapping(txn, scope, items)
            table.check_size(txn, scope, items)

        self._write(put)

    def __delitem__(self, key: str) -> None:
        self._write(lambda txn, scope: table.remove_value(txn, scope, key))

    def clear(self) -> None:
        """Removes all keys in one durable transaction."""
        self._write(lambda txn, scope: table.move_mappings(txn, {}, [scope]))

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __len__(self) -> int:
        return len(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Returns a plain dict of all values, read at one moment."""
        return self._read(table.read_mapping)

    def __repr__(self) -> str:
        return f"Metadata({self.to_dict()!r})"
