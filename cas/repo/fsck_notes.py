"""What the parts of a check hand each other: what is wrong so far, and what leads to which versions."""

from __future__ import annotations

from dataclasses import dataclass, field

from cas.errors import CasError
from cas.hashing import hash_named
from cas.history.graph import VersionEntry
from cas.repo.damage import DAMAGED, ERROR, MISSING, RECORD, Finding
from cas.repo.sessions import Session
from cas.store.contract import Store


@dataclass(frozen=True, slots=True)
class Head:
    """What keeps a version: of which dataset, in words such as "branch main", and the version."""

    dataset: str
    label: str
    version: bytes


@dataclass(frozen=True, slots=True)
class Staged:
    """Uncommitted rows, and the key of their row."""

    dataset: str
    key: bytes
    session: Session


@dataclass(slots=True)
class Notes:
    """What is wrong: in tables, and in blobs by hash, each with what it is and a message.

    ``rows`` are those of the table of versions that can be made from records, where they are missing or wrong.
    """

    store: Store
    tables: list[Finding] = field(default_factory=list)
    blobs: dict[bytes, dict[str, str]] = field(default_factory=dict)
    rows: dict[bytes, VersionEntry] = field(default_factory=dict)

    def table(self, what: str, table: str, key: bytes, message: str, severity: str = ERROR) -> None:
        """Notes a row of a table."""
        self.tables.append(Finding(severity, what, message, table=table, key=key.hex()))

    def blob(self, hash_: bytes, what: str, message: str) -> None:
        """Notes a blob; of each kind of fault one message is kept."""
        self.blobs.setdefault(hash_, {}).setdefault(what, message)

    def unread(self, hash_: bytes, error: CasError) -> None:
        """Notes what kept a blob from being read: it, or another one that the error names."""
        culprit = hash_named(getattr(error, "blob", None))
        if culprit is None:
            self.blob(hash_, RECORD, str(error))
        else:
            self.blob(culprit, self._kind(culprit), str(error))

    def _kind(self, hash_: bytes) -> str:
        with self.store.read() as view:
            try:
                return MISSING if view.sizes([hash_]) == [None] else DAMAGED
            except CasError:
                return DAMAGED
