"""What would deleting free: the bytes that only one branch, tag or version keeps.

Bytes are those of blobs at rest: records of versions and trees, nodes, and chunks. Space in the store that no
blob takes is not counted. A ref keeps the versions that lead to it through any parents. The refs of all datasets of the
store are keepers; entries of the reflog and uncommitted rows are not, since they end by themselves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from cas.errors import NotFoundError
from cas.history.graph import in_order
from cas.history.refs import BRANCH, TAG, RefRecord
from cas.repo.keepers import Keepers, KeepersOf, Kept, Roots, add_keepers, count_kept, hand_to_ancestors
from cas.repo.reflog import all_moves
from cas.repo.repository import Repository, dataset_ids, scan_refs
from cas.repo.sessions import read_sessions
from cas.store.contract import View


@dataclass(frozen=True, slots=True)
class Amount:
    """Bytes at rest, and the number of blobs that they are in."""

    stored_bytes: int
    blobs: int

    def to_dict(self) -> dict[str, int]:
        """Returns both by name."""
        return {"stored_bytes": self.stored_bytes, "blobs": self.blobs}


@dataclass(frozen=True, slots=True)
class RefUsage:
    """A branch or tag, and what it alone keeps; ``version`` is the hash of the one that it names."""

    kind: str
    name: str
    version: bytes
    alone: Amount

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields, the version in hexadecimal digits."""
        return {"kind": self.kind, "name": self.name, "version": self.version.hex(), **self.alone.to_dict()}


@dataclass(frozen=True, slots=True)
class DatasetUsage:
    """All that a dataset keeps, each blob counted in one place.

    ``refs`` says what each ref alone keeps; ``several`` what at least two keep, and no other dataset's; ``elsewhere``
    what refs of other datasets keep, too; ``sessions`` what no ref keeps, but uncommitted rows; ``reflog`` the rest.
    """

    refs: tuple[RefUsage, ...]
    several: Amount
    elsewhere: Amount
    sessions: Amount
    reflog: Amount

    @property
    def total(self) -> Amount:
        """All of it."""
        return _sum([*(ref.alone for ref in self.refs), self.several, self.elsewhere, self.sessions, self.reflog])

    def to_dict(self) -> dict[str, Any]:
        """Returns all amounts by name."""
        return {
            "refs": [ref.to_dict() for ref in self.refs],
            "several": self.several.to_dict(),
            "elsewhere": self.elsewhere.to_dict(),
            "sessions": self.sessions.to_dict(),
            "reflog": self.reflog.to_dict(),
            "total": self.total.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class DeletionUsage:
    """What some refs keep that no other ref does: each alone, and ``several`` of them together."""

    refs: tuple[RefUsage, ...]
    several: Amount

    @property
    def total(self) -> Amount:
        """What deleting all of them would free."""
        return _sum([*(ref.alone for ref in self.refs), self.several])

    def to_dict(self) -> dict[str, Any]:
        """Returns all amounts by name."""
        return {
            "refs": [ref.to_dict() for ref in self.refs],
            "several": self.several.to_dict(),
            "total": self.total.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class VersionUsage:
    """A version by its hash, and what it alone keeps."""

    version: bytes
    alone: Amount


def dataset_usage(repository: Repository, dataset: bytes) -> DatasetUsage:
    """Counts what a dataset keeps, by who keeps it.

    Cost: the records and nodes of all versions of all datasets, each distinct one once, and one look-up for each
    distinct blob of the dataset; no chunk is read. Memory: some 250 bytes for each distinct chunk of the store. Raises
    :class:`~cas.errors.CorruptedError`, which names it, for a blob that is missing.
    """
    with repository.store.read() as view:
        refs = _refs(view, dataset)
        roots = Roots(_heads(view, refs, _other_datasets(view, dataset)))
        _add_sessions(view, dataset, roots)
        for version in _moved(view, dataset):
            add_keepers(roots.versions, version, Keepers())
        roots = dataclasses.replace(roots, versions=hand_to_ancestors(view, roots.versions))
    kept = count_kept(repository, roots, len(refs))
    classes = kept.classes
    return DatasetUsage(
        _ref_usages(refs, kept),
        _amount(kept, classes.several),
        _amount(kept, classes.elsewhere),
        _amount(kept, classes.staged),
        _amount(kept, classes.unowned),
    )


def deletion_usage(repository: Repository, dataset: bytes, names: Collection[str]) -> DeletionUsage:
    """Counts what deleting some branches and tags together would free.

    Cost: as of :func:`dataset_usage`, but look-ups only for what would be freed. Raises
    :class:`~cas.errors.NotFoundError` for a name that neither a branch nor a tag has.
    """
    with repository.store.read() as view:
        refs = _refs(view, dataset)
        unknown = next((name for name in names if name not in refs), None)
        if unknown is not None:
            known = ", ".join(map(repr, refs))
            raise NotFoundError(f"there is no branch or tag {unknown!r}; there are: {known}", name=unknown)
        chosen = {name: ref for name, ref in refs.items() if name in names}
        heads = _heads(view, chosen, _other_datasets(view, dataset))
        for name, ref in refs.items():
            if name not in chosen:
                add_keepers(heads, ref.version, Keepers.owner(len(chosen), ours=False))
        roots = Roots(hand_to_ancestors(view, heads))
    kept = count_kept(repository, roots, len(chosen), below=len(chosen) + 1)
    return DeletionUsage(_ref_usages(chosen, kept), _amount(kept, kept.classes.several))


def versions_usage(repository: Repository, dataset: bytes) -> list[VersionUsage]:
    """Counts for each version of a dataset what no other version of any dataset keeps, the last to land first.

    The versions are those that refs and the reflog lead to; one that another dataset has, too, is the same version.
    Cost: as of :func:`dataset_usage`, but look-ups only for what is kept by one version.
    """
    with repository.store.read() as view:
        entries = dict(in_order(view, _named(view, dataset)))
        others = in_order(view, [head for other in _other_datasets(view, dataset) for head in _named(view, other)])
    landed = {version: (entry.timestamp, entry.generation) for version, entry in entries.items()}
    versions = sorted(landed, key=landed.__getitem__, reverse=True)
    keepers = {version: Keepers.owner(len(versions), ours=False) for version, _ in others}
    keepers |= {version: Keepers.owner(number) for number, version in enumerate(versions)}
    kept = count_kept(repository, Roots(keepers), len(versions), below=len(versions))
    return [VersionUsage(version, _amount(kept, number)) for number, version in enumerate(versions)]


def _refs(view: View, dataset: bytes) -> dict[str, RefRecord]:
    """The branches, then the tags, by name."""
    return {name: ref for kind in (BRANCH, TAG) for name, ref in scan_refs(view, dataset, kind)}


def _other_datasets(view: View, dataset: bytes) -> list[bytes]:
    return [other for other in dataset_ids(view) if other != dataset]


def _heads(view: View, refs: dict[str, RefRecord], others: list[bytes]) -> KeepersOf:
    """The versions that refs name: each of these is an owner, and those of other datasets are one together."""
    heads: KeepersOf = {}
    for number, ref in enumerate(refs.values()):
        add_keepers(heads, ref.version, Keepers.owner(number))
    for other in others:
        for ref in _refs(view, other).values():
            add_keepers(heads, ref.version, Keepers.owner(len(refs), ours=False))
    return heads


def _add_sessions(view: View, dataset: bytes, roots: Roots) -> None:
    """Adds the uncommitted rows of all datasets, and the versions that they were staged on."""
    for owner in dataset_ids(view):
        keepers = Keepers(ours=owner == dataset, staged=True)
        for session in read_sessions(view, owner).values():
            add_keepers(roots.versions, session.base, keepers)
            add_keepers(roots.trees, session.tree, keepers)
            roots.payloads.append((session.row_map, keepers))


def _moved(view: View, dataset: bytes) -> Iterator[bytes]:
    """The versions that the reflog names."""
    for move in all_moves(view, dataset):
        yield from (version for version in (move.record.old, move.record.new) if version is not None)


def _named(view: View, dataset: bytes) -> set[bytes]:
    """The versions that refs and the reflog of a dataset name."""
    return {ref.version for ref in _refs(view, dataset).values()}.union(_moved(view, dataset))


def _ref_usages(refs: dict[str, RefRecord], kept: Kept) -> tuple[RefUsage, ...]:
    numbered = enumerate(refs.items())
    return tuple(RefUsage(ref.kind, name, ref.version, _amount(kept, number)) for number, (name, ref) in numbered)


def _amount(kept: Kept, number: int) -> Amount:
    return Amount(int(kept.stored_bytes[number]), int(kept.blobs[number]))


def _sum(amounts: list[Amount]) -> Amount:
    return Amount(sum(amount.stored_bytes for amount in amounts), sum(amount.blobs for amount in amounts))
