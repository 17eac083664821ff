"""Stores with one fault each, made on purpose, and what a check says of them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_store import RawStore

import cas
from cas.codec import cbor
from cas.errors import CasError
from cas.hashing import Kind, hash_blob
from cas.history.graph import VersionEntry
from cas.history.records import VersionRecord, encode_defaults, encode_tree, encode_version
from cas.history.row_map import RowMap
from cas.repo.blobs import read_blob
from cas.repo.collect import Collection, Expiry
from cas.repo.commit import enter_version, move_ref
from cas.repo.damage import (
    DAMAGED,
    ERROR,
    MISSING,
    RECORD,
    TABLE,
    VERSION_ROW,
    WARNING,
    WRONG_NODE,
    Checked,
    Finding,
    Place,
)
from cas.repo.fsck import Fsck
from cas.repo.repository import Repository, find_ref
from cas.store.contract import Transaction
from cas.store.lmdb import LmdbStore, LmdbView
from cas.store.writer import BlobWriter
from cas.tree.node import Entries, encode_node
from cas.tree.read import StreamRef, TreeReader
from cas.types import Array, Bytes, Nullable

pytestmark = pytest.mark.filterwarnings("ignore::cas.errors.UncommittedChangesWarning")
COLUMNS = {
    "n": "int64",
    "blob": Bytes(dedup="row"),
    "text": Nullable("text"),
    "wide": Array("float32", (1024,)),
}


def rows(rng: np.random.Generator, count: int) -> dict[str, Any]:
    return {
        "n": rng.integers(0, 1 << 40, count),
        "blob": [rng.bytes(int(rng.integers(1, 400))) for _ in range(count)],
        "text": [None if rng.random() < 0.3 else "x" * int(rng.integers(0, 60)) for _ in range(count)],
        "wide": rng.integers(0, 5, (count, 1024)).astype(np.float32),
    }


def build(lake: Path) -> None:
    """Two datasets with branches, a tag, a merge, large metadata, uncommitted rows, and a row map in a stream."""
    rng = np.random.default_rng(3)
    cas.init(lake)
    with cas.create(lake / "a", COLUMNS) as ds:
        ds.append(rows(rng, 1800))
        ds.append({"n": [1], "blob": [rng.bytes(600_000)], "text": ["large"], "wide": [np.zeros(1024, np.float32)]})
        ds.metadata["notes"] = "n" * 3000
        ds["n"].metadata["unit"] = "m"
        ds.commit("one")
        ds.tag("v1")
        with ds.branch("other").open() as other:
            other["n"][11] = 5
            other.commit("on other")
        ds.delete(np.arange(0, 400, 2))
        ds.add_column("new", "int32", default=7)
        ds.commit("two")
        ds.rename_column("text", "words")
        ds.commit("three")
        ds.merge("other")
        ds["new"][0] = 1
        ds.flush()
    with cas.create(lake / "b", {"x": "int64"}) as ds:
        ds.append({"x": np.arange(100)})
        ds.commit("b")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("original") / "lake"
    build(lake)
    return lake


@pytest.fixture
def lake(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "lake")
    return tmp_path / "lake"


def with_repository(lake: Path, use: Callable[[Repository], Any]) -> Any:
    """Opens a store for one use; it is closed afterwards."""
    repository = Repository(LmdbStore(lake), lake)
    try:
        return use(repository)
    finally:
        repository.store.close()


def fsck(lake: Path, **options: Any) -> Checked:
    return with_repository(lake, lambda repository: Fsck(repository, **options).check())  # type: ignore[no-any-return]


def the(found: Sequence[Finding]) -> Finding:
    (finding,) = found
    return finding


def head_of(repository: Repository, name: str = "a", ref: str = "main") -> bytes:
    with repository.store.read() as view:
        found = find_ref(view, repository.dataset_id(name), ref)
    assert found is not None
    return found.version


def stream_of(repository: Repository, column: str, stream: str = "data", ref: str = "main") -> StreamRef:
    record = repository.tree(repository.version(head_of(repository, ref=ref)).tree).column(column)
    assert record is not None
    return record.streams[stream]


def chunks_of(lake: Path, column: str, stream: str = "data", ref: str = "main") -> list[tuple[bytes, int, int]]:
    """The chunks of a column with the rows they hold; a piece holds the row that it is of."""

    def read(repository: Repository) -> list[tuple[bytes, int, int]]:
        found, row = [], 0
        for entries in TreeReader(repository.nodes, stream_of(repository, column, stream, ref)).leaves():
            for hash_, count in zip(entries.hashes, entries.rows.tolist(), strict=True):
                found.append((hash_.tobytes(), row, max(row + count, row + 1)))
                row += count
        return found

    return with_repository(lake, read)  # type: ignore[no-any-return]


def leaves_of(lake: Path, column: str) -> list[tuple[bytes, int, int]]:
    """The leaves of a column, with their rows."""

    def read(repository: Repository) -> list[tuple[bytes, int, int]]:
        reader, found, position = TreeReader(repository.nodes, stream_of(repository, column)), [], 0
        while position < reader.ref.extent:
            place = reader.node_at(0, position)
            hash_ = hash_blob(Kind.NODE, encode_node(0, place.node.entries))
            found.append((hash_, place.row_start, place.row_start + place.node.rows))
            position = place.extent_stop
        return found

    return with_repository(lake, read)  # type: ignore[no-any-return]


def column_places(finding: Finding) -> list[tuple[str, str | None, str | None, Any]]:
    return [(place.part, place.column, place.stream, place.rows) for place in finding.places]


# --- healthy --------------------------------------------------------------------------------------------------------


def test_a_healthy_store_is_clean(lake: Path) -> None:
    found = fsck(lake)
    assert found.findings == ()
    assert found.blobs == len(RawStore(lake).rows("index"))
    assert found.stored_bytes == sum(int.from_bytes(row[8:], "little") for row in RawStore(lake).rows("index").values())
    assert found.versions == len(RawStore(lake).rows("versions"))
    quick = fsck(lake, quick=True)
    assert (quick.findings, quick.stored_bytes, quick.versions) == ((), 0, found.versions)


def random_history(ds: cas.Dataset, dice: random.Random) -> None:
    rng = np.random.default_rng(dice.randrange(1 << 30))
    for step in range(12):
        match dice.randrange(9):
            case 0 | 1:
                ds.append({name: rng.integers(0, 99, 50) for name in ds.schema})
            case 2 if len(ds):
                ds.delete(sorted(dice.sample(range(len(ds)), min(len(ds), 70))))
            case 3:
                ds.add_column(f"c{step}", "int64", default=step)
            case 4 if len(ds.schema) > 1:
                ds.remove_column(dice.choice(list(ds.schema)))
            case 5 if ds.schema:
                ds.rename_column(dice.choice(list(ds.schema)), f"r{step}")
            case 6:
                ds.commit(f"before {step}")
                with ds.branch(f"b{step}").open() as other:
                    other.append({name: rng.integers(0, 99, 5) for name in other.schema})
                    other.commit("theirs")
                ds.append({name: rng.integers(0, 99, 5) for name in ds.schema})
                ds.commit("ours")
                ds.merge(f"b{step}")
                if dice.random() < 0.5:
                    ds.branches[f"b{step}"].delete(force=True)
            case 7 if ds.has_changes:
                ds.commit(str(step))
                ds.undo()
            case _:
                ds.metadata[f"m{step}"] = "m" * dice.randrange(3000)
        ds.commit(str(step)) if dice.random() < 0.5 else ds.flush()


@pytest.mark.parametrize("seed", range(8))
def test_random_histories_are_clean(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    with cas.create(tmp_path / "ds", {"x": "int64"}) as ds:
        random_history(ds, dice)
        assert fsck(tmp_path / "ds").findings == ()
    with_repository(tmp_path / "ds", lambda repository: Collection(repository, Expiry(0, 0)).apply())
    assert fsck(tmp_path / "ds").findings == ()


# --- blobs ----------------------------------------------------------------------------------------------------------


def damage(lake: Path, hash_: bytes, how: str) -> None:
    raw = RawStore(lake)
    if how == "flipped":
        raw.flip(hash_)
    elif how == "removed":
        raw.remove("index", hash_)
    elif how == "place cut":
        raw.change("index", hash_, lambda place: place[:-1])
    else:
        raw.change("index", hash_, lambda place: place[:5] + b"\x77" + place[6:])


DAMAGES = {"flipped": DAMAGED, "removed": MISSING, "place cut": DAMAGED, "led astray": DAMAGED}


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("column", ["n", "blob", "wide"])
def test_a_chunk_is_told_with_its_rows(lake: Path, column: str, how: str) -> None:
    chunks = chunks_of(lake, column)
    hash_, start, stop = chunks[len(chunks) // 2]
    assert [chunk[0] for chunk in chunks].count(hash_) == 1
    damage(lake, hash_, how)
    finding = the(fsck(lake).findings)
    assert (finding.severity, finding.what, finding.blob) == (ERROR, DAMAGES[how], hash_.hex())
    assert column_places(finding) == [
        ("column", column, "data", ((start, stop),)),
        ("uncommitted column", column, "data", ((start, stop),)),
    ]
    place = finding.places[0]
    assert (place.dataset, place.ref) == ("a", "branch main")
    assert place.version == with_repository(lake, head_of).hex()
    assert place.count == len(place.others) + 1 >= (1 if column == "n" else 4)


def test_a_piece_takes_its_row(lake: Path) -> None:
    chunks = chunks_of(lake, "blob")
    large = [chunk for chunk in chunks if chunk[1] == chunks[-1][1]]
    assert len(large) == 3
    RawStore(lake).flip(large[0][0])
    row = chunks[-1][1]
    assert the(fsck(lake).findings).places[0].rows == ((row, row + 1),)


def test_a_chunk_that_repeats_has_several_runs(lake: Path, tmp_path: Path) -> None:
    zero, one = np.zeros((3, 1024), np.float32), np.ones((2, 1024), np.float32)
    with cas.create(tmp_path / "ds", {"w": Array("float32", (1024,))}) as ds:
        ds.append({"w": np.concatenate([zero, one, zero, one])})
        ds.commit()
    (hash_,) = [
        hash_ for hash_, blob in with_repository(tmp_path / "ds", _payloads).items() if blob == one[0].tobytes()
    ]
    RawStore(tmp_path / "ds").flip(hash_)
    assert the(fsck(tmp_path / "ds").findings).places[0].rows == ((3, 5), (8, 10))


def _payloads(repository: Repository) -> dict[bytes, bytes]:
    with repository.store.read() as view:
        hashes = view.hashes(b"", 1 << 20)
    return {hash_: read_blob(repository, hash_)[1] for hash_ in hashes}


def test_a_leaf_takes_the_rows_below_it(lake: Path) -> None:
    leaves = leaves_of(lake, "wide")
    hash_, start, stop = leaves[1]
    RawStore(lake).flip(hash_)
    finding = the(fsck(lake).findings)
    assert (finding.what, finding.blob) == (DAMAGED, hash_.hex())
    assert finding.places[0].rows == ((start, stop),)
    assert the(fsck(lake, quick=True).findings) == finding


def test_a_root_takes_all_rows(lake: Path) -> None:
    ref = with_repository(lake, lambda repository: stream_of(repository, "n"))
    damage(lake, ref.root, "removed")
    finding = the(fsck(lake).findings)
    assert (finding.what, finding.places[0].rows) == (MISSING, ((0, ref.rows),))


def test_two_places_swapped(lake: Path) -> None:
    one, other = chunks_of(lake, "n")[0][0], chunks_of(lake, "blob")[3][0]
    RawStore(lake).swap(one, other)
    found = fsck(lake).findings
    assert {(each.what, each.blob) for each in found} == {(DAMAGED, one.hex()), (DAMAGED, other.hex())}
    assert fsck(lake, quick=True).findings == ()  # places are there; only reading tells


def test_a_tree_and_a_version(lake: Path) -> None:
    head = with_repository(lake, head_of)
    tree = with_repository(lake, lambda repository: repository.version(head).tree)
    for hash_, part in ((tree, "tree"), (head, "version")):
        RawStore(lake).flip(hash_)
        for quick in (True, False):
            finding = the(fsck(lake, quick=quick).findings)
            assert (finding.severity, finding.what, finding.blob) == (ERROR, DAMAGED, hash_.hex())
            place = finding.places[0]
            assert (place.dataset, place.ref, place.version, place.part, place.count) == (
                "a", "branch main", head.hex(), part, 1,
            )  # fmt: skip
        RawStore(lake).flip(hash_)
    assert fsck(lake).findings == ()


def test_what_only_a_tag_or_the_reflog_leads_to(lake: Path) -> None:
    with cas.open(lake / "b") as ds:
        ds.append({"x": np.arange(5000)})
        lost = ds.commit("undone")
        ds.undo()
    RawStore(lake).flip(bytes.fromhex(lost))
    place = the(fsck(lake).findings).places[0]
    assert (place.dataset, place.ref, place.version) == ("b", "reflog of main", lost)


def test_metadata_and_a_row_map_in_chunks(lake: Path) -> None:
    def find(repository: Repository) -> tuple[StreamRef, StreamRef]:
        two = repository.version(repository.version(head_of(repository)).parents[0]).parents[0]
        (row_map,) = repository.version(two).row_maps
        metadata = repository.tree(repository.version(two).tree).metadata
        assert isinstance(row_map, StreamRef)
        assert isinstance(metadata, StreamRef)
        return metadata, row_map

    for ref, part in zip(with_repository(lake, find), ("metadata", "row map"), strict=True):
        chunk = with_repository(lake, lambda repository: _first_chunk(repository, ref))  # noqa: B023
        RawStore(lake).flip(chunk)
        finding = the(fsck(lake).findings)
        assert (finding.what, finding.blob) == (DAMAGED, chunk.hex())
        assert {(place.part, place.column, place.rows) for place in finding.places} >= {(part, None, ())}
        assert fsck(lake, quick=True).findings == ()
        RawStore(lake).flip(chunk)


def _first_chunk(repository: Repository, ref: StreamRef) -> bytes:
    return next(TreeReader(repository.nodes, ref).leaves()).hashes[0].tobytes()


def test_what_nothing_leads_to_is_a_warning(lake: Path) -> None:
    def put(repository: Repository) -> bytes:
        writer = BlobWriter(repository.store)
        (hash_,) = writer.add_chunks([b"nobody's"], COLUMNS["blob"].layouts()["data"])  # type: ignore[attr-defined]
        writer.flush()
        return bytes(hash_.tobytes())

    hash_ = with_repository(lake, put)
    RawStore(lake).flip(hash_)
    finding = the(fsck(lake).findings)
    assert (finding.severity, finding.what, finding.blob, finding.places) == (WARNING, DAMAGED, hash_.hex(), ())
    assert fsck(lake).errors == 0


# --- tables ---------------------------------------------------------------------------------------------------------


def key_of(lake: Path, table: str, ends: bytes = b"", dataset: str = "a") -> bytes:
    """The last key of a dataset's rows that holds some bytes."""
    id_ = with_repository(lake, lambda repository: repository.dataset_id(dataset))
    return [key for key in RawStore(lake).rows(table) if key.startswith(id_) and ends in key][-1]


@pytest.mark.parametrize("table", ["refs", "reflog", "sessions", "metadata"])
def test_a_value_cut_off(lake: Path, table: str) -> None:
    key = key_of(lake, table)
    RawStore(lake).change(table, key, lambda value: value[:-3])
    finding = fsck(lake, quick=True).findings[0]
    assert (finding.severity, finding.what, finding.table, finding.key) == (ERROR, TABLE, table, key.hex())
    assert [each.key for each in fsck(lake).findings] == [key.hex()]


def test_a_ref_that_leads_nowhere(lake: Path) -> None:
    key, nowhere = key_of(lake, "refs", b"main"), b"\x55" * 32

    def led_astray(value: bytes) -> bytes:
        return cbor.encode(cbor.decode(value, what="ref") | {"version": nowhere})

    RawStore(lake).change("refs", key, led_astray)
    found = fsck(lake, quick=True).findings
    assert {(each.what, each.blob or each.key) for each in found} == {
        (TABLE, key.hex()),  # the reflog says otherwise
        (VERSION_ROW, nowhere.hex()),
        (MISSING, nowhere.hex()),
    }
    assert all(each.severity == ERROR for each in found)


def test_a_branch_that_is_gone(lake: Path) -> None:
    for name in (b"main", b"v1"):
        key = key_of(lake, "refs", name)
        RawStore(lake).remove("refs", key)
        assert key.hex() in [each.key for each in fsck(lake).findings]
        finding = fsck(lake).findings[-1]
        assert (finding.severity, finding.what, finding.table, finding.key) == (ERROR, TABLE, "refs", key.hex())


def test_a_dataset_without_branches(lake: Path) -> None:
    key = key_of(lake, "refs", b"main", "b")
    RawStore(lake).remove("refs", key)
    assert {(each.table, each.key) for each in fsck(lake).findings} == {("refs", key.hex()), ("datasets", b"/b".hex())}


def test_a_dataset_that_is_gone(lake: Path) -> None:
    id_ = key_of(lake, "refs", b"main", "b")[:16]
    RawStore(lake).remove("datasets", b"/b")
    finding = the(fsck(lake).findings)
    assert (finding.severity, finding.table, finding.key) == (ERROR, "datasets", id_.hex())


def test_two_datasets_of_one_id(lake: Path) -> None:
    RawStore(lake).put("datasets", b"/c", RawStore(lake).rows("datasets")[b"/b"])
    finding = the(fsck(lake).findings)
    assert (finding.table, finding.key) == ("datasets", b"/c".hex())


def test_metadata_under_another_key(lake: Path) -> None:
    key = key_of(lake, "metadata")
    value = RawStore(lake).rows("metadata")[key]
    RawStore(lake).put("metadata", key[:-1] + bytes([key[-1] ^ 1]), value)
    assert the(fsck(lake).findings).table == "metadata"


def test_the_clock(lake: Path) -> None:
    RawStore(lake).change("store", b"clock", lambda value: value[:4])
    finding = the(fsck(lake).findings)
    assert (finding.severity, finding.table, finding.key) == (ERROR, "store", b"clock".hex())
    RawStore(lake).put("store", b"clock", (5).to_bytes(8, "little"))
    finding = the(fsck(lake).findings)
    assert (finding.severity, finding.table, finding.key) == (ERROR, "store", b"clock".hex())


def test_a_version_of_the_future(lake: Path) -> None:
    head = with_repository(lake, head_of)
    RawStore(lake).change("versions", head, change_entry(timestamp=1 << 57))
    finding = the(fsck(lake).findings)
    assert (finding.what, finding.table, finding.key) == (TABLE, "store", b"clock".hex())
    assert head.hex() in finding.message


def test_the_cache_is_no_loss(lake: Path) -> None:
    RawStore(lake).put("cache", b"x", b"\xff\xff")
    finding = the(fsck(lake).findings)
    assert (finding.severity, finding.table, finding.key) == (WARNING, "cache", b"x".hex())
    RawStore(lake).put("cache", b"x", cbor.encode({"stream": [b"\x11" * 32, 5, 40]}))
    finding = the(fsck(lake).findings)
    assert (finding.severity, finding.what, finding.blob) == (WARNING, MISSING, "11" * 32)


def test_an_index_row_of_no_hash(lake: Path) -> None:
    raw = RawStore(lake)
    raw.put("index", b"\x80" * 20, next(iter(raw.rows("index").values())))
    finding = the(fsck(lake).findings)
    assert (finding.severity, finding.what, finding.blob) == (WARNING, DAMAGED, "80" * 20)


# --- the table of versions ------------------------------------------------------------------------------------------


def change_entry(**facts: Any) -> Callable[[bytes], bytes]:
    return lambda value: VersionEntry.decode(value, "")._replace(**facts).encode()


ROWS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "generation": (change_entry(generation=40), "generation"),
    "depth": (change_entry(depth=3), "depth"),
    "jump": (change_entry(jump=None), "jump"),
    "parents": (change_entry(parents=()), "parents"),
    "timestamp": (change_entry(timestamp=5), "timestamp"),
    "cut off": (lambda value: value[:-1], "damaged"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_wrong_row_of_a_version(lake: Path, case: str) -> None:
    head = with_repository(lake, head_of)
    change, word = ROWS[case]
    RawStore(lake).change("versions", head, change)
    finding = the(fsck(lake).findings)
    assert (finding.severity, finding.what, finding.table, finding.key) == (
        ERROR, VERSION_ROW, "versions", head.hex(),
    )  # fmt: skip
    assert word in finding.message


def test_a_missing_row_of_a_version(lake: Path) -> None:
    one = with_repository(lake, lambda repository: head_of(repository, ref="v1"))
    RawStore(lake).remove("versions", one)
    finding = the(fsck(lake, quick=True).findings)
    assert (finding.severity, finding.what, finding.key) == (ERROR, VERSION_ROW, one.hex())


def test_a_row_of_a_version_that_nothing_leads_to(lake: Path) -> None:
    RawStore(lake).put("versions", b"\x22" * 32, b"\x00")
    finding = the(fsck(lake).findings)
    assert (finding.severity, finding.table, finding.key) == (WARNING, "versions", "22" * 32)


# --- forged: hashes are right, what they name is not -----------------------------------------------------------------


def forge(lake: Path, change: Callable[[Repository, BlobWriter, VersionRecord], VersionRecord]) -> bytes:
    """Moves ``main`` of ``b`` to a version made from its head."""

    def make(repository: Repository) -> bytes:
        writer = BlobWriter(repository.store)
        head = head_of(repository, "b")
        record = repository.version(head)
        same = RowMap.identity(100).encode()
        record = change(repository, writer, replace(record, parents=(head,), row_maps=(same,), column_maps=()))
        version = writer.add_record(Kind.VERSION, encode_version(record))
        writer.flush()
        writer.release()
        dataset = repository.dataset_id("b")

        def land(txn: Transaction) -> None:
            enter_version(txn, version, (head,))
            ref = find_ref(txn, dataset, "main")
            assert ref is not None
            move_ref(txn, dataset, "main", ref, replace(ref, version=version), "commit", "forged")

        repository.store.write(land)
        return version

    return with_repository(lake, make)  # type: ignore[no-any-return]


RECORDS: dict[str, dict[str, Any]] = {
    "rows": {"row_maps": (RowMap.from_runs([(100, 0, 1)]).encode(),)},
    "rows of the parent": {"row_maps": (RowMap.from_runs([(99, 0, 1)]).encode(),)},
    "a map that is cut off": {"row_maps": (b"abc",)},
    "a column that is not there": {"column_maps": ({"y": None},)},
    "a column that the parent has not": {"column_maps": ({"x": "y"},)},
    "too many column maps": {"column_maps": ({"x": None}, {})},
    "a default of another length": {"defaults": encode_defaults({"x": {"data": b"1"}})},
    "a default of no column": {"defaults": encode_defaults({"y": {"data": b"12345678"}})},
    "a default of another stream": {"defaults": encode_defaults({"x": {"mask": b"1"}})},
    "defaults that are none": {"defaults": cbor.encode([])},
}


@pytest.mark.parametrize("case", RECORDS)
def test_a_wrong_record(lake: Path, case: str) -> None:
    version = forge(lake, lambda repository, writer, record: replace(record, **RECORDS[case]))
    finding = the(fsck(lake, quick=True).findings)
    assert (finding.severity, finding.what, finding.blob) == (ERROR, RECORD, version.hex())
    assert [(place.dataset, place.version, place.part) for place in finding.places] == [("b", version.hex(), "version")]


def forge_stream(lake: Path, nodes: Callable[[Entries, BlobWriter], StreamRef]) -> None:
    """Gives the column of ``b`` a stream made from the entry of its only chunk."""

    def change(repository: Repository, writer: BlobWriter, record: VersionRecord) -> VersionRecord:
        tree = repository.tree(record.tree)
        root = repository.nodes.load(tree.columns[0].streams["data"].root or b"")
        ref = nodes(root.entries, writer)
        column = replace(tree.columns[0], streams={"data": ref})
        forged = writer.add_record(Kind.TREE, encode_tree(replace(tree, rows=ref.rows, columns=(column,))))
        row_map = RowMap.from_runs([(100, 0, ref.rows - 100)]).encode()
        return replace(record, tree=forged, row_maps=(row_map,))

    forge(lake, change)


def node(level: int, entries: Entries, writer: BlobWriter) -> tuple[bytes, Entries]:
    """A node, and the entry that names it."""
    hash_ = writer.add_record(Kind.NODE, encode_node(level, entries))
    rows, sizes = entries.rows.sum(keepdims=True), entries.sizes.sum(keepdims=True)
    return hash_, Entries(np.frombuffer(hash_, np.uint8).reshape(1, 32), rows, sizes)


def times(entries: Entries, count: int) -> Entries:
    return Entries.concat([entries] * count)


def ref_of(hash_: bytes, entries: Entries) -> StreamRef:
    return StreamRef(hash_, int(entries.rows.sum()), int(entries.sizes.sum()))


def above_one(chunk: Entries, writer: BlobWriter) -> StreamRef:
    _, leaf = node(0, chunk, writer)
    return ref_of(*node(1, leaf, writer))


def too_short(chunk: Entries, writer: BlobWriter) -> StreamRef:
    _, one = node(0, times(chunk, 2), writer)
    _, other = node(0, times(chunk, 3), writer)
    return ref_of(*node(1, Entries.concat([one, other]), writer))


def declared(chunk: Entries, writer: BlobWriter) -> StreamRef:
    _, one = node(0, times(chunk, 256), writer)
    wrong = Entries(one.hashes, one.rows + 100, one.sizes + 800)
    return ref_of(*node(1, Entries.concat([one, wrong]), writer))


def other_level(chunk: Entries, writer: BlobWriter) -> StreamRef:
    _, one = node(0, times(chunk, 256), writer)
    return ref_of(*node(2, Entries.concat([one, one]), writer))


def root_of_less(chunk: Entries, writer: BlobWriter) -> StreamRef:
    ref = ref_of(*node(0, times(chunk, 2), writer))
    return replace(ref, rows=ref.rows + 1)


def other_layout(chunk: Entries, writer: BlobWriter) -> StreamRef:
    wrong = Entries.concat(
        [Entries(chunk.hashes, chunk.rows - 1, chunk.sizes), Entries(chunk.hashes, chunk.rows + 1, chunk.sizes)]
    )
    return ref_of(*node(0, wrong, writer))


FORMS = [above_one, too_short, declared, other_level, root_of_less, other_layout]


@pytest.mark.parametrize("form", FORMS)
def test_a_wrong_node(lake: Path, form: Callable[[Entries, BlobWriter], StreamRef]) -> None:
    forge_stream(lake, form)
    found = fsck(lake, quick=True).findings
    assert found
    assert {(each.severity, each.what) for each in found} == {(ERROR, WRONG_NODE)}
    assert {place.column for each in found for place in each.places} == {"x"}


def test_right_nodes_are_not_wrong(lake: Path) -> None:
    def full(chunk: Entries, writer: BlobWriter) -> StreamRef:
        heads = int.from_bytes(chunk.hashes[0, :8].tobytes(), "little")
        assert heads >= 2**64 // 48  # so that nodes of this chunk end when they are full
        _, one = node(0, times(chunk, 256), writer)
        _, rest = node(0, times(chunk, 3), writer)
        return ref_of(*node(1, Entries.concat([one, rest]), writer))

    forge_stream(lake, full)
    assert fsck(lake).findings == ()


# --- what a quick check reads ----------------------------------------------------------------------------------------


@pytest.fixture
def kinds_read(original: Path, monkeypatch: pytest.MonkeyPatch) -> list[Kind]:
    """The kinds of blobs whose bytes are asked for."""

    def kinds(repository: Repository) -> dict[bytes, Kind]:
        with repository.store.read() as view:
            hashes = view.hashes(b"", 1 << 20)
        return {hash_: read_blob(repository, hash_)[0] for hash_ in hashes}

    known = with_repository(original, kinds)
    read: list[Kind] = []
    real = LmdbView.blobs

    def blobs(self: LmdbView, hashes: Sequence[bytes]) -> Any:
        read.extend(known[hash_] for hash_ in hashes)
        return real(self, hashes)

    monkeypatch.setattr(LmdbView, "blobs", blobs)
    return read


def test_quick_reads_no_chunk(lake: Path, kinds_read: list[Kind]) -> None:
    found = fsck(lake, quick=True)
    assert Kind.CHUNK not in kinds_read
    assert len(kinds_read) == found.blobs > 20
    del kinds_read[:]
    fsck(lake)
    assert kinds_read.count(Kind.CHUNK) >= found.blobs


# --- any damage ------------------------------------------------------------------------------------------------------


def read_everything(lake: Path) -> Any:
    """All that the versions, refs and uncommitted rows of a store hold, read with no regard to fsck."""

    def read(repository: Repository) -> Any:
        found: dict[Any, Any] = {}
        with repository.store.read() as view:
            tables = {table: dict(view.scan(table)) for table in ("refs", "datasets", "sessions", "versions")}
        for name in repository.dataset_names():
            with cas.open_read_only(lake / name) as ds:
                for entry in ds.reflog:
                    for id_ in filter(None, (entry.old, entry.new)):
                        walk(ds, id_, found)
                found[name] = (ds.branches.names(), ds.tags.names())
        with repository.store.read() as view:
            assert tables["sessions"] == dict(view.scan("sessions"))
        return found, tables

    return with_repository(lake, read)


def walk(ds: cas.ReadOnlyDataset, revision: str, found: dict[Any, Any]) -> None:
    waiting = [revision]
    while waiting:
        id_ = waiting.pop()
        if id_ in found:
            continue
        version = ds.history[id_] if id_ != ds.version.id else ds.version
        with version.open() as old:
            found[id_] = (
                version.message,
                [row_map.runs.tolist() for row_map in version.row_maps],
                {name: digest(old[name]) for name in old.schema},
                repr(old.metadata.to_dict()),
                [repr(old[name].metadata.to_dict()) for name in old.schema],
            )
        waiting += version.parents


def digest(column: Any) -> Any:
    return [repr(value) if not isinstance(value, np.ndarray) else value.tobytes() for value in column]


def small(lake: Path) -> None:
    rng = np.random.default_rng(8)
    with cas.create(lake, {"n": "int64", "t": Nullable("text")}) as ds:
        ds.append({"n": rng.integers(0, 1 << 40, 4000), "t": [None if i % 3 else "t" * (i % 50) for i in range(4000)]})
        ds.metadata["large"] = rng.bytes(2000)
        ds.commit("one")
        ds.tag("v1")
        ds.delete(np.arange(0, 200, 2))
        ds.commit("two")
        ds.append(ds[:5])
        ds.commit("three")
        ds.undo()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    lake = tmp_path_factory.mktemp("sound") / "lake"
    small(lake)
    return lake, read_everything(lake)


def damage_at_random(raw: RawStore, dice: random.Random) -> None:
    index = raw.rows("index")
    hashes = sorted(index)
    match dice.randrange(6):
        case 0 | 1:
            raw.flip(dice.choice(hashes), dice.randrange(1 << 20), dice.randrange(8))
        case 2:
            raw.remove("index", dice.choice(hashes))
        case 3:
            raw.swap(*dice.sample(hashes, 2))
        case 4:
            table = dice.choice(["refs", "datasets", "versions"])
            raw.remove(table, dice.choice(sorted(raw.rows(table))))
        case _:
            table = dice.choice(["refs", "datasets", "versions", "index", "segments"])
            key = dice.choice(sorted(raw.rows(table)))
            raw.change(table, key, lambda value: value[: dice.randrange(len(value))])


@pytest.mark.parametrize("seed", range(50))
def test_errors_are_found_where_reading_is_not_as_before(sound: tuple[Path, Any], tmp_path: Path, seed: int) -> None:
    original, expected = sound
    lake = tmp_path / "lake"
    shutil.copytree(original, lake)
    damage_at_random(RawStore(lake), random.Random(seed))
    try:
        same = read_everything(lake) == expected
    except CasError:
        same = False
    found = fsck(lake)
    assert (found.errors == 0) == same, found.findings
    repaired = with_repository(
        original,
        lambda source: with_repository(lake, lambda repository: Fsck(repository).repair(source)),
    )
    by_table = [each for each in found.findings if each.table not in (None, "versions")]
    assert repaired.errors == len(by_table) or by_table
    if not by_table:
        assert repaired.findings == ()
        assert fsck(lake).findings == ()
        assert [each.subject for each in repaired.repaired] == [each.subject for each in found.findings]


# --- repair ----------------------------------------------------------------------------------------------------------


def repair(lake: Path, source: Path) -> Checked:
    return with_repository(  # type: ignore[no-any-return]
        source, lambda other: with_repository(lake, lambda repository: Fsck(repository).repair(other))
    )


def test_what_a_missing_tree_hides_is_repaired_too(lake: Path, original: Path) -> None:
    head = with_repository(lake, head_of)
    tree = with_repository(lake, lambda repository: repository.version(head).tree)
    root = with_repository(lake, lambda repository: stream_of(repository, "new").root)
    chunk = chunks_of(lake, "new")[0][0]
    for hash_ in (head, tree, root, chunk):
        RawStore(lake).remove("index", hash_)
    RawStore(lake).remove("versions", head)
    found = repair(lake, original)
    assert found.findings == ()
    assert {each.blob or each.key for each in found.repaired} >= {head.hex(), tree.hex()}
    assert fsck(lake).findings == ()


def test_rows_of_versions_are_made_again(lake: Path, original: Path) -> None:
    raw = RawStore(lake)
    before = {key: VersionEntry.decode(value, "") for key, value in raw.rows("versions").items()}
    for key in before:
        raw.remove("versions", key)
    assert fsck(lake).errors == len(before)
    assert repair(lake, original).findings == ()
    after = {key: VersionEntry.decode(value, "") for key, value in raw.rows("versions").items()}
    assert {key: entry._replace(timestamp=0) for key, entry in after.items()} == {
        key: entry._replace(timestamp=0) for key, entry in before.items()
    }
    assert fsck(lake).findings == ()


def test_a_source_that_is_damaged_too_does_not_help(lake: Path, original: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(original, source)
    one, other = chunks_of(lake, "n")[0][0], chunks_of(lake, "blob")[0][0]
    for hash_ in (one, other):
        RawStore(lake).flip(hash_)
    RawStore(source).flip(one, bit=3)
    before = RawStore(lake).blob(one)
    found = repair(lake, source)
    assert [each.blob for each in found.findings] == [one.hex()]
    assert [each.blob for each in found.repaired] == [other.hex()]
    assert RawStore(lake).blob(one) == before
    assert RawStore(lake).blob(other) == RawStore(original).blob(other)


# --- interrupted -----------------------------------------------------------------------------------------------------


def test_an_interrupted_check_goes_on(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cas.repo.fsck_blobs._BATCH_HASHES", 16)
    hashes = sorted(RawStore(lake).rows("index"))
    chunks = sorted(chunks_of(lake, "wide") + chunks_of(lake, "n"))
    early, late = chunks[0][0], chunks[-1][0]
    for hash_ in (early, late):
        RawStore(lake).flip(hash_)
    expected = fsck(lake)
    seen: list[int] = []

    def interrupt(what: str, done: int, total: int) -> None:
        seen.append(done)
        if done > len(hashes) // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fsck(lake, report=interrupt)
    assert list(RawStore(lake).rows("cache")) == [b"fsck"]
    told: list[tuple[str, int]] = []
    found = fsck(lake, report=lambda what, done, total: told.append((what, done)))
    assert next(done for what, done in told if what == "Blobs read:") == seen[-1] + 16
    assert found == expected
    assert RawStore(lake).rows("cache") == {}


def test_more_damage_than_is_listed_is_counted(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cas.repo.fsck_blobs._BATCH_HASHES", 16)
    monkeypatch.setattr("cas.repo.fsck_blobs._MOST_DAMAGED", 3)
    chunks = sorted({hash_ for hash_, _, _ in chunks_of(lake, "blob")})[:5]
    for hash_ in chunks:
        RawStore(lake).flip(hash_)
    last = sorted(RawStore(lake).rows("index")).index(chunks[-1])

    def interrupt(what: str, done: int, total: int) -> None:
        if done > last:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fsck(lake, report=interrupt)
    found = fsck(lake).findings
    assert {each.blob for each in found} == {None, *(hash_.hex() for hash_ in chunks[:3])}
    assert "2 more blobs are damaged" in [each.message for each in found]


def test_a_check_that_begins_anew_reads_all(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cas.repo.fsck_blobs._BATCH_HASHES", 16)
    monkeypatch.setattr("cas.repo.fsck_blobs._NOTE_BYTES", 1)

    def interrupt(what: str, done: int, total: int) -> None:
        if done > 160:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fsck(lake, report=interrupt)
    first = sorted(RawStore(lake).rows("index"))[0]
    RawStore(lake).flip(first)
    noted = RawStore(lake).rows("cache")
    assert fsck(lake, quick=True, restart=True).blobs
    assert RawStore(lake).rows("cache") == noted
    assert first.hex() in [each.blob for each in fsck(lake, restart=True).findings]
    assert RawStore(lake).rows("cache") == {}


def test_nothing_is_noted_where_nothing_can_be_written(lake: Path) -> None:
    repository = Repository(LmdbStore(lake, read_only=True), lake)

    def interrupt(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Fsck(repository, report=interrupt).check()
    repository.store.close()
    assert RawStore(lake).rows("cache") == {}


def test_places_say_what_they_are() -> None:
    place = Place("a", "branch main", "00", "column", "x", "data", ((0, 5),))
    finding = Finding(ERROR, DAMAGED, "message", blob="11", places=(place,))
    found = Checked(1, 2, 3, (finding, replace(finding, severity=WARNING)))
    assert (found.errors, found.warnings) == (1, 1)
    facts = found.to_dict()
    assert facts["findings"][0]["places"][0]["rows"] == ((0, 5),)
    assert (facts["errors"], facts["warnings"], facts["blobs"]) == (1, 1, 1)


@pytest.mark.parametrize("table", ["datasets", "refs", "metadata", "reflog", "versions", "store"])
def test_a_row_whose_seal_is_broken_is_told_of(lake: Path, table: str) -> None:
    """Whatever else follows from it: the row is named, and the check goes on to its end."""
    for key in list(RawStore(lake).rows(table))[:3]:
        if key == b"config":
            continue  # without it nothing is opened
        RawStore(lake).break_seal(table, key)
        found = [finding for finding in fsck(lake).findings if finding.severity == ERROR]
        assert (table, key.hex()) in {(finding.table, finding.key) for finding in found}
        RawStore(lake).break_seal(table, key)
    assert not fsck(lake).findings
