"""Stores in memory with random histories, and the blobs that everything in them reaches, by a walk in plain Python."""

from __future__ import annotations

import dataclasses
import random
import uuid
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cas.dataset.dataset import Dataset
from cas.hashing import Kind
from cas.history.records import Payload, VersionRecord, encode_version, load_tree, load_version, write_payload
from cas.history.refs import BRANCH, MAIN, TAG, RefRecord
from cas.history.row_map import RowMap
from cas.repo.commit import create_dataset, enter_version, move_ref
from cas.repo.config import MANY_DATASETS, write_config
from cas.repo.reflog import all_moves
from cas.repo.repository import Repository, find_ref, scan_refs
from cas.repo.sessions import Session, read_sessions
from cas.repo.usage import Amount
from cas.store.gate import Gate
from cas.store.memory import MemoryStore
from cas.store.writer import BlobWriter
from cas.tree.node import Nodes
from cas.types import Array, Bytes, Nullable

POOL = [np.random.default_rng(seed).bytes(size) for seed, size in enumerate([0, 3, 50, 400, 5000, 262_081, 600_000])]
SCHEMA = {
    "alone": Bytes(dedup="row"),
    "maybe": Nullable(Bytes(dedup="row")),
    "ragged": Array("uint8", (None, 2)),
    "number": "int64",
}


class World:
    """A store in memory with datasets whose handles are at hand by name."""

    def __init__(self, names: Iterable[str] = ("one",)) -> None:
        self.store = MemoryStore()
        self.store.write(lambda txn: write_config(txn, MANY_DATASETS))
        self.repository = Repository(self.store, Path("memory"))
        self.ids = {name: create_dataset(self.repository, name, "me") for name in names}

    def open(self, name: str = "one", branch: str = MAIN) -> Dataset:
        return Dataset(self.repository, self.ids[name], name, branch)

    def refs(self, name: str, kind: str | None = None) -> dict[str, bytes]:
        with self.store.read() as view:
            return {
                ref_name: ref.version
                for each in (BRANCH, TAG)
                if kind in (None, each)
                for ref_name, ref in scan_refs(view, self.ids[name], each)
            }

    def line(self, version: bytes) -> list[bytes]:
        """A version and those before it, along first parents."""
        found = [version]
        while parents := self.repository.version(found[-1]).parents:
            found.append(parents[0])
        return found

    def sessions(self, name: str) -> list[Session]:
        with self.store.read() as view:
            return list(read_sessions(view, self.ids[name]).values())

    def merge(self, name: str, branch: str, other: bytes) -> None:
        """A version with two parents and the state of the second one, which no call makes yet."""
        ref_version = self.refs(name)[branch]
        writer = BlobWriter(self.store)
        tree = self.repository.version(other).tree
        rows = RowMap.from_runs([(1, 0, 1)] * 90).encode()
        maps = (write_payload(rows, self.repository.nodes, writer), rows[:24])
        record = VersionRecord(tree, (ref_version, other), maps, "merge", "me", 5)
        version = writer.add_record(Kind.VERSION, encode_version(record))
        writer.flush()

        def change(txn: Any) -> None:
            ref = find_ref(txn, self.ids[name], branch)
            assert ref is not None
            enter_version(txn, version, record.parents)
            moved = dataclasses.replace(ref, version=version)
            move_ref(txn, self.ids[name], branch, ref, moved, "merge", "")

        self.store.write(change)

    def share(self, source: str, version: bytes, target: str) -> None:
        """A branch of one dataset at a version of another one."""
        name = f"from-{source}-{len(self.refs(target))}"
        ref = RefRecord(BRANCH, version, 0, "", uuid.uuid4().bytes)
        self.store.write(lambda txn: move_ref(txn, self.ids[target], name, None, ref, "share", ""))


class Truth:
    """The blobs that versions reach, by a walk that visits every child."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.gate = Gate(world.store)
        self.nodes = Nodes(self.gate)
        self.below = cache(self._below)
        self.own = cache(self._own)

    def _below(self, node: bytes) -> frozenset[bytes]:
        loaded = self.nodes.load(node)
        children = [child.tobytes() for child in loaded.entries.hashes]
        if loaded.level == 0:
            return frozenset([node, *children])
        return frozenset([node]).union(*map(self.below, children))

    def payload(self, payload: Payload) -> frozenset[bytes]:
        return frozenset() if isinstance(payload, bytes) else self.below(payload.root)

    def tree(self, hash_: bytes) -> frozenset[bytes]:
        tree = load_tree(self.gate, hash_)
        found = frozenset([hash_]) | self.payload(tree.metadata)
        for column in tree.columns:
            found |= self.payload(column.metadata)
            found = found.union(*(self.below(ref.root) for ref in column.streams.values() if ref.root is not None))
        return found

    def _own(self, version: bytes) -> frozenset[bytes]:
        """What a version reaches without its parents."""
        record = load_version(self.gate, version)
        return frozenset([version]).union(self.tree(record.tree), *map(self.payload, record.row_maps))

    def ancestors(self, version: bytes) -> set[bytes]:
        found: set[bytes] = set()
        waiting = [version]
        while waiting:
            version = waiting.pop()
            if version not in found:
                found.add(version)
                waiting += load_version(self.gate, version).parents
        return found

    def reach(self, versions: Iterable[bytes]) -> frozenset[bytes]:
        every = {ancestor for version in versions for ancestor in self.ancestors(version)}
        return frozenset().union(*map(self.own, every))

    def refs(self, name: str) -> dict[str, frozenset[bytes]]:
        return {ref: self.reach([version]) for ref, version in self.world.refs(name).items()}

    def other_refs(self, name: str) -> frozenset[bytes]:
        return frozenset().union(
            *(self.reach(self.world.refs(other).values()) for other in self.world.ids if other != name)
        )

    def moved(self, name: str) -> set[bytes]:
        with self.world.store.read() as view:
            moves = [move.record for move in all_moves(view, self.world.ids[name])]
        return {version for move in moves for version in (move.old, move.new) if version is not None}

    def sessions(self, name: str) -> frozenset[bytes]:
        found: frozenset[bytes] = frozenset()
        for session in self.world.sessions(name):
            found |= self.reach([session.base]) | self.tree(session.tree) | self.payload(session.row_map)
        return found

    def amount(self, blobs: Iterable[bytes]) -> Amount:
        sizes = [len(self.world.store._blobs[blob]) for blob in blobs]
        return Amount(sum(sizes), len(sizes))


def batch(rng: random.Random, count: int) -> dict[str, Any]:
    values = [rng.choice(POOL) + rng.choice([b"", b"x", rng.randbytes(4)]) for _ in range(count)]
    return {
        "alone": values,
        "maybe": [None if rng.random() < 0.3 else value for value in reversed(values)],
        "ragged": [np.full((rng.randrange(4), 2), rng.randrange(3), np.uint8) for _ in range(count)],
        "number": [rng.randrange(3) for _ in range(count)],
    }


def edit(rng: random.Random, world: World, name: str, branch: str) -> None:
    """Changes rows or metadata of a branch, and commits, or leaves what it staged in a session."""
    ds = world.open(name, branch)
    if not ds.schema:
        for column, type_ in SCHEMA.items():
            ds.add_column(column, type_)
    ds.append(batch(rng, rng.randrange(1, 5)))
    if rng.random() < 0.4:
        ds.delete([rng.randrange(len(ds))])
    if rng.random() < 0.4:
        target = rng.choice([ds.metadata, ds["ragged"].metadata])
        target["text"] = rng.choice("ab") * rng.choice([10, 3000])
    if rng.random() < 0.3:
        ds.flush()
    else:
        ds.commit()


def act(rng: random.Random, world: World) -> None:
    """One step of a history: an edit, a ref made or deleted, a merge, or a version taken over by another dataset."""
    name, other = rng.choice(sorted(world.ids)), rng.choice(sorted(world.ids))
    branches = world.refs(name, BRANCH)
    branch = max(rng.sample(sorted(branches), 1), rng.sample(sorted(branches), 1), key=lambda one: one != [MAIN])[0]
    versions = world.line(branches[branch])
    roll = rng.random()
    if roll < 0.45:
        edit(rng, world, name, branch)
    elif roll < 0.62:
        world.open(name).branch(f"b{len(branches)}-{rng.random()}", version=rng.choice(versions).hex())
    elif roll < 0.7:
        world.open(name).tag(f"t-{rng.random()}", version=rng.choice(versions).hex())
    elif roll < 0.76 and branch != MAIN:
        world.open(name).branches[branch].delete(force=True)
    elif roll < 0.84:
        world.open(name).branch("lost", version=branch)
        edit(rng, world, name, "lost")
        if rng.random() < 0.4:
            world.open(name).tag(f"k-{rng.random()}", version="lost")
        world.open(name).branches["lost"].delete(force=True)
    elif roll < 0.92:
        everywhere = [version for each in world.ids for version in world.refs(each).values()]
        world.merge(name, branch, rng.choice(everywhere))
    else:
        world.share(name, rng.choice(versions), other)


def history(seed: int, steps: int = 18) -> World:
    rng = random.Random(seed)
    world = World(("one", "two", "three"))
    for name in ("one", "two"):
        ds = world.open(name)
        for column, type_ in SCHEMA.items():
            ds.add_column(column, type_)
        # Several levels of nodes, and the same rows in both with others before them.
        ds.append({**batch(rng, 3), "number": [1, 1, 1]})
        same = [b"%d" % (number + (name == "two" and seed % 2 * number)) for number in range(200)]
        ds.append({"alone": same, "maybe": same, "ragged": np.zeros((200, 1, 2), np.uint8), "number": range(200)})
        ds.commit()
    for _ in range(steps):
        act(rng, world)
    return world
