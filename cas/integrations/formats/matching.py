"""Which rows of an import are those that the dataset has, told by keys of 16 bytes a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cas.codec.rows import Ints, Rows
from cas.codec.values import Streams
from cas.dataset.state import ColumnState
from cas.hashing import hash_chunk
from cas.integrations.folder.importing import content_key
from cas.tree.alignment import NOWHERE, Alignment
from cas.types import Layout

KEY_BYTES: Final = 16
_READ_BYTES: Final = 8 << 20
_READ_ROWS: Final = 4096

Keys = NDArray[np.uint64]
"""Keys of rows, of shape (rows, 2)."""


def joined_keys(parts: list[bytes]) -> Keys:
    """Returns the keys whose bytes follow each other in some parts."""
    return np.frombuffer(b"".join(parts), np.uint64).reshape(-1, 2)


def new_keys(columns: Mapping[str, ColumnState], encoded: Mapping[str, Streams]) -> bytes:
    """Returns the keys of encoded rows, from some of their columns."""
    parts = [
        _new_parts(encoded[name][stream], state.layout)
        for name, column in columns.items()
        for stream, state in column.streams.items()
    ]
    return _combine(parts)


def old_keys(columns: Mapping[str, ColumnState], rows: int) -> Iterator[bytes]:
    """Yields the keys of the rows of a dataset, some at a time; images are told by their hashes and not read."""
    streams = [stream for column in columns.values() for stream in column.streams.values()]
    read = sum(stream.size_bytes for stream in streams if not stream.layout.alone)
    step = max(1, min(_READ_ROWS, _READ_BYTES * rows // max(1, read)))
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        yield _combine(
            [
                list(stream.reader.row_keys(start, stop))
                if stream.layout.alone
                else _new_parts(stream.read(start, stop), stream.layout)
                for stream in streams
            ]
        )


def _new_parts(rows: Rows, layout: Layout) -> list[bytes]:
    """What a stream gives to the keys: as many bytes of each row, so that they do not run into each other."""
    if layout.alone:
        return [content_key(row) for row in rows]
    if layout.row_bytes is not None and layout.row_bytes <= 64:
        return [bytes(row) for row in rows]
    return [hash_chunk(row) for row in rows]


def _combine(parts: list[list[bytes]]) -> bytes:
    return b"".join(hash_chunk(b"".join(row))[:KEY_BYTES] for row in zip(*parts, strict=True))


def match_rows(old: Keys, new: Keys, *, pair_rest: bool) -> Ints:
    """Returns for each new row the old row that it is, or -1; ascending among those that are one.

    Rows of equal keys are matched from the first on. What stands in another order than before stays as far as possible.
    With ``pair_rest`` as many rows as were replaced between two that stay are taken for each other. Cost: a sort.
    """
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    target = np.full(len(new), NOWHERE, np.int64)
    target[:head] = np.arange(head)
    target[len(new) - tail :] = np.arange(len(old) - tail, len(old))
    middle = _match(old[head : len(old) - tail], new[head : len(new) - tail])
    inner = target[head : len(new) - tail]
    _fill(inner, middle)
    inner[inner != NOWHERE] += head
    if pair_rest:
        _pair_rest(target, len(old))
    return target


def _common(old: Keys, new: Keys) -> int:
    """How many rows at the beginning are equal."""
    shorter = min(len(old), len(new))
    differ = (old[:shorter] != new[:shorter]).any(axis=1)
    return int(np.argmax(differ)) if differ.any() else shorter


def _match(old: Keys, new: Keys) -> Alignment:
    both = np.concatenate((old, new))
    order = np.lexsort((np.arange(len(both)), both[:, 1], both[:, 0]))
    ordered = both[order]
    starts = np.ones(len(both), np.bool_)
    starts[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    groups = np.empty(len(both), np.int64)
    groups[order] = np.cumsum(starts)
    _, at_old, at_new = np.intersect1d(
        _numbered(groups[: len(old)]), _numbered(groups[len(old) :]), assume_unique=True, return_indices=True
    )
    return Alignment.of(at_old, at_new, np.ones(len(at_old), np.int64)).in_order()


def _numbered(groups: Ints) -> Ints:
    """A number for each row that tells its group, and how many rows of the group come before it."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    numbered = np.empty(len(groups), np.int64)
    numbered[order] = (ordered << 32) + np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))
    return numbered


def _fill(target: Ints, found: Alignment) -> None:
    for old, new, length in zip(found.old.tolist(), found.new.tolist(), found.lengths.tolist(), strict=True):
        target[new : new + length] = np.arange(old, old + length)


def _pair_rest(target: Ints, old_rows: int) -> None:
    kept = np.flatnonzero(target != NOWHERE)
    before = np.concatenate(([NOWHERE], kept))
    old_before = np.concatenate(([NOWHERE], target[kept]))
    replaced = np.minimum(np.append(kept, len(target)) - before - 1, np.append(target[kept], old_rows) - old_before - 1)
    for at in np.flatnonzero(replaced).tolist():
        rows = np.arange(1, int(replaced[at]) + 1)
        target[before[at] + rows] = old_before[at] + rows


def changed_rows(target: Ints, old: Keys, new: Keys) -> NDArray[Any]:
    """Tells which new rows are old ones with other content."""
    there = target != NOWHERE
    changed = np.zeros(len(target), np.bool_)
    changed[there] = (old[target[there]] != new[there]).any(axis=1)
    return changed
