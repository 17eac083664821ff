"""``cas lock``: add, list, verify, checkout, update, remove."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from cas.cli.main import EXIT_DAMAGED, EXIT_INCOMPLETE, exit_code
from cas.cli.opened import SHORT_DIGITS
from cas.cli.output import count_progress, format_ranges, json_option, print_json, print_table, printable, progress
from cas.cli.written import is_incomplete, pinned_facts, tell_pinned
from cas.integrations.checkout import Options, PinnedCheckout, checkout_locked, write_version
from cas.integrations.lock import locking
from cas.integrations.lock.contents import Fault
from cas.integrations.lock.file import LOCK_NAME, read_lock
from cas.integrations.lock.locking import Verified, open_entry
from cas.integrations.lock.toml import Entry

Function = TypeVar("Function", bound=Callable[..., Any])


def _file_option(function: Function) -> Function:
    return click.option(
        "-f",
        "--file",
        "lock",
        type=click.Path(path_type=Path),
        default=Path(LOCK_NAME),
        show_default=True,
        help="The lock file.",
    )(function)


@click.group("lock", epilog="Example: cas lock add photos lake/photos@v1.0 && cas lock verify --full")
def command() -> None:
    """Pin versions of datasets in a file, cas.lock: names to url, version id and tree hash.

    The file is TOML, for people and for git. What it pins opens in Python with cas.open_locked("cas.lock", NAME), which
    compares both hashes first. A url is relative to the file where the dataset lies below its folder or beside it. A
    version that a tag names stays for good; one that only the reflog leads to may be collected.
    """


@command.command("add", epilog="Example: cas lock add train lake/train@v1.0")
@click.argument("name")
@click.argument("url", metavar="URL[@REV]")
@click.option("--force", is_flag=True, help="Take the place of what is pinned by that name.")
@_file_option
@json_option
def add(name: str, url: str, force: bool, lock: Path, as_json: bool) -> None:
    """Pin the version that a url names now; without a revision the head of main.

    The branch or tag of the revision is noted, so that "cas lock update" can move the entry on.
    """
    entry = locking.add(lock, name, url, replace=force)
    if as_json:
        print_json(_facts(name, entry))
    else:
        click.echo(printable(f"{lock} pins {name} at {entry.version[:SHORT_DIGITS]} of {entry.url}"))


@command.command("list", epilog="Example: cas lock list --json")
@_file_option
@json_option
def list_entries(lock: Path, as_json: bool) -> None:
    """List what the file pins; no dataset is opened."""
    entries = read_lock(lock).entries
    if as_json:
        print_json([_facts(name, entry) for name, entry in entries.items()])
    elif entries:
        rows = [
            (name, entry.url, entry.version[:SHORT_DIGITS], entry.tree[:SHORT_DIGITS], entry.revision or "")
            for name, entry in entries.items()
        ]
        print_table(("name", "url", "version", "tree", "revision"), rows)


@command.command("verify", epilog="Example: cas lock verify --full")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--full", is_flag=True, help="Read every blob of the versions and compare it with its hash.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@_file_option
@json_option
def verify(names: tuple[str, ...], full: bool, quiet: bool, lock: Path, as_json: bool) -> None:
    """Compare what is pinned with what is there: every version must exist and have its tree.

    With --full every blob of that tree is read. All entries are looked at; the exit code is 5 where something is
    damaged or has another tree, otherwise that of the first entry that is not as it must be, such as 3 for one that is
    not found.
    """
    with count_progress(quiet=quiet) as report:
        found = locking.verify(read_lock(lock), names, full=full, report=report)
    if as_json:
        print_json({"full": full, "entries": [_verified_facts(each) for each in found]})
    else:
        for each in found:
            _tell_verified(each, full)
    codes = [EXIT_DAMAGED if each.error is None else exit_code(each.error) for each in found if not each.sound]
    if codes:
        raise click.exceptions.Exit(EXIT_DAMAGED if EXIT_DAMAGED in codes else codes[0])


@command.command("checkout", epilog="Example: cas lock checkout train data/train")
@click.argument("name", required=False)
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), required=False)
@click.option("-C", "--into", metavar="DIR", type=click.Path(path_type=Path), help="Make the folders NAME in DIR.")
@click.option("--force", is_flag=True, help="Replace files that are in the way.")
@click.option("-j", "--jobs", type=click.IntRange(1, 64), default=4, help="Write with so many threads.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@_file_option
@json_option
@click.pass_context
def checkout(
    ctx: click.Context,
    name: str | None,
    folder: Path | None,
    into: Path | None,
    force: bool,
    jobs: int,
    quiet: bool,
    lock: Path,
    as_json: bool,
) -> None:
    """Write the dataset NAME to DIR, by default to a folder of its name; without NAME all, each to its own folder.

    Datasets of images become files, as "cas checkout" writes them; runs of experiments their outputs and what was
    noted; all others datasets of their own at DIR, with the version on main. Each is compared with its hashes first.
    Where all are written, those that cannot be are listed, and the exit code is 1.
    """
    if folder is not None and into is not None:
        raise click.UsageError("DIR and --into do not go together")
    file = read_lock(lock)
    with progress("Writing", quiet=quiet) as report:
        options = Options(force, jobs, report)
        if name is None:
            done = checkout_locked(file, into or Path(), options)
        else:
            target = folder or (into or Path()) / name
            with open_entry(file, name) as dataset:
                result = write_version(dataset, target, options)
                done = [PinnedCheckout(name, dataset.version.id, str(target), result)]
    if as_json:
        print_json([pinned_facts(pinned) for pinned in done])
    else:
        for pinned in done:
            tell_pinned(pinned, (into or Path()) if name is None else Path())
    if any(map(is_incomplete, done)):
        ctx.exit(EXIT_INCOMPLETE)


@command.command("update", epilog="Example: cas lock update train")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@_file_option
@json_option
def update(names: tuple[str, ...], lock: Path, as_json: bool) -> None:
    """Pin entries, by default all, at the version where their branch or tag is now; all of them or none."""
    moves = locking.update(lock, names)
    if as_json:
        print_json([{**_facts(move.name, move.new), "old": move.old.version} for move in moves])
        return
    for move in moves:
        new = move.new.version[:SHORT_DIGITS]
        if move.new.revision is None:
            line = f"{move.name} stays at {new}: it was pinned by a version, not by a branch or tag"
        elif move.new == move.old:
            line = f"{move.name} is at {new}, where {move.new.revision} still is"
        else:
            line = f"{move.name} moved from {move.old.version[:SHORT_DIGITS]} to {new} ({move.new.revision})"
        click.echo(printable(line))


@command.command("remove", epilog="Example: cas lock remove train")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_file_option
@json_option
def remove(names: tuple[str, ...], lock: Path, as_json: bool) -> None:
    """Pin some datasets no more; the datasets stay as they are."""
    removed = locking.remove(lock, names)
    if as_json:
        print_json([_facts(name, entry) for name, entry in zip(names, removed, strict=True)])
    else:
        for name, entry in zip(names, removed, strict=True):
            click.echo(printable(f"{lock} pins {name} no more, which was at {entry.version[:SHORT_DIGITS]}"))


def _facts(name: str, entry: Entry) -> dict[str, Any]:
    return {"name": name, **asdict(entry)}


def _verified_facts(found: Verified) -> dict[str, Any]:
    error = None if found.error is None else {"type": type(found.error).__name__, "message": str(found.error)}
    return {
        **_facts(found.name, found.entry),
        "sound": found.sound,
        "error": error,
        "faults": [asdict(fault) for fault in found.faults],
    }


def _tell_verified(found: Verified, full: bool) -> None:
    name, short = printable(found.name), found.entry.version[:SHORT_DIGITS]
    if found.error is not None:
        click.echo(f"{name}: not as pinned: {printable(str(found.error))}")
    elif found.sound:
        click.echo(f"{name}: {short} is as pinned{', with every blob' if full else ''}")
    for fault in found.faults:
        click.echo(f"{name}: damaged: {printable(fault.message)}{printable(_told_rows(fault))}")


def _told_rows(fault: Fault) -> str:
    parts = [f"column {column!r} rows {format_ranges(rows)}" for column, rows in fault.columns.items()]
    return f" ({'; '.join(parts)})" if parts else ""
