"""Which version last changed each cell of a column, found by row maps and by comparing trees."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from cas.codec.rows import Ints
from cas.history.compare import changed_cells
from cas.history.lineage import Lineage
from cas.tree.node import Nodes


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Rows of a version that are asked for, ascending, and their places in what is asked for in all."""

    rows: Ints
    places: Ints

    def where(self, chosen: Ints, rows: Ints) -> _Asked:
        """The chosen ones under other numbers."""
        order = np.argsort(rows)
        return _Asked(rows[order], self.places[chosen][order])


def blame_cells(lineage: Lineage, nodes: Nodes, version: bytes, column: str, rows: Ints) -> tuple[list[bytes], Ints]:
    """Returns versions, and for each row (ascending, without repeats) of a column the number of the one that made it.

    Asked of a version, a row goes on to the first parent that has it with the same bytes; it stays with the version
    that inserted it, changed its cell, or added the column. Cost: the row maps and tree records of the versions on the
    way, and the chunks around changes of the rows; where a column is unchanged nothing of it is read.
    """
    return _Blamer(lineage, nodes, len(rows)).run(version, column, rows)


class _Blamer:
    def __init__(self, lineage: Lineage, nodes: Nodes, count: int) -> None:
        self._lineage = lineage
        self._nodes = nodes
        self._heap: list[tuple[int, bytes, str]] = []
        self._asked: dict[tuple[bytes, str], list[_Asked]] = {}
        self._versions: list[bytes] = []
        self._found = np.full(count, -1, np.int64)

    def run(self, version: bytes, column: str, rows: Ints) -> tuple[list[bytes], Ints]:
        self._ask(version, column, _Asked(rows, np.arange(len(rows))))
        while self._heap:
            _, version, column = heapq.heappop(self._heap)
            parts = self._asked.pop((version, column))
            asked = _Asked(*(np.concatenate(arrays) for arrays in ([p.rows for p in parts], [p.places for p in parts])))
            everything = np.arange(len(asked.rows))
            self._answer(version, self._pass_on(version, column, asked.where(everything, asked.rows)))
        return self._versions, self._found

    def _ask(self, version: bytes, column: str, asked: _Asked) -> None:
        if not len(asked.rows):
            return
        key = (version, column)
        if key not in self._asked:
            heapq.heappush(self._heap, (-self._lineage.generation(version), *key))
        self._asked.setdefault(key, []).append(asked)

    def _answer(self, version: bytes, asked: _Asked) -> None:
        if len(asked.rows):
            self._found[asked.places] = len(self._versions)
            self._versions.append(version)

    def _pass_on(self, version: bytes, column: str, asked: _Asked) -> _Asked:
        """Asks the parents of the rows that they have as they are here; returns the others."""
        for number, parent in enumerate(self._lineage.parents(version)):
            origin = self._lineage.origins(version, number).get(column)
            if origin is None or not len(asked.rows):
                continue
            alignment = self._lineage.step(version, number).rows
            before, after = self._lineage.column(parent, origin), self._lineage.column(version, column)
            old = alignment.inverse().map(asked.rows)
            kept = asked.rows[old >= 0]
            same = old >= 0
            same[same] = ~np.isin(kept, changed_cells(self._nodes, before, after, alignment, kept), assume_unique=True)
            self._ask(parent, origin, asked.where(np.flatnonzero(same), old[same]))
            asked = asked.where(np.flatnonzero(~same), asked.rows[~same])
        return asked
