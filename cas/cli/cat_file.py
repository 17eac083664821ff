"""``cas cat-file``."""

from __future__ import annotations

import re
from typing import Any, Final

import click

from cas.cli.opened import open_store, refuse_revision
from cas.cli.output import print_json, to_json
from cas.codec import cbor
from cas.errors import AmbiguousRevisionError, BlobNotFoundError, InvalidInputError, VersionNotFoundError
from cas.hashing import HEX_DIGITS, Kind
from cas.history.records import (
    Payload,
    TreeRecord,
    VersionRecord,
    decode_defaults,
    decode_tree,
    decode_version,
)
from cas.history.row_map import RowMap
from cas.repo.blobs import read_blob
from cas.repo.repository import Repository
from cas.repo.revisions import MIN_PREFIX_DIGITS, find_prefix
from cas.tree.node import Node, decode_node
from cas.tree.read import StreamRef

_HEX: Final = re.compile(rf"[0-9a-f]{{{MIN_PREFIX_DIGITS},{HEX_DIGITS}}}")


@click.command("cat-file", epilog="Example: cas cat-file lake HASH > picture.png")
@click.argument("names", metavar="[URL] HASH", nargs=-1, required=True)
@click.option("--kind", "only_kind", is_flag=True, help="Print what it is: chunk, node, tree or version.")
@click.option("--raw", is_flag=True, help="Print nodes, trees and versions as they are hashed, not as JSON.")
def command(names: tuple[str, ...], only_kind: bool, raw: bool) -> None:
    """Print a blob of the store at URL by its hash: a chunk as it is, others as JSON.

    Without URL it is the store that the current directory is in.
    HASH is all 64 digits, or for a version its first 4 and more. What is printed was checked against the hash.
    """
    if only_kind and raw:
        raise click.UsageError("--kind and --raw print different things; give one of them")
    if len(names) > 2:
        raise click.UsageError(f"Expected a URL and a HASH, got {len(names)} arguments.")
    url, hash_ = names if len(names) == 2 else (".", names[0])
    with open_store(url) as (repository, location):
        refuse_revision(location)
        if location.name:
            repository.dataset_id(location.name)
        key = _find(repository, hash_)
        kind, payload = read_blob(repository, key)
    if only_kind:
        click.echo(kind.name.lower())
    elif raw or kind is Kind.CHUNK:
        click.echo(payload, nl=False)
    else:
        print_json({"kind": kind.name.lower(), "hash": key.hex(), **_facts(kind, payload, key.hex())})


def _find(repository: Repository, text: str) -> bytes:
    """The full hash that the text names."""
    digits = text.lower()
    if not _HEX.fullmatch(digits):
        raise InvalidInputError(
            f"{text!r} is no hash; expected {HEX_DIGITS} hexadecimal digits, of a version {MIN_PREFIX_DIGITS} or more"
        )
    if len(digits) == HEX_DIGITS:
        return bytes.fromhex(digits)
    with repository.store.read() as view:
        try:
            return find_prefix(view, digits)
        except AmbiguousRevisionError:
            raise
        except VersionNotFoundError as error:
            raise BlobNotFoundError(f"{error}; other blobs are named by all {HEX_DIGITS} digits", name=text) from None


def _facts(kind: Kind, payload: bytes, name: str) -> dict[str, Any]:
    if kind is Kind.NODE:
        return _node_facts(decode_node(payload, name))
    if kind is Kind.TREE:
        return _tree_facts(decode_tree(payload, f"tree {name}"))
    return _version_facts(decode_version(payload, f"version {name}"), name)


def _node_facts(node: Node) -> dict[str, Any]:
    entries = node.entries
    children = zip(entries.hashes, entries.rows.tolist(), entries.sizes.tolist(), strict=True)
    return {
        "level": node.level,
        "rows": node.rows,
        "size_bytes": node.extent - node.rows,
        "children": [
            {"hash": hash_.tobytes().hex(), "rows": rows, "size_bytes": size} for hash_, rows, size in children
        ],
    }


def _tree_facts(tree: TreeRecord) -> dict[str, Any]:
    return {
        "rows": tree.rows,
        "columns": [
            {
                "name": column.name,
                "type": column.type.to_record(),
                "streams": {name: _stream_facts(ref) for name, ref in column.streams.items()},
                **_metadata_facts(column.metadata),
            }
            for column in tree.columns
        ],
        **_metadata_facts(tree.metadata),
    }


def _version_facts(version: VersionRecord, name: str) -> dict[str, Any]:
    return {
        "tree": version.tree.hex(),
        "parents": [parent.hex() for parent in version.parents],
        "row_maps": [
            _stream_facts(row_map) if isinstance(row_map, StreamRef) else RowMap.decode(row_map, name).runs.tolist()
            for row_map in version.row_maps
        ],
        "column_maps": list(version.column_maps),
        "defaults": _defaults_facts(version.defaults, name),
        "message": version.message,
        "author": version.author,
        "client_timestamp": version.client_timestamp,
        "details": to_json(version.details),
    }


def _defaults_facts(payload: Payload, name: str) -> Any:
    return _stream_facts(payload) if isinstance(payload, StreamRef) else to_json(decode_defaults(payload, name))


def _stream_facts(ref: StreamRef) -> dict[str, Any]:
    return {"root": None if ref.root is None else ref.root.hex(), "rows": ref.rows, "size_bytes": ref.size_bytes}


def _metadata_facts(payload: Payload) -> dict[str, Any]:
    """Metadata that stands in the record; where it does not, the stream that holds it."""
    if isinstance(payload, StreamRef):
        return {"metadata_stream": _stream_facts(payload)}
    return {"metadata": to_json(cbor.decode_value(payload, what="metadata"))}
