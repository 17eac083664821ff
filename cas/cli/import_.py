"""``cas import``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import cas
from cas.cli.import_checkpoint import import_checkpoint
from cas.cli.main import EXIT_INCOMPLETE
from cas.cli.output import json_option, print_json, printable, progress
from cas.dataset.moves import check_signature
from cas.dataset.summary import format_bytes
from cas.integrations.folder.importing import ImportResult, import_folder
from cas.integrations.formats.importing import LEAVE_OUT, MISSING
from cas.integrations.formats.landing import import_into
from cas.integrations.formats.opening import FORMATS, IMAGEFOLDER, SAFETENSORS, open_source, recognise_format

_FORMATS = "\n".join(f"  {name:12} {text}" for name, text in FORMATS.items())
_HELP = f"""Bring the images and rows of SOURCE into the dataset at URL, as a new version.

\b
Formats, told by --format, or else by the name of a file and by what is in a folder:
{_FORMATS}

The dataset is made if it does not exist. Of a folder of images the columns are path, image (the file, bit for bit)
and label (the first folder level); of a checkpoint the rows are its tensors. Run again, it commits only what was
added, changed or removed, and no version where nothing was. What is left out is listed; the exit code is 1 then. An
import of a folder that was interrupted goes on where it was; others begin anew.
"""


@click.command(
    "import",
    help=_HELP,
    epilog="Example: cas import photos lake/photos -m 'spring pictures'",
)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.argument("url")
@click.option("--format", "format_", type=click.Choice(list(FORMATS)), help="Say which format SOURCE is in.")
@click.option("--images", metavar="DIR", help="Find images that are named by path below DIR.")
@click.option("--image", metavar="COLUMN", help='Say which column names images, or "" for none.')
@click.option("--missing", type=click.Choice(MISSING), help="Leave out rows without their image, or keep them.")
@click.option("-m", "--message", help="Say what the version is; by default the counts of rows.")
@click.option("--author", help="Who makes the version; by default the name of your account.")
@click.option("-j", "--jobs", type=click.IntRange(1, 64), help="Read a folder of images with so many threads.")
@click.option("--rehash", is_flag=True, help="Read every file of a folder again, also those that look unchanged.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    sources: tuple[str, ...],
    url: str,
    format_: str | None,
    message: str | None,
    author: str | None,
    jobs: int | None,
    rehash: bool,
    quiet: bool,
    as_json: bool,
    **options: str | None,
) -> None:
    check_signature(message, author)
    if not all(sources):
        raise click.UsageError("SOURCE is empty; expected the path of a file or folder.")
    format_ = format_ or recognise_format(sources[0])
    if format_ == SAFETENSORS:
        _refuse_options(options, "a checkpoint")
        if len(sources) > 1 or jobs is not None or rehash:
            raise click.UsageError("a checkpoint is one file, or one index; --jobs and --rehash are not for it.")
        import_checkpoint(Path(sources[0]), url, message=message, author=author, as_json=as_json)
        return
    made = not cas.exists(url)
    with progress("Importing", quiet=quiet) as report:
        facts: dict[str, Any] = {"message": message, "author": author, "report": report}
        if format_ == IMAGEFOLDER:
            result = _import_folder(sources, url, options, jobs=jobs, rehash=rehash, **facts)
        elif jobs is not None or rehash:
            raise click.UsageError(f"--jobs and --rehash are for folders of images, not for {format_}; leave them out.")
        else:
            missing = options.pop("missing") or LEAVE_OUT
            result = import_into(url, open_source(format_, sources, **options), missing=missing, **facts)
    with cas.open_read_only(url) as dataset:
        rows = len(dataset)
    if as_json:
        print_json(_facts(result, rows))
    else:
        if made:
            click.echo(f"Made the dataset {url}")
        _print(result, rows, "images" if format_ == IMAGEFOLDER else "rows")
    if result.skipped:
        ctx.exit(EXIT_INCOMPLETE)


def _refuse_options(options: dict[str, str | None], what: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise click.UsageError(f"--{name} is not for {what}; leave it out.")


def _import_folder(sources: tuple[str, ...], url: str, options: dict[str, str | None], **facts: Any) -> ImportResult:
    _refuse_options(options, "a folder of images")
    if len(sources) > 1:
        raise click.UsageError("one folder of images is imported at a time.")
    folder = Path(sources[0])
    if not folder.is_dir():
        raise click.UsageError(f"{folder} is not a folder.")
    with cas.open(url) if cas.exists(url) else cas.create(url) as dataset:
        return import_folder(folder, dataset, **facts)


def _facts(result: ImportResult, rows: int) -> dict[str, Any]:
    return {
        "version": result.version,
        "made_version": result.made_version,
        "rows": rows,
        **result.counts(),
        "read_bytes": result.read_bytes,
        "skipped": [{"path": item.path, "reason": item.reason} for item in result.skipped],
    }


def _print(result: ImportResult, rows: int, what: str) -> None:
    for item in result.skipped:
        click.echo(f"left out {printable(item.path)}: {printable(item.reason)}", err=True)
    made = "Version" if result.made_version else "Nothing changed since version"
    click.echo(f"{made} {result.version[:12]}: {rows:,} {what}, read {format_bytes(result.read_bytes)}")
    click.echo(
        f"{result.added:,} added, {result.changed:,} changed, {result.removed:,} removed, "
        f"{result.unchanged:,} unchanged, {len(result.skipped):,} left out"
    )
