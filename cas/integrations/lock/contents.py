"""Every blob of one version checked, with the parts of ``fsck`` that look at streams and blobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from cas.dataset.read_only import ReadOnlyDataset
from cas.errors import CorruptedError
from cas.hashing import split_hashes
from cas.history.records import TreeRecord
from cas.repo.damage import DAMAGED, Ranges
from cas.repo.fsck_blobs import BlobScan, Report
from cas.repo.fsck_notes import Notes
from cas.repo.fsck_streams import StreamCheck
from cas.repo.repository import Repository
from cas.tree.damage import DamageFinder
from cas.tree.stream import StreamReader


@dataclass(frozen=True, slots=True)
class Fault:
    """A blob that is damaged or missing, and the columns with the rows, half open, that cannot be read without it."""

    message: str
    blob: str
    columns: dict[str, Ranges]


def check_contents(dataset: ReadOnlyDataset, report: Report | None = None) -> tuple[Fault, ...]:
    """Reads every blob of a version and returns what is wrong; nothing is repaired.

    Cost: all nodes and chunks of its tree; a chunk that it has many times is read as often, at most.
    """
    store = dataset._repository.store
    # One of its own, which has nothing in its caches that was read before.
    repository = Repository(store, dataset._repository.path)
    tree = repository.tree(bytes.fromhex(dataset.version.tree))
    notes = Notes(store)
    streams = StreamCheck(repository.nodes, notes)
    for ref, layout in tree.stream_refs():
        streams.check(ref, layout)
    scan = BlobScan(store, report or (lambda what, done, total: None))
    for hashes in _chunks(repository, tree):
        scan.read(hashes)
    for hash_, message in scan.damaged.items():
        notes.blob(hash_, DAMAGED, message)
    return tuple(_faults(repository, tree, notes))


def _chunks(repository: Repository, tree: TreeRecord) -> Iterator[list[bytes]]:
    """The hashes of chunks, some at a time, as far as nodes can be read; those that cannot were noted before."""
    for ref, layout in tree.stream_refs():
        with suppress(CorruptedError):
            for entries in StreamReader(repository.nodes, ref, layout).chunks():
                yield list(dict.fromkeys(split_hashes(entries.hashes)))


def _faults(repository: Repository, tree: TreeRecord, notes: Notes) -> Iterator[Fault]:
    finder = DamageFinder(repository.nodes, notes.blobs.keys())
    places: dict[bytes, dict[str, Ranges]] = {}
    for column in tree.columns if notes.blobs else ():
        layouts = column.type.layouts()
        for stream, ref in column.streams.items():
            for hash_, runs in finder.rows(ref, layouts[stream]).items():
                places.setdefault(hash_, {})[column.name] = tuple(runs)
    for hash_, messages in notes.blobs.items():
        yield Fault("; ".join(messages.values()), hash_.hex(), places.get(hash_, {}))
