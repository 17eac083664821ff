"""``cas checkout``."""

from __future__ import annotations

from pathlib import Path

import click

import cas
from cas.cli.main import EXIT_INCOMPLETE
from cas.cli.output import json_option, print_json, printable, progress
from cas.dataset.summary import format_bytes
from cas.integrations.folder.checkout import checkout


@click.command("checkout", epilog="Example: cas checkout lake/photos@v1.0 photos-v1")
@click.argument("url", metavar="URL[@REV]")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-f", "--force", is_flag=True, help="Replace files that are in the way.")
@click.option("-j", "--jobs", type=click.IntRange(1, 64), default=4, help="Write with so many threads.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@json_option
@click.pass_context
def command(ctx: click.Context, url: str, folder: Path, force: bool, jobs: int, quiet: bool, as_json: bool) -> None:
    """Write the images of a version to DIR, bit for bit, under their paths.

    A checkout over an earlier one writes only what differs and removes what is no more in the version. Files that no
    checkout wrote, or that were changed since, are never replaced without --force; nothing is written then.
    """
    with cas.open_read_only(url) as dataset, progress("Writing", quiet=quiet) as report:
        result = checkout(dataset, folder, force=force, jobs=jobs, report=report)
        version = dataset.version.id
    if as_json:
        skipped = [{"path": item.path, "reason": item.reason} for item in result.skipped]
        facts = {name: getattr(result, name) for name in ("written", "unchanged", "removed", "written_bytes")}
        print_json({"version": version, **facts, "skipped": skipped})
    else:
        for item in result.skipped:
            click.echo(f"left out {printable(item.path)}: {printable(item.reason)}", err=True)
        click.echo(
            f"{folder} is at {version[:12]}: {result.written:,} written ({format_bytes(result.written_bytes)}), "
            f"{result.unchanged:,} unchanged, {result.removed:,} removed, {len(result.skipped):,} left out"
        )
    if result.skipped:
        ctx.exit(EXIT_INCOMPLETE)
