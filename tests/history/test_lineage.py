"""What versions share, on random graphs whose rows and columns have known identities."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from version_graphs import Parents, graphs

from cas.codec.rows import Ints
from cas.history.lineage import Draft, Lineage, Shared, pair_columns
from cas.history.records import EMPTY_TREE, ColumnRecord, TreeRecord
from cas.store.gate import Gate
from cas.store.memory import MemoryStore
from cas.tree.alignment import Alignment
from cas.tree.node import Nodes
from cas.types import as_type


def ints(numbers: list[int]) -> Ints:
    return np.array(numbers, np.int64)


@dataclass
class Made:
    """A version as it is known: the identities of its rows and columns, and which it says it has from each parent."""

    rows: list[int]
    columns: dict[str, int]
    defaults: dict[str, int] = field(default_factory=dict)
    steps: list[Shared] = field(default_factory=list)

    @property
    def tree(self) -> TreeRecord:
        columns = tuple(ColumnRecord(name, as_type("int64"), {}, EMPTY_TREE.metadata) for name in self.columns)
        return dataclasses.replace(EMPTY_TREE, rows=len(self.rows), columns=columns)


def id_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


def aligned(old: list[int], new: list[int], chosen: list[int]) -> Alignment:
    starts = [ints([side.index(row) for row in chosen]) for side in (old, new)]
    return Alignment.of(*starts, np.ones(len(chosen), np.int64))


class Maker:
    """Draws the versions of a graph. A row that no step has from a parent is a new one, whatever it was there."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._last = 0

    def _new(self) -> int:
        self._last += 1
        return self._last

    def _chosen(self, items: list[Any]) -> list[Any]:
        """Most of the items; any that is left out by all parents is lost."""
        return [item for item in items if self._draw(st.integers(0, 4))]

    def version(self, parents: list[Made]) -> Made:
        kept = [self._chosen(parent.rows) for parent in parents]
        # Other names at times; and the parts of two parents stand in any order.
        named = [
            {name: name if self._draw(st.booleans()) else name + "x" for name in self._chosen(list(parent.columns))}
            for parent in parents
        ]
        rows = list(dict.fromkeys(row for part in reversed(kept) for row in part))
        if self._draw(st.booleans()):
            rows = rows[len(rows) // 2 :] + rows[: len(rows) // 2]
        for _ in range(self._draw(st.integers(0, 2))):
            rows.insert(self._draw(st.integers(0, len(rows))), self._new())
        columns: dict[str, int] = {}
        for parent, names in zip(parents, named, strict=True):
            for old, new in names.items():
                if new not in columns and parent.columns[old] not in columns.values():
                    columns[new] = parent.columns[old]
        defaults = {}
        for name in ("a", "b", "c")[: self._draw(st.integers(0, 2))]:
            if name not in columns:
                columns[name] = defaults[name] = self._new()
        made = Made(rows, columns, defaults)
        for parent, chosen in zip(parents, kept, strict=True):
            of_ids = {id_: name for name, id_ in columns.items()}
            shared = {old: of_ids[id_] for old, id_ in parent.columns.items() if id_ in of_ids}
            made.steps.append(Shared(aligned(parent.rows, rows, chosen), shared))
        return made


@st.composite
def histories(draw: st.DrawFn) -> tuple[Parents, list[Made]]:
    parents = draw(graphs())
    maker, versions = Maker(draw), list[Made]()
    for numbers in parents:
        versions.append(maker.version([versions[number] for number in numbers]))
    return parents, versions


def nowhere(_: bytes) -> NoReturn:
    raise AssertionError("all versions are drafts here")


def lineage_of(parents: Parents, versions: list[Made]) -> Lineage:
    store = MemoryStore()
    lineage = Lineage(store, Nodes(Gate(store)), nowhere, nowhere)
    for number, (numbers, made) in enumerate(zip(parents, versions, strict=True)):
        defaults = {name: {"data": bytes([id_ % 256])} for name, id_ in made.defaults.items()}
        lineage.add(id_of(number), Draft(made.tree, tuple(map(id_of, numbers)), tuple(made.steps), defaults))
    return lineage


@given(histories(), st.data())
def test_versions_share_what_is_the_same(history: tuple[Parents, list[Made]], data: st.DataObject) -> None:
    parents, versions = history
    lineage = lineage_of(parents, versions)
    numbers = st.integers(0, len(versions) - 1)
    a, b = data.draw(numbers), data.draw(numbers)
    old, new = versions[a], versions[b]
    found = lineage.shared(id_of(a), id_of(b))
    assert found.rows.map(np.arange(len(old.rows))).tolist() == [
        new.rows.index(row) if row in new.rows else -1 for row in old.rows
    ]
    names = {id_: name for name, id_ in new.columns.items()}
    assert found.columns == {name: names[id_] for name, id_ in old.columns.items() if id_ in names}
    back = lineage.shared(id_of(b), id_of(a)).inverse()
    assert back.columns == found.columns
    assert [back.rows.old.tolist(), back.rows.new.tolist()] == [found.rows.old.tolist(), found.rows.new.tolist()]


@given(histories())
def test_a_column_has_the_default_that_it_was_added_with(history: tuple[Parents, list[Made]]) -> None:
    parents, versions = history
    lineage = lineage_of(parents, versions)
    for number, made in enumerate(versions):
        for name, id_ in made.columns.items():
            assert lineage.default_of(id_of(number), name) == {"data": bytes([id_ % 256])}


@given(graphs(), st.data())
def test_best_common_ancestors_of_drafts(parents: Parents, data: st.DataObject) -> None:
    versions = [Made([], {}, steps=[Shared.nothing()] * len(numbers)) for numbers in parents]
    lineage = lineage_of(parents, versions)
    before: list[set[int]] = []
    for number, numbers in enumerate(parents):
        before.append({number}.union(*(before[parent] for parent in numbers)))
    a, b = (data.draw(st.integers(0, len(parents) - 1)) for _ in range(2))
    common = before[a] & before[b]
    best = {one for one in common if not any(one in before[other] - {other} for other in common)}
    assert lineage.merge_bases(id_of(a), id_of(b)) == [id_of(number) for number in sorted(best)]


def test_columns_are_paired_by_identity_then_by_name_and_type() -> None:
    def tree(**types: str) -> TreeRecord:
        columns = tuple(ColumnRecord(name, as_type(type_), {}, EMPTY_TREE.metadata) for name, type_ in types.items())
        return dataclasses.replace(EMPTY_TREE, columns=columns)

    old = tree(a="int64", b="int64", c="int64", d="int64")
    new = tree(d="int64", a="int64", c="text", x="int64", b="int64")
    assert list(pair_columns(old, new, {"a": "x"}).items()) == [("d", "d"), ("a", "x"), ("b", "b")]
