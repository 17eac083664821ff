"""Rows of tables: each under its seal, and absence believed only where the rows around the gap are sound."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import lmdb
import pytest

from cas.errors import CorruptedError
from cas.store.contract import REFS, STORE, VERSIONS, Transaction, View
from cas.store.lmdb import LmdbStore, create_files
from cas.store.tables import SEAL_BYTES, Seals, Table, seal

PAGE_BYTES = 4096
KEYS = [b"%03d" % n for n in range(0, 40, 2)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store with a table of some rows."""
    store = create_files(tmp_path / "store", lambda txn: [txn.put(REFS, key, b"value " + key) for key in KEYS])
    store.close()
    return tmp_path / "store"


def raw(path: Path, change: Callable[[lmdb.Transaction, object], object], table: str = REFS) -> None:
    """Changes a table below the package."""
    with lmdb.open(str(path), max_dbs=16, lib_version=0) as env:
        database = env.open_db(table.encode(), create=False)
        with env.begin(write=True) as txn:
            change(txn, database)


def read(path: Path, ask: Callable[[View], object]) -> object:
    store = LmdbStore(path)
    try:
        with store.read() as view:
            return ask(view)
    finally:
        store.close()


def scan(prefix: bytes, reverse: bool = False) -> Callable[[View], list[tuple[bytes, bytes]]]:
    return lambda view: list(view.scan(REFS, prefix, reverse=reverse))


def test_a_value_is_stored_with_its_seal(path: Path) -> None:
    found: list[bytes] = []
    raw(path, lambda txn, database: found.append(txn.get(KEYS[3], db=database)))
    assert found == [seal(REFS, KEYS[3], b"value " + KEYS[3])]
    assert len(found[0]) == len(b"value " + KEYS[3]) + SEAL_BYTES
    assert read(path, lambda view: view.get(REFS, KEYS[3])) == b"value " + KEYS[3]


WRONG = {
    "another value": seal(REFS, KEYS[3], b"value " + KEYS[3])[:-1] + b"?",
    "of another key": seal(REFS, KEYS[4], b"value " + KEYS[3]),
    "of another table": seal(VERSIONS, KEYS[3], b"value " + KEYS[3]),
    "without a seal": b"value " + KEYS[3],
    "shorter than a seal": b"xy",
    "empty": b"",
}


@pytest.mark.parametrize("stored", WRONG.values(), ids=WRONG)
def test_a_row_with_another_seal_is_damage(path: Path, stored: bytes) -> None:
    raw(path, lambda txn, database: txn.put(KEYS[3], stored, db=database))
    for ask in (lambda view: view.get(REFS, KEYS[3]), scan(b""), scan(b"", True), scan(KEYS[3]), scan(KEYS[3], True)):
        with pytest.raises(CorruptedError) as caught:
            read(path, ask)
        assert caught.value.blob == f"refs/{KEYS[3].hex()}"
    assert read(path, lambda view: view.get(REFS, KEYS[5])) == b"value " + KEYS[5]
    assert read(path, scan(KEYS[6])) == [(KEYS[6], b"value " + KEYS[6])]


@pytest.mark.parametrize("neighbour", [KEYS[3], KEYS[4]])
def test_absence_beside_a_damaged_row_is_not_believed(path: Path, neighbour: bytes) -> None:
    """A search may have been led astray by it."""
    raw(path, lambda txn, database: txn.put(neighbour, b"no seal here", db=database))
    between = b"007"
    for ask in (lambda view: view.get(REFS, between), scan(between), scan(between, True)):
        with pytest.raises(CorruptedError):
            read(path, ask)
    assert read(path, lambda view: view.get(REFS, b"021")) is None
    assert read(path, scan(b"021")) == []


@pytest.mark.parametrize("number", [0, 7, 10, 19])
@pytest.mark.parametrize("place", [b"\xf0\x0f", b"\0\0", b"\xff\xff", b"\0\x0f"])
def test_a_page_that_points_astray_hides_no_row(path: Path, number: int, place: bytes) -> None:
    """One of the places at the head of the page is another one; LMDB searches these by halves."""
    data = bytearray((path / "data.mdb").read_bytes())
    row = data.find(b"value 006")
    while row >= 0:
        at = row // PAGE_BYTES * PAGE_BYTES + 16 + 2 * number
        data[at : at + 2] = place
        row = data.find(b"value 006", row // PAGE_BYTES * PAGE_BYTES + PAGE_BYTES)
    (path / "data.mdb").write_bytes(data)
    truth = {key: b"value " + key for key in KEYS}
    damaged = 0
    for key in (*KEYS, b"0", b"00", b"015", b"zzz", b"\0"):
        rows = sorted((found, value) for found, value in truth.items() if found.startswith(key))
        for ask, right in (
            (lambda view, key=key: view.get(REFS, key), truth.get(key)),
            (scan(key), rows),
            (scan(key, True), rows[::-1]),
        ):
            try:
                assert read(path, ask) == right
            except CorruptedError:
                damaged += 1
    assert damaged
    with pytest.raises(CorruptedError):
        read(path, scan(b"0"))


def test_a_page_that_lost_rows_at_its_end_is_damage(path: Path) -> None:
    data = bytearray((path / "data.mdb").read_bytes())
    row = data.find(b"value 006")
    while row >= 0:
        lower = row // PAGE_BYTES * PAGE_BYTES + 12  # where the places of its rows end
        data[lower] -= 4
        row = data.find(b"value 006", lower + PAGE_BYTES)
    (path / "data.mdb").write_bytes(data)
    for ask in (scan(b""), scan(b"", True), lambda view: view.get(REFS, KEYS[-1])):
        with pytest.raises(CorruptedError, match="18 rows of the table 'refs' are found of 20"):
            read(path, ask)
    assert read(path, lambda view: view.get(REFS, KEYS[3])) == b"value " + KEYS[3]
    assert [key for key, _ in read(path, lambda view: list(view.scan_damaged(REFS)))] == [*KEYS[:-2], b""]


def test_rows_put_during_a_scan_are_no_damage(path: Path) -> None:
    store = LmdbStore(path)

    def change(txn: Transaction) -> int:
        return sum(txn.put(REFS, b"new " + key, value) is None for key, value in txn.scan(REFS) if key in KEYS[:3])

    assert store.write(change) == 3
    store.close()


def test_a_clock_of_another_length_is_damage(path: Path) -> None:
    raw(path, lambda txn, database: txn.put(b"clock", seal(STORE, b"clock", b"\1"), db=database), STORE)
    store = LmdbStore(path)
    with pytest.raises(CorruptedError, match="clock"):
        store.write(lambda txn: txn.timestamp())
    store.close()


def test_a_value_that_is_too_long_for_its_page_is_not_read(path: Path) -> None:
    """Reading on would leave the file, which kills the process."""
    data = bytearray((path / "data.mdb").read_bytes())
    node = b"\x11\0" + bytes(4) + b"\3\0" + KEYS[-1]  # length in two halves, flags, length of the key
    at = data.find(node)
    while at >= 0:
        data[at + 2] = 0x40
        at = data.find(node, at + 1)
    (path / "data.mdb").write_bytes(data)
    for ask in (lambda view: view.get(REFS, KEYS[-1]), scan(KEYS[-1]), scan(b"", True), scan(b"")):
        with pytest.raises(CorruptedError, match="the database"):
            read(path, ask)


def test_behind_the_pages_is_a_hole(path: Path) -> None:
    """It takes no space, and an offset of 16 bits ends within it."""
    status = (path / "data.mdb").stat()
    with lmdb.open(str(path), readonly=True, max_dbs=16, lib_version=0) as env:
        used = (env.info()["last_pgno"] + 1) * PAGE_BYTES
    assert status.st_size >= used + (1 << 18)
    assert status.st_blocks * 512 <= used


def test_a_database_that_claims_to_be_huge_is_damage(path: Path) -> None:
    data = bytearray((path / "data.mdb").read_bytes())
    for meta in (0, PAGE_BYTES):
        data[meta + 143] = 33  # the highest byte of the last page's number
    (path / "data.mdb").write_bytes(data)
    with pytest.raises(CorruptedError):
        read(path, scan(b""))


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A closed store with more rows than a scan looks at together, of two prefixes."""
    keys = [prefix + b"%03d" % number for prefix in (b"a", b"b") for number in range(200)]
    store = create_files(tmp_path / "long", lambda txn: [txn.put(REFS, key, b"value " + key) for key in keys])
    store.close()
    return tmp_path / "long"


@pytest.mark.parametrize("reverse", [False, True])
def test_rows_before_a_damaged_one_are_found(long: Path, reverse: bool) -> None:
    raw(long, lambda txn, database: txn.put(b"a150", b"no seal here", db=database))

    def before_damage(view: View) -> list[bytes]:
        found: list[bytes] = []
        rows = ((key, found.append(key)) for key, _ in view.scan(REFS, b"a", reverse=reverse))
        with pytest.raises(CorruptedError, match=b"a150".hex()):
            list(rows)
        return found

    numbers = range(199, 150, -1) if reverse else range(150)
    assert read(long, before_damage) == [b"a%03d" % number for number in numbers]


def test_damage_behind_the_first_row_of_another_prefix_is_not_met(long: Path) -> None:
    raw(long, lambda txn, database: txn.put(b"b001", b"no seal here", db=database))
    assert len(read(long, scan(b"a"))) == 200  # type: ignore[arg-type]
    raw(long, lambda txn, database: txn.put(b"b000", b"no seal here", db=database))
    with pytest.raises(CorruptedError, match=b"b000".hex()):
        read(long, scan(b"a"))


@pytest.mark.parametrize("ask", [scan(b""), scan(b"a15"), lambda view: view.get(REFS, b"a150")])
def test_a_row_that_was_sound_is_looked_at_again(long: Path, ask: Callable[[View], object]) -> None:
    store = LmdbStore(long)
    with store.read() as view:
        ask(view)
    damaged = bytearray((long / "data.mdb").read_bytes())
    at = damaged.find(b"value a150")
    while at >= 0:
        damaged[at] ^= 1
        at = damaged.find(b"value a150", at + 1)
    with open(long / "data.mdb", "r+b") as file:
        file.write(damaged)  # the map of the open store shows it
    with store.read() as view, pytest.raises(CorruptedError, match=b"a150".hex()):
        ask(view)
    store.close()


def test_what_is_remembered_of_rows_is_bounded() -> None:
    seals = Seals(REFS)
    rows = [(b"%05d" % number, b"value") for number in range(5000)]
    for key, value in rows:
        assert seals.open(key, seal(REFS, key, value)) == value
    assert len(seals._known) < 2500
    assert seals.open(b"large", seal(REFS, b"large", bytes(10_000))) == bytes(10_000)
    assert b"large" not in seals._known
    assert seals.open(rows[0][0], seal(REFS, rows[1][0], b"value")) is None


class Cursor:
    """Shows rows as LMDB would from a damaged page."""

    def __init__(self, rows: Iterable[tuple[bytes, bytes]], first: bytes) -> None:
        self._rows = rows
        self._first = first

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def set_range(self, key: bytes) -> bool:
        return True

    def key(self) -> memoryview:
        return memoryview(self._first)

    def value(self) -> memoryview:
        return memoryview(seal(REFS, self._first, b"v"))

    def prev(self) -> bool:
        return False

    def first(self) -> bool:
        return True

    def iternext(self) -> Iterator[tuple[memoryview, memoryview]]:
        return ((memoryview(key), memoryview(stored)) for key, stored in self._rows)


class Page:
    """A transaction on such a page."""

    def __init__(self, rows: Iterable[tuple[bytes, bytes]], first: bytes) -> None:
        self._cursor = Cursor(rows, first)

    def cursor(self, database: object) -> Cursor:
        return self._cursor

    def stat(self, database: object) -> dict[str, int]:
        return {"entries": 100}


def scanned(page: Page, prefix: bytes, found: list[bytes]) -> None:
    for key, _ in Table(page, None, REFS, Seals(REFS)).scan(prefix, reverse=False):
        found.append(key)


@pytest.mark.parametrize("length", [1, 3, 20])
def test_a_row_of_another_prefix_ends_a_scan_although_rows_are_out_of_order(length: int) -> None:
    keys = [*(b"b%02d" % number for number in range(length)), b"c00", b"b00", b"b90"]
    found: list[bytes] = []
    scanned(Page([(key, seal(REFS, key, b"v")) for key in keys], keys[0]), b"b", found)
    assert found == keys[:length]


def test_rows_before_what_lmdb_cannot_read_are_found() -> None:
    keys = [b"b%02d" % number for number in range(40)]

    def broken() -> Iterator[tuple[bytes, bytes]]:
        for key in keys:
            yield key, seal(REFS, key, b"v")
        raise lmdb.PageNotFoundError("a page is lost")

    found: list[bytes] = []
    with pytest.raises(lmdb.PageNotFoundError):
        scanned(Page(broken(), keys[0]), b"b", found)
    assert found == keys
