"""``cas fsck``."""

from __future__ import annotations

import click

from cas.cli.main import EXIT_DAMAGED
from cas.cli.opened import SHORT_DIGITS, open_store
from cas.cli.output import count_progress, format_ranges, json_option, print_json, printable
from cas.dataset.summary import format_bytes
from cas.errors import CorruptedError
from cas.repo.damage import Checked, Finding, Place
from cas.repo.fsck import Fsck, database_finding


@click.command("fsck", epilog="Example: cas fsck lake --json")
@click.argument("url", metavar="STORE")
@click.option("--quick", is_flag=True, help="Check the structure only: tables, versions, trees; read no chunk.")
@click.option("--restart", is_flag=True, help="Begin anew where an earlier check was interrupted.")
@click.option(
    "--repair-from",
    "source",
    metavar="URL",
    help="Take what is damaged or missing from another store that has it, such as a copy or a backup.",
)
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@json_option
def command(url: str, quick: bool, restart: bool, source: str | None, quiet: bool, as_json: bool) -> None:
    """Check every stored byte of a store, and that everything that is named is there.

    Each blob is read and compared with its hash; then all tables, versions and trees are followed. A finding tells
    which versions, columns and rows it touches. Errors are data that is lost or wrong, for which the exit code is 5;
    warnings are harmless, such as a damaged blob that nothing leads to, and the exit code stays 0.

    A check that was interrupted goes on where it was: what it had read is not read again, so damage that came later
    to that part is not seen; --restart reads all. With --repair-from the exit code tells what is left. Others
    may read and write meanwhile; "cas gc" is refused while versions and trees are followed.
    """
    try:
        found = _checked(url, quick, restart, source, quiet)
    except CorruptedError as error:
        found = Checked(0, 0, 0, (database_finding(error),))
    if as_json:
        print_json(found.to_dict() | {"quick": quick})
    else:
        _print(found, quick)
    if found.errors:
        raise click.exceptions.Exit(EXIT_DAMAGED)


def _checked(url: str, quick: bool, restart: bool, source: str | None, quiet: bool) -> Checked:
    with open_store(url, read_only=False) as (repository, _), count_progress(quiet=quiet) as report:
        check = Fsck(repository, quick=quick, restart=restart, report=report)
        if source is None:
            return check.check()
        with open_store(source) as (other, _):
            return check.repair(other)


def _print(found: Checked, quick: bool) -> None:
    for finding in found.repaired:
        click.echo(f"repaired: {printable(finding.message)}")
    for finding in found.findings:
        click.echo(_told(finding))
    what = "nodes and records" if quick else f"blobs of {format_bytes(found.stored_bytes)}"
    repaired = f", {len(found.repaired):,} repaired" if found.repaired else ""
    click.echo(
        f"{found.blobs:,} {what} and {found.versions:,} versions checked: "
        f"{found.errors:,} errors, {found.warnings:,} warnings{repaired}"
    )


def _told(finding: Finding) -> str:
    places = "; ".join(map(_told_place, finding.places))
    where = f": {places}" if places else " (nothing leads to it)" if finding.blob else ""
    return printable(f"{finding.severity}: {finding.message}{where}")


def _told_place(place: Place) -> str:
    parts = [f"{place.ref} of {place.dataset or 'the dataset'}", f"version {place.version[:SHORT_DIGITS]}"]
    if place.count > 1:
        parts.append(f"and {place.count - 1:,} more")
    parts.append(place.part if place.column is None else f"{place.part} {place.column!r}")
    if place.rows:
        parts.append(f"rows {format_ranges(place.rows)}")
    return " ".join(parts)
