"""Rows that were written but not committed, so that they can be found again (FORMAT section 8)."""

from __future__ import annotations

import dataclasses
import os
import platform
from dataclasses import dataclass, field
from typing import Any, Final

from cas.codec import cbor
from cas.codec.fields import is_count, is_hash, is_id, is_time
from cas.errors import CorruptedError
from cas.history.records import NO_DEFAULTS, Payload, payload_from, payload_record
from cas.repo.metadata import Origin
from cas.store.contract import SESSIONS, Transaction, View

NOBODY: Final = 0
_MOST_PID: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Session:
    """Rows staged on a branch from a base version: the tree that holds them, and who wrote them when.

    ``origins`` tells for each column of the tree where it comes from; ``pid`` is 0 once no process holds it.
    """

    branch: str
    base: bytes
    tree: bytes
    row_map: Payload
    origins: dict[str, Origin]
    since: int
    updated: int
    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=platform.node)
    details: dict[str, Any] = field(default_factory=dict)
    defaults: Payload = NO_DEFAULTS

    @property
    def alive(self) -> bool:
        """Whether the process that wrote them may still be at work (on another host: it may)."""
        if self.pid == NOBODY:
            return False
        if self.host != platform.node():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True


def put_session(txn: Transaction, dataset: bytes, id_: bytes, session: Session) -> None:
    """Enters a session, or replaces it."""
    record = {
        "branch": session.branch,
        "base": session.base,
        "tree": session.tree,
        "row_map": payload_record(session.row_map),
        "origins": session.origins,
        "pid": session.pid,
        "host": session.host,
        "since": session.since,
        "updated": session.updated,
    }
    if session.details:
        record["details"] = cbor.to_plain(session.details)
    if session.defaults != NO_DEFAULTS:
        record["defaults"] = payload_record(session.defaults)
    txn.put(SESSIONS, dataset + id_, cbor.encode(record))


def remove_session(txn: Transaction, dataset: bytes, id_: bytes) -> None:
    """Ends a session."""
    txn.remove(SESSIONS, dataset + id_)


def read_sessions(view: View, dataset: bytes) -> dict[bytes, Session]:
    """Returns the sessions of a dataset by id."""
    return {key[len(dataset) :]: _decode(data) for key, data in view.scan(SESSIONS, dataset)}


def rename_branch_of_sessions(txn: Transaction, dataset: bytes, old: str, new: str) -> None:
    """Tells the sessions of a branch its new name."""
    for id_, session in read_sessions(txn, dataset).items():
        if session.branch == old:
            put_session(txn, dataset, id_, dataclasses.replace(session, branch=new))


def _decode(data: bytes) -> Session:
    what = "session"
    match cbor.decode(data, what=what):
        case {
            "branch": str(branch),
            "base": base,
            "tree": tree,
            "row_map": row_map,
            "origins": dict(origins),
            "pid": pid,
            "host": str(host),
            "since": since,
            "updated": updated,
            **rest,
        } if is_hash(base) and is_hash(tree) and is_count(pid) and is_time(since) and is_time(updated):
            payload = payload_from(row_map, what)
            details = cbor.from_plain(rest.get("details", {}), what)
            defaults = payload_from(rest.get("defaults", NO_DEFAULTS), what)
            valid = all(isinstance(origin, str) or is_id(origin) for origin in origins.values())
            if valid and isinstance(details, dict) and pid <= _MOST_PID:
                return Session(branch, base, tree, payload, origins, since, updated, pid, host, details, defaults)
    raise CorruptedError("the record of a session is damaged", blob=what)
