"""``cas revert``."""

from __future__ import annotations

from typing import Final

import click

from cas.cli.moved import NOTHING, Outcome, name_version, open_branch, tell
from cas.cli.opened import SHORT_DIGITS
from cas.cli.output import json_option

_REVERT: Final = "revert"


@click.command("revert", epilog="Example: cas revert lake/photos@main v1.0 -m 'as published'")
@click.argument("url", metavar="URL[@BRANCH]")
@click.argument("revision", metavar="REV")
@click.option("-m", "--message", help="Say why; by default which version it is.")
@json_option
def command(url: str, revision: str, message: str | None, as_json: bool) -> None:
    """Give a branch, by default main, the rows, schema and metadata of an earlier version again, as a new version.

    All later changes are taken back, not those of one version, as git revert does; they stay in the history. Rows that
    are still there stay the same rows to diff, merge and blame; rows that come back are new ones.
    """
    with open_branch(url) as (opened, ds):
        before = ds.version
        name = opened.revision_of(revision)
        target = opened.find(name)
        reverted = opened.find(ds.revert_to(name, message))
        short, named = reverted.id[:SHORT_DIGITS], name_version(name, target)
        if reverted == before:
            line = f"{ds.branch_name} is at {short} already, which has the content of {named}: nothing to revert"
            outcome = Outcome(NOTHING, line, before, reverted, target)
        else:
            line = f"{ds.branch_name} has the content of {named} again, as version {short}"
            outcome = Outcome(_REVERT, line, before, reverted, target)
        tell(opened, ds.branch_name, outcome, as_json)
