"""The places in datasets that blobs are used at: versions, columns and rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cas.errors import CasError
from cas.history.graph import VersionEntry
from cas.history.records import Payload, TreeRecord, payload_streams
from cas.repo.damage import Place, Ranges
from cas.repo.fsck_notes import Head, Staged
from cas.repo.repository import Repository
from cas.tree.damage import DamageFinder

_MOST_OTHERS: Final = 9


@dataclass(frozen=True, slots=True)
class _Use:
    """What a blob is in one tree or version, and the rows it holds."""

    part: str
    column: str | None = None
    stream: str | None = None
    rows: Ranges = ()


_Uses = list[tuple[bytes, _Use]]
_Key = tuple[str, bytes, str, str | None, str | None]


class PlaceFinder:
    """Finds the places of some blobs, all at once: each distinct tree and node above none of them is opened once.

    Memory: some hundreds of bytes for each version that uses one of them, and for each node.
    """

    def __init__(self, repository: Repository, bad: Collection[bytes]) -> None:
        self._repository = repository
        self._bad = bad
        self._finder = DamageFinder(repository.nodes, bad)
        self._trees: dict[bytes, _Uses] = {}
        self._versions: dict[bytes, _Uses] = {}
        self._places: dict[_Key, Place] = {}

    def find(
        self,
        heads: Sequence[Head],
        staged: Sequence[Staged],
        parents: Mapping[bytes, tuple[bytes, ...]],
        entries: Mapping[bytes, VersionEntry],
    ) -> dict[bytes, tuple[Place, ...]]:
        """Returns the places of each blob that is used; one that is not there is used nowhere."""
        for dataset in dict.fromkeys(head.dataset for head in heads):
            labels = _labels([head for head in heads if head.dataset == dataset], parents)
            for version in sorted(labels, key=lambda version: _age(entries.get(version)), reverse=True):
                for hash_, use in self._uses_of_version(version):
                    self._add(Head(dataset, labels[version], version), hash_, use)
        for each in staged:
            session = each.session
            uses = [
                *self._uses_of_tree(session.tree),
                *self._uses_of_payload("row map", None, session.row_map),
                *self._uses_of_payload("defaults", None, session.defaults),
            ]
            for hash_, use in uses:
                head = Head(each.dataset, f"uncommitted rows on {session.branch}", session.base)
                self._add(head, hash_, dataclasses.replace(use, part=f"uncommitted {use.part}"))
        found: dict[bytes, tuple[Place, ...]] = {}
        for (_, hash_, *_), place in self._places.items():
            found[hash_] = (*found.get(hash_, ()), place)
        return found

    def _add(self, head: Head, hash_: bytes, use: _Use) -> None:
        key = (head.dataset, hash_, use.part, use.column, use.stream)
        place, version = self._places.get(key), head.version.hex()
        if place is None:
            self._places[key] = Place(head.dataset, head.label, version, use.part, use.column, use.stream, use.rows)
            return
        others = (*place.others, version) if len(place.others) < _MOST_OTHERS else place.others
        self._places[key] = dataclasses.replace(place, count=place.count + 1, others=others)

    def _uses_of_version(self, version: bytes) -> _Uses:
        if version not in self._versions:
            self._versions[version] = list(self._find_in_version(version))
        return self._versions[version]

    def _find_in_version(self, version: bytes) -> Iterator[tuple[bytes, _Use]]:
        if version in self._bad:
            yield version, _Use("version")
        try:
            record = self._repository.version(version)
        except CasError:
            return
        for row_map in record.row_maps:
            yield from self._uses_of_payload("row map", None, row_map)
        yield from self._uses_of_payload("defaults", None, record.defaults)
        yield from self._uses_of_tree(record.tree)

    def _uses_of_tree(self, hash_: bytes) -> _Uses:
        if hash_ not in self._trees:
            self._trees[hash_] = list(self._find_in_tree(hash_))
        return self._trees[hash_]

    def _find_in_tree(self, hash_: bytes) -> Iterator[tuple[bytes, _Use]]:
        if hash_ in self._bad:
            yield hash_, _Use("tree")
        try:
            tree: TreeRecord = self._repository.tree(hash_)
        except CasError:
            return
        yield from self._uses_of_payload("metadata", None, tree.metadata)
        for column in tree.columns:
            layouts = column.type.layouts()
            for name, ref in column.streams.items():
                for hash_, runs in self._finder.rows(ref, layouts[name]).items():
                    yield hash_, _Use("column", column.name, name, tuple(runs))
            yield from self._uses_of_payload("metadata", column.name, column.metadata)

    def _uses_of_payload(self, part: str, column: str | None, payload: Payload) -> Iterator[tuple[bytes, _Use]]:
        for ref, layout in payload_streams(payload):
            for hash_ in self._finder.rows(ref, layout):
                yield hash_, _Use(part, column)


def _labels(heads: Sequence[Head], parents: Mapping[bytes, tuple[bytes, ...]]) -> dict[bytes, str]:
    """The versions of a dataset, each with the first of its heads that leads to it."""
    labels: dict[bytes, str] = {}
    for head in heads:
        waiting = [head.version]
        while waiting:
            version = waiting.pop()
            if version not in labels:
                labels[version] = head.label
                waiting += parents.get(version, ())
    return labels


def _age(entry: VersionEntry | None) -> tuple[int, int]:
    return (-1, -1) if entry is None else (entry.timestamp, entry.generation)
