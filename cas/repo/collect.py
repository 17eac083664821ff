"""Garbage collection: what nothing leads to any more is found, and then removed in bounded transactions.

A plan is made from one state of the store. Each removal first looks whether anything has happened since that could
lead to something new, and if so follows that too; writers are kept out for the time of one removal, and are not
disturbed otherwise. A crash leaves the store as it was or further on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from cas.repo.reachable import Reachable, find_roots, reflog_time
from cas.repo.repository import Repository
from cas.repo.sessions import decode_session
from cas.store.contract import REFLOG, SESSIONS, VERSIONS, Transaction, View

DAY: Final = 86_400_000_000
"""Microseconds of a day, as storage timestamps count."""
REFLOG_DAYS: Final = 90.0
_BATCH_BLOBS: Final = 1 << 14

Report = Callable[[str, int, int], None]
"""Is told of progress: what is done, how much of it, and of how much in all (0 while unknown)."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """What is too old to be kept: moves in the reflog, and uncommitted rows whose process is gone, in days.

    Ages are by the storage's clock; None keeps uncommitted rows for good.
    """

    reflog_days: float = REFLOG_DAYS
    session_days: float | None = None


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection removes, or would remove."""

    blobs: int
    stored_bytes: int
    versions: int
    reflog_entries: int
    sessions: int
    kept_blobs: int
    reclaimed_bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Returns the counts by name."""
        return dataclasses.asdict(self)


class Collection:
    """A collection of a store: planned when it is made, carried out by :meth:`apply`."""

    def __init__(self, repository: Repository, expiry: Expiry, report: Report | None = None) -> None:
        self._repository = repository
        self._report = report or (lambda what, done, total: None)
        self._reachable = Reachable(repository)
        now = self._now()
        self._reflog_since = now - int(expiry.reflog_days * DAY)
        self._sessions_since = None if expiry.session_days is None else now - int(expiry.session_days * DAY)
        self._clock: int | None = None
        with repository.store.read() as view:
            self._follow(view)

    def _now(self) -> int:
        """The storage's clock; where nothing can be written, as it stood last."""
        store = self._repository.store
        if not store.read_only:
            return store.write(lambda txn: txn.timestamp())
        with store.read() as view:
            return view.clock()

    def _follow(self, view: View) -> None:
        """Adds what can be reached by now."""
        if view.clock() != self._clock:
            dropped = set(self._old_sessions(view))
            self._reachable.add(find_roots(self._repository, view, self._reflog_since, dropped), view)
            self._clock = view.clock()

    def plan(self) -> Collected:
        """Counts what would be removed. Cost: one look at every blob's hash, and the sizes of those that go."""
        blobs = size = kept = 0
        for dead, alive in self._dead_blobs():
            with self._repository.store.read() as view:
                size += sum(found or 0 for found in view.sizes(dead))
            blobs, kept = blobs + len(dead), kept + alive
            self._report("Counting", blobs + kept, 0)
        with self._repository.store.read() as view:
            rows = (self._dead_versions(view), self._old_moves(view), self._old_sessions(view))
            versions, moves, sessions = (sum(1 for _ in found) for found in rows)
        return Collected(blobs, size, versions, moves, sessions, kept)

    def apply(self) -> Collected:
        """Removes what nothing leads to, and frees its space in the store; returns what was done.

        Raises :class:`~cas.errors.ConflictError` where others are writing; what was removed by then stays so.
        """
        store = self._repository.store
        before = self.plan()
        versions, moves, sessions = self._remove(self._remove_rows)
        blobs = size = kept = 0
        for dead, alive in self._dead_blobs():
            removed = self._remove(partial(self._remove_blobs, dead)) if dead else (0, 0)
            blobs, size, kept = blobs + removed[0], size + removed[1], kept + alive + len(dead) - removed[0]
            self._report("Removing", blobs, before.blobs)
        reclaimed = store.reclaim(lambda done, total: self._report("Reclaiming", done, total))
        return Collected(blobs, size, versions, moves, sessions, kept, reclaimed)

    def _remove(self, change: Callable[[Transaction], tuple[int, ...]]) -> tuple[int, ...]:
        """Runs a removal while nobody writes, after following what happened since the last one."""

        def checked(txn: Transaction) -> tuple[int, ...]:
            self._follow(txn)
            return change(txn)

        with self._repository.store.collecting():
            return self._repository.store.write(checked)

    def _remove_rows(self, txn: Transaction) -> tuple[int, ...]:
        """Removes old moves and sessions, and the rows of versions that nothing leads to."""
        counts: list[int] = []
        for table, keys in (
            (VERSIONS, list(self._dead_versions(txn))),
            (REFLOG, list(self._old_moves(txn))),
            (SESSIONS, list(self._old_sessions(txn))),
        ):
            for key in keys:
                txn.remove(table, key)
            counts.append(len(keys))
        return tuple(counts)

    def _remove_blobs(self, hashes: list[bytes], txn: Transaction) -> tuple[int, int]:
        still = [hash_ for hash_, held in zip(hashes, self._reachable.holds(hashes), strict=True) if not held]
        sizes = sum(size or 0 for size in txn.sizes(still))
        txn.remove_blobs(still)
        return len(still), sizes

    def _dead_blobs(self) -> Iterator[tuple[list[bytes], int]]:
        """The hashes of blobs that are not reached, some at a time, and how many others were passed."""
        after = b""
        while True:
            with self._repository.store.read() as view:
                hashes = view.hashes(after, _BATCH_BLOBS)
            if not hashes:
                return
            held = self._reachable.holds(hashes)
            dead = [hash_ for hash_, kept in zip(hashes, held, strict=True) if not kept]
            yield dead, len(hashes) - len(dead)
            after = hashes[-1]

    def _dead_versions(self, view: View) -> Iterator[bytes]:
        return (version for version, _ in view.scan(VERSIONS) if version not in self._reachable.versions)

    def _old_moves(self, view: View) -> Iterator[bytes]:
        return (key for key, _ in view.scan(REFLOG) if reflog_time(key) < self._reflog_since)

    def _old_sessions(self, view: View) -> Iterator[bytes]:
        since = self._sessions_since
        if since is None:
            return iter(())
        sessions = ((key, decode_session(data)) for key, data in view.scan(SESSIONS))
        return (key for key, session in sessions if session.updated < since and not session.alive)
