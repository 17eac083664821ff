"""``cas import``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import cas
from cas.cli.import_file import import_file
from cas.cli.main import EXIT_INCOMPLETE
from cas.cli.output import json_option, print_json, printable, progress
from cas.dataset.summary import format_bytes
from cas.integrations.folder.importing import ImportResult, import_folder


@click.command("import", epilog="Example: cas import photos lake/photos -m 'spring pictures'")
@click.argument("source", metavar="DIR|FILE", type=click.Path(exists=True, path_type=Path))
@click.argument("url")
@click.option("-m", "--message", help="Say what the version is; by default the counts of files.")
@click.option("--author", help="Who makes the version; by default the name of your account.")
@click.option("-j", "--jobs", type=click.IntRange(1, 64), help="Read with so many threads.")
@click.option("--rehash", is_flag=True, help="Read every file again, also those that look unchanged.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    source: Path,
    url: str,
    message: str | None,
    author: str | None,
    jobs: int | None,
    rehash: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Bring the images in DIR and below, or a checkpoint, into the dataset at URL, as a new version.

    The dataset is made if it does not exist. Columns are path, image (the file, bit for bit) and label (the first
    folder level). Run again, it commits only what was added, changed or removed, and no version where nothing was.
    Files that are left out are listed; the exit code is 1 then. An import that was interrupted goes on where it was.

    A FILE is a checkpoint that ends with .safetensors, or with .safetensors.index.json for one in several files. Rows
    are its tensors, changed in place by the next import; cas export gives the same file back.
    """
    if source.is_file():
        import_file(source, url, message=message, author=author, as_json=as_json)
        return
    made = not cas.exists(url)
    with cas.create(url) if made else cas.open(url) as dataset, progress("Importing", quiet=quiet) as report:
        result = import_folder(source, dataset, message=message, author=author, jobs=jobs, rehash=rehash, report=report)
        rows = len(dataset)
    if as_json:
        print_json(_facts(result, rows))
    else:
        if made:
            click.echo(f"Made the dataset {url}")
        _print(result, rows)
    if result.skipped:
        ctx.exit(EXIT_INCOMPLETE)


def _facts(result: ImportResult, rows: int) -> dict[str, Any]:
    return {
        "version": result.version,
        "made_version": result.made_version,
        "rows": rows,
        **result.counts(),
        "read_bytes": result.read_bytes,
        "skipped": [{"path": item.path, "reason": item.reason} for item in result.skipped],
    }


def _print(result: ImportResult, rows: int) -> None:
    for item in result.skipped:
        click.echo(f"left out {printable(item.path)}: {item.reason}", err=True)
    what = "Version" if result.made_version else "Nothing changed since version"
    click.echo(f"{what} {result.version[:12]}: {rows:,} images, read {format_bytes(result.read_bytes)}")
    click.echo(
        f"{result.added:,} added, {result.changed:,} changed, {result.removed:,} removed, "
        f"{result.unchanged:,} unchanged, {len(result.skipped):,} left out"
    )
