"""The graph of versions: storage time, generation, depth, and ancestors in logarithmic steps (FORMAT section 7)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from heapq import heappop, heappush
from itertools import islice
from typing import Final, NamedTuple

from cas.codec import cbor
from cas.codec.fields import END_TIME, is_count, is_hash, is_time
from cas.errors import CorruptedError
from cas.store.contract import VERSIONS, Lookup, Store

# What leads to a version: the one side, the other, and a common ancestor, which makes it no best one.
_LEFT: Final = 1
_RIGHT: Final = 2
_STALE: Final = 4
_MOST_IN_BLOCK: Final = 256
_DIRECT: Final = 24
# CBOR: an array of five: an integer of 8 bytes, two of as many as follow, a string of 32 bytes, an array of one such.
_USUAL_HEADS: Final = (b"\x85\x1b", b"\x58\x20", b"\x81\x58\x20")
_USUAL: Final = {
    form.size: (form, head, least)
    for form, head, least in (
        (struct.Struct(">2sQ0sB0sB2s32s3s32s"), b"", 0),
        (struct.Struct(">2sQ1sB1sB2s32s3s32s"), b"\x18", 24),
        (struct.Struct(">2sQ1sH1sH2s32s3s32s"), b"\x19", 256),
    )
}


class VersionEntry(NamedTuple):
    """What the store knows of a version apart from its record."""

    timestamp: int
    generation: int
    depth: int
    jump: bytes | None
    parents: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Returns the stored form."""
        return cbor.encode([self.timestamp, self.generation, self.depth, self.jump, list(self.parents)])

    @classmethod
    def decode(cls, data: bytes, what: str) -> VersionEntry:
        """Returns the entry in its stored form; ``what`` names it in the error."""
        usual = _decode_usual(data)
        if usual is not None:
            return usual
        match cbor.decode(data, what=what):
            case [timestamp, generation, depth, jump, [*parents]] if (
                is_time(timestamp) and is_count(generation) and is_count(depth)
            ):
                if all(is_hash(hash_) for hash_ in (*parents, *([] if jump is None else [jump]))):
                    return cls(timestamp, generation, depth, jump, tuple(parents))
        raise CorruptedError(f"{what} has an invalid entry in the table of versions", blob=what)


def _decode_usual(data: bytes) -> VersionEntry | None:
    """An entry in the form that all but the first have, mostly; None for any other, valid or not.

    Histories are lists of these: read by hand, each takes a tenth of the time that any CBOR takes.
    """
    usual = _USUAL.get(len(data))
    if usual is None:
        return None
    form, head, least = usual
    array, timestamp, head1, generation, head2, depth, string, jump, one, parent = form.unpack(data)
    if (array, string, one) != _USUAL_HEADS or head1 != head or head2 != head:
        return None
    if generation < least or depth < least or not 1 << 32 <= timestamp < END_TIME:
        return None
    if not least and (generation >= _DIRECT or depth >= _DIRECT):
        return None
    return VersionEntry(timestamp, generation, depth, jump, (parent,))


def skip_depth(depth: int) -> int:
    """Returns the depth to which the jump of a version leads (as in Bitcoin Core's skip list of blocks)."""
    if depth < 2:
        return 0
    if depth % 2 == 0:
        return depth & (depth - 1)
    even = (depth - 1) & (depth - 2)
    return (even & (even - 1) if even else 0) + 1


def find_entry(view: Lookup, version: bytes) -> VersionEntry | None:
    """Returns the entry of a version, or None where there is none."""
    data = view.get(VERSIONS, version)
    if data is None:
        return None
    return _decode_usual(data) or VersionEntry.decode(data, f"version {version.hex()}")


def get_entry(view: Lookup, version: bytes) -> VersionEntry:
    """Returns the entry of a version that must be there."""
    entry = find_entry(view, version)
    if entry is None:
        name = version.hex()
        raise CorruptedError(f"version {name} is missing from the table of versions", blob=name)
    return entry


def ancestor_at(view: Lookup, version: bytes, depth: int) -> bytes:
    """Returns the ancestor along first parents at a depth, at most that of the version. Logarithmic."""
    entry = get_entry(view, version)
    while entry.depth > depth:
        # Jump where the jump does not go too far, and the parent's would not go further.
        skip = skip_depth(entry.depth)
        parent_skip = skip_depth(entry.depth - 1)
        if entry.jump is not None and (
            skip == depth or (skip > depth and not (parent_skip < skip - 2 and parent_skip >= depth))
        ):
            version = entry.jump
        elif entry.parents:
            version = entry.parents[0]
        else:
            raise _out_of_order(version)
        before, entry = entry, get_entry(view, version)
        if entry.depth >= before.depth:
            raise _out_of_order(version)
    if entry.depth < depth:
        raise _out_of_order(version)
    return version


def ancestors_at(view: Lookup, version: bytes, depths: Iterable[int]) -> Iterator[tuple[bytes, VersionEntry]]:
    """Yields the ancestors at descending depths, with their entries; cost: one look-up each where depths are adjacent.

    Each is found from the one before, so that a run of depths is walked along parents, and a gap is jumped.
    """
    entry = get_entry(view, version)
    for depth in depths:
        if entry.depth != depth:
            near = entry.depth == depth + 1 and entry.parents
            version = entry.parents[0] if near else ancestor_at(view, version, depth)
            entry = get_entry(view, version)
            if entry.depth != depth:
                raise _out_of_order(version)
        yield version, entry


def in_order(view: Lookup, heads: Iterable[bytes]) -> list[tuple[bytes, VersionEntry]]:
    """Returns some versions and all that lead to them through any parents, each once, parents first.

    Cost: one look-up for each version.
    """
    entries: dict[bytes, VersionEntry] = {}
    waiting = list(heads)
    while waiting:
        version = waiting.pop()
        if version not in entries:
            entries[version] = get_entry(view, version)
            waiting += entries[version].parents
    for version, entry in entries.items():
        if any(entries[parent].generation >= entry.generation for parent in entry.parents):
            raise _out_of_order(version)
    return sorted(entries.items(), key=lambda item: (item[1].generation, item[0]))


def is_first_parent_ancestor(view: Lookup, version: bytes, descendant: bytes) -> bool:
    """Whether a version is another one or comes before it along first parents. Logarithmic."""
    depth = get_entry(view, version).depth
    return get_entry(view, descendant).depth >= depth and ancestor_at(view, descendant, depth) == version


def is_ancestor(view: Lookup, version: bytes, descendant: bytes) -> bool:
    """Whether a version is another one or comes before it, through any parents.

    Cost: a logarithmic number of look-ups where it is one along first parents; otherwise at most one for each version
    that leads to the other, and the parents of these, down to its generation.
    """
    return is_first_parent_ancestor(view, version, descendant) or version in ancestors_among(
        view, [version], [descendant]
    )


def ancestors_among(view: Lookup, versions: Collection[bytes], heads: Iterable[bytes]) -> set[bytes]:
    """Returns those versions that lead to one of the heads, or are one, through any parents.

    Cost: one look-up for each version that leads to a head, and the parents of these, down to the lowest generation
    of what is sought; it ends when all are found.
    """
    sought = {version: get_entry(view, version).generation for version in versions}
    found: set[bytes] = set()
    lowest = min(sought.values(), default=0)
    for version, entry in _follow(view, _Waiting(view, heads, _by_generation)):
        if entry.generation < lowest or len(found) == len(sought):
            break
        if version in sought:
            found.add(version)
    return found


def walk(view: Lookup, heads: Iterable[bytes]) -> Iterator[tuple[bytes, VersionEntry]]:
    """Yields the heads and all versions that lead to them, through any parents, with their entries: newest first.

    None comes before one of its descendants: a version never lands before its parents, and where a copy brought both
    at once, generations tell. Cost: one look-up for each version that is asked for and its parents; memory: these.
    """
    return _follow(view, _Waiting(view, heads, _by_time))


def walk_blocks(store: Store, heads: Iterable[bytes]) -> Iterator[tuple[bytes, VersionEntry]]:
    """Walks as :func:`walk` does, with no view open while the caller has his turn: versions are read in blocks.

    The first block has few versions, for callers that ask for few.
    """
    with store.read() as view:
        waiting = _Waiting(view, heads, _by_time)
    size = 16
    while waiting:
        with store.read() as view:
            block = list(islice(_follow(view, waiting), size))
        yield from block
        size = min(2 * size, _MOST_IN_BLOCK)


def merge_bases(view: Lookup, a: bytes, b: bytes) -> list[bytes]:
    """Returns all best common ancestors of two versions, sorted: those that come before no other common ancestor.

    A version counts as an ancestor of itself. One is the usual number; histories merged crosswise have several, and
    unrelated ones none. Cost: logarithmic where one is an ancestor of the other along first parents; otherwise one
    look-up for each version that comes before either and whose generation is above that of the last best one.
    """
    for one, other in ((a, b), (b, a)):
        if is_first_parent_ancestor(view, one, other):
            return [one]
    return sorted(_paint_down(view, a, b))


def _paint_down(view: Lookup, a: bytes, b: bytes) -> Iterator[bytes]:
    """Follows both sides down by generation: when a version's turn comes, all that leads to it has been seen."""
    waiting = _Waiting(view, (a, b), _by_generation)
    marks = {a: _LEFT, b: _RIGHT}
    fresh = 2  # of those waiting, how many are not stale
    while fresh:
        version, entry = waiting.pop()
        mark = marks[version]
        fresh -= not mark & _STALE
        if mark == _LEFT | _RIGHT:
            yield version
            mark |= _STALE
        for parent in entry.parents:
            before = 0 if waiting.add(view, parent) else marks[parent]
            marks[parent] = before | mark
            fresh += (not marks[parent] & _STALE) - (before != 0 and not before & _STALE)


def _by_generation(entry: VersionEntry) -> tuple[int, int]:
    return -entry.generation, -entry.timestamp


def _by_time(entry: VersionEntry) -> tuple[int, int]:
    return -entry.timestamp, -entry.generation


class _Waiting:
    """Versions that wait for their turn, each once: the newest, or that of the highest generation, is the next."""

    def __init__(self, view: Lookup, heads: Iterable[bytes], order: Callable[[VersionEntry], tuple[int, int]]) -> None:
        self._order = order
        self._seen: set[bytes] = set()
        self._heap: list[tuple[tuple[int, int], bytes, VersionEntry]] = []
        for head in heads:
            self.add(view, head)

    def __bool__(self) -> bool:
        return bool(self._heap)

    def add(self, view: Lookup, version: bytes) -> bool:
        """Lets a version wait; False where it has waited before."""
        if version in self._seen:
            return False
        self._seen.add(version)
        entry = get_entry(view, version)
        heappush(self._heap, (self._order(entry), version, entry))
        return True

    def pop(self) -> tuple[bytes, VersionEntry]:
        """Returns the next one."""
        _, version, entry = heappop(self._heap)
        return version, entry


def _follow(view: Lookup, waiting: _Waiting) -> Iterator[tuple[bytes, VersionEntry]]:
    """Yields those that wait and what leads to them; between two, all that is next waits."""
    while waiting:
        version, entry = waiting.pop()
        for parent in entry.parents:
            waiting.add(view, parent)
        yield version, entry


def _out_of_order(version: bytes) -> CorruptedError:
    name = version.hex()
    return CorruptedError(f"the table of versions does not fit together at version {name}", blob=name)


def new_entry(view: Lookup, parents: tuple[bytes, ...], timestamp: int) -> VersionEntry:
    """Returns the entry of a new version with these parents."""
    entries = [get_entry(view, parent) for parent in parents]
    if not entries:
        return VersionEntry(timestamp, 0, 0, None, ())
    depth = entries[0].depth + 1
    generation = 1 + max(entry.generation for entry in entries)
    jump = ancestor_at(view, parents[0], skip_depth(depth))
    return VersionEntry(timestamp, generation, depth, jump, parents)
