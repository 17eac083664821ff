"""What differs between two states: cells of columns, and metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cas.codec import cbor
from cas.codec.rows import Ints
from cas.errors import CorruptedError
from cas.history.records import ColumnRecord, Payload, read_payload
from cas.tree.alignment import Alignment, ascending
from cas.tree.difference import find_changed
from cas.tree.node import Nodes
from cas.tree.stream import StreamReader

NO_ROWS: Final = np.empty(0, np.int64)


def changed_cells(
    nodes: Nodes, old: ColumnRecord, new: ColumnRecord, alignment: Alignment, within: Ints | None = None
) -> Ints:
    """Returns the rows of ``new`` (int64, ascending) that ``old`` has too, with other bytes in any of its streams.

    Both columns have one type. Cost: see :func:`~cas.tree.difference.find_changed`.
    """
    changed = NO_ROWS
    for stream, layout in new.type.layouts().items():
        before, after = (StreamReader(nodes, column.streams[stream], layout) for column in (old, new))
        found = find_changed(before, after, alignment, within)
        changed = ascending(np.concatenate((changed, found))) if len(changed) else found
    return changed


Encoded = dict[str, bytes]
"""Metadata with its values in their stored form, which two equal values share."""


def read_metadata(payload: Payload, nodes: Nodes) -> Encoded:
    """Returns the metadata in a field of a tree record."""
    return split_metadata(read_payload(payload, nodes))


def split_metadata(data: bytes) -> Encoded:
    """Returns the metadata in the stored form of a whole mapping."""
    mapping = cbor.decode(data, what="metadata snapshot")
    if not isinstance(mapping, dict):
        raise CorruptedError("a metadata snapshot is damaged", blob="metadata")
    return {key: cbor.encode(value) for key, value in sorted(mapping.items())}


def decode_metadata_value(data: bytes) -> Any:
    """Returns a value of metadata from its stored form."""
    return cbor.decode_value(data, what="metadata")


def encode_metadata_value(value: object) -> bytes:
    """Returns the stored form of a value of metadata."""
    return cbor.encode_value(value)


def join_metadata(metadata: Mapping[str, bytes]) -> bytes:
    """Returns the stored form of a whole mapping."""
    return cbor.encode({key: cbor.decode(value, what="metadata") for key, value in metadata.items()})


@dataclass(frozen=True, slots=True)
class KeyChange:
    """A key of metadata whose value differs; None where one side does not have it."""

    key: str
    old: bytes | None
    new: bytes | None


def changed_keys(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> list[KeyChange]:
    """Returns the keys whose values differ, sorted."""
    pairs = ((key, old.get(key), new.get(key)) for key in sorted({*old, *new}))
    return [KeyChange(key, before, after) for key, before, after in pairs if before != after]
