"""Stores that were written by this format's writers stay readable; damaged ones are seen through, and no further."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import make_stores
import pytest
import second_reader
import store_facts
from make_stores import DIRECTORY, as_json, describe, unpack

import cas
from cas.errors import CasError, CorruptedError
from cas.types.nesting import _RECORDED

EXPECTED: dict[str, Any] = json.loads((DIRECTORY / "good" / "expected.json").read_text())
FAULTS: dict[str, Any] = json.loads((DIRECTORY / "damaged" / "expected.json").read_text())
MOST_BYTES = 100_000


def test_every_store_has_its_expectations() -> None:
    assert {path.name.removesuffix(".mdb.zst") for path in (DIRECTORY / "good").glob("*.zst")} == set(EXPECTED)
    assert {path.name.removesuffix(".mdb.zst") for path in (DIRECTORY / "damaged").glob("*.zst")} == set(FAULTS)
    assert set(EXPECTED) == set(make_stores.GOOD)
    assert set(FAULTS) == set(make_stores.DAMAGED)
    assert all(path.stat().st_size < MOST_BYTES for path in DIRECTORY.rglob("*.zst"))


# --- good ones ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPECTED)
def test_a_good_store_says_what_it_said(name: str, tmp_path: Path) -> None:
    store = unpack(DIRECTORY / "good", name, tmp_path / "store")
    assert json.loads(json.dumps(describe(store))) == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_good_store_is_written_on(name: str, tmp_path: Path) -> None:
    store = unpack(DIRECTORY / "good", name, tmp_path / "store")
    for dataset, expected in EXPECTED[name].items():
        with cas.open(store / dataset if dataset else store) as ds:
            assert ds.version.id == expected["branches"]["main"]
            ds.add_column("of today", "int64", default=7)
            ds.commit("of today")
            assert len(ds) == expected["versions"][expected["branches"]["main"]]["rows"]
            assert ds.version.parents == (expected["branches"]["main"],)
    again = describe(store)
    for dataset, expected in EXPECTED[name].items():
        assert json.loads(json.dumps(again[dataset]["versions"])).items() >= expected["versions"].items()


@pytest.mark.parametrize("name", EXPECTED)
def test_the_writer_of_today_makes_the_same_versions(name: str, tmp_path: Path) -> None:
    """Ids of versions are hashes of all that is below: a change of one is a change of the stored format."""
    with make_stores.made_up():
        make_stores.GOOD[name](tmp_path / "store")
    for dataset, found in describe(tmp_path / "store").items():
        assert set(found["versions"]) == set(EXPECTED[name][dataset]["versions"])
        assert found["branches"] == EXPECTED[name][dataset]["branches"]


def plain_json(value: Any) -> Any:
    """A value of the second reader as ``as_json`` gives those of the package, where that is possible without NumPy."""
    if isinstance(value, tuple):
        return value[0]
    if isinstance(value, dict):
        return {"map": {key: plain_json(item) for key, item in value.items()}}
    return [plain_json(item) for item in value] if isinstance(value, list) else as_json(value)


def reduced(value: Any) -> Any:
    """What ``as_json`` gives, with arrays and scalars reduced to that they are one."""
    if isinstance(value, dict) and value.keys() & {"array", "scalar"}:
        return next(iter(value))
    if isinstance(value, dict) and "map" in value:
        return {"map": {key: reduced(item) for key, item in value["map"].items()}}
    return [reduced(item) for item in value] if isinstance(value, list) else value


def ancestors(store: second_reader.Store, heads: Iterator[bytes]) -> dict[bytes, dict[str, Any]]:
    """All versions that lead to some, by hash."""
    found: dict[bytes, dict[str, Any]] = {}
    waiting = list(heads)
    while waiting:
        digest = waiting.pop()
        if digest not in found:
            found[digest] = store.version(digest)
            waiting += found[digest]["parents"]
    return found


@pytest.mark.parametrize("name", EXPECTED)
def test_the_second_reader_reads_a_good_store(name: str, tmp_path: Path) -> None:
    path = unpack(DIRECTORY / "good", name, tmp_path / "store")
    with second_reader.Store(path) as store:
        assert {dataset: id_.hex() for dataset, id_ in store.datasets().items()} == {
            dataset: expected["id"] for dataset, expected in EXPECTED[name].items()
        }
        for dataset, expected in EXPECTED[name].items():
            refs = store.refs(dataset)
            branches = {ref: row["version"].hex() for ref, row in refs.items() if row["kind"] == "branch"}
            tags = {ref: [row["version"].hex(), row["message"]] for ref, row in refs.items() if row["kind"] == "tag"}
            assert (branches, tags) == (expected["branches"], expected["tags"])
            live = store.live_metadata(dataset, "main")
            assert plain_json(live) == reduced(expected["live"])
            versions = ancestors(store, (row["version"] for row in refs.values()))
            assert {digest.hex() for digest in versions} == set(expected["versions"])
            for digest, version in versions.items():
                check_version(store, version, expected["versions"][digest.hex()])
                assert store.version_row(digest)[0] // 10**6 == expected["versions"][digest.hex()]["timestamps"][0]


def check_version(store: second_reader.Store, version: dict[str, Any], expected: dict[str, Any]) -> None:
    tree = store.tree(version["tree"])
    assert (version["message"], version["author"]) == (expected["message"], expected["author"])
    assert [parent.hex() for parent in version["parents"]] == expected["parents"]
    assert [list(map(list, row_map)) for row_map in store.row_maps(version)] == expected["row_maps"]
    assert version.get("column_maps", []) == expected["column_maps"]
    assert store.field(version.get("defaults", b"\xa0")).hex() == expected["defaults"]
    assert tree["rows"] == expected["rows"]
    assert plain_json(store.metadata(tree)) == reduced(expected["metadata"])
    assert [column["name"] for column in tree["columns"]] == list(expected["columns"])
    for column in tree["columns"]:
        wanted = expected["columns"][column["name"]]
        assert plain_json(store.metadata(column)) == reduced(wanted["metadata"])
        for stream, layout in second_reader.layouts_of(column["type"]).items():
            rows = list(store.rows(column["streams"][stream], layout))
            assert make_stores.rows_digest(iter(rows)) == wanted["streams"][stream], (column["name"], stream)
        assert len(store.column(tree, column["name"])) == expected["rows"]


def test_the_good_stores_have_what_they_are_for() -> None:
    """Otherwise nobody would see that something is not covered."""
    versions = [version for store in EXPECTED.values() for ds in store.values() for version in ds["versions"].values()]
    assert any(len(version["parents"]) == 2 for version in versions)
    assert any(version["column_maps"] for version in versions)
    assert any(version["defaults"] != "a0" for version in versions)
    assert any(24 * len(row_map) > 1024 for version in versions for row_map in version["row_maps"])
    assert any(ds["tags"] for store in EXPECTED.values() for ds in store.values())
    assert any(move[1] == "undo" for store in EXPECTED.values() for ds in store.values() for move in ds["reflog"])
    columns = [column["type"] for version in versions for column in version["columns"].values()]
    names = {part["name"] for column in columns for part in (column, column.get("of", column))}
    assert names == {*cas.types.DTYPES, *_RECORDED, "raw_image"}


def test_rows_left_uncommitted_come_back(tmp_path: Path) -> None:
    store = unpack(DIRECTORY / "good", "history", tmp_path / "store")
    with cas.open(store / "cats") as ds:
        (session,) = ds.sessions().values()
        assert (session.branch, session.pid) == ("main", 0)
        rows = len(ds)
        ds.adopt(next(iter(ds.sessions())))
        assert ds["text"][rows:] == ["staged", "too"]
        ds.rollback()


# --- damaged ones ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    store = unpack(DIRECTORY / "good", "history", tmp_path_factory.mktemp("truth") / "store")
    return store_facts.facts_of(store)


@pytest.mark.parametrize("name", FAULTS)
def test_a_damaged_store_is_refused_where_it_is_damaged_and_nowhere_else(
    name: str, tmp_path: Path, truth: dict[str, str]
) -> None:
    store = unpack(DIRECTORY / "damaged", name, tmp_path / "store")
    found = store_facts.facts_of(store)
    errors = {fact: value[2:] for fact, value in found.items() if value.startswith("!")}
    assert errors == FAULTS[name]["raises"]
    assert errors
    assert {fact: value for fact, value in found.items() if fact not in errors}.items() <= truth.items()
    assert set(errors.values()) <= {"CorruptedError", "UnsupportedError", "StoreNotFoundError"}


@pytest.mark.parametrize("name", ["flipped-chunk", "flipped-node", "missing-chunk", "missing-node"])
def test_the_error_names_what_is_damaged(name: str, tmp_path: Path) -> None:
    store = unpack(DIRECTORY / "damaged", name, tmp_path / "store")
    (finding,) = FAULTS[name]["findings"]
    with cas.open_read_only(store / "cats") as ds, pytest.raises(CorruptedError) as caught:
        ds["x"][:]
    assert caught.value.blob == finding["where"]


@pytest.mark.parametrize("name", [name for name in FAULTS if "format" in name or "feature" in name])
def test_a_store_of_the_future_is_not_written(name: str, tmp_path: Path) -> None:
    store = unpack(DIRECTORY / "damaged", name, tmp_path / "store")
    before = (store / "data.mdb").read_bytes()
    for use in (cas.open, cas.create, cas.delete, cas.open_read_only):
        with pytest.raises(CasError, match="newer one"):
            use(store / "cats")
    assert (store / "data.mdb").read_bytes()[: len(before)] == before


def test_findings_have_one_form() -> None:
    for name, fault in FAULTS.items():
        assert set(fault) == {"of", "findings", "raises"}, name
        for finding in fault["findings"]:
            assert set(finding) == {"kind", "what", "where"}, name
            assert finding["kind"] in ("damaged", "missing", "dangling", "unsupported"), name
    kinds = itertools.chain.from_iterable(fault["findings"] for fault in FAULTS.values())
    assert len({(finding["kind"], finding["what"]) for finding in kinds}) >= 12
