"""What every store promises, for each store; the memory store is the reference."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cas.errors import ConflictError
from cas.hashing import hash_chunk
from cas.store.contract import CACHE, REFS, STORE, TABLES, VERSIONS, Store, Transaction, View
from cas.store.lmdb import create_files
from cas.store.memory import MemoryStore
from cas.store.segments import SEGMENT_BYTES

Make = Callable[[], Store]


@pytest.fixture(params=["memory", "lmdb"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes new, empty stores of one kind."""
    made: list[Store] = []

    def new() -> Store:
        memory = request.param == "memory"
        made.append(MemoryStore() if memory else create_files(tmp_path / str(len(made)), lambda txn: None))
        return made[-1]

    yield new
    for store in made:
        store.close()


@pytest.fixture
def store(make: Make) -> Store:
    return make()


def put_blobs(store: Store, blobs: list[bytes]) -> list[bytes]:
    """Puts blobs, at rest as they are, and returns their hashes."""
    hashes = [hash_chunk(blob) for blob in blobs]
    store.write(lambda txn: txn.put_blobs(list(zip(hashes, blobs, strict=True))))
    return hashes


def get_blobs(store: Store, hashes: list[bytes]) -> list[bytes | None]:
    with store.read() as view:
        return [None if blob is None else bytes(blob) for blob in view.blobs(hashes)]


def get(store: Store, table: str, key: bytes) -> bytes | None:
    with store.read() as view:
        return view.get(table, key)


ABSENT = hash_chunk(b"absent")


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.binary(max_size=300) | st.just(b"x" * 200_000), max_size=12),
    st.lists(st.integers(0, 11), max_size=20),
    st.booleans(),
)
def test_runs_are_the_blobs_asked_for(sizes: list[bytes], asked: list[int], absent: bool) -> None:
    """In any order, some twice, put in two transactions."""
    with tempfile.TemporaryDirectory() as place:
        for store in (MemoryStore(), create_files(Path(place) / "s", lambda txn: None)):
            half = len(sizes) // 2
            hashes = put_blobs(store, sizes[:half]) + put_blobs(store, sizes[half:])
            wanted = [hashes[number] for number in asked if number < len(hashes)] + [ABSENT] * absent
            blobs = dict(zip(hashes, sizes, strict=True))
            found: list[bytes | None] = []
            with store.read() as view:
                for run in view.runs(np.frombuffer(b"".join(wanted), np.uint8).reshape(-1, 32)):
                    assert run.start == len(found)
                    assert run.stop - run.start == len(run.lengths)
                    if run.data is None:
                        found.append(None)
                        continue
                    ends = np.cumsum(run.lengths).tolist()
                    found += [bytes(run.data[end - size : end]) for end, size in zip(ends, run.lengths, strict=True)]
                    assert len(run.data) == ends[-1]
            assert found == [blobs.get(hash_) for hash_ in wanted]
            store.close()


def test_blobs_that_lie_together_are_one_run(tmp_path: Path) -> None:
    store = create_files(tmp_path / "s", lambda txn: None)
    hashes = put_blobs(store, [b"%d" % number * 1000 for number in range(300)])
    with store.read() as view:
        runs = list(view.runs(np.frombuffer(b"".join(hashes[10:200]), np.uint8).reshape(-1, 32)))
    store.close()
    assert len(runs) <= 3


def test_absent_is_an_answer(store: Store) -> None:
    for hashes in ([], [ABSENT], [ABSENT, hash_chunk(b"too")]):
        assert get_blobs(store, hashes) == [None] * len(hashes)
    with store.read() as view:
        assert view.sizes([]) == []
        assert view.sizes([ABSENT]) == [None]
        for table in set(TABLES) - {STORE}:
            assert view.get(table, b"absent") is None
            assert list(view.scan(table)) == list(view.scan(table, reverse=True)) == []
            assert list(view.scan(table, b"absent")) == []
    store.write(lambda txn: txn.remove(REFS, b"absent"))


def test_blobs_come_back_in_the_order_asked_for(store: Store) -> None:
    hashes = put_blobs(store, [b"a", b"bb", b"ccc"])
    asked = [hashes[2], ABSENT, hashes[0], hashes[2], hashes[1]]
    assert get_blobs(store, asked) == [b"ccc", None, b"a", b"ccc", b"bb"]
    with store.read() as view:
        assert view.sizes(asked) == [3, None, 1, 3, 2]


def test_the_first_blob_under_a_hash_stays(store: Store) -> None:
    key = hash_chunk(b"key")
    store.write(lambda txn: txn.put_blobs([(key, b"first"), (key, b"again, in the same call")]))
    store.write(lambda txn: txn.put_blobs([(key, b"again, later"), (ABSENT, b"new")]))
    assert get_blobs(store, [key, ABSENT]) == [b"first", b"new"]


def test_no_blobs(store: Store) -> None:
    put_blobs(store, [])
    assert get_blobs(store, []) == []


def test_table_values_are_replaced_and_removed(store: Store) -> None:
    store.write(lambda txn: txn.put(REFS, b"k", b"one"))
    store.write(lambda txn: txn.put(REFS, b"k", b"two"))
    store.write(lambda txn: txn.put(VERSIONS, b"k", b"another table"))
    assert get(store, REFS, b"k") == b"two"
    store.write(lambda txn: txn.remove(REFS, b"k"))
    assert get(store, REFS, b"k") is None
    assert get(store, VERSIONS, b"k") == b"another table"


def test_an_empty_value_is_not_an_absent_one(store: Store) -> None:
    store.write(lambda txn: txn.put(REFS, b"k", b""))
    assert get(store, REFS, b"k") == b""
    with store.read() as view:
        assert list(view.scan(REFS)) == [(b"k", b"")]


@pytest.mark.parametrize(
    "lengths",
    [
        [0],
        [0, 0, 0],
        [SEGMENT_BYTES + 1, 0],
        [0, SEGMENT_BYTES + 1, 5],
        [SEGMENT_BYTES - 1, 1, 1],
        [SEGMENT_BYTES, 1],
        [5_000_000, 10, 5_000_000],
        [1] * 300 + [200_000] * 3 + [1] * 300,
    ],
    ids=str,
)
def test_blobs_of_any_length(store: Store, lengths: list[int]) -> None:
    blobs = [i.to_bytes(4, "big") * (length // 4) + bytes(length % 4) for i, length in enumerate(lengths)]
    hashes = put_blobs(store, blobs)
    assert get_blobs(store, hashes) == blobs
    with store.read() as view:
        assert view.sizes(hashes) == lengths
        assert [bytes(view.blobs([hash_])[0] or b"") for hash_ in hashes] == blobs


def test_many_blobs_of_many_calls(store: Store) -> None:
    blobs = [b"%06d" % i * (i % 90) for i in range(6000)]
    hashes = []
    for begin in range(0, len(blobs), 1500):
        hashes += put_blobs(store, blobs[begin : begin + 1500])
    assert get_blobs(store, hashes[::-1]) == blobs[::-1]
    assert put_blobs(store, blobs[:100]) == hashes[:100]
    with store.read() as view:
        assert view.sizes(hashes) == list(map(len, blobs))


class StopError(Exception):
    """What a change raises in these tests."""


def test_a_change_that_raises_leaves_nothing(store: Store) -> None:
    put_blobs(store, [b"before"])
    store.write(lambda txn: txn.put(REFS, b"kept", b"1"))
    times: list[int] = []

    def change(txn: Transaction) -> None:
        times.append(txn.timestamp())
        txn.put_blobs([(ABSENT, b"new")])
        txn.put(REFS, b"new", b"1")
        txn.put(REFS, b"kept", b"2")
        txn.remove(REFS, b"kept")
        raise StopError

    with pytest.raises(StopError):
        store.write(change)
    assert get_blobs(store, [ABSENT, hash_chunk(b"before")]) == [None, b"before"]
    with store.read() as view:
        assert list(view.scan(REFS)) == [(b"kept", b"1")]
    # The store works on, and may give the same place and time again.
    store.write(lambda txn: txn.put_blobs([(ABSENT, b"absent no more")]))
    assert get_blobs(store, [ABSENT]) == [b"absent no more"]
    assert store.write(lambda txn: txn.timestamp()) >= times[0]


def test_write_returns_what_the_change_returns(store: Store) -> None:
    assert store.write(lambda txn: ["result"]) == ["result"]


def test_a_transaction_sees_what_it_wrote(store: Store) -> None:
    (old,) = put_blobs(store, [b"old"])
    store.write(lambda txn: txn.put(REFS, b"a", b"1"))

    def change(txn: Transaction) -> None:
        new = hash_chunk(b"new")
        assert txn.sizes([old, new]) == [3, None]
        txn.put_blobs([(new, b"newer")])
        assert [bytes(blob or b"") for blob in txn.blobs([new, old])] == [b"newer", b"old"]
        more = [(hash_chunk(b"%d" % i), b"%d" % i) for i in range(500)]
        txn.put_blobs(more)
        assert [bytes(blob or b"") for blob in txn.blobs([key for key, _ in more])] == [blob for _, blob in more]
        assert txn.sizes([new, ABSENT, old]) == [5, None, 3]
        txn.put(REFS, b"b", b"2")
        txn.put(REFS, b"a", b"3")
        assert txn.get(REFS, b"a") == b"3"
        assert list(txn.scan(REFS)) == [(b"a", b"3"), (b"b", b"2")]
        txn.remove(REFS, b"a")
        assert txn.get(REFS, b"a") is None
        assert list(txn.scan(REFS)) == [(b"b", b"2")]

    store.write(change)
    assert get(store, REFS, b"b") == b"2"


def test_a_view_shows_one_state(store: Store) -> None:
    store.write(lambda txn: txn.put(REFS, b"k", b"old"))

    def change(txn: Transaction) -> None:
        txn.put(REFS, b"k", b"new")
        txn.put_blobs([(ABSENT, b"new")])

    writer = threading.Thread(target=lambda: store.write(change))
    with store.read() as view:
        assert view.get(REFS, b"k") == b"old"
        writer.start()
        # A store may let the writer wait until the view is closed, or not.
        writer.join(timeout=0.1)
        assert view.get(REFS, b"k") == b"old"
        assert view.blobs([ABSENT]) == [None]
    writer.join()
    assert get(store, REFS, b"k") == b"new"


bytes_near_the_ends = st.lists(st.sampled_from([0x00, 0x01, 0x61, 0xFE, 0xFF]), max_size=3).map(bytes)
keys = st.builds(lambda body, last: body + bytes([last]), bytes_near_the_ends, st.sampled_from([0, 1, 0xFE, 0xFF]))


def scans(view: View, table: str, prefix: bytes) -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    return list(view.scan(table, prefix)), list(view.scan(table, prefix, reverse=True))


@pytest.fixture(scope="module")
def both_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Store]]:
    stores: list[Store] = [MemoryStore(), create_files(tmp_path_factory.mktemp("scans") / "s", lambda txn: None)]
    yield stores
    for store in stores:
        store.close()


@settings(deadline=None, max_examples=100)
@given(
    rows=st.dictionaries(keys, st.binary(max_size=3), max_size=12), prefixes=st.lists(bytes_near_the_ends, max_size=5)
)
@example(rows={b"b": b"", b"a\xff\xff": b"", b"a": b""}, prefixes=[b"a\xff", b"a"])
def test_scans_are_in_the_order_of_bytes(
    both_stores: list[Store], rows: dict[bytes, bytes], prefixes: list[bytes]
) -> None:
    for store in both_stores:

        def change(txn: Transaction) -> None:
            for key, _ in list(txn.scan(CACHE)):
                txn.remove(CACHE, key)
            for key, value in rows.items():
                txn.put(CACHE, key, value)

        store.write(change)
        with store.read() as view:
            for prefix in [b"", b"\xff", b"\xff\xff", *prefixes]:
                expected = sorted(item for item in rows.items() if item[0].startswith(prefix))
                assert scans(view, CACHE, prefix) == (expected, expected[::-1])


def test_timestamps_grow(store: Store) -> None:
    times = []
    for _ in range(50):
        first, second = store.write(lambda txn: (txn.timestamp(), txn.timestamp()))
        assert first == second
        times.append(first)
    assert times == sorted(set(times))
    assert abs(times[0] / 1e6 - time.time()) < 60


def test_stored_bytes_grow_with_the_content(store: Store) -> None:
    before = store.stored_bytes()
    put_blobs(store, [bytes([i]) * 100_000 for i in range(20)])
    assert 2_000_000 <= store.stored_bytes() - before < 4_000_000


def test_threads_read_and_write(store: Store) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(20):
                blob = b"%d %d" % (number, i)
                put_blobs(store, [blob])
                assert get_blobs(store, [hash_chunk(blob)]) == [blob]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    blobs = [b"%d %d" % (number, i) for number in range(4) for i in range(20)]
    assert get_blobs(store, list(map(hash_chunk, blobs))) == blobs


def test_a_closed_store_opens_again(store: Store) -> None:
    (key,) = put_blobs(store, [b"kept"])
    store.close()
    store.close()
    assert get_blobs(store, [key]) == [b"kept"]


def test_stores_are_apart(make: Make) -> None:
    one, two = make(), make()
    (key,) = put_blobs(one, [b"one"])
    assert get_blobs(two, [key]) == [None]
    assert not one.read_only


def test_hashes_are_listed_in_order(store: Store) -> None:
    hashes = sorted(put_blobs(store, [b"%d" % number for number in range(20)]))
    with store.read() as view:
        assert view.hashes(b"", 100) == hashes
        assert view.hashes(b"", 3) == hashes[:3]
        assert view.hashes(hashes[2], 3) == hashes[3:6]
        assert view.hashes(hashes[2][:5], 2) == hashes[2:4], "a prefix comes before what it begins"
        assert view.hashes(hashes[-1], 3) == []


def test_removed_blobs_are_gone_and_their_space_is_reclaimed(store: Store) -> None:
    blobs = [bytes([number]) * 60_000 for number in range(40)]
    hashes = put_blobs(store, blobs)
    kept = set(hashes[::9])
    gone = [hash_ for hash_ in hashes if hash_ not in kept]
    store.write(lambda txn: txn.remove_blobs([*gone, ABSENT]))
    for _ in range(2):
        expected = [blob if hash_ in kept else None for hash_, blob in zip(hashes, blobs, strict=True)]
        assert get_blobs(store, hashes) == expected
        store.reclaim()
    assert put_blobs(store, blobs) == hashes
    assert get_blobs(store, hashes) == blobs
    store.compact()
    assert get_blobs(store, hashes) == blobs


def test_the_clock_is_the_last_timestamp(store: Store) -> None:
    with store.read() as view:
        assert view.clock() == 0
    for _ in range(3):
        now = store.write(lambda txn: (txn.timestamp(), txn.clock()))
        put_blobs(store, [b"without a timestamp"])
        with store.read() as view:
            assert (view.clock(), view.clock()) == now


def test_leases(store: Store) -> None:
    with store.collecting():
        pass
    lease, other = store.lease_writing(), store.lease_writing()
    lease.release()
    lease.release()
    with pytest.raises(ConflictError, match="writing"):
        store.collecting().__enter__()
    del other
    with store.collecting():
        pass
    version = hash_chunk(b"version")
    assert not store.is_read(version)
    reading = store.lease_reading(version)
    assert store.is_read(version)
    assert not store.is_read(ABSENT)
    reading.release()
    assert not store.is_read(version)
