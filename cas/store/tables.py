"""Tables in LMDB: rows under a seal, and absence that is looked at twice (FORMAT section 7).

LMDB keeps no checksums. A blob with a changed bit is found by its hash; a row of a table has none, so a *seal* is kept
behind its value. And where a page is damaged a search may miss rows that are there: so the rows on either side of a
gap must be sound too, and in order; and where all rows are seen, there must be as many as LMDB has counted.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from cas.errors import CorruptedError
from cas.hashing import Bytes, hash_name

SEAL_BYTES: Final = 8
_FEW_ROWS: Final = 256


def seal(table: str, key: bytes, value: bytes) -> bytes:
    """Returns a value with its seal, as it is stored."""
    return value + _mark(table, key, value)


def _mark(table: str, key: bytes, value: bytes) -> bytes:
    return hash_name(table.encode(), key, value, size=SEAL_BYTES)


@dataclass(frozen=True, slots=True)
class Table:
    """One table as a transaction sees it. What is damaged raises :class:`~cas.errors.CorruptedError`."""

    txn: Any
    database: Any
    name: str

    def get(self, key: bytes) -> bytes | None:
        """Returns the value of a key."""
        stored = self.txn.get(key, db=self.database)
        if stored is not None:
            return self._unseal(key, stored)
        with self._cursor() as cursor:
            after = cursor.set_range(key)
            self._check_gap(cursor, key, after)
            if not after and self._entries() <= _FEW_ROWS:
                self._check_count(sum(1 for _ in cursor.iternext(values=False)) if cursor.first() else 0)
        return None

    def scan(self, prefix: bytes, *, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        """Yields the rows whose keys begin with a prefix, in order of the keys."""
        with self._cursor() as cursor:
            if not reverse:
                if self._check_gap(cursor, prefix, cursor.set_range(prefix)):
                    yield from self._rows(cursor.iternext(), prefix, operator.lt)
                return
            # The least key after all of them: the prefix without its 0xFF bytes at the end, the last byte one up.
            stem = prefix.rstrip(b"\xff")
            end = stem[:-1] + bytes([stem[-1] + 1]) if stem else b""
            beyond = bool(end) and self._check_gap(cursor, end, cursor.set_range(end))
            if cursor.prev() if beyond else cursor.last():
                yield from self._rows(cursor.iterprev(), prefix, operator.gt)

    def scan_damaged(self) -> Iterator[tuple[bytes, bytes | CorruptedError]]:
        """Yields all rows, those that are damaged with what is wrong with them."""
        found = 0
        with self._cursor() as cursor:
            for key, stored in cursor:
                found += 1
                try:
                    yield bytes(key), self._unseal(bytes(key), stored)
                except CorruptedError as error:
                    yield bytes(key), error
        try:
            self._check_count(found)
        except CorruptedError as error:
            yield b"", error

    def _rows(
        self, found: Iterable[tuple[Bytes, Bytes]], prefix: bytes, in_order: Callable[[bytes, bytes], bool]
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yields rows up to the first with another prefix, which must be sound as well, or it would hide others."""
        before = None
        count, entries = 0, self._entries()
        for stored_key, stored in found:
            count += 1
            key = bytes(stored_key)
            value = self._unseal(key, stored)
            if before is not None and not in_order(before, key):
                raise self._out_of_order(key)
            if not key.startswith(prefix):
                return
            yield key, value
            before = key
        if not prefix and self._entries() == entries:  # nothing was put meanwhile
            self._check_count(count)

    def _entries(self) -> int:
        """How many rows there are by what LMDB keeps beside the table."""
        return int(self.txn.stat(self.database)["entries"])

    def _check_count(self, found: int) -> None:
        """Compares how many rows were found with how many there are: a page that lost rows at its end shows nothing."""
        entries = self._entries()
        if found != entries:
            raise CorruptedError(
                f"{found} rows of the table {self.name!r} are found of {entries}; restore the store from a copy",
                blob=self.name,
            )

    def _check_gap(self, cursor: Any, key: bytes, after: bool) -> bool:
        """Checks the rows on either side of a place where a search has ended; the cursor comes back to it."""
        if after:
            here = bytes(cursor.key())
            self._unseal(here, cursor.value())
            if here < key:
                raise self._out_of_order(here)
        if cursor.prev() if after else cursor.last():
            here = bytes(cursor.key())
            self._unseal(here, cursor.value())
            if here >= key:
                raise self._out_of_order(here)
            return bool(cursor.next())
        return bool(cursor.first())

    def _cursor(self) -> Any:
        return self.txn.cursor(self.database)

    def _unseal(self, key: bytes, stored: Bytes) -> bytes:
        whole = bytes(stored)
        value, mark = whole[:-SEAL_BYTES], whole[-SEAL_BYTES:]
        if _mark(self.name, key, value) != mark:
            raise CorruptedError(
                f"row {key.hex()} of the table {self.name!r} is damaged; restore the store from a copy",
                blob=f"{self.name}/{key.hex()}",
            )
        return value

    def _out_of_order(self, key: bytes) -> CorruptedError:
        return CorruptedError(
            f"row {key.hex()} of the table {self.name!r} is not in its place; restore the store from a copy",
            blob=f"{self.name}/{key.hex()}",
        )
