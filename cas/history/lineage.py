"""Which rows and columns two versions share, whatever way through the graph leads from one to the other.

A row is the same in two versions when it was inserted once, before both, and kept on the way to each. So the row maps
are composed from both versions upwards, newest first, until all ways have met: rows of the one and the other that
arrive at the same row of the same version are the same. Columns are traced alike.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cas.history.graph import VersionEntry, get_entry, merge_bases
from cas.history.records import (
    ColumnRecord,
    Defaults,
    TreeRecord,
    VersionRecord,
    decode_defaults,
    read_payload,
)
from cas.history.row_map import RowMap
from cas.store.contract import Store, View
from cas.tree.alignment import Alignment
from cas.tree.node import Nodes


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """The rows and columns that an old and a new version both have; columns by their names, old to new."""

    rows: Alignment
    columns: dict[str, str]

    @classmethod
    def all_of(cls, tree: TreeRecord) -> Shared:
        """Returns what a version shares with itself."""
        return cls(Alignment.identity(tree.rows), {column.name: column.name for column in tree.columns})

    @classmethod
    def nothing(cls) -> Shared:
        """Returns what unrelated versions share."""
        return cls(Alignment.empty(), {})

    @property
    def some(self) -> bool:
        """Whether they share anything."""
        return len(self.rows) > 0 or len(self.columns) > 0

    def inverse(self) -> Shared:
        """Returns the same with old and new exchanged."""
        return Shared(self.rows.inverse(), {new: old for old, new in self.columns.items()})

    def then(self, later: Shared) -> Shared:
        """Returns what the first and the last version share by way of the one between."""
        columns = {old: later.columns[name] for old, name in self.columns.items() if name in later.columns}
        return Shared(self.rows.then(later.rows), columns)

    def union(self, other: Shared) -> Shared:
        """Returns what either says is shared."""
        return Shared(self.rows.union(other.rows), {**other.columns, **self.columns})

    def without(self, other: Shared) -> Shared:
        """Leaves out what the other one has of the old version."""
        columns = {old: new for old, new in self.columns.items() if old not in other.columns}
        return Shared(self.rows.without(other.rows), columns)


@dataclass(frozen=True, slots=True)
class Draft:
    """A version that is not in the store: a state, its parents, and what it shares with each of them."""

    tree: TreeRecord
    parents: tuple[bytes, ...]
    steps: tuple[Shared, ...]
    defaults: Defaults = field(default_factory=dict)


Traces = tuple[Shared, Shared]


class Lineage:
    """The graph of versions with their row maps and column maps, and with drafts that are not stored."""

    def __init__(
        self,
        store: Store,
        nodes: Nodes,
        version: Callable[[bytes], VersionRecord],
        tree: Callable[[bytes], TreeRecord],
    ) -> None:
        self._store = store
        self._nodes = nodes
        self._version = version
        self._tree = tree
        self._drafts: dict[bytes, Draft] = {}

    def add(self, id_: bytes, draft: Draft) -> None:
        """Enters a version that is not in the store."""
        self._drafts[id_] = draft

    def tree(self, version: bytes) -> TreeRecord:
        """Returns the state of a version."""
        draft = self._drafts.get(version)
        return self._tree(self._version(version).tree) if draft is None else draft.tree

    def parents(self, version: bytes) -> tuple[bytes, ...]:
        """Returns the parents of a version."""
        draft = self._drafts.get(version)
        return self._version(version).parents if draft is None else draft.parents

    def column(self, version: bytes, name: str) -> ColumnRecord:
        """Returns a column of a version, which must be there."""
        found = self.tree(version).column(name)
        assert found is not None
        return found

    def default_of(self, version: bytes, column: str) -> dict[str, bytes] | None:
        """Returns the default that was given to a column when it was added: a row of each stream, or None.

        Cost: the tree records of the versions since.
        """
        while True:
            for number, parent in enumerate(self.parents(version)):
                origin = self.origins(version, number).get(column)
                if origin is not None:
                    version, column = parent, origin
                    break
            else:
                return self._defaults(version).get(column)

    def _defaults(self, version: bytes) -> Defaults:
        draft = self._drafts.get(version)
        if draft is not None:
            return draft.defaults
        return decode_defaults(read_payload(self._version(version).defaults, self._nodes), f"version {version.hex()}")

    def merge_bases(self, a: bytes, b: bytes) -> list[bytes]:
        """Returns the best common ancestors of two versions: see :func:`~cas.history.graph.merge_bases`."""
        with self._store.read() as view:
            return merge_bases(_WithDrafts(view, self._drafts, self.generation), a, b)

    def generation(self, version: bytes) -> int:
        """Returns a number that is greater than that of any ancestor."""
        draft = self._drafts.get(version)
        if draft is not None:
            return 1 + max(map(self.generation, draft.parents), default=-1)
        with self._store.read() as view:
            return get_entry(view, version).generation

    def step(self, version: bytes, number: int) -> Shared:
        """Returns what a parent, by number, shares with the version."""
        draft = self._drafts.get(version)
        if draft is not None:
            return draft.steps[number]
        record = self._version(version)
        row_map = RowMap.decode(read_payload(record.row_maps[number], self._nodes), f"version {version.hex()}")
        columns = {origin: name for name, origin in self.origins(version, number).items()}
        return Shared(row_map.alignment(), columns)

    def origins(self, version: bytes, number: int) -> dict[str, str]:
        """Returns for columns of a version that a parent has too, by number, the names they have there."""
        draft = self._drafts.get(version)
        if draft is not None:
            return {name: origin for origin, name in draft.steps[number].columns.items()}
        record = self._version(version)
        renamed = record.column_maps[number] if number < len(record.column_maps) else {}
        there = {column.name for column in self.tree(record.parents[number]).columns}
        origins = ((column.name, renamed.get(column.name, column.name)) for column in self.tree(version).columns)
        return {name: origin for name, origin in origins if origin is not None and origin in there}

    def shared(self, old: bytes, new: bytes) -> Shared:
        """Returns what two versions share.

        Cost: the row maps and tree records of the versions on the ways between them.
        """
        everything = tuple(Shared.all_of(self.tree(version)) for version in (old, new))
        if old == new:
            return everything[0]
        found, nothing = Shared.nothing(), Shared.nothing()
        waiting = _Waiting(self)
        waiting.add(old, (everything[0], nothing))
        waiting.add(new, (nothing, everything[1]))
        while waiting.may_meet:
            version, (left, right) = waiting.pop()
            found = found.union(left.inverse().then(right))
            # What is left of one version's rows are different rows, so nothing more can meet.
            left, right = left.without(right), right.without(left)
            for number, parent in enumerate(self.parents(version)):
                step = self.step(version, number)
                waiting.add(parent, (step.then(left), step.then(right)))
        return found


class _WithDrafts:
    """A table of versions in which drafts stand too."""

    def __init__(self, view: View, drafts: Mapping[bytes, Draft], generation: Callable[[bytes], int]) -> None:
        self._view = view
        self._drafts = drafts
        self._generation = generation

    def get(self, table: str, key: bytes) -> bytes | None:
        draft = self._drafts.get(key)
        if draft is None:
            return self._view.get(table, key)
        return VersionEntry(0, self._generation(key), 0, None, draft.parents).encode()


class _Waiting:
    """Versions still to be looked at, newest first, each with what it shares with either end."""

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._heap: list[tuple[int, bytes]] = []
        self._traces: dict[bytes, Traces] = {}

    def add(self, version: bytes, traces: Traces) -> None:
        """Adds what a version shares with either end, if it is anything."""
        if not any(trace.some for trace in traces):
            return
        before = self._traces.get(version)
        if before is None:
            heapq.heappush(self._heap, (-self._lineage.generation(version), version))
        else:
            traces = (before[0].union(traces[0]), before[1].union(traces[1]))
        self._traces[version] = traces

    def pop(self) -> tuple[bytes, Traces]:
        """Takes out the version that no other one waiting comes after."""
        _, version = heapq.heappop(self._heap)
        return version, self._traces.pop(version)

    @property
    def may_meet(self) -> bool:
        """Whether something of both ends is still on its way."""
        return all(any(traces[side].some for traces in self._traces.values()) for side in (0, 1))


def pair_columns(old: TreeRecord, new: TreeRecord, shared: dict[str, str]) -> dict[str, str]:
    """Returns which columns of two states are compared, old names to new ones, in the order of the new state.

    Those that are the same, and of the others those with the same name and type.
    """
    taken = set(shared.values())
    origins = {new_name: old_name for old_name, new_name in shared.items()}
    for column in new.columns:
        twin = old.column(column.name)
        free = twin is not None and column.name not in taken and column.name not in shared
        if free and twin is not None and twin.type == column.type:
            origins[column.name] = column.name
    return {origins[column.name]: column.name for column in new.columns if column.name in origins}
