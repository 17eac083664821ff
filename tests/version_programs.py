"""Strategies: edits of a handle, and steps of programs over branches; what is picked counts modulo what there is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from version_model import Version, ancestors
from version_twins import MODES, TYPES, Twin, Twins, check_version, chooser

from cas.errors import UncommittedChangesError

NAMES = ["a", "b", "c", "d", "e"]
BRANCHES = ["main", "side", "third"]
HANDLES = 4

Table = dict[str, tuple[int, list[st.SearchStrategy[Any]]]]
"""Methods, how often they are drawn, and strategies for their arguments."""

Calls = list[tuple[Any, ...]]
"""Names of methods, each with arguments."""


def calls(table: Table) -> st.SearchStrategy[tuple[Any, ...]]:
    """Draws a method and arguments for it."""
    names = [name for name, (weight, _) in table.items() for _ in range(weight)]
    return st.sampled_from(names).flatmap(lambda name: st.tuples(st.just(name), *table[name][1]))


picks = st.integers(0, 999)
recent = st.integers(0, 9)
seeds = st.lists(st.integers(0, 80), min_size=1, max_size=3)
few = st.lists(st.integers(0, 5), min_size=1, max_size=4)
modes = st.sampled_from([*MODES, "raise", "chosen"])
types = st.sampled_from(TYPES)
names = st.sampled_from(NAMES)

EDITS: Table = {
    "append": (3, [seeds]),
    "update": (9, [st.integers(0, 2), few, st.integers(0, 2)]),
    "insert": (3, [picks, seeds]),
    "delete": (2, [few]),
    "describe": (3, [st.integers(0, 3), st.sampled_from("jk"), st.none() | st.integers(0, 2)]),
    "add_column": (2, [names, types, st.none() | st.integers(0, 2)]),
    "rename_column": (1, [picks, names]),
    "remove_column": (1, [picks]),
    "insert_run": (1, [picks, st.sampled_from([150, 400]), st.integers(1, 7)]),
}
edits = st.lists(calls(EDITS), min_size=1, max_size=3)

STEPS: Table = {
    "commit": (6, [picks, edits | st.just([]), modes, picks]),
    "commit_on_two": (3, [edits, edits]),
    "merge": (8, [picks, recent, picks, modes, picks]),
    "merge_branch": (3, [picks, st.sampled_from(BRANCHES), modes, picks]),
    "stage": (2, [picks, edits]),
    "look_back": (2, [recent, picks, picks, few]),
    "open": (2, [st.sampled_from(BRANCHES), recent]),
    "reopen": (1, [picks]),
    "revert_to": (1, [picks, recent]),
    "undo": (1, [picks]),
    "refused": (1, [picks, recent]),
}
steps = calls(STEPS)


def edit(handle: Twin, changes: Calls) -> None:
    """Makes the edits of a program."""
    for name, *arguments in changes:
        getattr(handle, name)(*arguments)


class Program:
    """A dataset on disk and its model, and the steps that change both."""

    def __init__(self) -> None:
        self.twins = Twins()

    def run(self, step: tuple[Any, ...]) -> None:
        """Does a step."""
        name, *arguments = step
        getattr(self, name)(*arguments)

    def handle(self, pick: int) -> Twin:
        return self.twins.handles[pick % len(self.twins.handles)]

    def version(self, pick: int) -> Version:
        """A version; the last ones are picked by small numbers."""
        versions = self.twins.model.versions
        return versions[-1 - pick % len(versions)]

    def ready(self, pick: int) -> Twin:
        """A handle with nothing staged, at its branch's head."""
        handle = self.handle(pick)
        handle.rollback()
        handle.refresh()
        return handle

    def resolve(self, mode: str, seed: int, handle: Twin, theirs: Version) -> Any:
        tables = handle.model.branch.head.state, theirs.state, handle.model.state
        return chooser(seed, *tables) if mode == "chosen" else mode

    def begin(self, count: int, types: list[Any], ours: Calls, theirs: Calls) -> None:
        """Columns, some rows, and two branches that have moved."""
        handle = self.twins.handles[0]
        for name, type_ in zip(NAMES, types, strict=False):
            handle.add_column(name, type_, None)
        if count:
            handle.append(range(count))
        handle.commit()
        self.twins.branch("side", handle.model.base)
        self.commit_on_two(ours, theirs)

    # Steps

    def stage(self, pick: int, changes: Calls) -> None:
        edit(self.handle(pick), changes)

    def commit(self, pick: int, changes: Calls, mode: str, seed: int) -> None:
        handle = self.handle(pick)
        edit(handle, changes)
        handle.commit(self.resolve(mode, seed, handle, handle.model.base))

    def commit_on_two(self, ours: Calls, theirs: Calls) -> None:
        for handle, changes in zip(self.twins.handles, (ours, theirs), strict=False):
            edit(handle, changes)
            handle.commit("theirs")

    def merge(self, pick: int, version: int, name: int, mode: str, seed: int) -> None:
        """Merges a version that is not merged yet, old ones too, so that histories cross."""
        handle = self.ready(pick)
        known = ancestors(handle.model.base)
        others = [other for other in reversed(self.twins.model.versions) if other not in known]
        theirs = others[version % len(others)] if others else self.version(version)
        names = self.twins.names_of(theirs)
        handle.merge(theirs, names[name % len(names)], self.resolve(mode, seed, handle, theirs))

    def merge_branch(self, pick: int, branch: str, mode: str, seed: int) -> None:
        handle = self.ready(pick)
        if branch in self.twins.model.branches:
            theirs = self.twins.model.branches[branch].head
            handle.merge(theirs, branch, self.resolve(mode, seed, handle, theirs))

    def revert_to(self, pick: int, version: int) -> None:
        self.ready(pick).revert_to(self.version(version))

    def undo(self, pick: int) -> None:
        self.ready(pick).undo()

    def refused(self, pick: int, version: int) -> None:
        """With something staged, what would lose it is refused."""
        handle = self.handle(pick)
        if handle.model.changed:
            for method in (handle.ds.merge, handle.ds.revert_to):
                with pytest.raises(UncommittedChangesError):
                    method(self.version(version).id)

    def reopen(self, pick: int) -> None:
        self.handle(pick).reopen()

    def open(self, name: str, version: int) -> None:
        """Opens a branch, which is made at the version where there is none of the name; with enough handles, a tag."""
        if len(self.twins.handles) < HANDLES:
            self.twins.branch(name, self.version(version))
        else:
            self.twins.tag(self.version(version))

    def look_back(self, a: int, b: int, column: int, rows: list[int]) -> None:
        """Any two versions: as they were, what differs, and where cells come from."""
        for version in (self.version(a), self.version(b)):
            check_version(self.twins.opened(version.id), version.state)
            self.twins.check_blame(version, column, rows)
        self.twins.check_diff(self.version(a), self.version(b))
