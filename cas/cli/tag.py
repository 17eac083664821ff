"""``cas tag``."""

from __future__ import annotations

from typing import Final

import click

from cas.cli.output import json_option
from cas.cli.refs import RefKind, check_one_action, delete_ref, list_refs, make_ref, rename_ref
from cas.dataset.tags import Tag, Tags

_TAGS: Final = RefKind("tag", Tag, Tags)


@click.command("tag", epilog="Example: cas tag lake/photos@main~1 v0.9 -m 'as published'")
@click.argument("url", metavar="URL[@REV]")
@click.argument("name", required=False)
@click.option("-m", "--message", help="Say what the tag is for.")
@click.option("-d", "--delete", metavar="NAME", help="Delete a tag; its version stays.")
@click.option("--rename", nargs=2, metavar="OLD NEW", help="Give a tag another name.")
@json_option
def command(
    url: str, name: str | None, message: str | None, delete: str | None, rename: tuple[str, str] | None, as_json: bool
) -> None:
    """List the tags of a dataset; with NAME make one, at the revision or at the head of main.

    A list for URL@REV has only the tags that name that version.
    """
    check_one_action(_TAGS, name, delete, rename)
    if message is not None and name is None:
        raise click.UsageError("-m goes with the NAME of a new tag")
    if name is not None:
        make_ref(url, _TAGS, name, "Tagged version {version} as {name}", as_json, message=message or "")
    elif delete is not None:
        delete_ref(url, _TAGS, delete, Tag.delete, as_json)
    elif rename is not None:
        rename_ref(url, _TAGS, *rename, as_json)
    else:
        list_refs(url, _TAGS, as_json)
