"""Bytes by who keeps them, against sets of all blobs that each ref reaches, made by a walk in plain Python."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import Truth, World, history

from cas.dataset.dataset import Dataset
from cas.errors import CorruptedError, NotFoundError
from cas.hashing import Kind
from cas.history.refs import BRANCH, MAIN, TAG
from cas.remote.copying import copy_dataset
from cas.repo import distinct, keepers
from cas.repo.repository import Repository
from cas.repo.usage import Amount, dataset_usage, deletion_usage, versions_usage
from cas.store.contract import REFLOG, REFS, SESSIONS, Store
from cas.store.gate import Gate, Hashes
from cas.store.memory import MemoryStore
from cas.types import Bytes


def check_dataset(world: World, name: str) -> None:
    truth = Truth(world)
    refs, others, ours = truth.refs(name), truth.other_refs(name), truth.sessions(name)
    staged = frozenset().union(*map(truth.sessions, world.ids))
    mine = frozenset().union(*refs.values(), ours, truth.reach(truth.moved(name)))
    classes: dict[object, set[bytes]] = {}
    for blob in mine:
        owners = [ref for ref, blobs in refs.items() if blob in blobs]
        if blob in others:
            place: object = 1
        elif owners:
            place = owners[0] if len(owners) == 1 else 2
        else:
            place = 3 if blob in staged else 4
        classes.setdefault(place, set()).add(blob)

    def expected(place: object) -> Amount:
        return truth.amount(classes.get(place, set()))

    found = dataset_usage(world.repository, world.ids[name])
    assert [(ref.name, ref.version) for ref in found.refs] == list(world.refs(name).items())
    assert {ref.name: ref.alone for ref in found.refs} == {ref: expected(ref) for ref in refs}
    assert found.elsewhere == expected(1)
    assert found.several == expected(2)
    assert found.sessions == expected(3)
    assert found.reflog == expected(4)
    assert found.total == truth.amount(mine)


def check_deletion(world: World, name: str, chosen: set[str]) -> None:
    truth = Truth(world)
    refs = truth.refs(name)
    kept = truth.other_refs(name).union(*(blobs for ref, blobs in refs.items() if ref not in chosen))
    freed = frozenset().union(*(refs[ref] for ref in chosen)) - kept
    found = deletion_usage(world.repository, world.ids[name], sorted(chosen))
    assert found.total == truth.amount(freed)
    assert [ref.name for ref in found.refs] == [ref for ref in refs if ref in chosen]
    for ref in found.refs:
        rest = frozenset().union(*(refs[other] for other in chosen if other != ref.name))
        assert ref.alone == truth.amount(freed & refs[ref.name] - rest)


def check_versions(world: World, name: str) -> None:
    truth = Truth(world)
    versions = {
        each: set().union(*map(truth.ancestors, {*world.refs(each).values(), *truth.moved(each)})) for each in world.ids
    }
    every: set[bytes] = set().union(*versions.values())
    found = versions_usage(world.repository, world.ids[name])
    assert {usage.version for usage in found} == versions[name]
    assert len(found) == len(versions[name])
    for usage in found:
        rest = frozenset().union(*(truth.own(version) for version in every if version != usage.version))
        assert usage.alone == truth.amount(truth.own(usage.version) - rest)


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_random_histories(seed: int) -> None:
    world = history(seed)
    rng = random.Random(seed)
    for name in world.ids:
        check_dataset(world, name)
        refs = sorted(world.refs(name))
        check_deletion(world, name, set(rng.sample(refs, rng.randrange(1, len(refs) + 1))))
        check_versions(world, name)


def test_random_histories_have_something_in_every_place() -> None:
    seen: dict[str, bool] = {}
    for seed in range(6):
        world = history(seed)
        for dataset in world.ids.values():
            found = dataset_usage(world.repository, dataset)
            amounts = {name: getattr(found, name) for name in ("several", "elsewhere", "sessions", "reflog")}
            amounts |= {ref.kind: ref.alone for ref in found.refs}
            for name, amount in amounts.items():
                seen[name] = seen.get(name, False) or amount.blobs > 5
    assert seen == dict.fromkeys(("several", "elsewhere", "sessions", "reflog", BRANCH, TAG), True)


def test_small_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = history(3)
    expected = dataset_usage(world.repository, world.ids["two"])
    monkeypatch.setattr(distinct, "_PENDING_HASHES", 5)
    monkeypatch.setattr(keepers, "_BATCH_NODES", 2)
    assert dataset_usage(world.repository, world.ids["two"]) == expected


def test_what_a_copy_without_the_ref_does_not_need() -> None:
    """The copies are made by code that knows nothing of this count: their blobs are all there is to them."""
    world = history(9)
    for found in dataset_usage(world.repository, world.ids["one"]).refs:
        assert copied_bytes(world, ()) - copied_bytes(world, (found.name,)) == found.alone.stored_bytes
    chosen = set(world.refs("one")) - {MAIN}
    total = deletion_usage(world.repository, world.ids["one"], chosen).total
    assert total.stored_bytes == copied_bytes(world, ()) - copied_bytes(world, chosen) > 0


def copied_bytes(world: World, without: Iterable[str]) -> int:
    """The bytes of the blobs of a store that all datasets are copied to, but some refs of the first one."""
    source = MemoryStore()
    source._blobs, source._tables = world.store._blobs, {name: dict(rows) for name, rows in world.store._tables.items()}
    for name in without:
        del source._tables[REFS][world.ids["one"] + name.encode()]
    target = World(())
    for name, dataset in world.ids.items():
        copy_dataset(Repository(source, Path("memory")), dataset, name, target.repository, name)
    return sum(map(len, target.store._blobs.values()))


# One thing at a time


def made(*sizes: int) -> tuple[World, Dataset]:
    """A dataset of random rows that are chunks by themselves."""
    world = World()
    ds = world.open()
    ds.add_column("x", Bytes(dedup="row"))
    ds.append({"x": [np.random.default_rng(size).bytes(size) for size in sizes]})
    ds.commit()
    return world, ds


def test_a_branch_keeps_its_rows_and_a_tag_beside_it_takes_that_from_it() -> None:
    world, ds = made(7000, 8000)
    side = ds.branch("side").open()
    side.append({"x": [np.random.default_rng(1).bytes(9000)]})
    side.commit()
    before = {ref.name: ref for ref in dataset_usage(world.repository, world.ids["one"]).refs}
    assert before["main"].alone == Amount(0, 0)
    # A version, a tree, a node and the row.
    assert before["side"].alone.blobs == 4
    assert 9000 < before["side"].alone.stored_bytes < 9800
    ds.tag("v1", version="side")
    after = dataset_usage(world.repository, world.ids["one"])
    assert [ref.alone for ref in after.refs] == [Amount(0, 0)] * 3
    assert after.several == after.total
    both = deletion_usage(world.repository, world.ids["one"], ["side", "v1"])
    assert both.total == both.several == before["side"].alone
    assert [(ref.kind, ref.name, ref.alone) for ref in both.refs] == [
        (BRANCH, "side", Amount(0, 0)),
        (TAG, "v1", Amount(0, 0)),
    ]


def test_a_deleted_branch_is_kept_by_the_reflog_until_its_entries_are_gone() -> None:
    world, ds = made(7000)
    side = ds.branch("side").open()
    side.append({"x": [np.random.default_rng(1).bytes(9000)]})
    side.commit()
    alone = dataset_usage(world.repository, world.ids["one"]).refs[1].alone
    ds.branches["side"].delete(force=True)
    found = dataset_usage(world.repository, world.ids["one"])
    assert found.reflog == alone
    # A later branch with the same rows keeps them, though not the version.
    again = ds.branch("again").open()
    again.append({"x": [np.random.default_rng(1).bytes(9000)]})
    again.commit()
    assert dataset_usage(world.repository, world.ids["one"]).reflog.stored_bytes < 1000
    ds.branches["again"].delete(force=True)
    # Of the first branch's entries the one that tells of its end is enough.
    moves = world.store._tables[REFLOG]
    last = max(key for key in moves if b"side" in key)
    world.store._tables[REFLOG] = {last: moves[last]}
    assert dataset_usage(world.repository, world.ids["one"]).reflog == alone
    world.store._tables[REFLOG].clear()
    assert dataset_usage(world.repository, world.ids["one"]).reflog == Amount(0, 0)


def test_uncommitted_rows_stand_apart() -> None:
    world, ds = made(7000)
    ds.append({"x": [np.random.default_rng(1).bytes(9000)]})
    ds.flush()
    found = dataset_usage(world.repository, world.ids["one"])
    assert 9000 < found.sessions.stored_bytes < 9500
    # What rows were staged on stays that of the branch.
    assert found.refs[0].alone.stored_bytes > 7000
    world.store._tables[SESSIONS].clear()
    assert dataset_usage(world.repository, world.ids["one"]).sessions == Amount(0, 0)


def test_uncommitted_rows_keep_their_row_map_and_what_they_were_staged_on() -> None:
    world, ds = made(*range(200))
    side = ds.branch("side").open()
    side.append({"x": [np.random.default_rng(1).bytes(9000)]})
    side.commit()
    side.delete(range(0, 200, 2))
    side.flush()
    ds.branches["side"].delete(force=True)
    world.store._tables[REFLOG].clear()
    check_dataset(world, "one")
    (row_map,) = (session.row_map for session in world.sessions("one"))
    assert not isinstance(row_map, bytes)
    assert dataset_usage(world.repository, world.ids["one"]).sessions.stored_bytes > 9000


def test_the_version_that_adds_rows_and_the_one_that_drops_them() -> None:
    world, ds = made(7000, 8000)
    ds.append({"x": [np.random.default_rng(1).bytes(9000)]})
    added = ds.commit()
    ds.delete([2])
    last = ds.commit()
    found = versions_usage(world.repository, world.ids["one"])
    assert [usage.version.hex() for usage in found] == [version.id for version in reversed(ds.history)]
    amounts = {usage.version.hex(): usage.alone for usage in found}
    assert amounts[added].blobs == 4
    assert 9000 < amounts[added].stored_bytes < 9800
    # The rows and the tree are those of the version before.
    assert amounts[last].blobs == 1
    assert amounts[last].stored_bytes < 300


def test_large_metadata_and_row_maps_count() -> None:
    world, ds = made(10)
    ds.tag("before")
    text = np.random.default_rng(2).bytes(20_000).hex()
    ds.metadata["text"] = text
    ds.commit()
    main = dataset_usage(world.repository, world.ids["one"]).refs[0]
    # A version, a tree, and of the metadata a node and the chunk.
    assert main.alone.blobs == 4
    assert main.alone.stored_bytes > 20_000


def test_names_that_no_ref_has_are_refused_and_repeated_ones_count_once() -> None:
    world, _ = made(10)
    with pytest.raises(NotFoundError, match="no branch or tag 'nope'; there are: 'main'") as caught:
        deletion_usage(world.repository, world.ids["one"], ["main", "nope"])
    assert caught.value.name == "nope"
    once = deletion_usage(world.repository, world.ids["one"], ["main"])
    assert deletion_usage(world.repository, world.ids["one"], ["main", "main"]) == once
    assert once.total == dataset_usage(world.repository, world.ids["one"]).total


def test_to_dict_has_all_amounts() -> None:
    world, ds = made(10)
    ds.tag("v1", version="main~1")
    found = dataset_usage(world.repository, world.ids["one"])
    main, tag = found.to_dict()["refs"]
    assert main == {"kind": "branch", "name": "main", "version": ds.version.id, **found.refs[0].alone.to_dict()}
    assert tag["version"] == ds.version.parents[0]
    assert found.to_dict()["total"] == {"stored_bytes": found.total.stored_bytes, "blobs": found.total.blobs}
    assert set(found.to_dict()) == {"refs", "several", "elsewhere", "sessions", "reflog", "total"}
    deletion = deletion_usage(world.repository, world.ids["one"], ["main"])
    assert deletion.to_dict() == {
        "refs": [main],
        "several": {"stored_bytes": 0, "blobs": 0},
        "total": found.refs[0].alone.to_dict(),
    }


@pytest.mark.parametrize("kind", Kind)
def test_a_blob_that_is_missing_is_named(kind: Kind) -> None:
    world, ds = made(7000)
    version = ds._draft.base
    tree = world.repository.version(version).tree
    root = world.repository.tree(tree).columns[0].streams["data"].root
    assert root is not None
    chunk = world.repository.nodes.load(root).entries.hashes[0].tobytes()
    missing = {Kind.VERSION: version, Kind.TREE: tree, Kind.NODE: root, Kind.CHUNK: chunk}[kind]
    del world.store._blobs[missing]
    repository = Repository(world.store, Path("memory"))
    for count in (
        lambda: dataset_usage(repository, world.ids["one"]),
        lambda: deletion_usage(repository, world.ids["one"], ["main"]),
        lambda: versions_usage(repository, world.ids["one"]),
    ):
        with pytest.raises(CorruptedError, match=f"{kind.name.lower()} {missing.hex()} is missing") as caught:
            count()
        assert caught.value.blob == missing.hex()


def test_a_node_of_another_level_than_its_parent_says_is_refused() -> None:
    world, ds = made(*range(5000, 5300))
    tree = world.repository.tree(world.repository.version(ds._draft.base).tree)
    root = tree.columns[0].streams["data"].root
    assert root is not None
    node = world.repository.nodes.load(root)
    assert node.level > 0
    child = world.repository.nodes.load(node.entries.hashes[0].tobytes())
    child.level = node.level
    with pytest.raises(CorruptedError, match="is not what its parent declares") as caught:
        dataset_usage(world.repository, world.ids["one"])
    assert caught.value.blob == node.entries.hashes[0].tobytes().hex()


def test_no_chunk_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    world = history(2)

    def fail(*args: object) -> None:
        raise AssertionError("a chunk is read")

    monkeypatch.setattr(Gate, "read_chunks", fail)
    assert dataset_usage(world.repository, world.ids["one"]).total.blobs > 0


def test_sizes_are_looked_up_only_for_what_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    world, ds = made(*range(5000, 5300))
    side = ds.branch("side").open()
    side.append({"x": [b"one row"]})
    side.commit()
    asked: list[int] = []
    sizes = keepers.stored_sizes

    def counting(store: Store, kind: Kind, hashes: Hashes) -> Any:
        asked.append(len(hashes))
        return sizes(store, kind, hashes)

    monkeypatch.setattr(keepers, "stored_sizes", counting)
    usage = deletion_usage(world.repository, world.ids["one"], ["side"])
    assert 0 < sum(asked) == usage.total.blobs < 20
