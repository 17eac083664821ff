"""The document is complete and true: a reader written from it alone agrees with the package."""

import datetime as dt
import io
import itertools
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import second_reader
from PIL import Image

import cas
from cas.chunking import cut
from cas.codec import compression
from cas.hashing import Kind, hash_blob
from cas.history.graph import skip_depth
from cas.history.records import INLINE_BYTES, RECORD_FORMAT
from cas.store import environment, gate, leases, lmdb, places, segments
from cas.store.contract import TABLES
from cas.tree import node, split
from cas.types import (
    DTYPES,
    ML_DTYPES,
    TIME_UNITS,
    Array,
    BoundingBox,
    Bytes,
    ClassLabel,
    DateTime,
    Embedding,
    Nullable,
    Sequence,
    numpy_dtype,
)

DOCUMENT = Path(cas.__file__).parent / "FORMAT.md"
BIG = 262_080

SCHEMA = {
    **{f"scalar_{name}": name for name in DTYPES},
    "text": "text",
    "bytes": "bytes",
    "bytes_by_row": Bytes(dedup="row"),
    "array_fixed": Array("float32", (2, 3)),
    "array_bool": Array("bool", (3,)),
    "array_empty": Array("int16", (0, 4)),
    "array_no_axes": Array("complex64", ()),
    "array_4095": Array("uint8", (4095,)),
    "array_4096": Array("uint8", (4096,)),
    "array_by_row": Array("uint16", (2,), dedup="row"),
    "array_free": Array("float64", (None, 2)),
    "image": "image",
    "maybe_int": Nullable(cas.types.Int32),
    "maybe_text": Nullable(cas.types.Text()),
    "maybe_array": Nullable(Array("float16", (None,))),
    "maybe_fixed": Nullable(Array("uint8", (5,))),
    "maybe_image": Nullable(cas.types.Image()),
    "embedding": Embedding(3, "bfloat16"),
    "boxes": BoundingBox("float32", "xywh", "pixel"),
    "raw_image": cas.types.Image("float32", None),
    "image_webp": cas.types.Image(sample_compression="webp"),
    "mask": "segment_mask",
    "binary": "binary_mask",
    "label": ClassLabel(["cat", "dog", "owl"]),
    **{f"time_{unit}": DateTime(unit) for unit in TIME_UNITS},
    "dict": "dict",
    "numbers": Sequence("int16"),
    "words": Sequence("text"),
    "pictures": Sequence("image"),
    "nested": Nullable(Sequence(Sequence(Nullable(Array("uint8", (None,)))))),
    "maybe_zero": Sequence(Nullable(Array("uint8", (0,)))),
    "times": Sequence(DateTime("s")),
}
# Values as the second reader gives them, where that is not as they are given here.
PLAIN: dict[str, Callable[[Any], Any]] = {
    "raw_image": np.ndarray.tolist,
    "mask": np.ndarray.tolist,
    "binary": np.ndarray.tolist,
    "label": lambda name: ["cat", "dog", "owl"].index(name),
    **{f"time_{unit}": lambda time: int(time.astype(np.int64)) for unit in TIME_UNITS},
    "dict": lambda value: value and {"a": ("array", "bfloat16", [1], [1.5]), "c": value["c"], "id": value["id"]},
    "times": lambda times: [int(time.timestamp()) for time in times],
    "maybe_zero": lambda items: [None if item is None else [] for item in items],
}
FLOAT_VALUES = {
    "bfloat16": [-0.0, float("inf"), 1.0078125, 2.0**-133],
    "float8_e4m3fn": [-0.0, 448.0, 2.0**-9, -1.125],
    "float8_e4m3fnuz": [0.0, -240.0, 2.0**-10],
    "float8_e5m2": [float("inf"), -0.0, 57344.0, 2.0**-16],
    "float8_e5m2fnuz": [0.0, -57344.0, 2.0**-17],
    "float8_e8m0fnu": [1.0, 2.0**127, 2.0**-127],
}


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 5, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def scalar(dtype: str, i: int) -> Any:
    if dtype == "bool":
        return i % 3 == 0
    if dtype in FLOAT_VALUES:
        return FLOAT_VALUES[dtype][i % len(FLOAT_VALUES[dtype])]
    if dtype.startswith("complex"):
        return complex(i, -i / 2)
    if dtype.startswith("float"):
        return [i / 4, -0.0, float("inf"), 2.0**-14][i % 4]
    limits = np.iinfo(dtype)
    return [int(limits.min), int(limits.max), i % 100][i % 3]


def long_or_short(i: int) -> bytes:
    """Rows of 0 bytes, small ones, ones at the limits of sections 3, and ones of several pieces."""
    sizes = {7: 4095, 8: 4096, 20: BIG, 21: BIG + 1, 22: 2 * BIG, 40: 700_001}
    return np.random.default_rng(i).bytes(sizes.get(i % 100, i % 5 * 30))


def row(i: int) -> dict[str, Any]:
    """One row of all types, which depends on ``i``."""
    free = np.arange(i % 4 * 2, dtype=np.float64).reshape(-1, 2)
    missing = i % 3 == 1
    return {
        **{f"scalar_{name}": scalar(name, i) for name in DTYPES},
        "text": "" if i % 5 == 0 else f"row {i} " + "é" * (i % 50),
        "bytes": long_or_short(i),
        "bytes_by_row": bytes([i % 7]) * (i % 3),
        "array_fixed": (np.arange(6.0).reshape(2, 3) + i).tolist(),
        "array_bool": [True, i % 2 == 0, False],
        "array_empty": [],
        "array_no_axes": complex(0.5, i),
        "array_4095": [i % 256] * 4095,
        "array_4096": [i % 256] * 4096,
        "array_by_row": [i % 10, 65_535],
        "array_free": free.tolist(),
        "image": png(i % 30),
        "maybe_int": None if missing else -i,
        "maybe_text": None if missing else "x" * (i % 4),
        "maybe_array": None if missing else [i % 9 / 2] * (i % 3),
        "maybe_fixed": None if missing else [i % 200] * 5,
        "maybe_image": None if missing else png(i % 11),
        **new_row(i),
    }


def new_row(i: int) -> dict[str, Any]:
    """The part of a row with boxes, masks, times, classes, dicts and sequences."""
    pixels = np.random.default_rng(i).integers(0, 255, (i % 4, 3, 2), np.uint8)
    return {
        "embedding": [float(i), -0.5, float("inf")],
        "boxes": [[float(i), 1.0, 2.5, 0.0]] * (i % 3),
        "raw_image": (pixels / 4).astype(np.float32),
        "image_webp": png(i % 7),
        "mask": pixels if i % 2 else pixels[:, :, 0],
        "binary": pixels[:, :, 1] > 100,
        "label": ["dog", "cat", "owl", "owl"][i % 4],
        **{f"time_{unit}": np.datetime64((-1) ** i * i * 10**8 + i, unit) for unit in TIME_UNITS},
        "dict": {} if i % 5 == 0 else {"id": i, "a": np.array([1.5], ml_dtypes.bfloat16), "c": [None, "é"]},
        "numbers": [i, -i] * (i % 4) if i % 100 else [7] * 200_000,
        "words": ["", "é" * i, "word"][: i % 4],
        "pictures": [png(i % 3), png(i % 5)][: i % 3],
        "nested": None if i % 4 == 0 else [[], [[i % 200], None, []], [None]][: i % 4],
        "maybe_zero": [None, np.empty(0, np.uint8), None][: i % 4],
        "times": [dt.datetime(2000 + i, 1, 1, tzinfo=dt.UTC), dt.datetime(1, 1, 1, tzinfo=dt.UTC)][: i % 3],
    }


def batch(numbers: range) -> dict[str, Any]:
    """Rows as a batch for ``append``; arrays without elements need their shape said."""
    rows = [row(i) for i in numbers]
    columns: dict[str, Any] = {name: [each[name] for each in rows] for name in SCHEMA}
    columns["array_empty"] = np.zeros((len(rows), 0, 4), np.int16)
    columns["array_free"] = [np.array(each, np.float64).reshape(-1, 2) for each in columns["array_free"]]
    return columns


METADATA = {
    "none": None,
    "numbers": [True, -1, 2**64, -(2**80), 0.1, -0.0, float("inf"), 2**-24],
    "text": "é" * 20,
    "bytes": b"\0\xff",
    "nested": {"b": {"a": [1, [2, {}]]}, "aa": []},
    "aware": dt.datetime(2026, 11, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=-3))),
    "naive": dt.datetime(1969, 12, 31, 23, 59, 59, 999_999),
    "array": np.arange(6, dtype=">i2").reshape(2, 3),
    "scalar": np.float16(1.5),
}
PLAIN_METADATA = METADATA | {
    "aware": ("datetime", 1_793_545_200_000_000, -10_800),
    "naive": ("datetime", -1, None),
    "array": ("array", "int16", [2, 3], [[0, 1, 2], [3, 4, 5]]),
    "scalar": ("scalar", "float16", 1.5),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[dict[str, Any]]]]:
    """A store made with every operation, and the rows of its tags."""
    path = tmp_path_factory.mktemp("format") / "store"
    rows = [row(i) for i in range(120)]
    expected = {"first": list(rows)}
    with cas.create(path, SCHEMA) as ds:
        ds.append(batch(range(120)))
        ds.metadata.update(METADATA)
        ds["text"].metadata["long"] = "m" * 3000
        ds.commit("120 rows")
        ds.tag("first", "the first rows")
        ds.insert(50, batch(range(200, 215)))
        rows[50:50] = [row(i) for i in range(200, 215)]
        ds.delete([0, 1, 2, 70, 134])
        rows = [each for i, each in enumerate(rows) if i not in (0, 1, 2, 70, 134)]
        ds["scalar_int64"][5:8] = [1, 2, 3]
        ds["bytes"][9] = b"z" * 300_000
        for i, value in zip(range(5, 8), (1, 2, 3), strict=True):
            rows[i] = rows[i] | {"scalar_int64": value}
        rows[9] = rows[9] | {"bytes": b"z" * 300_000}
        ds.metadata["huge"] = b"h" * 600_000
        ds.commit("edited", author="somebody", details={"edits": 3})
        expected["main"] = list(rows)
        ds.tag("edited")
    return path, expected


@pytest.fixture
def reader(written: tuple[Path, Any]) -> Iterator[second_reader.Store]:
    with second_reader.Store(written[0]) as store:
        yield store


@pytest.mark.parametrize("ref", ["first", "main"])
def test_second_reader_reads_equal_values_of_every_type(
    reader: second_reader.Store, written: tuple[Path, Any], ref: str
) -> None:
    expected = written[1][ref]
    tree = reader.tree(reader.version(reader.resolve(ref))["tree"])
    assert [column["name"] for column in tree["columns"]] == list(SCHEMA)
    assert tree["rows"] == len(expected)
    for name in SCHEMA:
        # repr tells -0.0 from 0.0 and 1 from 1.0 and True.
        plain = PLAIN.get(name, lambda value: value)
        assert repr(reader.column(tree, name)) == repr([plain(each[name]) for each in expected]), name


@pytest.mark.parametrize("ref", ["first", "main"])
def test_second_reader_computes_the_same_chunks_and_roots(reader: second_reader.Store, ref: str) -> None:
    tree = reader.tree(reader.version(reader.resolve(ref))["tree"])
    for column in tree["columns"]:
        for stream, layout in second_reader.layouts_of(column["type"]).items():
            reference = column["streams"][stream]
            rows = list(reader.rows(reference, layout))
            stored = [(digest, count) for digest, count, _ in reader.chunks(reference)]
            computed = [(second_reader.hash_of("chunk", p), n) for p, n in second_reader.chunks_of(rows, layout)]
            assert computed == stored, column["name"]
            assert second_reader.reference_of(rows, layout) == reference, column["name"]


@pytest.mark.parametrize("dtype", [name for name in ML_DTYPES if name != "bfloat16"])
def test_second_reader_knows_every_byte_as_a_float(dtype: str) -> None:
    found = second_reader.element_decoder(dtype)[1](bytes(range(256)))
    with np.errstate(invalid="ignore"):
        expected = np.arange(256, dtype=np.uint8).view(numpy_dtype(dtype)).astype(np.float64)
    assert np.array(found).tobytes() == np.where(np.isnan(expected), np.array(found), expected).tobytes()
    assert np.isnan(found).tolist() == np.isnan(expected).tolist()


def test_second_reader_reads_metadata(reader: second_reader.Store) -> None:
    first = reader.tree(reader.version(reader.resolve("first"))["tree"])
    assert repr(sorted(reader.metadata(first).items())) == repr(sorted(PLAIN_METADATA.items()))
    columns = {column["name"]: column for column in first["columns"]}
    assert isinstance(first["metadata"], bytes)
    assert isinstance(columns["text"]["metadata"], list)
    assert reader.metadata(columns["text"]) == {"long": "m" * 3000}
    assert reader.metadata(columns["image"]) == {}
    last = reader.tree(reader.version(reader.resolve("main"))["tree"])
    assert reader.metadata(last)["huge"] == b"h" * 600_000


def test_second_reader_reads_live_metadata(reader: second_reader.Store) -> None:
    assert reader.live_metadata("", "main", "text") == {"long": "m" * 3000}


def test_second_reader_reads_versions_refs_and_row_maps(reader: second_reader.Store) -> None:
    assert reader.config["layout"] == "dataset"
    assert list(reader.datasets()) == [""]
    refs = reader.refs()
    assert {name: ref["kind"] for name, ref in refs.items()} == {"edited": "tag", "first": "tag", "main": "branch"}
    assert refs["first"]["message"] == "the first rows"
    version = reader.version(reader.resolve("main"))
    assert (version["message"], version["author"], version["details"]) == ("edited", "somebody", {"edits": 3})
    # Rows 0 to 2 deleted, 47 kept, 15 inserted; then row 70 of 135 was row 55 of the parent, and row 134 its row 119.
    assert reader.row_maps(version) == [[(0, 3, 0), (47, 0, 15), (5, 1, 0), (63, 1, 0)]]
    assert version["parents"] == [reader.resolve("first")]
    (insert,) = reader.row_maps(reader.version(reader.resolve("first")))[0]
    assert insert == (0, 0, 120)


def test_version_rows_follow_the_document(tmp_path: Path) -> None:
    with cas.create(tmp_path / "s", {"x": "int8"}) as ds:
        for i in range(20):
            ds.append({"x": [i]})
            ds.commit(str(i))

    def low(x: int) -> int:
        return x & (x - 1)

    def skip(d: int) -> int:
        return 0 if d < 2 else low(d) if d % 2 == 0 else low(low(d - 1)) + 1

    with second_reader.Store(tmp_path / "s") as store:
        chain = [store.resolve("main")]
        while parents := store.version(chain[-1])["parents"]:
            chain += parents
        chain.reverse()
        times = []
        for depth, digest in enumerate(chain):
            timestamp, *rest = store.version_row(digest)
            times.append(timestamp)
            jump = chain[skip(depth)] if depth else None
            assert rest == [depth, depth, jump, chain[depth - 1 : depth] if depth else []]
    assert times == sorted(set(times))
    assert [skip(d) for d in range(5000)] == [skip_depth(d) for d in range(5000)]


def test_trees_of_several_levels(tmp_path: Path) -> None:
    count = 120_000
    values = [i * 7919 % count for i in range(count)]
    rows = [b"%06d" % value for value in values]
    with cas.create(tmp_path / "s", {"alone": Bytes(dedup="row"), "grouped": "bytes", "numbers": "uint32"}) as ds:
        ds.append({"alone": rows, "grouped": rows, "numbers": values})
        ds.commit()
    with second_reader.Store(tmp_path / "s") as store:
        tree = store.tree(store.version(store.resolve("main"))["tree"])
        columns = {column["name"]: column for column in tree["columns"]}
        assert store.payload("node", columns["alone"]["streams"]["data"][0])[1] >= 2, "the root's level"
        for name, expected in {"alone": rows, "grouped": rows, "numbers": values}.items():
            reference, kind = columns[name]["streams"]["data"], columns[name]["type"]
            assert store.column(tree, name) == expected
            layout = second_reader.layouts_of(kind)["data"]
            assert second_reader.reference_of(store.rows(reference, layout), layout) == reference


def test_a_store_of_many_datasets(tmp_path: Path) -> None:
    cas.init(tmp_path / "lake")
    for name in ("cats", "dogs/small"):
        with cas.create(tmp_path / "lake" / name, {"x": "text"}) as ds:
            ds.append({"x": [name]})
            ds.commit()
    with second_reader.Store(tmp_path / "lake") as store:
        assert store.config["layout"] == "datasets"
        assert sorted(store.datasets()) == ["cats", "dogs/small"]
        for name in store.datasets():
            tree = store.tree(store.version(store.resolve("main", name))["tree"])
            assert store.column(tree, "x") == [name]


def test_second_reader_is_a_judge(written: tuple[Path, Any], tmp_path: Path) -> None:
    """A reader that accepted anything would prove nothing: it refuses a flipped byte of a chunk."""
    copy = shutil.copytree(written[0], tmp_path / "copy")
    data = bytearray((copy / "data.mdb").read_bytes())
    at = data.index(long_or_short(8))
    data[at] ^= 1
    (copy / "data.mdb").write_bytes(data)
    with second_reader.Store(copy) as store:
        tree = store.tree(store.version(store.resolve("main"))["tree"])
        with pytest.raises(second_reader.DamageError):
            store.column(tree, "bytes")


# --- other implementations ------------------------------------------------------------------------------------------


def test_b3sum_prints_the_chunk_hash_of_an_image(reader: second_reader.Store, tmp_path: Path) -> None:
    b3sum = shutil.which("b3sum")
    if b3sum is None:
        pytest.skip("b3sum is not installed")
    tree = reader.tree(reader.version(reader.resolve("first"))["tree"])
    (column,) = [column for column in tree["columns"] if column["name"] == "image"]
    file = tmp_path / "image.png"
    for i, (digest, _, _) in enumerate(itertools.islice(reader.chunks(column["streams"]["data"]), 5)):
        file.write_bytes(png(i))
        printed = subprocess.run([b3sum, "--no-names", file], capture_output=True, text=True, check=True).stdout
        assert printed.strip() == digest.hex()


@pytest.mark.parametrize("planes", [False, True])
def test_zstd_opens_a_compressed_blob(tmp_path: Path, planes: bool) -> None:
    zstd = shutil.which("zstd")
    if zstd is None:
        pytest.skip("zstd is not installed")
    text = "all work and no play makes a dull dataset " * 50
    numbers = np.cumsum(np.random.default_rng(1).standard_normal(4096)).astype(np.float32)
    schema = {"x": Array("float32", (4096,))} if planes else {"x": "text"}
    with cas.create(tmp_path / "s", schema) as ds:
        ds.append({"x": [numbers if planes else text]})
        ds.commit()
    with second_reader.Store(tmp_path / "s") as store:
        tree = store.tree(store.version(store.resolve("main"))["tree"])
        ((digest, _, payload),) = store.chunks(tree["columns"][0]["streams"]["data"])
        blob = store.blob(digest)
    assert payload == (numbers.tobytes() if planes else text.encode())
    assert len(blob) < len(payload)
    assert blob[:4] == (bytes.fromhex("5c2a4d18") if planes else bytes.fromhex("28b52ffd"))
    # The command skips skippable frames, so it gives the byte planes.
    opened = subprocess.run([zstd, "-d", "-c"], input=blob, capture_output=True, check=True).stdout
    expected = numbers.view(np.uint8).reshape(-1, 4).T.tobytes() if planes else payload
    assert opened == expected


# --- constants ------------------------------------------------------------------------------------------------------


def number(text: str) -> int:
    return int(text.replace(",", ""))


NUMBERS = {
    r"a row of ([\d,]+) bytes or more": cut.SINGLE_ROW_BYTES,
    r"A row of at most ([\d,]+) bytes is one chunk": cut.PIECE_BYTES,
    r"cut in pieces of ([\d,]+) bytes": cut.PIECE_BYTES,
    r"weight added to `s` is above ([\d,]+)": cut.MAX_BYTES,
    r"`n >= W`, `s >= (\d+)` and `h\(i\) < T\(i\)`": cut.MIN_BYTES,
    r"`n >= W`, `s >= (\d+)` and `h\(i\) < T'\(i\)`": cut.RELAX_BYTES,
    r"`n >= W \+ 2`, `s >= (\d+)` and `h\(i - 2\) = h\(i - 1\)`": cut.RELAX_BYTES,
    r"T\(i\) = w\(i\) \* floor\(2\^64 / (\d+)\)": cut.MEAN_BYTES,
    r"T'\(i\) = min\((\d+) \* T\(i\)": cut.RELAX_FACTOR,
    r"`W` is the window: (\d+) rows in a varying layout": cut.window_rows(None),
    r"in a fixed one (\d+) for `R < 1024`": cut.window_rows(1023),
    r"(\d+) for `1024 <= R < 2048`": cut.window_rows(1024),
    r"(\d+) for `2048 <= R < 4096`": cut.window_rows(2048),
    r"k = min\((\d+), ceil\(L / 8\)\)": cut.MAX_WORDS,
    r"r\(i - k\) \* 2\^\((\d+)k\)": cut.SHIFT_BITS,
    r"`w = L \+ (\d+)` in a varying layout": cut.FRAME_BYTES,
    r"`u16` count, 1 to (\d+)": node.MAX_CHILDREN,
    r"when it has (\d+) children": node.MAX_CHILDREN,
    r"or when it has at least (\d+) and": split.MIN_CHILDREN,
    r"`floor\(2\^64 / (\d+)\)`\. The last node": split.MEAN_CHILDREN,
    r"`u8` (\d+), the node format": node.NODE_FORMAT,
    r"at most ([\d,]+) bytes \(nodes\)": gate.MAX_NODE_BYTES,
    r"or at most (\d+) MiB \(trees, versions\)": gate.MAX_RECORD_BYTES >> 20,
    r"up to ([\d,]+) bytes; above, as the stream reference": INLINE_BYTES,
    r"\*\*Tree\*\* \(the state of a dataset\), a map: `format` (\d+)": RECORD_FORMAT,
    r"at most ([\d,]+) bytes, or exactly one blob that is longer": segments.SEGMENT_BYTES,
    r"`u64 \(segment \* 2\^(\d+) \+ offset\)": places.OFFSET_BITS,
    r"must hold a shared lock at 2\^(\d+), and": leases.OPEN.bit_length() - 1,
    r"must hold a shared lock at 2\^40 \+ (\d+) from": leases.WRITING - leases.OPEN,
    r"a shared lock at 2\^(\d+) \+ the first": leases._VERSIONS.bit_length() - 1,
    r"the first (\d+) bits of its hash": leases._VERSION_BITS,
}
TEXTS: dict[str, Callable[[str], bool]] = {
    r"A = 0x([0-9A-F]{16})": lambda found: int(found, 16) == cut.MULTIPLIER_A,
    r"B = 0x([0-9A-F]{16})": lambda found: int(found, 16) == cut.MULTIPLIER_B,
    r"\| node \| derive-key \| `([^`]*)`": lambda found: found == Kind.NODE.value,
    r"\| tree \| derive-key \| `([^`]*)`": lambda found: found == Kind.TREE.value,
    r"\| version \| derive-key \| `([^`]*)`": lambda found: found == Kind.VERSION.value,
    r"1\. `([0-9A-F ]+)`: the blob is one zstd frame": lambda found: bytes.fromhex(found) == compression.ZSTD_MAGIC,
    r"2\. `([0-9A-F ]+)`, a skippable frame": lambda found: bytes.fromhex(found) == compression.PLANES_MAGIC,
    r"`e` in ([\d, ]+):": lambda found: tuple(map(int, found.split(","))) == compression._PLANE_SIZES,
    r"- `([a-z-]+)`: the ASCII text": lambda found: found == leases.MARKER,
    r"the ASCII text `([^`]+)` and a line feed": lambda found: found.encode() + b"\n" == lmdb.MARKER_TEXT,
}


@pytest.fixture(scope="module")
def document() -> str:
    return " ".join(DOCUMENT.read_text().split())


@pytest.mark.parametrize("pattern", NUMBERS)
def test_numbers_are_those_of_the_code(document: str, pattern: str) -> None:
    found = re.findall(pattern, document)
    assert found, "the document no longer says this"
    assert {number(each) for each in found} == {NUMBERS[pattern]}


@pytest.mark.parametrize("pattern", TEXTS)
def test_texts_are_those_of_the_code(document: str, pattern: str) -> None:
    (found,) = re.findall(pattern, document)
    assert TEXTS[pattern](found), found


def test_every_number_of_the_cutting_rule_is_compared(document: str) -> None:
    """A new number in sections 3 and 4 needs a line above, so that it cannot drift."""
    rules = document[document.index("## 3.") : document.index("## 5.")]
    large = {number(each) for each in re.findall(r"\b\d[\d,]{3,}\b", rules)}
    window_borders = {1024, 2048, 4096}
    assert large <= set(NUMBERS.values()) | window_borders


def test_window_borders_are_those_of_the_code() -> None:
    sizes = range(4096)
    assert [cut.window_rows(size) for size in sizes] == [16 if s < 1024 else 8 if s < 2048 else 4 for s in sizes]


def test_node_limit_is_a_full_inner_node() -> None:
    children = [(bytes(32), 1, 1)] * node.MAX_CHILDREN
    assert len(second_reader.node_payload(1, children)) == gate.MAX_NODE_BYTES


def test_tables_and_dtypes_are_those_of_the_code() -> None:
    text = DOCUMENT.read_text()
    table = text[text.index("| database |") :]
    named = re.findall(r"^\| `([a-z]+)` \|", table, re.MULTILINE)
    assert sorted(named) == sorted([environment.SEGMENTS, environment.INDEX, *TABLES])
    first_row = text[text.index("| `bool`, ") :].split("|")[1]
    assert re.findall(r"`(\w+)`", first_row) == DTYPES


@pytest.mark.parametrize("kind", list(Kind))
def test_hashes_are_those_of_the_document(kind: Kind) -> None:
    assert hash_blob(kind, b"payload") == second_reader.hash_of(kind.name.lower(), b"payload")
