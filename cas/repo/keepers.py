"""Who keeps which blobs: owners are handed down from versions to chunks, and meet where hashes are equal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cas.codec.rows import Ints
from cas.errors import CorruptedError
from cas.hashing import HASH_BYTES, Hashes, Kind, split_hashes
from cas.history.graph import in_order
from cas.history.records import Payload, payload_streams
from cas.repo.blobs import stored_sizes
from cas.repo.distinct import DistinctHashes
from cas.repo.repository import Repository
from cas.store.contract import View
from cas.tree.node import Nodes
from cas.tree.read import StreamRef
from cas.types import Layout

_BATCH_NODES: Final = 256
_NOBODY: Final = np.iinfo(np.int32).max

Columns = tuple[NDArray[Any], ...]


@dataclass(frozen=True, slots=True)
class Keepers:
    """Who keeps a blob: the least and the greatest number of its owners, and two marks.

    So one owner is told from several, exactly, in whatever order they meet; without any, the least is above the
    greatest. ``ours`` marks what is in question, ``staged`` what uncommitted rows keep.
    """

    first: int = _NOBODY
    last: int = -1
    ours: bool = True
    staged: bool = False

    @classmethod
    def owner(cls, number: int, *, ours: bool = True) -> Keepers:
        """Returns one owner."""
        return cls(number, number, ours)

    def __or__(self, other: Keepers) -> Keepers:
        return Keepers(
            min(self.first, other.first),
            max(self.last, other.last),
            self.ours or other.ours,
            self.staged or other.staged,
        )


KeepersOf = dict[bytes, Keepers]


def add_keepers(table: KeepersOf, key: bytes, keepers: Keepers) -> None:
    """Adds to those that keep a version or tree."""
    known = table.get(key)
    table[key] = keepers if known is None else known | keepers


def hand_to_ancestors(view: View, heads: Mapping[bytes, Keepers]) -> KeepersOf:
    """Returns who keeps each version that leads to some, through any parents. Cost: one look-up a version."""
    keepers = dict(heads)
    for version, entry in reversed(in_order(view, heads)):
        for parent in entry.parents:
            add_keepers(keepers, parent, keepers[version])
    return keepers


@dataclass(frozen=True, slots=True)
class Roots:
    """What blobs are reached from, and who keeps it: versions, and what uncommitted rows consist of."""

    versions: KeepersOf
    trees: KeepersOf = field(default_factory=dict)
    payloads: list[tuple[Payload, Keepers]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Classes:
    """Numbers for what is kept by whom: below ``owners``, what the owner of that number alone keeps; then the others.

    The owner whose number is ``owners`` stands for all that are not told apart.
    """

    owners: int

    @property
    def several(self) -> int:
        """What several owners keep, and none of those that are not told apart."""
        return self.owners

    @property
    def elsewhere(self) -> int:
        """What those keep that are not told apart."""
        return self.owners + 1

    @property
    def staged(self) -> int:
        """What has no owner, but uncommitted rows keep it."""
        return self.owners + 2

    @property
    def unowned(self) -> int:
        """What has no owner otherwise."""
        return self.owners + 3

    @property
    def count(self) -> int:
        """How many classes there are, with that of what is not in question."""
        return self.owners + 5

    def of(self, first: NDArray[Any], last: NDArray[Any], ours: NDArray[Any], staged: NDArray[Any]) -> Ints:
        """Returns the classes of blobs whose :class:`Keepers` are given field by field."""
        none = first > last
        conditions = [~ours, none & staged, none, last == self.owners, first < last]
        numbers = [self.count - 1, self.staged, self.unowned, self.elsewhere, self.several]
        return np.select(conditions, numbers, first).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Bytes at rest and the number of blobs, by class; each array has the length ``classes.count``."""

    classes: Classes
    stored_bytes: Ints
    blobs: Ints


def count_kept(repository: Repository, roots: Roots, owners: int, *, below: int | None = None) -> Kept:
    """Counts the blobs that are reached from some, by who keeps them.

    Owners are numbered from 0 on; what is not in question, and with ``below`` all classes from that number on, is not
    counted.

    Each distinct version, tree and node below the roots is read once, also one of several owners: what is below it may
    be reached by one of them in another way, and must be known to be shared. Equal hashes meet by sorting, level by
    level; no chunk is read, and sizes are looked up only for what is counted. Memory: some 250 bytes for each distinct
    chunk, and some hundreds for each version. A blob that is missing raises :class:`~cas.errors.CorruptedError`, which
    names it; chunks that are not counted are not looked for.
    """
    tally = _Tally(repository, Classes(owners), below)
    tops = _count_records(repository, roots, tally)
    chunks = _count_nodes(repository.nodes, tops, tally)
    tally.count(Kind.CHUNK, *chunks.merged())
    return tally.kept


class _Tally:
    """Counts by class, of blobs that are given once each."""

    def __init__(self, repository: Repository, classes: Classes, below: int | None) -> None:
        self._store = repository.store
        self._below = classes.count - 1 if below is None else below
        self.kept = Kept(classes, np.zeros(classes.count, np.int64), np.zeros(classes.count, np.int64))

    def count(self, kind: Kind, hashes: Hashes, columns: Columns) -> None:
        """Counts distinct blobs of a kind."""
        if not len(hashes):
            return
        classes = self.kept.classes.of(*columns)
        counted = classes < self._below
        np.add.at(self.kept.stored_bytes, classes[counted], stored_sizes(self._store, kind, hashes[counted]))
        np.add.at(self.kept.blobs, classes[counted], 1)


def _count_records(repository: Repository, roots: Roots, tally: _Tally) -> DistinctHashes:
    """Counts versions and trees, and returns the roots of the streams below them."""
    tops = _distinct()
    trees = dict(roots.trees)
    for hash_, keepers in roots.versions.items():
        version = repository.version(hash_)
        add_keepers(trees, version.tree, keepers)
        _add_tops(tops, version.stream_refs(), keepers)
    for hash_, keepers in trees.items():
        _add_tops(tops, repository.tree(hash_).stream_refs(), keepers)
    for payload, keepers in roots.payloads:
        _add_tops(tops, payload_streams(payload), keepers)
    for kind, records in ((Kind.VERSION, roots.versions), (Kind.TREE, trees)):
        tally.count(kind, _as_array(records), _columns(records.values()))
    return tops


def _add_tops(tops: DistinctHashes, streams: Iterable[tuple[StreamRef, Layout]], keepers: Keepers) -> None:
    hashes = [ref.root for ref, _ in streams if ref.root is not None]
    if hashes:
        tops.add(_as_array(hashes), *_columns([keepers] * len(hashes)))


def _count_nodes(nodes: Nodes, tops: DistinctHashes, tally: _Tally) -> DistinctHashes:
    """Counts the nodes at and below some, from the highest level down, and returns the chunks below them."""
    levels: defaultdict[int, DistinctHashes] = defaultdict(_distinct)
    hashes, columns = tops.merged()
    heights = np.fromiter((nodes.load(hash_).level for hash_ in split_hashes(hashes)), np.int64, len(hashes))
    for level in np.unique(heights).tolist():
        chosen = heights == level
        levels[level].add(hashes[chosen], *(column[chosen] for column in columns))
    chunks = levels[-1]
    for level in range(max(levels), -1, -1):
        hashes, columns = levels.pop(level, _distinct()).merged()
        tally.count(Kind.NODE, hashes, columns)
        for start in range(0, len(hashes), _BATCH_NODES):
            part = slice(start, start + _BATCH_NODES)
            children = [_children(nodes, hash_, level) for hash_ in split_hashes(hashes[part])]
            counts = [len(each) for each in children]
            levels[level - 1].add(np.concatenate(children), *(np.repeat(column[part], counts) for column in columns))
    return chunks


def _children(nodes: Nodes, hash_: bytes, level: int) -> Hashes:
    """The hashes of the children of a node, which must be of the level."""
    node = nodes.load(hash_)
    if node.level != level:
        raise CorruptedError(f"node {hash_.hex()} is not what its parent declares", blob=hash_.hex())
    return node.entries.hashes


def _distinct() -> DistinctHashes:
    """For hashes with the fields of their :class:`Keepers`."""
    return DistinctHashes(np.minimum, np.maximum, np.logical_or, np.logical_or)


def _as_array(hashes: Iterable[bytes]) -> Hashes:
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, HASH_BYTES)


def _columns(keepers: Iterable[Keepers]) -> Columns:
    """The fields of keepers, one array each."""
    known = list(keepers)
    return (
        np.fromiter((each.first for each in known), np.int32, len(known)),
        np.fromiter((each.last for each in known), np.int32, len(known)),
        np.fromiter((each.ours for each in known), np.bool_, len(known)),
        np.fromiter((each.staged for each in known), np.bool_, len(known)),
    )
