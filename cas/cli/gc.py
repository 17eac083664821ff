"""``cas gc``."""

from __future__ import annotations

import click

from cas.cli.opened import open_store
from cas.cli.output import count_progress, json_option, print_json
from cas.dataset.summary import format_bytes
from cas.repo.collect import REFLOG_DAYS, Collected, Collection, Expiry


@click.command("gc", epilog="Example: cas gc lake --dry-run --reflog-days 30")
@click.argument("url", metavar="STORE")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option(
    "--reflog-days",
    type=click.FloatRange(0),
    default=REFLOG_DAYS,
    show_default=True,
    help="Forget older moves of branches and tags, with what only they lead to.",
)
@click.option(
    "--uncommitted-days",
    type=click.FloatRange(0),
    help="Drop uncommitted rows that are older and whose process is gone; by default they are kept.",
)
@click.option("--compact", is_flag=True, help="Give free space back to the disk; nobody else may have the store open.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@json_option
def command(
    url: str,
    dry_run: bool,
    reflog_days: float,
    uncommitted_days: float | None,
    compact: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Remove what no branch, tag, recent move, uncommitted row or open version leads to.

    Space that becomes free is used for what is written later; --compact gives it back to the disk, for which the store
    is copied once. Readers and other commands go on meanwhile; where somebody is writing, the command ends with exit
    code 4 and can be run again. A crash at any moment loses nothing.
    """
    with open_store(url, read_only=dry_run) as (repository, _), count_progress(quiet=quiet) as report:
        collection = Collection(repository, Expiry(reflog_days, uncommitted_days), report)
        found = collection.plan() if dry_run else collection.apply()
        before = repository.store.stored_bytes()
        after = repository.store.compact() if compact and not dry_run else before
    if as_json:
        print_json(found.to_dict() | {"dry_run": dry_run, "store_bytes": after})
        return
    click.echo(_told(found, dry_run))
    click.echo(
        f"the store takes {format_bytes(after)} on disk" + (f", before {format_bytes(before)}" if compact else "")
    )


def _told(found: Collected, dry_run: bool) -> str:
    what = "would be removed" if dry_run else "removed"
    reclaimed = "" if dry_run else f"; {format_bytes(found.reclaimed_bytes)} of the store are free for others"
    rest = "".join(
        f", {count:,} {name}"
        for count, name in (
            (found.versions, "versions"),
            (found.reflog_entries, "moves of the reflog"),
            (found.sessions, "uncommitted changes"),
        )
        if count
    )
    return (
        f"{found.blobs:,} blobs of {format_bytes(found.stored_bytes)} {what}{rest}; {found.kept_blobs:,} blobs kept"
        f"{reclaimed}"
    )
