"""``cas branch``."""

from __future__ import annotations

from typing import Final

import click

from cas.cli.output import json_option
from cas.cli.refs import RefKind, check_one_action, delete_ref, list_refs, make_ref, rename_ref
from cas.dataset.branches import Branch, Branches

_BRANCHES: Final = RefKind("branch", Branch, Branches)


@click.command("branch", epilog="Example: cas branch lake/photos@v1.0 fixes")
@click.argument("url", metavar="URL[@REV]")
@click.argument("name", required=False)
@click.option("-d", "--delete", metavar="NAME", help="Delete a branch; its versions stay.")
@click.option("--force", is_flag=True, help="Delete it also where no other branch or tag leads to its versions.")
@click.option("--rename", nargs=2, metavar="OLD NEW", help="Give a branch another name.")
@json_option
def command(
    url: str, name: str | None, delete: str | None, force: bool, rename: tuple[str, str] | None, as_json: bool
) -> None:
    """List the branches of a dataset; with NAME make one, at the revision or at the head of main.

    Each line has the last version of the branch, when the branch was moved there, and the first line of the version's
    message; main has a mark. A list for URL@REV has only the branches that are at that version. The branch "fixes",
    deleted, comes back with: cas branch URL@fixes@{1} fixes
    """
    check_one_action(_BRANCHES, name, delete, rename)
    if force and delete is None:
        raise click.UsageError("--force goes with --delete")
    if name is not None:
        make_ref(url, _BRANCHES, name, "Made branch {name} at version {version}", as_json)
    elif delete is not None:
        delete_ref(url, _BRANCHES, delete, lambda branch: branch.delete(force=force), as_json)
    elif rename is not None:
        rename_ref(url, _BRANCHES, *rename, as_json)
    else:
        list_refs(url, _BRANCHES, as_json)
