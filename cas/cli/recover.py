"""``cas recover``."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import click

from cas.cli.opened import SHORT_DIGITS, OpenedDataset, open_dataset, refuse_revision
from cas.cli.output import format_time, json_option, print_json, print_table, printable
from cas.dataset.dataset import Dataset
from cas.dataset.recovery import StagedChanges, is_left_behind, staged_changes
from cas.errors import SessionNotFoundError
from cas.repo.sessions import NOBODY, Session, read_sessions, remove_session
from cas.store.contract import Transaction


@dataclass(frozen=True, slots=True)
class _Found:
    """A session and what it changes."""

    id: bytes
    session: Session
    changes: StagedChanges

    @property
    def status(self) -> str:
        """Whether it can be brought back, in a word."""
        if self.session.alive:
            return "in use"
        return "left" if is_left_behind(self.session) else "import"

    @property
    def owner(self) -> str:
        """Whose it is, in words."""
        pid, host = self.session.pid, self.session.host
        return f"nobody, {host}" if pid == NOBODY else f"process {pid}, {host}"

    @property
    def columns(self) -> str:
        """What changed in columns, in words."""
        changes = self.changes
        return ", ".join(
            [
                *(f"+{name}" for name in changes.added),
                *(f"-{name}" for name in changes.removed),
                *(f"{old} -> {new}" for old, new in changes.renamed.items()),
                *(f"{name}: {count:,} changed" for name, count in changes.updated.items()),
            ]
        )


@click.command("recover", epilog="Example: cas recover lake/photos --branch main")
@click.argument("url", metavar="URL")
@click.option("--branch", metavar="NAME", help="Only what was left on this branch.")
@click.option("--session", "prefix", metavar="ID", help="Only this one, whoever may still have it.")
@click.option("--list", "listing", is_flag=True, help="List what was left; so it is without other options.")
@click.option("--commit", "committing", is_flag=True, help="Commit what was left, each by itself, the oldest first.")
@click.option("-m", "--message", help="Say what the versions are.")
@click.option("--discard", "discarding", is_flag=True, help="Drop what was left, for good.")
@json_option
def command(
    url: str,
    branch: str | None,
    prefix: str | None,
    listing: bool,
    committing: bool,
    message: str | None,
    discarding: bool,
    as_json: bool,
) -> None:
    """List, commit or drop what programs that are gone left uncommitted.

    A commit on a branch that has moved is merged with what is there, row by row. What is in use by a process that may
    still be at work, or is taken up again by the next import, is listed, and left alone unless its ID is given.
    """
    if listing + committing + discarding > 1:
        raise click.UsageError("--list, --commit and --discard exclude each other")
    if message is not None and not committing:
        raise click.UsageError("--message belongs to --commit")
    with open_dataset(url, read_only=not (committing or discarding)) as opened:
        refuse_revision(opened.location)
        found = _find(opened, branch, prefix)
        if not (committing or discarding):
            _list(found, as_json)
            return
        chosen = found if prefix is not None else [each for each in found if each.status == "left"]
        if committing:
            _commit(opened, chosen, message, as_json)
        else:
            _discard(opened, chosen, as_json)


def _find(opened: OpenedDataset, branch: str | None, prefix: str | None) -> list[_Found]:
    with opened.repository.store.read() as view:
        sessions = read_sessions(view, opened.dataset)
    chosen = {
        id_: session
        for id_, session in sessions.items()
        if branch in (None, session.branch) and id_.hex().startswith(prefix or "")
    }
    if prefix is not None and len(chosen) != 1:
        raise SessionNotFoundError(
            f"{len(chosen)} sessions have an id that begins with {prefix!r}; cas recover lists them", name=prefix
        )
    ordered = sorted(chosen.items(), key=lambda item: item[1].updated)
    return [_Found(id_, session, staged_changes(opened.repository, session)) for id_, session in ordered]


def _list(found: list[_Found], as_json: bool) -> None:
    if as_json:
        print_json([_facts(each) for each in found])
    elif found:
        headings = ("session", "branch", "began at", "rows", "columns", "since", "updated", "owner", "status")
        print_table(headings, [_row(each) for each in found])
    else:
        click.echo("Nothing was left uncommitted")


def _row(found: _Found) -> tuple[str, ...]:
    session, changes = found.session, found.changes
    return (
        found.id.hex()[:SHORT_DIGITS],
        session.branch,
        session.base.hex()[:SHORT_DIGITS],
        f"+{changes.inserted:,} -{changes.deleted:,}",
        found.columns,
        format_time(_moment(session.since)),
        format_time(_moment(session.updated)),
        found.owner,
        found.status,
    )


def _facts(found: _Found) -> dict[str, Any]:
    session, changes = found.session, found.changes
    return {
        "session": found.id.hex(),
        "branch": session.branch,
        "base": session.base.hex(),
        "rows": {"inserted": changes.inserted, "deleted": changes.deleted},
        "columns": {
            "added": changes.added,
            "removed": changes.removed,
            "renamed": changes.renamed,
            "updated": changes.updated,
        },
        "since": format_time(_moment(session.since), "microseconds"),
        "updated": format_time(_moment(session.updated), "microseconds"),
        "pid": session.pid or None,
        "host": session.host,
        "alive": session.alive,
        "status": found.status,
    }


def _moment(timestamp: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(timestamp / 1e6, dt.UTC)


def _commit(opened: OpenedDataset, found: list[_Found], message: str | None, as_json: bool) -> None:
    done = []
    for each in found:
        session = each.session
        text = message or f"Recovered: {each.changes.rows_to_str()}"
        name = opened.location.name
        with Dataset(opened.repository, opened.dataset, name, session.branch, session.base) as dataset:
            dataset.adopt(each.id)
            version = dataset.commit(text)
        done.append({**_facts(each), "version": version})
        if not as_json:
            rows = each.changes.rows_to_str()
            click.echo(printable(f"{session.branch} is at {version[:SHORT_DIGITS]}: {rows}"))
    _finish(done, as_json)


def _discard(opened: OpenedDataset, found: list[_Found], as_json: bool) -> None:
    def change(txn: Transaction) -> None:
        for each in found:
            remove_session(txn, opened.dataset, each.id)

    if found:
        opened.repository.store.write(change)
    for each in found if not as_json else []:
        click.echo(printable(f"dropped from {each.session.branch}: {each.changes.rows_to_str()}"))
    _finish([_facts(each) for each in found], as_json)


def _finish(done: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(done)
    elif not done:
        click.echo("Nothing was left uncommitted")
