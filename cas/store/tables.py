"""Tables in LMDB: rows under a seal, and absence that is looked at twice (FORMAT section 7).

LMDB keeps no checksums. A blob with a changed bit is found by its hash; a row of a table has none, so a *seal* is kept
behind its value. And where a page is damaged a search may miss rows that are there: so the rows on either side of a
gap must be sound too, and in order; and where all rows are seen, there must be as many as LMDB has counted.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from itertools import islice, pairwise, takewhile
from typing import Any, Final, TypeVar

from cas.errors import CorruptedError
from cas.hashing import hash_name

T = TypeVar("T")

SEAL_BYTES: Final = 8
_FEW_ROWS: Final = 256
_MOST_IN_BLOCK: Final = 64
_MOST_KNOWN: Final = 2048
_MOST_KNOWN_BYTES: Final = 256


def seal(table: str, key: bytes, value: bytes) -> bytes:
    """Returns a value with its seal, as it is stored."""
    return value + hash_name(table.encode(), key, value, size=SEAL_BYTES)


class Seals:
    """The seals of one table. What they hold for is remembered of some rows, so that these are only compared.

    For any threads: whether a seal holds depends on nothing but the row.
    """

    __slots__ = ("_known", "_table")

    def __init__(self, table: str) -> None:
        self._table = table
        self._known: dict[bytes, bytes] = {}

    def seal(self, key: bytes, value: bytes) -> bytes:
        """Returns a value with its seal, as it is stored."""
        stored = seal(self._table, key, value)
        self._note(key, stored)
        return stored

    def open(self, key: bytes, stored: bytes) -> bytes | None:
        """Returns the value without its seal, or None where that does not hold."""
        value = stored[:-SEAL_BYTES]
        if self._known.get(key) != stored:
            if seal(self._table, key, value) != stored:
                return None
            self._note(key, stored)
        return value

    def open_many(self, keys: list[bytes], rows: list[tuple[memoryview, memoryview]]) -> list[bytes]:
        """Returns the values of rows with these keys, up to the first whose seal does not hold."""
        stored = [value.tobytes() for _, value in rows]  # half the time that bytes() takes
        if list(map(self._known.get, keys)) == stored:
            return [whole[:-SEAL_BYTES] for whole in stored]
        opened = map(self.open, keys, stored)
        return list(takewhile(lambda value: value is not None, opened))  # type: ignore[arg-type]

    def _note(self, key: bytes, stored: bytes) -> None:
        if len(stored) <= _MOST_KNOWN_BYTES:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = stored


class Table:
    """One table as a transaction sees it. What is damaged raises :class:`~cas.errors.CorruptedError`."""

    __slots__ = ("_database", "_name", "_seals", "_txn")

    def __init__(self, txn: Any, database: Any, name: str, seals: Seals) -> None:
        self._txn = txn
        self._database = database
        self._name = name
        self._seals = seals

    def get(self, key: bytes) -> bytes | None:
        """Returns the value of a key."""
        stored = self._txn.get(key, None, self._database)
        if stored is not None:
            return self._unseal(key, stored.tobytes())
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
                    yield bytes(key), self._unseal(bytes(key), stored.tobytes())
                except CorruptedError as error:
                    yield bytes(key), error
        try:
            self._check_count(found)
        except CorruptedError as error:
            yield b"", error

    def _rows(
        self, found: Iterator[tuple[memoryview, memoryview]], prefix: bytes, in_order: Callable[[bytes, bytes], bool]
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yields rows up to the first with another prefix, which must be sound as well, or it would hide others.

        Rows are looked at in blocks that grow: one by one takes twice as long.
        """
        last: list[bytes] = []
        count, entries, size = 0, self._entries(), 1
        while True:
            block, error = _take(found, size)
            size = min(4 * size, _MOST_IN_BLOCK)
            keys = [key.tobytes() for key, _ in block]
            ordered = _in_order(last + keys, in_order) - len(last)
            inside = ordered
            if ordered and not (keys[0].startswith(prefix) and keys[ordered - 1].startswith(prefix)):
                inside = next(number for number, key in enumerate(keys) if not key.startswith(prefix))
            values = self._seals.open_many(keys[: inside + 1], block[: inside + 1])
            yield from zip(keys[:inside], values, strict=False)
            if len(values) < len(keys[: inside + 1]):
                raise self._broken(keys[len(values)])
            if inside < ordered:
                return
            if ordered < len(keys):
                raise self._out_of_order(keys[ordered])
            count += len(keys)
            if error is not None:
                raise error
            if not keys:
                break
            last = keys[-1:]
        if not prefix and self._entries() == entries:  # nothing was put meanwhile
            self._check_count(count)

    def _entries(self) -> int:
        """How many rows there are by what LMDB keeps beside the table."""
        return int(self._txn.stat(self._database)["entries"])

    def _check_count(self, found: int) -> None:
        """Compares how many rows were found with how many there are: a page that lost rows at its end shows nothing."""
        entries = self._entries()
        if found != entries:
            raise CorruptedError(
                f"{found} rows of the table {self._name!r} are found of {entries}; restore the store from a copy",
                blob=self._name,
            )

    def _check_gap(self, cursor: Any, key: bytes, after: bool) -> bool:
        """Checks the rows on either side of a place where a search has ended; the cursor comes back to it."""
        if after:
            here = cursor.key().tobytes()
            self._unseal(here, cursor.value().tobytes())
            if here < key:
                raise self._out_of_order(here)
        if cursor.prev() if after else cursor.last():
            here = cursor.key().tobytes()
            self._unseal(here, cursor.value().tobytes())
            if here >= key:
                raise self._out_of_order(here)
            return bool(cursor.next())
        return bool(cursor.first())

    def _cursor(self) -> Any:
        return self._txn.cursor(self._database)

    def put(self, key: bytes, value: bytes) -> None:
        """Sets the value of a key."""
        self._txn.put(key, self._seals.seal(key, value), db=self._database)

    def _unseal(self, key: bytes, stored: bytes) -> bytes:
        value = self._seals.open(key, stored)
        if value is None:
            raise self._broken(key)
        return value

    def _broken(self, key: bytes) -> CorruptedError:
        return CorruptedError(
            f"row {key.hex()} of the table {self._name!r} is damaged; restore the store from a copy",
            blob=f"{self._name}/{key.hex()}",
        )

    def _out_of_order(self, key: bytes) -> CorruptedError:
        return CorruptedError(
            f"row {key.hex()} of the table {self._name!r} is not in its place; restore the store from a copy",
            blob=f"{self._name}/{key.hex()}",
        )


def _take(found: Iterator[T], size: int) -> tuple[list[T], Exception | None]:
    """The next items, and what was raised in the place of one: those before it are to be had all the same."""
    block: list[T] = []
    try:
        block.extend(islice(found, size))
    except Exception as error:
        return block, error
    return block, None


def _in_order(keys: list[bytes], in_order: Callable[[bytes, bytes], bool]) -> int:
    """How many of the keys are in order, from the first."""
    if all(map(in_order, keys, keys[1:])):
        return len(keys)
    return next(number for number, pair in enumerate(pairwise(keys), 1) if not in_order(*pair))
