"""The graph of versions: ancestors at any depth against a walk, in few look-ups."""

import math
import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.codec import cbor
from cas.errors import CorruptedError
from cas.hashing import hash_chunk
from cas.history.graph import (
    VersionEntry,
    ancestor_at,
    ancestors_at,
    find_entry,
    get_entry,
    in_order,
    new_entry,
    skip_depth,
)
from cas.store.contract import VERSIONS, Transaction, View
from cas.store.memory import MemoryStore

LENGTH = 2000


def name_of(depth: int) -> bytes:
    return hash_chunk(b"version %d" % depth)


class CountingView:
    """A view of the table of versions that counts look-ups."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.count = 0

    def get(self, table: str, key: bytes) -> bytes | None:
        self.count += 1
        return self._view.get(table, key)


@pytest.fixture(scope="module")
def chain() -> MemoryStore:
    """A chain of 2,000 versions after the first; version ``n`` is at depth ``n``."""
    store = MemoryStore()

    def build(txn: Transaction) -> None:
        for depth in range(LENGTH + 1):
            parents = (name_of(depth - 1),) if depth else ()
            txn.put(VERSIONS, name_of(depth), new_entry(txn, parents, 10 * depth).encode())

    store.write(build)
    return store


@pytest.fixture
def view(chain: MemoryStore) -> Iterator[CountingView]:
    with chain.read() as opened:
        yield CountingView(opened)


def test_entries_say_where_they_stand(view: CountingView) -> None:
    for depth in range(0, LENGTH + 1, 7):
        entry = get_entry(view, name_of(depth))
        jump = name_of(skip_depth(depth)) if depth else None
        parents = (name_of(depth - 1),) if depth else ()
        assert entry == VersionEntry(10 * depth, depth, depth, jump, parents)


def test_ancestors_are_those_of_a_walk(view: CountingView) -> None:
    random_ = random.Random(1)
    pairs = [(LENGTH, depth) for depth in range(LENGTH + 1)]
    pairs += [(below, random_.randrange(below + 1)) for below in random_.choices(range(LENGTH + 1), k=1000)]
    for below, depth in pairs:
        assert ancestor_at(view, name_of(below), depth) == name_of(depth)


def test_an_ancestor_takes_a_logarithmic_number_of_look_ups(view: CountingView) -> None:
    bound = 4 * math.ceil(math.log2(LENGTH))
    for below in (LENGTH, LENGTH - 1, 1023, 1024, 1025):
        for depth in range(0, below, 11):
            view.count = 0
            ancestor_at(view, name_of(below), depth)
            assert view.count <= bound


def test_ancestors_in_descending_order_take_one_look_up_each_where_they_are_adjacent(view: CountingView) -> None:
    run = range(LENGTH - 10, LENGTH - 510, -1)
    found = list(ancestors_at(view, name_of(LENGTH), run))
    assert found == [(name_of(depth), get_entry(view, name_of(depth))) for depth in run]
    view.count = 0
    list(ancestors_at(view, name_of(LENGTH), run))
    assert view.count <= len(run) + 4 * math.ceil(math.log2(LENGTH))


def test_ancestors_at_any_descending_depths(view: CountingView) -> None:
    random_ = random.Random(2)
    for count in (0, 1, 2, 20, 300):
        depths = sorted(random_.choices(range(LENGTH + 1), k=count), reverse=True)
        assert [hash_ for hash_, _ in ancestors_at(view, name_of(LENGTH), depths)] == [name_of(d) for d in depths]


def test_ancestors_of_a_damaged_table_are_refused() -> None:
    """A parent that stands at another depth than one less is damage, and is not passed on."""
    broken = MemoryStore()

    def copy(txn: Transaction) -> None:
        for depth in range(10):
            entry = VersionEntry(depth, depth, depth, None, (name_of(depth - 1),) if depth else ())
            if depth == 6:
                entry = VersionEntry(depth, depth, depth, None, (name_of(3),))
            txn.put(VERSIONS, name_of(depth), entry.encode())

    broken.write(copy)
    with broken.read() as opened:
        assert len(list(ancestors_at(opened, name_of(9), range(9, 5, -1)))) == 4
        with pytest.raises(CorruptedError, match="does not fit together"):
            list(ancestors_at(opened, name_of(9), range(9, 4, -1)))


def test_a_new_version_takes_a_logarithmic_number_of_look_ups(view: CountingView) -> None:
    entry = new_entry(view, (name_of(LENGTH),), 0)
    assert (entry.depth, entry.generation) == (LENGTH + 1, LENGTH + 1)
    assert view.count <= 4 * math.ceil(math.log2(LENGTH))


def test_jumps_lead_back_and_never_ahead() -> None:
    assert skip_depth(0) == skip_depth(1) == 0
    assert all(0 <= skip_depth(depth) < depth for depth in range(1, 100_000))


def test_a_merge(chain: MemoryStore) -> None:
    """Depth counts first parents, generation the longest way."""
    with chain.read() as opened:
        merge = new_entry(opened, (name_of(3), name_of(500)), 0)
        assert (merge.depth, merge.generation, merge.jump) == (4, 501, name_of(skip_depth(4)))
        assert merge.parents == (name_of(3), name_of(500))
        assert new_entry(opened, (), 7) == VersionEntry(7, 0, 0, None, ())


def test_a_missing_version_is_damage(view: CountingView) -> None:
    missing = hash_chunk(b"missing")
    assert find_entry(view, missing) is None
    for use in (lambda: get_entry(view, missing), lambda: new_entry(view, (missing,), 0)):
        with pytest.raises(CorruptedError) as caught:
            use()
        assert caught.value.blob == missing.hex()


HASH = bytes(32)
GOOD = [5, 1, 1, HASH, [HASH]]


def test_entries_come_back() -> None:
    entry = VersionEntry.decode(cbor.encode(GOOD), "entry")
    assert entry == VersionEntry(5, 1, 1, HASH, (HASH,))
    assert entry.encode() == cbor.encode(GOOD)


@pytest.mark.parametrize(
    "record",
    [[], GOOD[:4], [*GOOD, 0], ["5", *GOOD[1:]], [5, 1, 1, b"short", [HASH]], [5, 1, 1, HASH, [b"short"]], {"a": 1}],
)
def test_damaged_entries_are_refused(record: object) -> None:
    with pytest.raises(CorruptedError, match="the entry"):
        VersionEntry.decode(cbor.encode(record), "the entry")


def test_bytes_that_are_no_record_are_refused() -> None:
    with pytest.raises(CorruptedError):
        VersionEntry.decode(cbor.encode(GOOD)[:-1], "the entry")


def test_in_order_gives_what_leads_to_some_once_with_parents_first() -> None:
    store = MemoryStore()
    parents = {0: (), 1: (0,), 2: (0,), 3: (1, 2), 4: (3,), 5: (2, 4), 6: (), 7: (6, 1)}

    def build(txn: Transaction) -> None:
        for number, before in parents.items():
            txn.put(VERSIONS, name_of(number), new_entry(txn, tuple(map(name_of, before)), number).encode())

    store.write(build)
    expected = {(): set(), (4,): {0, 1, 2, 3, 4}, (3, 3, 1): {0, 1, 2, 3}, (5, 7): set(range(8)), (7,): {0, 1, 6, 7}}
    with store.read() as view:
        for heads, versions in expected.items():
            found = in_order(view, map(name_of, heads))
            order = [hash_ for hash_, _ in found]
            assert sorted(order) == sorted(map(name_of, versions))
            for at, (hash_, entry) in enumerate(found):
                assert entry == get_entry(view, hash_)
                assert set(entry.parents) <= set(order[:at])


def test_in_order_refuses_a_parent_that_is_not_before_its_child() -> None:
    store = MemoryStore()
    entries = {1: VersionEntry(1, 1, 1, name_of(2), (name_of(2),)), 2: VersionEntry(2, 1, 0, None, (name_of(1),))}
    store.write(lambda txn: [txn.put(VERSIONS, name_of(number), entry.encode()) for number, entry in entries.items()])
    with store.read() as view, pytest.raises(CorruptedError, match="does not fit together"):
        in_order(view, [name_of(1)])


_COUNTS = st.sampled_from([0, 1, 23, 24, 255, 256, 65_535, 65_536, 2**32, 2**53])


@given(
    st.integers(0, 2**48) | st.sampled_from([2**32 - 1, 2**32]),
    _COUNTS,
    _COUNTS,
    st.none() | st.just(HASH),
    st.integers(0, 3),
)
def test_entries_in_the_usual_form_and_others(
    timestamp: int, generation: int, depth: int, jump: bytes | None, parents: int
) -> None:
    entry = VersionEntry(timestamp, generation, depth, jump, (HASH,) * parents)
    assert VersionEntry.decode(entry.encode(), "entry") == entry


@given(st.data())
def test_a_changed_byte_of_an_entry_is_read_as_cbor_says(data: st.DataObject) -> None:
    """The short way must not take what the long one refuses, nor understand something else."""
    good = VersionEntry(1_760_000_000_000_000, 300, 24, HASH, (HASH,)).encode()
    at = data.draw(st.integers(0, 16) | st.integers(0, len(good) - 1))
    changed = good[:at] + bytes([data.draw(st.integers(0, 255))]) + good[at + 1 :]
    try:
        expected = cbor.decode(changed, what="entry")
    except CorruptedError:
        with pytest.raises(CorruptedError):
            VersionEntry.decode(changed, "entry")
        return
    try:
        found = VersionEntry.decode(changed, "entry")
    except CorruptedError:
        return
    assert [found.timestamp, found.generation, found.depth, found.jump, list(found.parents)] == expected
