"""``cas tag``."""

from __future__ import annotations

from typing import Any

import click

from cas.cli.opened import SHORT_DIGITS, open_store, open_version, refuse_revision
from cas.cli.output import format_time, json_option, print_json, print_table, printable
from cas.dataset.refs import create_ref
from cas.dataset.tags import Tag, Tags, TagsView, TagView


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
    if (name is not None) + (delete is not None) + (rename is not None) > 1:
        raise click.UsageError("NAME makes a tag; it does not go with --delete or --rename, nor these with each other")
    if message is not None and name is None:
        raise click.UsageError("-m goes with the NAME of a new tag")
    if name is not None:
        _create(url, name, message or "", as_json)
    elif delete is not None:
        _delete(url, delete, as_json)
    elif rename is not None:
        _rename(url, *rename, as_json)
    else:
        _list(url, as_json)


def _list(url: str, as_json: bool) -> None:
    with open_version(url) as opened:
        tags = list(TagsView(opened.repository, opened.dataset, opened.location.name))
        if opened.location.revision is not None:
            tags = [tag for tag in tags if tag.version == opened.version]
        if as_json:
            print_json([_facts(tag) for tag in tags])
        elif tags:
            rows = [
                (tag.name, tag.version.id[:SHORT_DIGITS], format_time(tag.timestamp), _first_line(tag.message))
                for tag in tags
            ]
            print_table(("tag", "version", "time", "message"), rows)


def _create(url: str, name: str, message: str, as_json: bool) -> None:
    with open_version(url, read_only=False) as opened:
        hash_ = bytes.fromhex(opened.version.id)
        name, ref = create_ref(opened.repository, opened.dataset, Tag, name, hash_, message)
        tag = TagView(opened.repository, opened.dataset, opened.location.name, name, ref)
        _tell(tag, f"Tagged version {tag.version.id[:SHORT_DIGITS]} as {name}", as_json)


def _delete(url: str, name: str, as_json: bool) -> None:
    with open_store(url, read_only=False) as (repository, location):
        refuse_revision(location)
        tag: Tag = Tags(repository, repository.dataset_id(location.name), location.name)[name]
        tag.delete()
        _tell(tag, f"Deleted tag {tag.name}, which was at version {tag.version.id[:SHORT_DIGITS]}", as_json)


def _rename(url: str, old: str, new: str, as_json: bool) -> None:
    with open_store(url, read_only=False) as (repository, location):
        refuse_revision(location)
        tag: Tag = Tags(repository, repository.dataset_id(location.name), location.name)[old]
        before = tag.name
        tag.rename(new)
        _tell(tag, f"Renamed tag {before} to {tag.name}", as_json)


def _tell(tag: TagView, text: str, as_json: bool) -> None:
    if as_json:
        print_json(_facts(tag))
    else:
        click.echo(printable(text))


def _facts(tag: TagView) -> dict[str, Any]:
    return {
        "name": tag.name,
        "id": tag.id,
        "version": tag.version.id,
        "timestamp": format_time(tag.timestamp, "microseconds"),
        "message": tag.message,
    }


def _first_line(text: str) -> str:
    return next(iter(text.splitlines()), "")
