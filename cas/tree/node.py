"""Nodes of a tree: parallel arrays of hashes, rows and bytes (FORMAT section 4)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cas.codec.rows import Ints
from cas.errors import CorruptedError
from cas.hashing import HASH_BYTES, Hashes, Kind
from cas.store.gate import Gate
from cas.store.latest import Latest
from cas.store.writer import BlobWriter

MAX_CHILDREN: Final = 256
MAX_LEVEL: Final = 32
MAX_CHUNK: Final = 262_080
"""The most rows, and the most payload bytes, of a chunk."""
NODE_FORMAT: Final = 1
_HEADER: Final = struct.Struct("<BBHI")
_MOST_BITS: Final = 53
"""Rows and bytes of 256 children together stay below 2**62."""
_CACHED_NODES: Final = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """Children in order: ``hashes`` (count, 32), ``rows`` completed and payload ``sizes`` in bytes (int64)."""

    hashes: Hashes
    rows: Ints
    sizes: Ints

    @classmethod
    def empty(cls) -> Entries:
        """Returns no children."""
        nothing = np.empty(0, np.int64)
        return cls(np.empty((0, HASH_BYTES), np.uint8), nothing, nothing)

    @classmethod
    def concat(cls, parts: Sequence[Entries]) -> Entries:
        """Returns the children of all parts in order."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return cls.empty()
        return cls(
            np.concatenate([part.hashes for part in parts]),
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.sizes for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def slice(self, start: int, stop: int) -> Entries:
        """Returns the children ``start`` to ``stop``."""
        return Entries(self.hashes[start:stop], self.rows[start:stop], self.sizes[start:stop])

    def take(self, numbers: Ints) -> Entries:
        """Returns the children of these numbers."""
        return Entries(self.hashes[numbers], self.rows[numbers], self.sizes[numbers])

    def extents(self) -> Ints:
        """Returns where each child ends, in rows plus bytes: a coordinate that every child advances."""
        return (self.rows + self.sizes).cumsum()


class Node:
    """A decoded node; ``extents`` and ``row_ends`` are running sums over its children.

    ``rows``, and ``extent`` as rows plus payload bytes, are those of all of them.
    """

    __slots__ = ("entries", "extent", "extents", "level", "row_ends", "rows")

    def __init__(self, level: int, entries: Entries) -> None:
        self.level = level
        self.entries = entries
        self.extents = entries.extents()
        self.row_ends: Ints = entries.rows.cumsum()
        self.rows = int(self.row_ends[-1])
        self.extent = int(self.extents[-1])


def encode_node(level: int, entries: Entries) -> bytes:
    """Returns the payload of a node with these children."""
    number = "<u4" if level == 0 else "<u8"
    return b"".join(
        (
            _HEADER.pack(NODE_FORMAT, level, len(entries), 0),
            entries.rows.astype(number).tobytes(),
            entries.sizes.astype(number).tobytes(),
            entries.hashes.tobytes(),
        )
    )


def decode_node(payload: bytes, name: str) -> Node:
    """Returns the node in a payload; ``name`` is its hash, for the error."""
    if len(payload) < _HEADER.size:
        raise CorruptedError(f"node {name} ends inside its header", blob=name)
    version, level, count, zero = _HEADER.unpack_from(payload)
    width = 4 if level == 0 else 8
    if version != NODE_FORMAT or zero or level > MAX_LEVEL or not 1 <= count <= MAX_CHILDREN:
        raise CorruptedError(f"node {name} has an invalid header", blob=name)
    if len(payload) != _HEADER.size + count * (2 * width + HASH_BYTES):
        raise CorruptedError(f"node {name} has {len(payload)} bytes, which {count} children do not fill", blob=name)
    numbers = np.frombuffer(payload, f"<u{width}", 2 * count, _HEADER.size)
    if width == 8 and (numbers >> np.uint64(_MOST_BITS)).any():
        raise CorruptedError(f"node {name} declares impossible sizes", blob=name)
    numbers = numbers.astype(np.int64)
    if level == 0 and (numbers > MAX_CHUNK).any():
        raise CorruptedError(f"node {name} declares a chunk that is too large", blob=name)
    if (numbers[:count] + numbers[count:] == 0).any():
        raise CorruptedError(f"node {name} has a child of no rows and no bytes", blob=name)
    hashes = np.frombuffer(payload, np.uint8, count * HASH_BYTES, _HEADER.size + 2 * width * count)
    entries = Entries(hashes.reshape(count, HASH_BYTES), numbers[:count], numbers[count:])
    return Node(level, entries)


class Nodes:
    """Loads nodes through a gate, and keeps the last ones decoded (at most 2,048, some 25 MB)."""

    def __init__(self, gate: Gate, cache: Latest[Node] | None = None) -> None:
        self.gate = gate
        self._cache: Latest[Node] = Latest(_CACHED_NODES, lambda node: 1) if cache is None else cache

    def over(self, gate: Gate) -> Nodes:
        """Returns nodes that are loaded through another gate of the same store, and kept together with these."""
        return Nodes(gate, self._cache)

    def save(self, writer: BlobWriter, level: int, entries: Entries) -> tuple[bytes, Node]:
        """Hands a node to a writer and returns its hash and the node, which is kept as if it had been loaded."""
        hash_ = save_node(writer, level, entries)
        # Copies: the arrays may be a small part of large ones.
        own = Entries(entries.hashes.copy(), entries.rows.copy(), entries.sizes.copy())
        node = Node(level, own)
        self._cache.put(hash_, node)
        return hash_, node

    def load(self, hash_: bytes) -> Node:
        """Returns the node with this hash; one that is missing or damaged raises ``CorruptedError``."""
        node = self._cache.get(hash_)
        if node is None:
            payload = self.gate.read_record(Kind.NODE, hash_)
            if payload is None:
                raise CorruptedError(f"node {hash_.hex()} is missing from the store", blob=hash_.hex())
            node = decode_node(payload, hash_.hex())
            self._cache.put(hash_, node)
        return node

    def child(self, node: Node, index: int) -> Node:
        """Returns a child of an inner node, after checking that it is what its parent declares."""
        return self.load_declared(node.level - 1, node.entries, index)

    def load_declared(self, level: int, entries: Entries, index: int = 0) -> Node:
        """Returns the node of a level that an entry names, after checking that it is what the entry declares."""
        hash_ = entries.hashes[index].tobytes()
        node = self.load(hash_)
        rows, size = entries.rows[index], entries.sizes[index]
        if node.level != level or node.rows != rows or node.extent != rows + size:
            raise CorruptedError(f"node {hash_.hex()} is not what its parent declares", blob=hash_.hex())
        return node


def save_node(writer: BlobWriter, level: int, entries: Entries) -> bytes:
    """Hands a node to the writer and returns its hash."""
    return writer.add_record(Kind.NODE, encode_node(level, entries))
