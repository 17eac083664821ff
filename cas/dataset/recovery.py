"""What handles that are gone left uncommitted: found, told of, and brought back on the version that it began at."""

from __future__ import annotations

import datetime as dt
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cas.dataset.abandoned import warn_of_others
from cas.errors import CasError, SessionNotFoundError, UncommittedChangesError, UncommittedChangesWarning, shown
from cas.history.compare import changed_cells
from cas.history.records import read_payload
from cas.history.row_map import RowMap
from cas.repo.repository import Repository
from cas.repo.sessions import Session, remove_session
from cas.store.contract import Transaction

if TYPE_CHECKING:
    from cas.dataset.dataset import Dataset


@dataclass(frozen=True, slots=True)
class StagedChanges:
    """What a session changes against its base: rows, columns by name, and, by column, rows with other values."""

    inserted: int
    deleted: int
    added: list[str]
    removed: list[str]
    renamed: dict[str, str]
    updated: dict[str, int]

    def rows_to_str(self) -> str:
        """Returns how many rows came and went, in words."""
        counts = [(self.inserted, "inserted"), (self.deleted, "deleted")]
        return (
            ", ".join(f"{n:,} row{'s' * (n != 1)} {what}" for n, what in counts if n) or "no rows inserted or deleted"
        )


def staged_changes(repository: Repository, session: Session) -> StagedChanges:
    """Returns what a session changes. Cost: the chunks around changed values."""
    row_map = _row_map(repository, session)
    base = {column.name: column for column in repository.tree(repository.version(session.base).tree).columns}
    updated: dict[str, int] = {}
    kept: dict[str, str] = {}
    for column in repository.tree(session.tree).columns:
        origin = session.origins[column.name]
        if isinstance(origin, str):
            kept[column.name] = origin
            cells = changed_cells(repository.nodes, base[origin], column, row_map.alignment())
            if len(cells):
                updated[column.name] = len(cells)
    return StagedChanges(
        row_map.inserted,
        row_map.deleted,
        [name for name in session.origins if name not in kept],
        sorted(base.keys() - set(kept.values())),
        {old: new for new, old in kept.items() if old != new},
        updated,
    )


def _row_map(repository: Repository, session: Session) -> RowMap:
    return RowMap.decode(read_payload(session.row_map, repository.nodes), "session")


def left_behind(dataset: Dataset) -> dict[bytes, Session]:
    """Returns the sessions that nobody holds, but those that an import takes up again by itself."""
    return {id_: session for id_, session in dataset.sessions().items() if is_left_behind(session)}


def is_left_behind(session: Session) -> bool:
    """Whether nobody holds a session, nor an import takes it up again by itself."""
    return not session.alive and "import" not in session.details


def warn_of_left(dataset: Dataset) -> None:
    """Says so where something was left uncommitted on the branch of a dataset that is being opened."""
    try:
        sessions = [session for session in left_behind(dataset).values() if session.branch == dataset.branch_name]
        if not sessions:
            return
        told = _told(dataset, max(sessions, key=lambda session: session.updated))
    except CasError as error:
        sessions, told = [], f"which cannot be read: {error}"
    more = f" (the last of {len(sessions)} that were left)" if len(sessions) > 1 else ""
    warnings.warn(
        f"the dataset {dataset._where} (branch {dataset.branch_name!r}) has uncommitted changes of a handle that is "
        f"gone, {told}{more}; recover() brings them back, discard() drops them",
        UncommittedChangesWarning,
        stacklevel=4,
    )


def _told(dataset: Dataset, session: Session) -> str:
    row_map = _row_map(dataset._repository, session)
    changes = StagedChanges(row_map.inserted, row_map.deleted, [], [], {}, {})
    when = dt.datetime.fromtimestamp(session.updated / 1e6, dt.UTC).isoformat(" ", "seconds")
    return f"written at {when}: {changes.rows_to_str()} since version {session.base.hex()[:12]}"


def recover(dataset: Dataset) -> bool:
    """Stages again what a handle left uncommitted, at the version where it began; False where there is nothing."""
    with dataset._editing() as draft:
        _check_nothing_staged(dataset, "recovering")

        def fit(id_: bytes) -> tuple[Any, ...]:
            session = left[id_]
            return session.branch == dataset.branch_name, session.base == draft.base, session.updated

        left = {
            id_: session
            for id_, session in left_behind(dataset).items()
            if session.branch == dataset.branch_name or session.base == draft.base
        }
        if not left:
            warn_of_others(dataset._holder)
            return False
        adopt(dataset, max(left, key=fit))
        return True


def adopt(dataset: Dataset, id_: bytes) -> Session:
    """Takes over a session, whoever has it; the handle is at the version then where it began."""
    with dataset._editing() as draft:
        _check_nothing_staged(dataset, "adopting others")
        session = dataset.sessions().get(id_) if isinstance(id_, bytes) else None
        if session is None:
            raise SessionNotFoundError(f"there is no session {shown(id_, 80)}; sessions() lists them", name=id_)
        if session.base != draft.base:
            draft = dataset._draft_from(session.base)
        draft.adopt(id_, session)
        dataset._holder.draft = draft
        return session


def _check_nothing_staged(dataset: Dataset, what: str) -> None:
    if dataset._draft.changed:
        raise UncommittedChangesError(f"there are uncommitted changes; commit or roll back before {what}")


def discard(dataset: Dataset) -> int:
    """Drops what handles that are gone left uncommitted on the branch of a dataset; returns how many did."""
    with dataset._lock:
        ids = [id_ for id_, session in left_behind(dataset).items() if session.branch == dataset.branch_name]

        def change(txn: Transaction) -> None:
            for id_ in ids:
                remove_session(txn, dataset._dataset, id_)

        if ids:
            dataset._repository.store.write(change)
        return len(ids)
