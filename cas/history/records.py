"""The records of a dataset's state and of a version, and their deterministic form (FORMAT section 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from cas import types
from cas.codec import cbor
from cas.codec.fields import is_count, is_hash, is_time
from cas.codec.rows import Rows
from cas.errors import CorruptedError, InvalidInputError, UnsupportedError, shown
from cas.hashing import Kind
from cas.store.gate import MAX_RECORD_BYTES, Gate
from cas.store.writer import BlobWriter
from cas.tree.node import Nodes
from cas.tree.read import StreamRef
from cas.tree.stream import StreamReader, build_stream
from cas.types import Layout, Type

RECORD_FORMAT: Final = 1
INLINE_BYTES: Final = 1024
PAYLOAD_LAYOUT: Final = Layout(None, alone=True)

Payload = bytes | StreamRef
Defaults = dict[str, dict[str, bytes]]
"""For columns that are new, a row of each stream: the value of rows that come without one, as a merge brings them."""
T = TypeVar("T")

EMPTY_METADATA: Final = cbor.encode({})
NO_DEFAULTS: Final = cbor.encode({})


@dataclass(frozen=True, slots=True)
class ColumnRecord:
    """One column of a state: its name, type, the content of its streams and its metadata."""

    name: str
    type: Type
    streams: dict[str, StreamRef]
    metadata: Payload

    @property
    def size_bytes(self) -> int:
        """The payload bytes of all streams."""
        return sum(ref.size_bytes for ref in self.streams.values())


@dataclass(frozen=True, slots=True)
class TreeRecord:
    """The state of a dataset: rows, columns in order, and metadata."""

    rows: int
    columns: tuple[ColumnRecord, ...]
    metadata: Payload

    def column(self, name: str) -> ColumnRecord | None:
        """Returns the column of that name."""
        return next((column for column in self.columns if column.name == name), None)

    def stream_refs(self) -> Iterator[tuple[StreamRef, Layout]]:
        """Yields all streams with their layouts: of the columns, and of metadata that has one of its own."""
        for column in self.columns:
            layouts = column.type.layouts()
            yield from ((ref, layouts[name]) for name, ref in column.streams.items())
        yield from payload_streams(self.metadata, *(column.metadata for column in self.columns))


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """A version: a tree, its parents, and who made it when and why."""

    tree: bytes
    parents: tuple[bytes, ...]
    row_maps: tuple[Payload, ...]
    message: str
    author: str
    client_timestamp: int
    details: dict[str, Any] = field(default_factory=dict)
    column_maps: tuple[dict[str, str | None], ...] = ()
    defaults: Payload = NO_DEFAULTS

    def stream_refs(self) -> Iterator[tuple[StreamRef, Layout]]:
        """Yields the streams, with their layouts, of fields that have one of their own; not those of the tree."""
        return payload_streams(*self.row_maps, self.defaults)


EMPTY_TREE: Final = TreeRecord(0, (), EMPTY_METADATA)


def write_payload(data: bytes, nodes: Nodes, writer: BlobWriter) -> Payload:
    """Returns a field that holds ``data``: itself, or a stream where it is above 1,024 bytes."""
    if len(data) > MAX_RECORD_BYTES:
        raise InvalidInputError(
            f"metadata of {len(data)} bytes is too large; at most {MAX_RECORD_BYTES} can be kept, use a column"
        )
    if len(data) <= INLINE_BYTES:
        return data
    return build_stream(nodes, Rows.from_list([data]), PAYLOAD_LAYOUT, writer)


def payload_streams(*payloads: Payload) -> Iterator[tuple[StreamRef, Layout]]:
    """Yields the streams, with their layouts, of fields that have one of their own."""
    return ((payload, PAYLOAD_LAYOUT) for payload in payloads if not isinstance(payload, bytes))


def read_payload(payload: Payload, nodes: Nodes) -> bytes:
    """Returns the bytes of a payload field."""
    if isinstance(payload, bytes):
        return payload
    if payload.rows != 1 or payload.size_bytes > MAX_RECORD_BYTES:
        raise CorruptedError(f"a field has {payload.rows} rows and {payload.size_bytes} bytes; expected 1 row, 64 MiB")
    return bytes(StreamReader(nodes, payload, PAYLOAD_LAYOUT).read(0, 1).row(0))


def encode_tree(tree: TreeRecord) -> bytes:
    """Returns the payload of a tree record."""
    columns = [
        {
            "name": column.name,
            "type": column.type.to_record(),
            "streams": {name: ref.to_record() for name, ref in column.streams.items()},
            "metadata": payload_record(column.metadata),
        }
        for column in tree.columns
    ]
    return cbor.encode(
        {
            "format": RECORD_FORMAT,
            "rows": tree.rows,
            "columns": columns,
            "metadata": payload_record(tree.metadata),
        }
    )


def decode_tree(payload: bytes, what: str) -> TreeRecord:
    """Returns the tree record in a payload; ``what`` names it in errors."""
    return _decode(payload, what, _tree_from)


def encode_version(version: VersionRecord) -> bytes:
    """Returns the payload of a version record."""
    record: dict[str, Any] = {
        "format": RECORD_FORMAT,
        "tree": version.tree,
        "parents": list(version.parents),
        "row_maps": [payload_record(row_map) for row_map in version.row_maps],
        "message": version.message,
        "author": version.author,
        "client_timestamp": version.client_timestamp,
    }
    if version.details:
        record["details"] = cbor.to_plain(version.details)
    if version.defaults != NO_DEFAULTS:
        record["defaults"] = payload_record(version.defaults)
    if any(version.column_maps):
        record["column_maps"] = list(version.column_maps)
    return cbor.encode(record)


def decode_version(payload: bytes, what: str) -> VersionRecord:
    """Returns the version record in a payload; ``what`` names it in errors."""
    return _decode(payload, what, _version_from)


def load_tree(gate: Gate, hash_: bytes) -> TreeRecord:
    """Reads a tree record; one that is missing or damaged raises ``CorruptedError``."""
    return decode_tree(load_record(gate, Kind.TREE, hash_), f"tree {hash_.hex()}")


def load_version(gate: Gate, hash_: bytes) -> VersionRecord:
    """Reads a version record; one that is missing or damaged raises ``CorruptedError``."""
    return decode_version(load_record(gate, Kind.VERSION, hash_), f"version {hash_.hex()}")


def load_record(gate: Gate, kind: Kind, hash_: bytes) -> bytes:
    """Returns the payload of a record; one that is missing or damaged raises ``CorruptedError``."""
    payload = gate.read_record(kind, hash_)
    if payload is None:
        name = hash_.hex()
        raise CorruptedError(f"{kind.name.lower()} {name} is missing from the store", blob=name)
    return payload


def encode_defaults(defaults: Defaults) -> bytes:
    """Returns the stored form of the defaults of new columns."""
    return cbor.encode(defaults)


def decode_defaults(data: bytes, what: str) -> Defaults:
    """Returns the defaults in their stored form; ``what`` names them in the error."""
    found = cbor.decode(data, what=what)
    rows = [row for streams in found.values() for row in streams.values()] if _is_map_of_maps(found) else [None]
    if not all(isinstance(row, bytes) for row in rows):
        raise CorruptedError(f"the defaults of {what} are damaged", blob=what)
    defaults: Defaults = found
    return defaults


def _is_map_of_maps(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(inner, dict) for inner in value.values())


def payload_record(payload: Payload) -> Any:
    """Returns what stands for a payload in a record."""
    return payload if isinstance(payload, bytes) else payload.to_record()


def payload_from(record: object, what: str) -> Payload:
    """Returns the payload in a record; ``what`` names the record in the error."""
    return record if isinstance(record, bytes) else StreamRef.from_record(record, what)


def _decode(payload: bytes, what: str, parse: Callable[[dict[str, Any], str], T]) -> T:
    record = cbor.decode(payload, what=what)
    if not isinstance(record, dict):
        raise CorruptedError(f"{what} is not a record", blob=what)
    number = record.get("format")
    if number != RECORD_FORMAT:
        shown = number if isinstance(number, int) and abs(number) < 2**63 else type(number).__name__
        raise UnsupportedError(f"{what} has format {shown}; this version reads {RECORD_FORMAT}: install a newer one")
    try:
        return parse(record, what)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CorruptedError(f"{what} lacks a field or holds a wrong one: {error!r}", blob=what) from error


def _tree_from(record: dict[str, Any], what: str) -> TreeRecord:
    columns = tuple(_column_from(column, what) for column in record["columns"])
    rows = _natural(record["rows"])
    names = [column.name for column in columns]
    if len(set(names)) != len(names):
        raise ValueError("two columns have one name")
    for column in columns:
        if set(column.streams) != set(column.type.layouts()):
            raise ValueError(f"column {column.name!r} has the streams {sorted(column.streams)}")
        if any(ref.rows != rows for ref in column.streams.values()):
            raise ValueError(f"column {column.name!r} has not {rows} rows")
    return TreeRecord(rows, columns, payload_from(record["metadata"], what))


def _column_from(record: dict[str, Any], what: str) -> ColumnRecord:
    streams = {name: StreamRef.from_record(ref, what) for name, ref in record["streams"].items()}
    metadata = payload_from(record["metadata"], what)
    return ColumnRecord(_text(record["name"]), types.from_record(record["type"]), streams, metadata)


def _version_from(record: dict[str, Any], what: str) -> VersionRecord:
    parents = tuple(_hash(parent) for parent in record["parents"])
    row_maps = tuple(payload_from(row_map, what) for row_map in record["row_maps"])
    column_maps = tuple(_column_map(column_map) for column_map in record.get("column_maps", []))
    if len(parents) != len(row_maps) or len(column_maps) not in (0, len(parents)):
        raise ValueError("there is not one row map, and column map, for each parent")
    details = cbor.from_plain(record.get("details", {}), what)
    if not isinstance(details, dict):
        raise ValueError("the details are no map")
    return VersionRecord(
        _hash(record["tree"]),
        parents,
        row_maps,
        _text(record["message"]),
        _text(record["author"]),
        _time(record["client_timestamp"]),
        details,
        column_maps,
        payload_from(record.get("defaults", NO_DEFAULTS), what),
    )


def _column_map(record: dict[object, object]) -> dict[str, str | None]:
    return {_text(new): None if old is None else _text(old) for new, old in record.items()}


def _hash(value: object) -> bytes:
    if not is_hash(value):
        raise ValueError(f"{shown(value)} is not a hash")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not text")
    return value


def _time(value: object) -> int:
    if not is_time(value):
        raise ValueError(f"{shown(value)} is not a time")
    return value


def _natural(value: object) -> int:
    if not is_count(value):
        raise ValueError(f"{shown(value)} is not a count")
    return value
