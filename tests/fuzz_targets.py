"""Every decoder of what a store from a stranger may hold, as a function of bytes; and inputs that resemble real ones.

Any input must give a value, or an error of the package that says what is wrong: within a second, and within 64 MiB and
what it declares. ``tests/fuzz`` tries some thousands of mutations of real blobs and rows; ``tests/fuzz/explore.py``
looks for paths not yet taken, by hand, for hours.
"""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cbor2
import lmdb
import numpy as np
from make_stores import DIRECTORY, GOOD, unpack

from cas import types
from cas.codec import cbor, compression
from cas.codec.image_format import NotAnImageError, image_format
from cas.codec.rows import Rows, unframe_group
from cas.codec.values import decode_values
from cas.dataset.history import to_datetime
from cas.errors import CasError, CorruptedError, InvalidInputError, UnsupportedError
from cas.hashing import Kind, hash_blob
from cas.history.graph import VersionEntry
from cas.history.records import decode_defaults, decode_tree, decode_version
from cas.history.refs import ReflogRecord, RefRecord
from cas.history.row_map import RowMap
from cas.integrations.folder.confined import split_path
from cas.repo import config, metadata, sessions
from cas.repo.repository import DatasetRecord
from cas.store.contract import DATASETS, METADATA, REFLOG, REFS, SESSIONS, STORE, VERSIONS
from cas.store.gate import MAX_NODE_BYTES
from cas.store.memory import MemoryStore
from cas.store.tables import SEAL_BYTES
from cas.tree.node import decode_node

ALLOWED = (CorruptedError, UnsupportedError, InvalidInputError, NotAnImageError)
MOST_SECONDS = 1.0
TRACED = 8  # times as long, where allocations are traced
MOST_BYTES = 64 << 20
MOST_DECLARED = 1 << 20
MOST_MESSAGE = 10_000


# --- targets --------------------------------------------------------------------------------------------------------


def tree(data: bytes) -> None:
    for column in decode_tree(data, "tree").columns:
        str(column.type), column.type.layouts(), column.type.row_shape, column.type.to_record()


def version(data: bytes) -> None:
    record = decode_version(data, "version")
    to_datetime(record.client_timestamp)
    dict(record.details)
    assert len(record.column_maps) in (0, len(record.parents))


def node(data: bytes) -> None:
    found = decode_node(data, "node")
    assert found.rows >= 0
    assert found.extent >= found.rows
    assert (np.diff(found.extents, prepend=0) > 0).all()


def row_map(data: bytes) -> None:
    found = RowMap.decode(data, "row map")
    assert min(found.parent_rows, found.rows, found.inserted, found.deleted) >= 0
    aligned = found.alignment()
    assert not len(aligned) or int((aligned.old + aligned.lengths).max()) <= found.parent_rows
    assert not len(aligned) or int((aligned.new + aligned.lengths).max()) <= found.rows


def blob(data: bytes) -> None:
    size, exact, rest = int.from_bytes(data[:3], "little") % MOST_DECLARED, data[3:4] > b"\x7f", data[4:]
    assert len(compression.decode(rest, size, exact=exact)) <= size


def group(data: bytes) -> None:
    count, width, rest = int.from_bytes(data[:3], "little") % 262_081, data[3:4], data[4:]
    rows = unframe_group(rest, max(count, 1), None if width > b"\x7f" else width[0] if width else 0)
    assert sum(len(row) for row in rows) == rows.nbytes <= len(rest)


TYPES: list[types.Type] = [
    *(types.Scalar(name) for name in types.DTYPES),
    *(types.Text(), types.Bytes(), types.Dict(), types.Array("float32", (2, 3)), types.Array("uint16", (None, 2))),
    *(types.Array("int8", (None, None, None)), types.Array("bool", (0, 4)), types.Embedding(3, "bfloat16")),
    *(types.BoundingBox("float32"), types.SegmentMask(), types.BinaryMask(), types.Image("float32", None)),
    *(types.ClassLabel(("cat", "dog")), *(types.DateTime(unit) for unit in types.TIME_UNITS)),
]
TYPES += [types.Nullable(type_) for type_ in TYPES]
TYPES += [types.Sequence(type_) for type_ in TYPES if any(each.row_bytes != 0 for each in type_.layouts().values())]
TYPES += [types.Nullable(types.Sequence(types.Sequence(types.Nullable("text"))))]
TYPES += [types.Sequence(types.Sequence("bool"))]


def values(data: bytes) -> None:
    """Rows as their streams hold them, of any bytes: a type, a number of rows, then all streams, cut evenly."""
    type_ = TYPES[int.from_bytes(data[:1], "little") % len(TYPES)]
    count, rest = data[1] % 9 if len(data) > 1 else 0, data[2:]
    streams = {}
    layouts = type_.layouts()
    for number, (name, layout) in enumerate(layouts.items()):
        part = rest[number * len(rest) // len(layouts) : (number + 1) * len(rest) // len(layouts)]
        if layout.row_bytes is not None:
            flat = np.frombuffer(part.ljust(count * layout.row_bytes, b"\0")[: count * layout.row_bytes], np.uint8)
            streams[name] = Rows.fixed(flat, count, layout.row_bytes)
        else:
            ends = np.linspace(0, len(part), count + 1).astype(np.int64)[1:]
            streams[name] = Rows.varying(np.frombuffer(part, np.uint8), ends)
            if not count:
                streams[name] = Rows.empty(None)
    assert len(decode_values(type_, streams)) == count


def column_type(data: bytes) -> None:
    found = types.from_record(cbor.decode(data, what="type"))
    assert types.from_record(found.to_record()) == found


def ref(data: bytes) -> None:
    to_datetime(RefRecord.decode(data, "ref").timestamp)


def reflog(data: bytes) -> None:
    record = ReflogRecord.decode(data)
    assert {len(hash_) for hash_ in (record.old, record.new) if hash_ is not None} <= {32}


def version_row(data: bytes) -> None:
    entry = VersionEntry.decode(data, "version")
    to_datetime(entry.timestamp)
    assert min(entry.generation, entry.depth) >= 0


def dataset(data: bytes) -> None:
    to_datetime(DatasetRecord.decode(data, "dataset").created)


def session(data: bytes) -> None:
    found = sessions.decode_session(data)
    to_datetime(found.since), to_datetime(found.updated)
    dict(found.details), found.alive


def pair(data: bytes) -> None:
    metadata._pair(data)


def configuration(data: bytes) -> None:
    store = MemoryStore()
    store.write(lambda txn: txn.put(STORE, b"config", data))
    with store.read() as view:
        to_datetime(config.read_config(view, "store").created)


def path(data: bytes) -> None:
    parts, name = split_path(data.decode("utf-8", "replace"))
    assert not {"", ".", ".."} & {*parts, name}


class Target(NamedTuple):
    """A decoder, and which mutations fit its input: those of CBOR too, or those of bytes alone."""

    run: Callable[[bytes], Any]
    cbor: bool = True


TARGETS: dict[str, Target] = {
    "value": Target(lambda data: cbor.decode_value(data, what="value")),
    "tree": Target(tree),
    "version": Target(version),
    "defaults": Target(lambda data: decode_defaults(data, "defaults")),
    "type": Target(column_type),
    "ref": Target(ref),
    "reflog": Target(reflog),
    "version row": Target(version_row),
    "dataset": Target(dataset),
    "session": Target(session),
    "metadata": Target(pair),
    "config": Target(configuration),
    "node": Target(node, cbor=False),
    "row map": Target(row_map, cbor=False),
    "blob": Target(blob, cbor=False),
    "group": Target(group, cbor=False),
    "values": Target(values, cbor=False),
    "image": Target(image_format, cbor=False),
    "path": Target(path, cbor=False),
}


# --- what they are given --------------------------------------------------------------------------------------------

TABLE_OF = {
    REFS: "ref",
    REFLOG: "reflog",
    VERSIONS: "version row",
    DATASETS: "dataset",
    SESSIONS: "session",
    METADATA: "metadata",
}


def seeds_of(work: Path) -> dict[str, list[bytes]]:
    """Real blobs and rows, from the good stores, for each target."""
    seeds: dict[str, list[bytes]] = {name: [] for name in TARGETS}
    for name in GOOD:
        with lmdb.open(str(unpack(DIRECTORY / "good", name, work / name)), max_dbs=16, lib_version=0) as env:
            databases = {each: env.open_db(each.encode(), create=False) for each in (*TABLE_OF, "index", "segments")}
            databases[STORE] = env.open_db(STORE.encode(), create=False)
            with env.begin() as txn:
                for table, target in TABLE_OF.items():
                    seeds[target] += [value[:-SEAL_BYTES] for _, value in txn.cursor(databases[table])]
                seeds["config"].append((txn.get(b"config", db=databases[STORE]) or b"")[:-SEAL_BYTES])
                for hash_, place in txn.cursor(databases["index"]):
                    at, length = int.from_bytes(place[:8], "little"), int.from_bytes(place[8:], "little")
                    segment = txn.get((at >> 24).to_bytes(8, "big"), db=databases["segments"]) or b""
                    _sort_blob(seeds, hash_, segment[at & 0xFFFFFF :][:length])
    for record in seeds["tree"]:
        for column in cbor.decode(record, what="tree")["columns"]:
            seeds["type"].append(cbor.encode(column["type"]))
    for record in seeds["version"]:
        seeds["defaults"].append(cbor.decode(record, what="version").get("defaults", b"\xa0"))
    seeds["value"] = seeds["metadata"] + seeds["version"]
    seeds["values"] = [bytes([number % 256, 3]) + bytes(range(96)) for number in range(len(TYPES))]
    seeds["path"] = [b"a/b/c.png", "é".encode(), b"x" * 300, b"a/../b", b".cas-checkout"]
    seeds["image"] = [b"\x89PNG\r\n\x1a\n" + bytes(40), b"RIFF\4\0\0\0WEBP", b"BM" + bytes(20), b"\xff\xd8\xff\xd9"]
    return {name: sorted({seed for seed in found if len(seed) < 20_000}, key=len)[:60] for name, found in seeds.items()}


def _sort_blob(seeds: dict[str, list[bytes]], hash_: bytes, at_rest: bytes) -> None:
    payload = bytes(compression.decode(at_rest, 1 << 20, exact=False))
    kinds = {hash_blob(kind, payload): kind for kind in Kind}
    kind = kinds[hash_]
    seeds["blob"].append(len(payload).to_bytes(3, "little") + b"\xff" + at_rest)
    if kind is Kind.CHUNK:
        seeds["group"].append(_rows_in(payload).to_bytes(3, "little") + b"\xff" + payload)
        if payload and len(payload) % 24 == 0 and not any(payload[7::8]):
            seeds["row map"].append(payload)
        return
    seeds[kind.name.lower()].append(payload[: MAX_NODE_BYTES if kind is Kind.NODE else None])


def _rows_in(payload: bytes) -> int:
    """The number of rows of varying length that a payload may be a group of; 1 fits all."""
    for count in range(2, len(payload) // 4 + 1):
        if int.from_bytes(payload[4 * count - 4 : 4 * count], "little") == len(payload) - 4 * count:
            return count
    return 1


NUMBERS = (0, 1, -1, 23, 255, 256, 2**16, 2**31, 2**32 - 1, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63))
ODD: tuple[Any, ...] = (
    *(None, True, False, 0.5, float("nan"), float("inf"), "", "x", "data", b"", bytes(32), bytes(31), [], {}, [[]]),
    *(*NUMBERS, -(2**64), 10**5000, -(10**4000), "é" * 70, b"\xff" * 600, {"name": "int8"}, [None, 0, 0], "int8"),
    *({"a": {"a": b""}}, [bytes(32), 2**60, 2**61], [bytes(32), 1, 10**400], cbor2.CBORTag(27, ["datetime", 0, None])),
    cbor2.CBORTag(27, ["datetime", 2**62, 10**9]),
    cbor2.CBORTag(27, ["array", "int8", [2**40, 2**40], b""]),
    cbor2.CBORTag(27, ["array", "float32", [0, 2**62, 2**62], b""]),
    cbor2.CBORTag(27, ["array", "bool", [1] * 70, b"\1"]),
    cbor2.CBORTag(27, ["scalar", "complex128", bytes(15)]),
    *(cbor2.CBORTag(4, [2**40, 1]), cbor2.CBORTag(5, [2**40, 3]), cbor2.CBORTag(30, [1, 0]), cbor2.CBORTag(28, [])),
    *(cbor2.CBORTag(35, "(a+)+$"), cbor2.CBORTag(258, [1, 1]), cbor2.CBORTag(1, 10**30), cbor2.CBORTag(99, None)),
)


def mutate(data: bytes, others: list[bytes], chance: random.Random, *, as_cbor: bool) -> bytes:
    """A change of an input: of its CBOR, in deterministic form again, or of its bytes."""
    if as_cbor and chance.random() < 0.8:
        try:
            changed = _mutate_value(cbor2.loads(data), chance)
            return cbor2.dumps(changed, canonical=True)
        except Exception:
            return _mutate_bytes(data, others, chance)
    return _mutate_bytes(data, others, chance)


def _mutate_value(value: Any, chance: random.Random) -> Any:
    """The value with something in it replaced, removed or doubled."""
    if isinstance(value, (dict, list)) and value and chance.random() < 0.85:
        key = chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
        what = chance.random()
        if what < 0.08:
            del value[key]
        elif what < 0.14 and isinstance(value, list):
            value[key:key] = [value[key]] * chance.choice([1, 2, 300])
        elif what < 0.18 and isinstance(value, dict):
            value[chance.choice(["x", "", "é", "name", 7])] = value[key]
        else:
            value[key] = _mutate_value(value[key], chance)
        return value
    if isinstance(value, cbor2.CBORTag) and chance.random() < 0.7:
        return cbor2.CBORTag(value.tag, _mutate_value(value.value, chance))
    if isinstance(value, int) and chance.random() < 0.4:
        return value + chance.choice(NUMBERS) * chance.choice([1, -1])
    if isinstance(value, bytes) and value and chance.random() < 0.5:
        return _mutate_bytes(value, [value], chance)
    if chance.random() < 0.03:
        for _ in range(chance.choice([20, 70])):
            value = chance.choice([[value], {"of": value}])
        return value
    return chance.choice(ODD)


def _mutate_bytes(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        at = chance.randrange(len(changed) + 1)
        what = chance.randrange(6)
        if what == 0 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif what == 1 and at < len(changed):
            changed[at] = chance.choice([0, 1, 127, 128, 255])
        elif what == 2:
            del changed[at : at + chance.choice([1, 4, 8, 32, len(changed)])]
        elif what == 3:
            changed[at:at] = bytes([chance.choice([0, 255, 65])]) * chance.choice([1, 4, 8, 24])
        elif what == 4:
            number = abs(chance.choice(NUMBERS)) % 2**64
            changed[at : at + 8] = number.to_bytes(8, chance.choice(["little", "big"]))
        else:
            other = chance.choice(others)
            begin = chance.randrange(len(other) + 1)
            changed[at:] = other[begin:]
    return bytes(changed)


# --- the rule -------------------------------------------------------------------------------------------------------


def check(target: Target, data: bytes, *, measured: bool = False) -> None:
    """Runs a decoder; raises ``AssertionError`` where it does not keep the rule."""
    if measured:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
    began = time.thread_time()
    message = _outcome(target, data)
    seconds = time.thread_time() - began
    assert len(message) < MOST_MESSAGE, "the message is a screen full"
    assert seconds < MOST_SECONDS * (TRACED if measured else 1), f"it took {seconds:.1f} s"
    if measured:
        peak = tracemalloc.get_traced_memory()[1] - before
        assert peak < MOST_BYTES + MOST_DECLARED, f"it took {peak} bytes"


def _outcome(target: Target, data: bytes) -> str:
    """The message of an error that is allowed, or nothing."""
    try:
        target.run(data)
    except ALLOWED as error:
        return str(error)
    except CasError as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error
    return ""


def inputs(target: Target, seeds: list[bytes], number: int, chance: random.Random) -> Iterator[bytes]:
    """Yields seeds and mutations of them; what was yielded may be mutated again."""
    pool = list(seeds)
    yield from pool
    for _ in range(number):
        data = mutate(chance.choice(pool), pool, chance, as_cbor=target.cbor)
        if chance.random() < 0.1 and len(data) < 20_000:
            pool[chance.randrange(len(pool))] = data
        yield data
