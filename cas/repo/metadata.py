"""Live metadata: small values that are written through at once, and the snapshots that commits take.

A *scope* is the prefix of the keys of one mapping.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, Final

from cas.codec import cbor
from cas.errors import CorruptedError, InvalidInputError, InvalidTypeError, UnsupportedError
from cas.hashing import hash_name
from cas.history.records import Payload, read_payload, write_payload
from cas.store.contract import METADATA, Transaction, View
from cas.store.gate import MAX_RECORD_BYTES
from cas.store.writer import BlobWriter
from cas.tree.node import Nodes

_NAME_BYTES: Final = 16
_SMALL_BYTES: Final = 4096
_MOST_BYTES: Final = MAX_RECORD_BYTES - (1 << 20)

Origin = str | bytes
"""Where a column under edit comes from: its name in the base version, or the random id of a new column."""


def scope_key(dataset: bytes, branch: str, column: str | None) -> bytes:
    """Returns the scope of a branch's dataset, or of its column of that name."""
    scope = "d" if column is None else "c" + column
    return dataset + hash_name(branch.encode(), scope.encode())


def live_scope_key(dataset: bytes, branch: str, origin: Origin | None) -> bytes:
    """Returns the scope of a column under edit: that of the name it has in the base, or one of its own until then.

    None stands for the dataset.
    """
    return dataset + hash_name(origin, b"s") if isinstance(origin, bytes) else scope_key(dataset, branch, origin)


def _key(scope: bytes, key: object) -> bytes:
    if not isinstance(key, str):
        raise InvalidTypeError(f"metadata key {key!r} is not valid: expected text")
    cbor.checked_text(key)
    return scope + hash_name(key.encode())


def get_value(view: View, scope: bytes, key: object) -> Any:
    """Returns the value of a key; a missing one raises ``KeyError``."""
    data = view.get(METADATA, _key(scope, key))
    if data is None:
        raise KeyError(key)
    return _pair(data)[1]


def put_value(txn: Transaction, scope: bytes, key: str, value: object) -> None:
    """Sets a key."""
    txn.put(METADATA, _key(scope, key), cbor.encode([key, cbor.to_plain(value)]))


def put_mapping(txn: Transaction, scope: bytes, mapping: Mapping[str, object]) -> None:
    """Sets several keys."""
    for key, value in mapping.items():
        put_value(txn, scope, key, value)


def put_encoded(txn: Transaction, scope: bytes, mapping: Mapping[str, bytes]) -> None:
    """Sets several keys to values in their stored form."""
    for key, value in mapping.items():
        txn.put(METADATA, _key(scope, key), cbor.encode([key, cbor.decode(value, what="metadata")]))


def check_size(view: View, scope: bytes, changed: Collection[str]) -> None:
    """Refuses a mapping that would be too large for a commit.

    It looks where one of the changed values is not small; what very many small ones take, only a commit finds.
    """
    sizes = (len(view.get(METADATA, _key(scope, key)) or b"") for key in changed)
    if max(sizes, default=0) > _SMALL_BYTES and sum(len(data) for _, data in view.scan(METADATA, scope)) > _MOST_BYTES:
        raise InvalidInputError(
            f"the metadata would be larger than {_MOST_BYTES >> 20} MiB, which no version can hold; "
            f"keep large values in a column"
        )


def remove_value(txn: Transaction, scope: bytes, key: object) -> None:
    """Removes a key; a missing one raises ``KeyError``."""
    row = _key(scope, key)
    if txn.get(METADATA, row) is None:
        raise KeyError(key)
    txn.remove(METADATA, row)


def move_mappings(txn: Transaction, moves: Mapping[bytes, bytes], dropped: Collection[bytes]) -> None:
    """Gives each target scope the mapping of its source, all at once; sources and dropped scopes end up empty."""
    found = {target: list(txn.scan(METADATA, source)) for target, source in moves.items()}
    for scope in {*moves.keys(), *moves.values(), *dropped}:
        for key, _ in list(txn.scan(METADATA, scope)):
            txn.remove(METADATA, key)
    for target, rows in found.items():
        for key, value in rows:
            txn.put(METADATA, target + key[len(target) :], value)


def read_mapping(view: View, scope: bytes) -> dict[str, Any]:
    """Returns the whole mapping, sorted by key."""
    return dict(sorted(_pair(data) for _, data in view.scan(METADATA, scope)))


def _pair(data: bytes) -> tuple[str, Any]:
    key, value = _plain_pair(data)
    return key, cbor.from_plain(value, "metadata")


def _plain_pair(data: bytes) -> tuple[str, Any]:
    match cbor.decode(data, what="metadata"):
        case [str(key), value]:
            return key, value
    raise CorruptedError("a metadata entry is damaged", blob="metadata")


def check_row(row_key: bytes, data: bytes) -> None:
    """Raises :class:`~cas.errors.CorruptedError` where a row of the table does not decode, or stands in another place.

    What takes an optional package that is missing is not looked into.
    """
    key, value = _plain_pair(data)
    if row_key[-_NAME_BYTES:] != hash_name(key.encode()):
        raise CorruptedError("a metadata entry stands under another key", blob="metadata")
    with suppress(UnsupportedError):
        cbor.from_plain(value, "metadata")


def encode_mapping(view: View, scope: bytes) -> bytes:
    """Returns the stored form of a whole mapping; values are not decoded, which may take an optional package."""
    return cbor.encode(dict(_plain_pair(data) for _, data in view.scan(METADATA, scope)))


def snapshot(view: View, scope: bytes, nodes: Nodes, writer: BlobWriter) -> Payload:
    """Returns the mapping as a field of a tree record."""
    return write_payload(encode_mapping(view, scope), nodes, writer)


def read_snapshot(payload: Payload, nodes: Nodes) -> dict[str, Any]:
    """Returns the mapping in a field of a tree record."""
    mapping = cbor.decode_value(read_payload(payload, nodes), what="metadata snapshot")
    if not isinstance(mapping, dict):
        raise CorruptedError("a metadata snapshot is damaged", blob="metadata")
    return dict(sorted(mapping.items()))
