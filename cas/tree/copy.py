"""Copying a stream into another store, leaving out what is there."""

from __future__ import annotations

from cas.errors import CorruptedError
from cas.hashing import split_hashes
from cas.store.contract import Store
from cas.store.gate import split_payloads
from cas.store.writer import BlobWriter
from cas.tree.node import Node, Nodes, save_node
from cas.tree.read import StreamRef
from cas.types import Layout


class StreamCopier:
    """Copies streams from one store to another through a writer.

    Children are handed over before the node that names them, and the writer puts blobs in that order. So a node that
    the target has has all below it there too, and a subtree that is there costs one look-up.
    """

    def __init__(self, source: Nodes, target: Store, writer: BlobWriter) -> None:
        self._source = source
        self._target = target
        self._writer = writer

    def copy(self, ref: StreamRef, layout: Layout) -> None:
        """Copies the chunks and nodes of a stream. Cost: what the target lacks, and a look-up for each child of that.

        Raises :class:`~cas.errors.CorruptedError` for what is missing or damaged in the source.
        """
        if ref.root is not None and self._missing([ref.root]):
            self._copy_node(self._source.load(ref.root), ref.root, layout)

    def _copy_node(self, node: Node, hash_: bytes, layout: Layout) -> None:
        keys = split_hashes(node.entries.hashes)
        missing = self._missing(keys)
        if node.level == 0:
            self._copy_chunks(node, [at for at, key in enumerate(keys) if key in missing], layout)
        else:
            for at, key in enumerate(keys):
                if key in missing:
                    missing.discard(key)
                    self._copy_node(self._source.child(node, at), key, layout)
        if save_node(self._writer, node.level, node.entries) != hash_:
            raise CorruptedError(f"node {hash_.hex()} is not in its only form", blob=hash_.hex())

    def _copy_chunks(self, node: Node, wanted: list[int], layout: Layout) -> None:
        entries = node.entries
        for start in range(0, len(wanted), 64):
            part = wanted[start : start + 64]
            flat = self._source.gate.read_chunks(entries.hashes[part], entries.sizes[part])
            self._writer.add_chunks(split_payloads(flat, entries.sizes[part]), layout)

    def _missing(self, keys: list[bytes]) -> set[bytes]:
        with self._target.read() as view:
            sizes = view.sizes(keys)
        return {key for key, size in zip(keys, sizes, strict=True) if size is None and key not in self._writer.held}
