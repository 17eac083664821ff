"""What every store promises.

A store keeps *blobs*, immutable byte strings under their 32-byte hash, and small *tables* of keys and values. It knows
nothing of what the bytes mean, and never looks inside a blob: the gate above it hashes and compresses.

- **Absent** is an answer, not an error: ``None``, or False.
- **Repeated** puts of a blob are harmless; the first one stays. Puts of a table key replace.
- **Atomic:** a function given to :meth:`Store.write` takes effect wholly, or, if it raises, not at all.
- **Durable:** when :meth:`Store.write` returns, what it wrote survives the loss of power.
- **Order and isolation:** writes follow one another, also those of other processes. A view opened by :meth:`Store.read`
  shows one state, to the end.
- **Buffers** that a view returns are valid only until it closes; copy what must live longer.
- **Failure** raises :class:`~cas.errors.StoreError`, or ``StoreFullError`` where there is no space, and leaves the
store as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol, TypeVar

from cas.hashing import Bytes

T = TypeVar("T")

VERSIONS: Final = "versions"
DATASETS: Final = "datasets"
REFS: Final = "refs"
METADATA: Final = "metadata"
REFLOG: Final = "reflog"
SESSIONS: Final = "sessions"
CACHE: Final = "cache"
STORE: Final = "store"
TABLES: Final = (VERSIONS, DATASETS, REFS, METADATA, REFLOG, SESSIONS, CACHE, STORE)


class Lookup(Protocol):
    """Tables to look keys up in."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """Returns a table's value."""


class View(Lookup, Protocol):
    """One state of a store, for reading."""

    def blobs(self, hashes: Sequence[bytes]) -> list[Bytes | None]:
        """Returns the blobs at rest, in the order asked for; cost: one look-up each."""

    def sizes(self, hashes: Sequence[bytes]) -> list[int | None]:
        """Returns the length at rest of each blob, or None where there is none."""

    def scan(self, table: str, prefix: bytes = b"", *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Yields the keys that begin with ``prefix`` and their values, in bytewise order of the keys."""


class Transaction(View, Protocol):
    """A view that also writes, and sees what it wrote."""

    def put_blobs(self, blobs: Sequence[tuple[bytes, Bytes]]) -> None:
        """Keeps blobs at rest under their hashes; those already there are passed over."""

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Sets a table's value."""

    def remove(self, table: str, key: bytes) -> None:
        """Removes a table's key, if it is there."""

    def timestamp(self) -> int:
        """Returns the storage timestamp of this transaction: microseconds since 1970, UTC.

        By the clock of the storage, greater than that of every transaction before; the same within one transaction.
        """


class Store(Protocol):
    """A place for blobs and tables; see the promises of this module."""

    @property
    def read_only(self) -> bool:
        """Whether :meth:`write` is refused."""

    def read(self) -> AbstractContextManager[View]:
        """Opens a view; keep it short, and do not write inside it."""

    def write(self, change: Callable[[Transaction], T]) -> T:
        """Runs ``change`` in a transaction and returns its result once it is durable.

        ``change`` may be run again from the start, when the first run met a limit; it must not have other effects.
        """

    def stored_bytes(self) -> int:
        """Returns the bytes that the store takes where it is kept."""

    def close(self) -> None:
        """Releases what the handle holds; later calls may open it again."""
