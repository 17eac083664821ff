"""Streams of one row repeated, built without making the rows."""

from __future__ import annotations

from cas.chunking.cut import MAX_BYTES, find_cuts
from cas.codec.rows import Rows
from cas.store.writer import BlobWriter
from cas.tree.edit import build_tree
from cas.tree.node import Nodes
from cas.tree.read import EMPTY_STREAM, StreamRef
from cas.tree.stream import ChunkCutter, StreamReader
from cas.types import Layout


def build_constant_stream(nodes: Nodes, row: Rows, count: int, layout: Layout, writer: BlobWriter) -> StreamRef:
    """Returns the stream of ``count`` rows that all equal the one of ``row``.

    A cut depends on the rows since the cut before it alone, so all chunks but the last ones are the same. Cost: the
    rows of two chunks, and 40 bytes and a share of a node for each chunk of the stream.
    """
    block = row.repeated(min(count, MAX_BYTES // max(1, row.nbytes) + 2))
    cuts = find_cuts(block, layout, final=block.count == count)
    nothing = StreamReader(nodes, EMPTY_STREAM, layout)
    cutter = ChunkCutter(nothing, writer)
    done = 0
    rows = int(cuts[0]) if len(cuts) else count
    if count >= 2 * rows:
        copies = count // rows - 1
        cutter.add_copies(block.slice(0, rows), copies)
        done = copies * rows
    cutter.feed(row.repeated(count - done))
    return build_tree(cutter.finish(), nothing.tree, writer)
