"""A store checked as a whole: every blob against its hash, and everything that names something else.

Nothing is changed but for the note of how far a check has come. What nothing leads to may be damaged without harm, and
is told as a warning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Final

from cas.errors import CorruptedError
from cas.repo.damage import DAMAGED, DATABASE, ERROR, WARNING, Checked, Finding, Place
from cas.repo.fsck_blobs import BlobScan, Report
from cas.repo.fsck_notes import Notes
from cas.repo.fsck_places import PlaceFinder
from cas.repo.fsck_repair import BLOB, Mended, repair
from cas.repo.fsck_tables import TableCheck
from cas.repo.fsck_versions import VersionCheck
from cas.repo.repository import Repository
from cas.store.contract import View
from cas.types import Layout

_CACHED: Final = Layout(8)
"""Of the fingerprints of files, which are the streams that caches hold."""


class Fsck:
    """A check of a store, of all of it or, with ``quick``, of its structure: then no chunk is read.

    ``restart`` reads also what an interrupted check has read. Blobs that are put meanwhile may be left out; nothing is
    collected while the structure is checked.
    """

    def __init__(
        self, repository: Repository, *, quick: bool = False, restart: bool = False, report: Report | None = None
    ) -> None:
        self._store = repository.store
        self._path = repository.path
        self._quick = quick
        self._restart = restart
        self._report: Report = report or (lambda what, done, total: None)
        self._scan = BlobScan(repository.store, self._report)

    def check(self) -> Checked:
        """Checks the store and returns what was found, errors first.

        Cost: all blobs, once, and all nodes and records a second time; memory: some hundreds of bytes for each
        version, tree and node, none for chunks that are as they must be.
        """
        return self._guarded(lambda: self._check()[0])

    def repair(self, source: Repository) -> Checked:
        """Checks the store, takes blobs that are damaged or missing from another one, and tells what is left.

        Rows of the table of versions are made again from records. What is put has the content that its hash names.
        """
        return self._guarded(lambda: self._repair(source))

    def _guarded(self, work: Callable[[], Checked]) -> Checked:
        try:
            return work()
        except CorruptedError as error:
            return Checked(self._scan.blobs, self._scan.stored_bytes, 0, (database_finding(error),))

    def _check(self) -> tuple[Checked, Notes]:
        if not self._quick:
            self._scan.run(restart=self._restart)
        return self._check_structure()

    def _repair(self, source: Repository) -> Checked:
        found, notes = self._check()
        repaired: list[Finding] = []
        tried: set[Mended] = set()
        # What was missing may lead to more that is.
        while mended := repair(self._store, source.store, notes, tried):
            tried |= mended
            for what, hash_ in mended:
                if what == BLOB:
                    self._scan.damaged.pop(hash_, None)
            before = found.findings
            found, notes = self._check_structure()
            left = {finding.subject for finding in found.findings}
            repaired += [finding for finding in before if finding.subject not in left]
        return dataclasses.replace(found, repaired=tuple(repaired))

    def _check_structure(self) -> tuple[Checked, Notes]:
        lease = self._store.lease_writing()
        try:
            with self._store.read() as view:
                return self._check_view(view)
        finally:
            lease.release()

    def _check_view(self, view: View) -> tuple[Checked, Notes]:
        # One of its own, which has nothing in its caches that was read before.
        repository = Repository(self._store, self._path)
        notes = Notes(self._store)
        for hash_, message in self._scan.damaged.items():
            notes.blob(hash_, DAMAGED, message)
        if self._scan.unlisted:
            notes.tables.append(Finding(ERROR, DAMAGED, f"{self._scan.unlisted:,} more blobs are damaged"))
        tables = TableCheck(view, notes)
        versions = VersionCheck(repository, notes, self._report, contents=not self._quick)
        versions.check([head.version for head in tables.heads], tables.clock, view)
        for staged in tables.staged:
            versions.check_staged(staged)
        for ref in tables.streams:
            versions.streams.check(ref, _CACHED)
        tables.check_unreached(set(versions.parents))
        tables.check_clock(versions.entries)
        places: dict[bytes, tuple[Place, ...]] = {}
        if notes.blobs:
            finder = PlaceFinder(repository, notes.blobs.keys())
            places = finder.find(tables.heads, tables.staged, versions.parents, versions.entries)
        findings = sorted([*notes.tables, *_blob_findings(notes, places)], key=lambda each: each.severity != ERROR)
        blobs = versions.streams.nodes + versions.records if self._quick else self._scan.blobs
        return Checked(blobs, self._scan.stored_bytes, len(versions.parents), tuple(findings)), notes


def _blob_findings(notes: Notes, places: Mapping[bytes, tuple[Place, ...]]) -> list[Finding]:
    return [
        Finding(ERROR if hash_ in places else WARNING, what, message, blob=hash_.hex(), places=places.get(hash_, ()))
        for hash_, messages in notes.blobs.items()
        for what, message in messages.items()
    ]


def database_finding(error: CorruptedError) -> Finding:
    """Returns what is told of a store whose database cannot be read."""
    return Finding(ERROR, DATABASE, str(error))
