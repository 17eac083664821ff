"""``cas du``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from cas.cli.opened import SHORT_DIGITS, format_refs, open_store, read_refs, refuse_revision, version_facts
from cas.cli.output import format_time, json_option, print_json, print_table
from cas.dataset.history import Version
from cas.dataset.summary import format_bytes
from cas.repo.repository import Repository
from cas.repo.usage import Amount, RefUsage, dataset_usage, deletion_usage, versions_usage


@click.command("du", epilog="Example: cas du lake/photos v1.0")
@click.argument("url", metavar="URL")
@click.argument("refs", metavar="[REF]...", nargs=-1)
@click.option("--versions", is_flag=True, help="Count for each version what no other version keeps.")
@json_option
def command(url: str, refs: tuple[str, ...], versions: bool, as_json: bool) -> None:
    """Count what deleting branches and tags would free: the bytes that no other one keeps.

    Without REF, for each branch and tag of the dataset what it alone keeps, and then what several of them keep, what
    other datasets keep too, what only uncommitted rows and only the reflog still keep, and the total. With REFs, what
    deleting these together would free.

    Branches and tags of all datasets of the store count, with all versions that lead to them. Bytes are counted as they
    are stored: chunks, nodes and records, once each. Nothing is deleted. What a deletion leaves to nobody becomes free
    when the store is collected, after the reflog's entries for it have expired and uncommitted rows that need it are
    committed or dropped.
    """
    if versions and refs:
        raise click.UsageError("--versions counts all versions; leave out REF")
    with open_store(url) as (repository, location):
        refuse_revision(location)
        dataset = repository.dataset_id(location.name)
        if versions:
            _show_versions(repository, dataset, location.name, location.path, as_json)
        elif refs:
            _show_deletion(repository, dataset, refs, location.path, as_json)
        else:
            _show_dataset(repository, dataset, location.path, as_json)


def _show_dataset(repository: Repository, dataset: bytes, path: Path, as_json: bool) -> None:
    usage = dataset_usage(repository, dataset)
    if as_json:
        print_json({"dataset": str(path), **usage.to_dict()})
        return
    _print_refs(usage.refs)
    click.echo(f"{_told(usage.several)} kept by several of these")
    click.echo(f"{_told(usage.elsewhere)} kept by other datasets too")
    click.echo(f"{_told(usage.sessions)} kept by uncommitted rows only")
    click.echo(f"{_told(usage.reflog)} kept by the reflog only, until its entries expire")
    click.echo(f"{_told(usage.total)} in total")


def _show_deletion(repository: Repository, dataset: bytes, refs: Sequence[str], path: Path, as_json: bool) -> None:
    usage = deletion_usage(repository, dataset, refs)
    if as_json:
        print_json({"dataset": str(path), **usage.to_dict()})
        return
    _print_refs(usage.refs)
    click.echo(f"{_told(usage.several)} kept by several of these")
    click.echo(f"{_told(usage.total)} kept by nothing else: what deleting these would free")


def _show_versions(repository: Repository, dataset: bytes, name: str, path: Path, as_json: bool) -> None:
    refs = read_refs(repository, dataset)
    counted = versions_usage(repository, dataset)
    usages = [(Version(repository, dataset, name, usage.version), usage.alone) for usage in counted]
    if as_json:
        facts = [version_facts(version, refs) | alone.to_dict() for version, alone in usages]
        print_json({"dataset": str(path), "versions": facts})
        return
    rows = [
        (
            version.id[:SHORT_DIGITS],
            format_time(version.timestamp),
            *_cells(alone),
            format_refs(version, refs),
            version.message.partition("\n")[0],
        )
        for version, alone in usages
    ]
    print_table(("version", "time", "bytes", "blobs", "refs", "message"), rows, right=("bytes", "blobs"))


def _print_refs(refs: Sequence[RefUsage]) -> None:
    rows = [(ref.kind, ref.name, ref.version.hex()[:SHORT_DIGITS], *_cells(ref.alone)) for ref in refs]
    print_table(("kind", "name", "version", "bytes", "blobs"), rows, right=("bytes", "blobs"))


def _cells(amount: Amount) -> tuple[str, str]:
    return format_bytes(amount.stored_bytes), f"{amount.blobs:,}"


def _told(amount: Amount) -> str:
    return f"{format_bytes(amount.stored_bytes)} in {amount.blobs:,} blobs"
