"""The graph of versions: storage time, generation, depth, and ancestors in logarithmic steps (FORMAT section 7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cas.codec import cbor
from cas.errors import CorruptedError
from cas.hashing import HASH_BYTES
from cas.store.contract import VERSIONS, View


@dataclass(frozen=True, slots=True)
class VersionEntry:
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
        match cbor.decode(data, what=what):
            case [int(timestamp), int(generation), int(depth), (bytes() | None) as jump, [*parents]]:
                hashes = [*parents, *([] if jump is None else [jump])]
                if all(isinstance(hash_, bytes) and len(hash_) == HASH_BYTES for hash_ in hashes):
                    return cls(timestamp, generation, depth, jump, tuple(parents))
        raise CorruptedError(f"{what} has an invalid entry in the table of versions", blob=what)


def skip_depth(depth: int) -> int:
    """Returns the depth to which the jump of a version leads (as in Bitcoin Core's skip list of blocks)."""
    if depth < 2:
        return 0
    if depth % 2 == 0:
        return depth & (depth - 1)
    even = (depth - 1) & (depth - 2)
    return (even & (even - 1) if even else 0) + 1


def find_entry(view: View, version: bytes) -> VersionEntry | None:
    """Returns the entry of a version, or None where there is none."""
    data = view.get(VERSIONS, version)
    return None if data is None else VersionEntry.decode(data, f"version {version.hex()}")


def get_entry(view: View, version: bytes) -> VersionEntry:
    """Returns the entry of a version that must be there."""
    entry = find_entry(view, version)
    if entry is None:
        name = version.hex()
        raise CorruptedError(f"version {name} is missing from the table of versions", blob=name)
    return entry


def ancestor_at(view: View, version: bytes, depth: int) -> bytes:
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


def ancestors_at(view: View, version: bytes, depths: Iterable[int]) -> Iterator[tuple[bytes, VersionEntry]]:
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


def in_order(view: View, heads: Iterable[bytes]) -> list[tuple[bytes, VersionEntry]]:
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


def is_ancestor(view: View, version: bytes, descendant: bytes) -> bool:
    """Whether a version is another one or comes before it, through any parents.

    Cost: a logarithmic number of look-ups where it is one along first parents; otherwise one for each version between
    the two by generation.
    """
    entry, last = get_entry(view, version), get_entry(view, descendant)
    if last.depth >= entry.depth and ancestor_at(view, descendant, entry.depth) == version:
        return True
    waiting, seen = [descendant], {descendant}
    while waiting:
        found = waiting.pop()
        if found == version:
            return True
        for parent in get_entry(view, found).parents:
            if parent not in seen and get_entry(view, parent).generation >= entry.generation:
                seen.add(parent)
                waiting.append(parent)
    return False


def _out_of_order(version: bytes) -> CorruptedError:
    name = version.hex()
    return CorruptedError(f"the table of versions does not fit together at version {name}", blob=name)


def new_entry(view: View, parents: tuple[bytes, ...], timestamp: int) -> VersionEntry:
    """Returns the entry of a new version with these parents."""
    entries = [get_entry(view, parent) for parent in parents]
    if not entries:
        return VersionEntry(timestamp, 0, 0, None, ())
    depth = entries[0].depth + 1
    generation = 1 + max(entry.generation for entry in entries)
    jump = ancestor_at(view, parents[0], skip_depth(depth))
    return VersionEntry(timestamp, generation, depth, jump, parents)
