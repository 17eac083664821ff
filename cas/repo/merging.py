"""Versions merged: their best common ancestors found, merged first where there are several, and the tree built."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cas.codec.rows import Rows
from cas.codec.values import Streams
from cas.errors import CorruptedError
from cas.hashing import HASH_BYTES
from cas.history.choices import VIRTUAL, Chooser
from cas.history.compare import Encoded, read_metadata
from cas.history.conflicts import OnConflict
from cas.history.lineage import Draft, Lineage, Shared
from cas.history.merge import Merge, Metadata, State, Three, Uncertain, merge_states
from cas.history.merged_tree import build_merge
from cas.history.records import EMPTY_TREE, Payload, TreeRecord
from cas.repo.repository import Repository
from cas.store.writer import BlobWriter

NO_METADATA: Final[Metadata] = {}
"""For a merge that leaves metadata alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """A state made of two: its tree, what each side shares with it, in one order, and its metadata by column."""

    tree: TreeRecord
    from_ours: Shared
    from_theirs: Shared
    metadata: Mapping[str | None, Encoded]


class Merger:
    """Merges versions of a repository, and drafts on top of them; the blobs go to ``writer``."""

    def __init__(self, repository: Repository, writer: BlobWriter) -> None:
        self._writer = writer
        self._nodes = repository.nodes.over(repository.gate.over(writer.held))
        self._uncertain: dict[bytes, Uncertain] = {}
        self.lineage: Lineage = repository.lineage(self._nodes)

    def add(self, draft: Draft) -> bytes:
        """Enters a state that is not in the store and returns an id for it."""
        id_ = os.urandom(HASH_BYTES)
        self.lineage.add(id_, draft)
        return id_

    def merge(
        self,
        ours: bytes,
        theirs: bytes,
        on_conflict: OnConflict,
        *,
        base: bytes | None = None,
        metadata: Metadata | None = None,
    ) -> Merged:
        """Merges two versions or drafts.

        ``base`` is what changes are against, by default their best common ancestor; ``metadata`` is that of ours, by
        default what the version says; with ``NO_METADATA`` it is that of no side.

        Raises :class:`~cas.errors.ConflictError` with all conflicts where some are not decided; blobs that were written
        by then belong to nothing. Cost: what differs between each side and the base.
        """
        return self._merge(base or self._base(ours, theirs), ours, theirs, on_conflict, metadata)[0]

    def merge_metadata(self, head: bytes, theirs: bytes, live: Metadata, on_conflict: OnConflict) -> Metadata:
        """Returns the metadata of a later version with what is live on an earlier one and not committed."""
        shared = self.lineage.shared(head, theirs)
        ours = Shared.all_of(self.lineage.tree(head))
        three = Three(self.state(head), self.state(head, live), self.state(theirs), ours, shared, shared)
        chooser = Chooser(on_conflict)
        merge = merge_states(three, self._nodes, chooser)
        chooser.finish()
        return merge.metadata

    def _merge(
        self, base: bytes, ours: bytes, theirs: bytes, on_conflict: OnConflict, metadata: Metadata | None = None
    ) -> tuple[Merged, Uncertain]:
        others = NO_METADATA if metadata is NO_METADATA else None
        three = Three(
            self.state(base, others),
            self.state(ours, metadata),
            self.state(theirs, others),
            self.lineage.shared(base, ours),
            self.lineage.shared(base, theirs),
            self.lineage.shared(ours, theirs),
            self._uncertain.get(base, Uncertain()),
        )
        chooser = Chooser(on_conflict)
        merge = merge_states(three, self._nodes, chooser)

        def default(column: str, of_ours: bool) -> Streams | None:
            return self._default(ours if of_ours else theirs, column)

        tree = build_merge(merge, self._nodes, self._writer, chooser, default)
        return Merged(tree, *_shared(merge), merge.metadata), merge.uncertain(self._uncertain.get(ours, Uncertain()))

    def state(self, version: bytes, metadata: Metadata | None = None) -> State:
        """Returns the table of a version or draft with its metadata."""
        tree = self.lineage.tree(version)
        if metadata is None:
            payloads: dict[str | None, Payload] = {column.name: column.metadata for column in tree.columns}
            payloads[None] = tree.metadata
            metadata = {name: read_metadata(payload, self._nodes) for name, payload in payloads.items()}
        return State(tree, metadata)

    def _base(self, ours: bytes, theirs: bytes) -> bytes:
        """The best common ancestor; several are merged to a virtual one, in the order of their ids."""
        bases = self.lineage.merge_bases(ours, theirs)
        if not bases:
            return self.add(Draft(EMPTY_TREE, (), ()))
        first, *others = bases
        for other in others:
            merged, uncertain = self._merge(self._base(first, other), first, other, VIRTUAL)
            first = self.add(Draft(merged.tree, (first, other), (merged.from_ours, merged.from_theirs)))
            self._uncertain[first] = uncertain
        return first

    def _default(self, version: bytes, column: str) -> Streams | None:
        found = self.lineage.default_of(version, column)
        if found is None:
            return None
        layouts = self.lineage.column(version, column).type.layouts()
        fits = found.keys() == layouts.keys() and all(
            layout.row_bytes in (None, len(found[name])) for name, layout in layouts.items()
        )
        if not fits:
            raise CorruptedError(f"the default of column {column!r} does not fit its type", blob=version.hex())
        return {name: _one_row(found[name], layout.row_bytes) for name, layout in layouts.items()}


def _one_row(data: bytes, row_bytes: int | None) -> Rows:
    row = Rows.from_list([data])
    return row if row_bytes is None else Rows.fixed(row.flat, 1, row_bytes)


def _shared(merge: Merge) -> tuple[Shared, Shared]:
    """What either side shares with their merge."""
    ours = {column.ours.name: column.name for column, _ in merge.columns if column.ours is not None}
    theirs = {column.theirs.name: column.name for column, _ in merge.columns if column.theirs is not None}
    return Shared(merge.woven.from_ours, ours), Shared(merge.woven.kept_of_theirs, theirs)
