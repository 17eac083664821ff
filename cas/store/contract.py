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
from typing import Final, NamedTuple, Protocol, TypeVar

from cas.errors import CorruptedError
from cas.hashing import Bytes, Hashes

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


class Run(NamedTuple):
    """Blobs ``start`` to ``stop`` of those asked for, at rest one after the other in ``data``; ``lengths`` has theirs.

    ``data`` is None for one blob that is not there.
    """

    start: int
    stop: int
    data: Bytes | None
    lengths: list[int]


def single_runs(blobs: Sequence[Bytes | None]) -> Iterator[Run]:
    """Yields a run for each blob, of which nothing says that they lie together."""
    for number, blob in enumerate(blobs):
        yield Run(number, number + 1, blob, [0 if blob is None else len(blob)])


class Laid(NamedTuple):
    """Blobs at rest one after the other in ``data``, of these lengths, under these hashes."""

    hashes: list[bytes]
    lengths: list[int]
    data: Bytes

    @classmethod
    def one(cls, hash_: bytes, blob: Bytes) -> Laid:
        """Returns a blob by itself."""
        return cls([hash_], [len(blob)], blob)

    def blobs(self) -> Iterator[tuple[bytes, Bytes]]:
        """Yields each blob under its hash, without a copy."""
        whole = memoryview(self.data)
        end = 0
        for hash_, length in zip(self.hashes, self.lengths, strict=True):
            begin, end = end, end + length
            yield hash_, whole[begin:end]

    def only(self, wanted: set[bytes]) -> list[Laid]:
        """Returns those of some hashes, each once, as runs that lie together."""
        if len(wanted) == len(self.hashes):
            return [self]
        whole = memoryview(self.data)
        left = set(wanted)
        runs: list[Laid] = []
        first = begin = end = 0
        for number, (hash_, length) in enumerate(zip(self.hashes, self.lengths, strict=True)):
            if hash_ in left:
                left.discard(hash_)
            else:
                if first < number:
                    runs.append(Laid(self.hashes[first:number], self.lengths[first:number], whole[begin:end]))
                first, begin = number + 1, end + length
            end += length
        if first < len(self.hashes):
            runs.append(Laid(self.hashes[first:], self.lengths[first:], whole[begin:end]))
        return runs


class Lookup(Protocol):
    """Tables to look keys up in."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """Returns a table's value."""


class View(Lookup, Protocol):
    """One state of a store, for reading."""

    def blobs(self, hashes: Sequence[bytes]) -> list[Bytes | None]:
        """Returns the blobs at rest, in the order asked for; cost: one look-up each."""

    def runs(self, hashes: Hashes) -> Iterator[Run]:
        """Yields the blobs at rest in the order asked for, together where they lie together; cost: as :meth:`blobs`."""

    def sizes(self, hashes: Sequence[bytes]) -> list[int | None]:
        """Returns the length at rest of each blob, or None where there is none."""

    def clock(self) -> int:
        """Returns the storage timestamp that was given last, 0 before the first."""

    def hashes(self, after: bytes, count: int) -> list[bytes]:
        """Returns the hashes of at most ``count`` blobs, ascending: the first above ``after``, which may be empty."""

    def scan(self, table: str, prefix: bytes = b"", *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Yields the keys that begin with ``prefix`` and their values, in bytewise order of the keys."""

    def scan_damaged(self, table: str) -> Iterator[tuple[bytes, bytes | CorruptedError]]:
        """Yields all keys of a table with their values, or with what is wrong with them; for checks."""


class Transaction(View, Protocol):
    """A view that also writes, and sees what it wrote."""

    def put_blobs(self, blobs: Sequence[tuple[bytes, Bytes]]) -> None:
        """Keeps blobs at rest under their hashes; those already there are passed over."""

    def put_laid(self, laid: Sequence[Laid]) -> None:
        """Keeps blobs likewise that lie together already: they are not joined first."""

    def remove_blobs(self, hashes: Sequence[bytes]) -> None:
        """Removes blobs, as far as they are there. Their space is free for others after :meth:`Store.reclaim`."""

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Sets a table's value."""

    def remove(self, table: str, key: bytes) -> None:
        """Removes a table's key, if it is there."""

    def timestamp(self) -> int:
        """Returns the storage timestamp of this transaction: microseconds since 1970, UTC.

        By the clock of the storage, greater than that of every transaction before; the same within one transaction.
        """


class Lease(Protocol):
    """Keeps blobs from being collected until it is released, dropped, or its process ends, however it ends."""

    def release(self) -> None:
        """Ends the lease; again, it does nothing."""


class Writable(Protocol):
    """What is needed to put blobs that a store does not have."""

    def read(self) -> AbstractContextManager[View]:
        """Opens a view; keep it short, and do not write inside it."""

    def write(self, change: Callable[[Transaction], T]) -> T:
        """Runs ``change`` in a transaction and returns its result once it is durable.

        ``change`` may be run again from the start, when the first run met a limit; it must not have other effects.
        """

    def lease_writing(self) -> Lease:
        """Says that blobs are put, or relied on, that nothing refers to yet; waits while blobs are being removed."""


class Store(Writable, Protocol):
    """A place for blobs and tables; see the promises of this module."""

    @property
    def read_only(self) -> bool:
        """Whether :meth:`write` is refused."""

    def stored_bytes(self) -> int:
        """Returns the bytes that the store takes where it is kept."""

    def lease_reading(self, version: bytes) -> Lease:
        """Says that a version is in use."""

    def is_read(self, version: bytes) -> bool:
        """Whether somebody has a lease on a version."""

    def collecting(self) -> AbstractContextManager[None]:
        """Keeps writers out for the time of a block, which should be short.

        Raises :class:`~cas.errors.ConflictError` where somebody has a lease for writing.
        """

    def reclaim(self, report: Callable[[int, int], None] | None = None) -> int:
        """Frees the space of blobs that were removed, for others to take; returns how many bytes.

        ``report(done, total)`` is called with bytes now and then. A crash leaves the store as it was or further on.
        """

    def compact(self) -> int:
        """Gives free space back to where the store is kept; returns the bytes that the store takes by now.

        Raises :class:`~cas.errors.ConflictError` where somebody else has the store open.
        """

    def close(self) -> None:
        """Releases what the handle holds; later calls may open it again."""
