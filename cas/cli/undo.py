"""``cas undo``."""

from __future__ import annotations

import click

from cas.cli.opened import SHORT_DIGITS, open_dataset, refuse_revision, version_facts
from cas.cli.output import json_option, print_json, printable
from cas.dataset.branches import Branches
from cas.dataset.history import Version
from cas.history.refs import MAIN
from cas.repo.undo import describe, undo


@click.command("undo", epilog="Example: cas undo lake/photos --branch main")
@click.argument("url", metavar="URL")
@click.option("--branch", metavar="NAME", default=MAIN, show_default=True, help="Take this branch back.")
@json_option
def command(url: str, branch: str, as_json: bool) -> None:
    """Take a branch back to where it was before its last move; again, and it goes one step further back.

    Nothing is lost: the version that was undone is where NAME@{1} leads, and cas reflog lists every move. Live metadata
    becomes that of the version.
    """
    with open_dataset(url, read_only=False) as opened:
        refuse_revision(opened.location)
        name = opened.location.name
        found = Branches(opened.repository, opened.dataset, name)[branch]
        head = bytes.fromhex(found.version.id)
        hash_, move = undo(opened.repository, opened.dataset, found.name, bytes.fromhex(found.id), head)
        version = Version(opened.repository, opened.dataset, name, hash_)
        if as_json:
            undone = {"command": move.record.command, "message": move.record.message, "version": head.hex()}
            print_json({"branch": found.name, "version": version_facts(version, opened.refs()), "undone": undone})
            return
        first_line = next(iter(version.message.splitlines()), "")
        click.echo(
            printable(
                f'{found.name} is back at {version.id[:SHORT_DIGITS]} "{first_line}"; undone: {describe(move)} '
                f"({head.hex()[:SHORT_DIGITS]}), which is still {found.name}@{{1}}"
            )
        )
