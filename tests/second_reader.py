"""A second reader of the stored format, written from cas/FORMAT.md alone.

It imports nothing of ``cas`` and no NumPy, so its agreement with ``cas`` says that the document is complete. Slow and
plain on purpose; the numbers in headings are the sections of the document.
"""

import itertools
import math
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import blake3
import cbor2
import lmdb
import zstandard

MASK = 2**64 - 1
CONTEXTS = {kind: f"cas 2026-11 format 1 {kind}" for kind in ("node", "tree", "version")}
NODE_LIMIT, RECORD_LIMIT = 12_296, 64 * 2**20
ELEMENTS = {"bool": "?", "int8": "b", "int16": "h", "int32": "i", "int64": "q", "float16": "e", "float32": "f"}
ELEMENTS |= {"uint8": "B", "uint16": "H", "uint32": "I", "uint64": "Q", "float64": "d"}
ELEMENTS |= {"complex64": "ff", "complex128": "dd"}
BYTE_FLOATS = {"e4m3fn": (4, 3, 7), "e4m3fnuz": (4, 3, 8), "e5m2": (5, 2, 15), "e5m2fnuz": (5, 2, 16)}
PIXELS = ("raw_image", "segment_mask", "binary_mask")
Child = tuple[bytes, int, int]  # hash, rows, payload bytes


class DamageError(Exception):
    """What was read contradicts a hash, a length or the document."""


class Layout(NamedTuple):
    """How a stream is cut: the row length in bytes (None: varying), and whether every row stands alone."""

    row_size: int | None
    alone: bool = False


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise DamageError(what)


# --- 1, 2: hashes and blobs at rest ---------------------------------------------------------------------------------


def hash_of(kind: str, payload: bytes) -> bytes:
    if kind == "chunk":
        return blake3.blake3(payload).digest()
    return blake3.blake3(payload, derive_key_context=CONTEXTS[kind]).digest()


def _unzstd(frame: bytes, declared: int | None, limit: int) -> bytes:
    parameters = zstandard.get_frame_parameters(frame)
    size = parameters.content_size
    _require(parameters.dict_id == 0 and size != zstandard.CONTENTSIZE_UNKNOWN, "frame header")
    _require(size == declared if declared is not None else size <= limit, f"frame declares {size} bytes")
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    payload = decompressor.decompress(frame)
    _require(decompressor.eof and not decompressor.unused_data and len(payload) == size, "not exactly one frame")
    return payload


def payload_at_rest(blob: bytes, declared: int | None, limit: int) -> bytes:
    """The payload of a blob, whose size is the declared one or has a limit."""
    if blob[:4] == b"\x28\xb5\x2f\xfd":
        return _unzstd(blob, declared, limit)
    if blob[1:4] != b"\x2a\x4d\x18" or not 0x50 <= blob[0] <= 0x5F:
        return blob
    size, version, e, zeros = struct.unpack("<IBBH", blob[4:12])
    _require(blob[0] == 0x5C and (size, version, zeros) == (4, 1, 0) and e in (2, 4, 8, 16), "reserved form")
    planes = _unzstd(blob[12:], declared, limit)
    m = len(planes) // e
    payload = bytearray(planes)
    for j in range(e):
        payload[j : e * m : e] = planes[j * m : (j + 1) * m]
    return bytes(payload)


# --- 3: the cutting rule --------------------------------------------------------------------------------------------


def row_hash(row: bytes) -> int:
    places = [0] if row else []
    if len(row) >= 8:
        k = min(16, -(-len(row) // 8))
        places = [j * (len(row) - 8) // max(k - 1, 1) for j in range(k)]
    r = len(row)
    for at in places:
        r = (r ^ int.from_bytes(row[at : at + 8], "little")) * 0x9E3779B97F4A7C15 & MASK
    return r ^ (r >> 32)


def _group_payload(rows: list[bytes], layout: Layout) -> bytes:
    if layout.row_size is not None or len(rows) == 1:
        return b"".join(rows)
    return struct.pack(f"<{len(rows)}I", *itertools.accumulate(map(len, rows))) + b"".join(rows)


def _group_ends(row_hashes: list[int], weight: int, weights: int, window: int) -> bool:
    """Rules 1 to 3."""
    if len(row_hashes) < window or weights < 16_384:
        return False
    h = _window_hash(row_hashes[-window:])
    threshold = weight * (2**64 // 49_152)
    if h < threshold or weights < 131_072:
        return h < threshold
    if h < min(16 * threshold, MASK) or len(row_hashes) < window + 2:
        return h < min(16 * threshold, MASK)
    return _window_hash(row_hashes[-window - 2 : -2]) == _window_hash(row_hashes[-window - 1 : -1]) != h


def _window_hash(row_hashes: list[int]) -> int:
    return sum(r << 4 * k for k, r in enumerate(reversed(row_hashes))) * 0xBF58476D1CE4E5B9 & MASK


def chunks_of(rows: Iterable[bytes], layout: Layout) -> Iterator[tuple[bytes, int]]:
    """The chunks of a stream as (payload, rows completed), from its rows alone."""
    size = layout.row_size
    window = 16 if size is None or size < 1024 else 8 if size < 2048 else 4
    group: list[bytes] = []
    row_hashes: list[int] = []
    weights = 0
    for row in itertools.chain(rows, [None]):
        alone = row is not None and (layout.alone or len(row) >= 4096)
        weight = 0 if row is None else len(row) + 4 if size is None else max(size, 1)
        if group and (row is None or alone or weights + weight > 262_080):
            yield _group_payload(group, layout), len(group)
            group, row_hashes, weights = [], [], 0
        if row is None:
            return
        if alone:
            for at in range(0, max(len(row), 1), 262_080):
                yield row[at : at + 262_080], int(at + 262_080 >= len(row))
            continue
        group.append(row)
        row_hashes.append(row_hash(row))
        weights += weight
        if _group_ends(row_hashes, weight, weights, window):
            yield _group_payload(group, layout), len(group)
            group, row_hashes, weights = [], [], 0


# --- 4: the tree of a stream ----------------------------------------------------------------------------------------


def node_payload(level: int, children: list[Child]) -> bytes:
    hashes, rows, sizes = zip(*children, strict=True)
    numbers = struct.pack(f"<{2 * len(children)}{'Q' if level else 'I'}", *rows, *sizes)
    return struct.pack("<BBHI", 1, level, len(children), 0) + numbers + b"".join(hashes)


def nodes_of(level: int, children: list[Child]) -> list[Child]:
    """The nodes of a level as children of the next."""
    nodes: list[Child] = []
    pending: list[Child] = []
    for place, child in enumerate(children, 1):
        pending.append(child)
        low = int.from_bytes(child[0][:8], "little") < 2**64 // 48
        if place == len(children) or len(pending) == 256 or (len(pending) >= 16 and low):
            digest = hash_of("node", node_payload(level, pending))
            nodes.append((digest, sum(c[1] for c in pending), sum(c[2] for c in pending)))
            pending = []
    return nodes


def reference_of(rows: Iterable[bytes], layout: Layout) -> list[Any]:
    """The stream reference `[root, rows, payload bytes]` of these rows, computed without any store."""
    children = [(hash_of("chunk", payload), done, len(payload)) for payload, done in chunks_of(rows, layout)]
    for level in itertools.count():
        children = nodes_of(level, children)
        if len(children) <= 1:
            break
    return list(children[0]) if children else [None, 0, 0]


# --- 5, 6: records, values and types --------------------------------------------------------------------------------


def parse_record(record: bytes) -> Any:
    value = cbor2.loads(record)
    _require(cbor2.dumps(value, canonical=True) == record, "not in deterministic form")
    return value


def byte_float(form: str, byte: int) -> float:
    """A float of one byte."""
    if form == "e8m0fnu":
        return math.nan if byte == 0xFF else 2.0 ** (byte - 127)
    exponent_bits, mantissa_bits, bias = BYTE_FLOATS[form]
    exponent = byte >> mantissa_bits & (2**exponent_bits - 1)
    mantissa = byte & (2**mantissa_bits - 1)
    if (form.endswith("fnuz") and byte == 0x80) or (form.endswith("fn") and byte & 0x7F == 0x7F):
        return math.nan
    if form == "e5m2" and exponent == 2**exponent_bits - 1:
        size = math.nan if mantissa else math.inf
    elif exponent:
        size = (2**mantissa_bits + mantissa) * 2.0 ** (exponent - bias - mantissa_bits)
    else:
        size = mantissa * 2.0 ** (1 - bias - mantissa_bits)
    return math.copysign(size, -1 if byte & 0x80 else 1)


def element_decoder(dtype: str) -> tuple[int, Callable[[bytes], list[Any]]]:
    """The size of one element of a dtype, and a function from bytes to a flat list of elements."""
    if dtype == "bfloat16":
        return 2, lambda data: [struct.unpack("<f", b"\0\0" + data[at : at + 2])[0] for at in range(0, len(data), 2)]
    if dtype.startswith("float8_"):
        return 1, lambda data: [byte_float(dtype[7:], byte) for byte in data]
    code = ELEMENTS[dtype]

    def decode(data: bytes) -> list[Any]:
        parts = [part for (part,) in struct.iter_unpack("<" + code[0], data)]
        return [complex(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)] if len(code) == 2 else parts

    return struct.calcsize("<" + code), decode


def nested(flat: list[Any], shape: list[int]) -> Any:
    """A flat list of elements as nested lists of that shape."""
    if not shape:
        (element,) = flat
        return element
    step = len(flat) // shape[0] if shape[0] else 0
    return [nested(flat[i * step : (i + 1) * step], shape[1:]) for i in range(shape[0])]


def plain_value(value: Any) -> Any:
    """A metadata value with tag 27 written out as a plain tuple `(type name, ...)`; arrays as nested lists."""
    if isinstance(value, dict):
        return {key: plain_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain_value(item) for item in value]
    if not isinstance(value, cbor2.CBORTag):
        return value
    name, *arguments = value.value
    _require(value.tag == 27 and name in ("datetime", "array", "scalar"), f"tag {value.tag} {name}")
    if name == "datetime":
        return (name, *arguments)
    dtype, *shape, data = arguments
    return (name, dtype, *map(list, shape), nested(element_decoder(dtype)[1](data), list(*shape)))


def layouts_of(kind: dict[str, Any]) -> dict[str, Layout]:
    """The streams of a column type and their layouts."""
    name, alone = kind["name"], kind.get("dedup") == "row" or kind["name"].endswith("image")
    if name == "nullable":
        return {**layouts_of(kind["of"]), "mask": Layout(1)}
    if name == "sequence":
        return {item_stream(stream): Layout(None, layout.alone) for stream, layout in layouts_of(kind["of"]).items()}
    if name in ("text", "bytes", "image", "dict", "bounding_box"):
        return {"data": Layout(None, alone)}
    if name in PIXELS:
        return {"data": Layout(None, alone), "shape": Layout(24)}
    if name == "datetime":
        return {"data": Layout(8)}
    shape = kind["shape"] if name == "array" else [kind["size"]] if name == "embedding" else []
    dtype = kind.get("dtype", name)
    if None in shape:
        return {"data": Layout(None, alone), "shape": Layout(8 * len(shape))}
    size = element_decoder(dtype)[0]
    for extent in shape:
        size *= extent
    return {"data": Layout(size, alone)}


def item_stream(stream: str) -> str:
    """The stream of a sequence that holds a stream of its items."""
    return stream if stream == "data" else f"item_{stream}"


def items_of(row: bytes, layout: Layout) -> list[bytes]:
    """The rows of the items of a sequence."""
    (count,) = struct.unpack_from("<Q", row)
    if layout.row_size is None:
        start, ends = 8 + 8 * count, struct.unpack_from(f"<{count}Q", row, 8)
    else:
        start, ends = 8, [layout.row_size * (item + 1) for item in range(count)]
    places = [start, *(start + end for end in ends)]
    _require(places == sorted(places) and places[-1] == len(row), "sequence")
    return [row[a:b] for a, b in itertools.pairwise(places)]


def decode_value(kind: dict[str, Any], row: dict[str, bytes]) -> Any:
    """One value of a column from the rows of its streams.

    A number, str, bytes, dict, nested lists, the number of a class, the count of a datetime; None where missing.
    """
    if kind["name"] == "nullable":
        _require(row["mask"] in (b"\0", b"\1"), "mask")
        return decode_value(kind["of"], row) if row["mask"] == b"\1" else None
    if kind["name"] == "sequence":
        layouts = layouts_of(kind["of"])
        streams = [items_of(row[item_stream(stream)], layout) for stream, layout in layouts.items()]
        return [decode_value(kind["of"], dict(zip(layouts, item, strict=True))) for item in zip(*streams, strict=True)]
    if kind["name"] in ("text", "bytes", "image", "dict", "datetime", "class_label"):
        return decode_plain(kind, row["data"])
    return decode_array(kind, row)


def decode_plain(kind: dict[str, Any], data: bytes) -> Any:
    """The value of a row of one stream that holds no array."""
    if kind["name"] == "text":
        return data.decode("utf-8")
    if kind["name"] == "dict":
        value = plain_value(parse_record(data))
        _require(isinstance(value, dict), "dict")
        return value
    if kind["name"] == "datetime":
        (count,) = struct.unpack("<q", data)
        second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind["unit"]]
        years_fit = -62_135_596_800 * second <= count < 253_402_300_800 * second
        _require(count != -(2**63) if kind["unit"] == "ns" else years_fit, "datetime")
        return count
    if kind["name"] == "class_label":
        (code,) = element_decoder(kind["dtype"])[1](data)
        _require(code < len(kind["names"]), "class")
        return code
    return data


def decode_array(kind: dict[str, Any], row: dict[str, bytes]) -> Any:
    """The elements of a row as nested lists; a number where there are no axes."""
    if kind["name"] in PIXELS:
        *plane, channels = struct.unpack("<QQQ", row["shape"])
        shape = [*plane, channels] if channels else plane
        elements = element_decoder(kind.get("dtype", "bool"))[1](row["data"])
        _require(len(elements) == math.prod(shape), "pixels")
        return nested(elements, shape)
    if kind["name"] == "bounding_box":
        numbers = element_decoder(kind["dtype"])[1](row["data"])
        _require(len(numbers) % 4 == 0, "boxes")
        return nested(numbers, [len(numbers) // 4, 4])
    if kind["name"] == "embedding":
        return element_decoder(kind["dtype"])[1](row["data"])
    if kind["name"] != "array":
        return element_decoder(kind["name"])[1](row["data"])[0]
    shape = [size for (size,) in struct.iter_unpack("<Q", row["shape"])] if "shape" in row else kind["shape"]
    return nested(element_decoder(kind["dtype"])[1](row["data"]), shape)


# --- 7: the store ---------------------------------------------------------------------------------------------------


class Store:
    """A store directory, read-only."""

    def __init__(self, path: Path) -> None:
        _require((path / "cas-store").read_bytes() == b"cas store, format 1\n", "not a store")
        self._environment = lmdb.open(str(path), readonly=True, create=False, max_dbs=32)
        self._transaction = self._environment.begin(buffers=True)
        self._databases: dict[str, Any] = {}
        self.config = parse_record(self._get("store", b"config"))
        _require(self.config["format"] == 1 and self.config["features"] == [], "unknown format or features")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._transaction.abort()
        self._environment.close()

    def _database(self, name: str) -> Any:
        if name not in self._databases:
            self._databases[name] = self._environment.open_db(name.encode(), txn=self._transaction, create=False)
        return self._databases[name]

    def _get(self, database: str, key: bytes, start: int = 0, stop: int | None = None) -> bytes:
        value = self._transaction.get(key, db=self._database(database))
        _require(value is not None, f"no {key!r} in {database}")
        value = bytes(value[start:stop])
        return value if database in ("segments", "index") else self._unsealed(database, key, value)

    def _unsealed(self, database: str, key: bytes, stored: bytes) -> bytes:
        value, seal = stored[:-8], stored[-8:]
        _require(hash_of("chunk", b"\0".join((database.encode(), key, value)))[:8] == seal, f"seal in {database}")
        return value

    def _scan(self, database: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        with self._transaction.cursor(self._database(database)) as cursor:
            found = cursor.set_range(prefix)
            while found and bytes(cursor.key()).startswith(prefix):
                key = bytes(cursor.key())
                yield key[len(prefix) :], self._unsealed(database, key, bytes(cursor.value()))
                found = cursor.next()

    def blob(self, digest: bytes) -> bytes:
        """The bytes at rest of a blob."""
        place, length = struct.unpack("<QI", self._get("index", digest))
        segment, offset = divmod(place, 2**24)
        blob = self._get("segments", segment.to_bytes(8, "big"), offset, offset + length)
        _require(len(blob) == length, "blob runs out of its segment")
        return blob

    def payload(self, kind: str, digest: bytes, declared: int | None = None) -> bytes:
        payload = payload_at_rest(self.blob(digest), declared, NODE_LIMIT if kind == "node" else RECORD_LIMIT)
        _require(hash_of(kind, payload) == digest, f"{kind} {digest.hex()}")
        return payload

    def datasets(self) -> dict[str, bytes]:
        return {key[1:].decode(): parse_record(value)["id"] for key, value in self._scan("datasets")}

    def refs(self, dataset: str = "") -> dict[str, dict[str, Any]]:
        return {name.decode(): parse_record(value) for name, value in self._scan("refs", self.datasets()[dataset])}

    def resolve(self, ref: str, dataset: str = "") -> bytes:
        return self.refs(dataset)[ref]["version"]

    def version(self, digest: bytes) -> dict[str, Any]:
        version = parse_record(self.payload("version", digest))
        _require(version["format"] == 1 and len(version["row_maps"]) == len(version["parents"]), "version")
        return version

    def version_row(self, digest: bytes) -> list[Any]:
        return parse_record(self._get("versions", digest))

    def tree(self, digest: bytes) -> dict[str, Any]:
        tree = parse_record(self.payload("tree", digest))
        rows = {reference[1] for column in tree["columns"] for reference in column["streams"].values()}
        _require(tree["format"] == 1 and rows <= {tree["rows"]}, "tree")
        return tree

    def chunks(self, reference: list[Any]) -> Iterator[tuple[bytes, int, bytes]]:
        """The chunks of a stream as (hash, rows completed, payload), in order."""
        if reference[0] is not None:
            yield from self._walk(tuple(reference), None)
        else:
            _require(reference[1:] == [0, 0], "empty stream")

    def _walk(self, entry: Child, level: int | None) -> Iterator[tuple[bytes, int, bytes]]:
        payload = self.payload("node", entry[0])
        version, own_level, count, zero = struct.unpack("<BBHI", payload[:8])
        width = 8 if own_level else 4
        _require((version, zero) == (1, 0) and 1 <= count <= 256 and level in (None, own_level), "node head")
        _require(len(payload) == 8 + count * (2 * width + 32), "node length")
        numbers = struct.unpack_from(f"<{2 * count}{'Q' if own_level else 'I'}", payload, 8)
        hashes = [payload[at : at + 32] for at in range(8 + 2 * width * count, len(payload), 32)]
        _require((sum(numbers[:count]), sum(numbers[count:])) == entry[1:], "node sums")
        for child in zip(hashes, numbers[:count], numbers[count:], strict=True):
            if own_level:
                yield from self._walk(child, own_level - 1)
            else:
                yield child[0], child[1], self.payload("chunk", child[0], child[2])

    def rows(self, reference: list[Any], layout: Layout) -> Iterator[bytes]:
        """The rows of a stream, in order."""
        unfinished = b""
        for _, count, payload in self.chunks(reference):
            if count == 0:
                unfinished += payload
            elif count == 1:
                yield unfinished + payload
                unfinished = b""
            else:
                if layout.row_size is None:
                    start, places = 4 * count, list(struct.unpack_from(f"<{count}I", payload))
                else:
                    start, places = 0, [layout.row_size * (row + 1) for row in range(count)]
                ends = [start, *(start + end for end in places)]
                _require(ends[-1] == len(payload) and ends == sorted(ends), "row ends")
                yield from (payload[a:b] for a, b in itertools.pairwise(ends))
        _require(not unfinished, "unfinished row")

    def column(self, tree: dict[str, Any], name: str) -> list[Any]:
        """All values of a column."""
        (column,) = [column for column in tree["columns"] if column["name"] == name]
        kind, layouts = column["type"], layouts_of(column["type"])
        _require(layouts.keys() == column["streams"].keys(), "streams")
        streams = [self.rows(column["streams"][stream], layout) for stream, layout in layouts.items()]
        return [decode_value(kind, dict(zip(layouts, row, strict=True))) for row in zip(*streams, strict=True)]

    def field(self, field: bytes | list[Any]) -> bytes:
        """The byte string that a payload field holds."""
        if isinstance(field, bytes):
            _require(len(field) <= 1024, "long field")
            return field
        (row,) = self.rows(field, Layout(None, alone=True))
        _require(len(row) > 1024, "short field")
        return row

    def metadata(self, owner: dict[str, Any]) -> Any:
        """The metadata that a tree, or a column of a tree, snapshots."""
        return plain_value(parse_record(self.field(owner["metadata"])))

    def live_metadata(self, dataset: str, branch: str, column: str | None = None) -> dict[str, Any]:
        scope = b"d" if column is None else b"c" + column.encode()
        owner = blake3.blake3(branch.encode() + b"\0" + scope).digest()[:16]
        found = {}
        for key, value in self._scan("metadata", self.datasets()[dataset] + owner):
            name, item = parse_record(value)
            _require(key == blake3.blake3(name.encode()).digest()[:16], "metadata key")
            found[name] = plain_value(item)
        return found

    def row_maps(self, version: dict[str, Any]) -> list[list[tuple[int, ...]]]:
        """Per parent, the triples (keep, delete, insert)."""
        return [list(struct.iter_unpack("<QQQ", self.field(field))) for field in version["row_maps"]]
