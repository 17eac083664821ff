"""``cas merge``."""

from __future__ import annotations

from typing import Final

import click

from cas.cli.changes import counted
from cas.cli.conflicts import ShownConflicts
from cas.cli.main import EXIT_CONFLICT
from cas.cli.moved import NOTHING, Outcome, name_version, open_branch, tell
from cas.cli.opened import SHORT_DIGITS, OpenedDataset, version_facts
from cas.cli.output import json_option, print_json
from cas.dataset.dataset import Dataset
from cas.dataset.history import Version
from cas.errors import ConflictError
from cas.history.conflicts import OURS, RAISE, THEIRS

_CONFLICTS: Final = 20
_FAST_FORWARD: Final = "fast-forward"
_MERGE: Final = "merge"


@click.command("merge", epilog="Example: cas merge lake/photos@main v1.0 -m 'labels fixed' --on-conflict theirs")
@click.argument("url", metavar="URL[@BRANCH]")
@click.argument("revision", metavar="REV")
@click.option("-m", "--message", help="Say what the merge is for; by default which version goes where.")
@click.option(
    "--on-conflict",
    type=click.Choice([RAISE, OURS, THEIRS]),
    default=RAISE,
    show_default=True,
    help="List conflicts and change nothing, or take what the branch has (ours), or what REV has (theirs).",
)
@click.option(
    "--limit", type=click.IntRange(0), help=f"Show so many conflicts; by default {_CONFLICTS}, with --json all."
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    url: str,
    revision: str,
    message: str | None,
    on_conflict: str,
    limit: int | None,
    as_json: bool,
) -> None:
    """Merge a version into a branch, by default main: row by row, column by column and key by key of metadata.

    Both are compared with the version that they come from, and what only one of them changed is taken from it. A branch
    that has nothing of its own moves forward; otherwise the merge is a new version with two parents. What both changed
    differently is a conflict: conflicts are listed with the three values, and the exit code is 4. cas undo takes a
    merge back.
    """
    with open_branch(url) as (opened, ds):
        before = ds.version
        name = opened.revision_of(revision)
        theirs = opened.find(name)
        try:
            merged = opened.find(ds.merge(name, message, on_conflict))
        except ConflictError as error:
            if not error.conflicts:
                raise
            _print_conflicts(opened, ds, theirs, error, limit, as_json)
            ctx.exit(EXIT_CONFLICT)
        tell(opened, ds.branch_name, _outcome(opened, ds, before, merged, theirs, name), as_json)


def _outcome(
    opened: OpenedDataset, ds: Dataset, before: Version, merged: Version, theirs: Version, name: str
) -> Outcome:
    branch, short, named = ds.branch_name, merged.id[:SHORT_DIGITS], name_version(name, theirs)
    if merged == before:
        line = f"{branch} is at {short} already, which has all of {named}: nothing to merge"
        return Outcome(NOTHING, line, before, merged, theirs)
    if merged == theirs:
        line = f"{branch} moved forward from {before.id[:SHORT_DIGITS]} to {named}"
        return Outcome(_FAST_FORWARD, line, before, merged, theirs)
    line = f"merged {named} into {branch} as version {short}"
    # Another writer may have moved the branch since it was opened.
    return Outcome(_MERGE, line, opened.find(merged.parents[0]), merged, theirs)


def _print_conflicts(
    opened: OpenedDataset, ds: Dataset, theirs: Version, error: ConflictError, limit: int | None, as_json: bool
) -> None:
    count = len(error.conflicts)
    with ds.version.open() as ours, theirs.open() as other:
        shown = ShownConflicts(error.conflicts, ours, other)
        if as_json:
            refs = opened.refs()
            print_json(
                {
                    "branch": ds.branch_name,
                    "outcome": "conflict",
                    "version": version_facts(ds.version, refs),
                    "named": version_facts(theirs, refs),
                    "conflict_count": count,
                    "conflicts": shown.facts(limit),
                }
            )
        else:
            shown.print(_CONFLICTS if limit is None else limit)
    click.echo(
        f"cas: {counted(count, 'conflict')}; nothing was changed; decide with --on-conflict ours or theirs", err=True
    )
