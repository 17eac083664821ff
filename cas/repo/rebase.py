"""A commit on a branch that has moved: what was staged is merged by row with what others committed."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping

from cas.errors import ConflictError
from cas.history.conflicts import OnConflict
from cas.history.lineage import Draft, Shared
from cas.history.row_map import RowMap
from cas.repo.commit import Proposal
from cas.repo.merging import NO_METADATA, Merged, Merger
from cas.repo.metadata import Origin
from cas.repo.repository import Repository
from cas.store.writer import BlobWriter


def rebase(
    repository: Repository, proposal: Proposal, head: bytes, writer: BlobWriter, on_conflict: OnConflict
) -> Proposal:
    """Returns the proposal with its changes made to ``head`` instead of the version that it comes from.

    Ours is the head, theirs what was proposed. Raises :class:`~cas.errors.ConflictError`, which lists the conflicts,
    where both changed the same. Metadata is not looked at: it is live, and one for all writers of a branch.
    """
    merger = Merger(repository, writer)
    columns = {origin: name for name, origin in proposal.origins.items() if isinstance(origin, str)}
    step = Shared(proposal.row_map.alignment(), columns)
    defaults = proposal.defaults
    staged = merger.add(Draft(proposal.tree, (proposal.base,), (step,), defaults))
    try:
        merged = merger.merge(head, staged, on_conflict, base=proposal.base, metadata=NO_METADATA)
    except ConflictError as error:
        error.expected, error.found = proposal.base.hex(), head.hex()
        raise
    origins = _origins(merged, proposal.origins)
    ids = frozenset(origin for origin in origins.values() if isinstance(origin, bytes))
    names = merged.from_theirs.columns
    return dataclasses.replace(
        proposal,
        base=head,
        tree=merged.tree,
        row_map=RowMap.of_alignment(merged.from_ours.rows, merger.lineage.tree(head).rows, merged.tree.rows),
        origins=origins,
        added=proposal.added | ids,
        defaults={
            names[name]: rows
            for name, rows in defaults.items()
            if name in names and isinstance(origins[names[name]], bytes)
        },
    )


def _origins(merged: Merged, staged: Mapping[str, Origin]) -> dict[str, Origin]:
    """Where the columns come from: from the head, or they are new, as they were when they were staged."""
    from_head = {new: old for old, new in merged.from_ours.columns.items()}
    from_staged = {new: old for old, new in merged.from_theirs.columns.items()}
    origins: dict[str, Origin] = {}
    for column in merged.tree.columns:
        origin = from_head.get(column.name)
        if origin is None:
            before = staged[from_staged[column.name]]
            # One that the head does not have any more is new there.
            origins[column.name] = before if isinstance(before, bytes) else uuid.uuid4().bytes
        else:
            origins[column.name] = origin
    return origins
