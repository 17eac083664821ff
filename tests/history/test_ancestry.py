"""Questions about histories with merges, on random graphs, against answers found by brute force."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.hashing import hash_chunk
from cas.history.graph import is_ancestor, is_first_parent_ancestor, merge_bases, new_entry
from cas.store.contract import VERSIONS, Transaction, View
from cas.store.memory import MemoryStore

Parents = list[list[int]]
"""For each version its parents, all of them before it."""


def name_of(number: int) -> bytes:
    return hash_chunk(b"version %d" % number)


@st.composite
def graphs(draw: st.DrawFn) -> Parents:
    parents: Parents = []
    for number in range(draw(st.integers(1, 14))):
        parents.append(draw(st.lists(st.integers(0, number - 1), max_size=4, unique=True)) if number else [])
    return parents


@contextmanager
def stored(parents: Parents) -> Iterator[View]:
    """A view of these versions."""
    store = MemoryStore()

    def build(txn: Transaction) -> None:
        for number, before in enumerate(parents):
            entry = new_entry(txn, tuple(map(name_of, before)), number)
            txn.put(VERSIONS, name_of(number), entry.encode())

    store.write(build)
    with store.read() as view:
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

    def get(self, table: str, key: bytes) -> bytes | None:
        self.count += 1
        return self._view.get(table, key)


def test_merge_bases_look_no_further_than_the_fork() -> None:
    trunk = [[number - 1] if number else [] for number in range(1000)]
    parents = [*trunk, [990], [1000]]
    with stored(parents) as view:
        counting = _Counting(view)
        assert merge_bases(counting, name_of(999), name_of(1001)) == [name_of(990)]  # type: ignore[arg-type]
        assert counting.count < 100
