"""Rows that were written but not committed, so that they can be found again (FORMAT section 8)."""

from __future__ import annotations

import dataclasses
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cas.codec import cbor
from cas.codec.fields import is_count, is_hash, is_id, is_time
from cas.errors import CorruptedError, SessionNotFoundError
from cas.history.records import NO_DEFAULTS, Payload, payload_from, payload_record
from cas.repo.metadata import Origin
from cas.store.contract import SESSIONS, Transaction, View

NOBODY: Final = 0
_MOST_PID: Final = 2**31 - 1
_ENDED: Final = "ended"


@dataclass(frozen=True, slots=True)
class Session:
    """Rows staged on a branch from a base version: the tree that holds them, and who wrote them when.

    ``origins`` tells for each column of the tree where it comes from; ``pid`` is 0 once no process holds it; ``birth``
    tells the process from others of that number, where the system says so.
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
    birth: str = field(default_factory=lambda: birth_of(os.getpid()))

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
        return not self.birth or birth_of(self.pid) in ("", self.birth)


def birth_of(pid: int) -> str:
    """Returns when a process began: the boot of its machine and clock ticks since; empty where that is not told.

    One that has ended, and whose parent has not asked for its end yet, has none any more. Numbers of processes come
    again: after a reboot, and in containers, where nearly every process has the same few.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    # The name of the program stands in parentheses, and may hold any character; the 22nd field is the 20th after it.
    fields = status.rpartition(")")[2].split()
    return _ENDED if fields[0] in "ZX" else f"{boot} {fields[19]}"


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
    if session.birth:
        record["birth"] = session.birth
    if session.defaults != NO_DEFAULTS:
        record["defaults"] = payload_record(session.defaults)
    txn.put(SESSIONS, dataset + id_, cbor.encode(record))


def remove_session(txn: Transaction, dataset: bytes, id_: bytes) -> None:
    """Ends a session."""
    txn.remove(SESSIONS, dataset + id_)


def claim_session(txn: Transaction, dataset: bytes, id_: bytes, session: Session) -> None:
    """Enters a session as one of this process, so that nobody else takes it.

    Raises ``SessionNotFoundError`` where it is not any more what was read.
    """
    found = read_sessions(txn, dataset).get(id_)
    if found is None or (found.updated, found.pid) != (session.updated, session.pid):
        raise SessionNotFoundError(
            "the uncommitted changes were taken, changed or dropped by somebody else meanwhile", name=id_
        )
    pid = os.getpid()
    mine = dataclasses.replace(session, pid=pid, host=platform.node(), birth=birth_of(pid))
    put_session(txn, dataset, id_, mine)


def release_session(txn: Transaction, dataset: bytes, id_: bytes) -> None:
    """Enters a session, if it is there, as one that no process holds."""
    session = read_sessions(txn, dataset).get(id_)
    if session is not None:
        put_session(txn, dataset, id_, dataclasses.replace(session, pid=NOBODY))


def read_sessions(view: View, dataset: bytes) -> dict[bytes, Session]:
    """Returns the sessions of a dataset by id."""
    return {key[len(dataset) :]: decode_session(data) for key, data in view.scan(SESSIONS, dataset)}


def rename_branch_of_sessions(txn: Transaction, dataset: bytes, old: str, new: str) -> None:
    """Tells the sessions of a branch its new name."""
    for id_, session in read_sessions(txn, dataset).items():
        if session.branch == old:
            put_session(txn, dataset, id_, dataclasses.replace(session, branch=new))


def decode_session(data: bytes) -> Session:
    """Returns the session in its stored form."""
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
            birth = rest.get("birth", "")
            valid = all(isinstance(origin, str) or is_id(origin) for origin in origins.values())
            if valid and isinstance(details, dict) and isinstance(birth, str) and pid <= _MOST_PID:
                return Session(
                    branch, base, tree, payload, origins, since, updated, pid, host, details, defaults, birth
                )
    raise CorruptedError("the record of a session is damaged", blob=what)
