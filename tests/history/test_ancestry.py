"""Questions about histories with merges, on random graphs, against answers found by brute force."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from version_graphs import Parents, graphs

from cas.hashing import hash_chunk
from cas.history.graph import (
    ancestors_among,
    is_ancestor,
    is_first_parent_ancestor,
    merge_bases,
    new_entry,
    walk,
    walk_blocks,
)
from cas.store.contract import VERSIONS, Transaction, View
from cas.store.memory import MemoryStore

LINE: Parents = [[number - 1] if number else [] for number in range(1000)]


def name_of(number: int) -> bytes:
    return hash_chunk(b"version %d" % number)


def store_of(parents: Parents, *, at_once: int = 1) -> MemoryStore:
    """A store of these versions, so many at a time."""
    store = MemoryStore()

    def build(txn: Transaction) -> None:
        for number, before in enumerate(parents):
            entry = new_entry(txn, tuple(map(name_of, before)), number // at_once)
            txn.put(VERSIONS, name_of(number), entry.encode())

    store.write(build)
    return store


@contextmanager
def stored(parents: Parents) -> Iterator[View]:
    """A view of these versions."""
    with store_of(parents).read() as view:
        yield view


def ancestors(parents: Parents) -> list[set[int]]:
    """For each version all that it comes from, itself included."""
    found: list[set[int]] = []
    for number, before in enumerate(parents):
        found.append({number}.union(*(found[parent] for parent in before)))
    return found


@given(graphs())
def test_ancestors_through_any_parents(parents: Parents) -> None:
    above = ancestors(parents)
    with stored(parents) as view:
        for version in range(len(parents)):
            for other in range(len(parents)):
                assert is_ancestor(view, name_of(version), name_of(other)) == (version in above[other])


@given(graphs(), st.data())
def test_ancestors_among_several_of_several(parents: Parents, data: st.DataObject) -> None:
    above = ancestors(parents)
    some = st.lists(st.integers(0, len(parents) - 1), max_size=4)
    sought, heads = data.draw(some), data.draw(some)
    with stored(parents) as view:
        found = ancestors_among(view, list(map(name_of, sought)), map(name_of, heads))
    assert found == {name_of(one) for one in sought if any(one in above[head] for head in heads)}


@given(graphs(), st.integers(1, 5), st.data())
def test_a_walk_gives_all_that_leads_to_the_heads_newest_first(
    parents: Parents, at_once: int, data: st.DataObject
) -> None:
    above = ancestors(parents)
    heads = data.draw(st.lists(st.integers(0, len(parents) - 1), max_size=3))
    store = store_of(parents, at_once=at_once)
    with store.read() as view:
        walked = list(walk(view, map(name_of, heads)))
    assert list(walk_blocks(store, map(name_of, heads))) == walked
    names = [name for name, _ in walked]
    assert sorted(names) == sorted({name_of(one) for head in heads for one in above[head]})
    times = [entry.timestamp for _, entry in walked]
    assert times == sorted(times, reverse=True)
    place = {name: number for number, name in enumerate(names)}
    assert all(place[parent] > place[name] for name, entry in walked for parent in entry.parents)


@given(graphs())
def test_ancestors_along_first_parents(parents: Parents) -> None:
    above = ancestors([before[:1] for before in parents])
    with stored(parents) as view:
        for version in range(len(parents)):
            for other in range(len(parents)):
                found = is_first_parent_ancestor(view, name_of(version), name_of(other))
                assert found == (version in above[other])


@given(graphs())
def test_merge_bases_are_the_common_ancestors_that_come_before_no_other(parents: Parents) -> None:
    above = ancestors(parents)
    with stored(parents) as view:
        for a in range(len(parents)):
            for b in range(len(parents)):
                common = above[a] & above[b]
                best = [one for one in common if not any(one in above[other] - {other} for other in common)]
                assert merge_bases(view, name_of(a), name_of(b)) == sorted(map(name_of, best))


@pytest.mark.parametrize(
    ("parents", "best"),
    [
        ([[], [0], [0]], [0]),
        ([[], [0], [0], [1, 2], [2, 1]], [1, 2]),
        ([[], []], []),
        ([[], [0]], [0]),
        ([[], [0], [1], [2], [1]], [1]),
        ([[], [0], [0], [0], [1, 2, 3], [3, 2, 1]], [1, 2, 3]),
        ([[], [0], [1, 0], [1], [2], [3]], [1]),
    ],
    ids=["fork", "criss-cross", "unrelated", "fast-forward", "uneven", "octopus", "an old one beside a newer"],
)
def test_merge_bases_of_the_last_two(parents: Parents, best: list[int]) -> None:
    """By name, one shape each."""
    a, b = len(parents) - 2, len(parents) - 1
    with stored(parents) as view:
        assert merge_bases(view, name_of(a), name_of(b)) == sorted(map(name_of, best))
        assert merge_bases(view, name_of(b), name_of(a)) == sorted(map(name_of, best))


class _Counting:
    """A view that counts look-ups."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.count = 0
        self.closed = False

    def get(self, table: str, key: bytes) -> bytes | None:
        self.count += 1
        return self._view.get(table, key)


def test_merge_bases_look_no_further_than_the_fork() -> None:
    parents = [*LINE, [990], [1000]]
    with stored(parents) as view:
        counting = _Counting(view)
        assert merge_bases(counting, name_of(999), name_of(1001)) == [name_of(990)]
        assert counting.count < 100


def test_what_is_no_ancestor_is_searched_for_down_to_its_generation() -> None:
    with stored([*LINE, [990], [1000]]) as view:
        counting = _Counting(view)
        assert not is_ancestor(counting, name_of(1001), name_of(999))
        assert counting.count < 50


def test_a_walk_costs_what_is_asked_for() -> None:
    with stored(LINE) as view:
        counting = _Counting(view)
        assert len(list(islice(walk(counting, [name_of(999)]), 5))) == 5
        assert counting.count <= 7


def test_blocks_begin_small_and_hold_no_view_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(LINE)
    views: list[_Counting] = []
    read = store.read

    @contextmanager
    def counting() -> Iterator[_Counting]:
        with read() as view:
            views.append(_Counting(view))
            yield views[-1]
            views[-1].closed = True

    monkeypatch.setattr(store, "read", counting)
    walked = walk_blocks(store, [name_of(999)])
    for number in range(3):
        assert next(walked)[0] == name_of(999 - number)
        assert all(view.closed for view in views)
    assert sum(view.count for view in views) < 20
    assert [name for name, _ in walked] == [name_of(number) for number in range(996, -1, -1)]
    assert max(view.count for view in views) <= 257
    assert len(views) < 12
