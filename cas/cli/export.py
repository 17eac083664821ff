"""``cas export``."""

from __future__ import annotations

from pathlib import Path

import click

import cas
from cas.cli.output import json_option, print_json, printable, progress
from cas.dataset.summary import format_bytes
from cas.integrations.formats.exporting import FORMATS, export
from cas.integrations.safetensors.exporting import export_safetensors
from cas.integrations.safetensors.importing import INDEX_SUFFIX, SUFFIX

_SAFETENSORS = "safetensors"
_FORMATS = "\n".join(f"  {name:12} {text}" for name, text in FORMATS.items())
_HELP = f"""Write the rows of a version to DEST in another format; images keep their bytes.

\b
Formats:
{_FORMATS}
  {_SAFETENSORS:12} the tensors of a checkpoint; one that was imported comes back bit for bit, also in several files

Without --format the suffix of DEST says which. DEST takes its name when all of it is written; what is there is not
replaced without --force, and a folder only if an export made it. A column that the format cannot hold is refused.
"""


@click.command(
    "export",
    help=_HELP,
    epilog="Example: cas export lake/photos@v1.0 shards --format webdataset",
)
@click.argument("url", metavar="URL[@REV]")
@click.argument("target", metavar="DEST", type=click.Path(path_type=Path))
@click.option("--format", "format_", type=click.Choice([*FORMATS, _SAFETENSORS]), help="Write in this format.")
@click.option("-c", "--column", "columns", multiple=True, help="Write only this column; may be repeated.")
@click.option("--image", metavar="COLUMN", help="Write the images of this column (imagefolder).")
@click.option("--shard-bytes", type=click.IntRange(1), help="Begin a new shard from this size on (webdataset).")
@click.option("-f", "--force", is_flag=True, help="Replace what an export has written there.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@json_option
def command(
    url: str,
    target: Path,
    format_: str | None,
    columns: tuple[str, ...],
    image: str | None,
    shard_bytes: int | None,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    if format_ == _SAFETENSORS or (format_ is None and target.name.endswith((SUFFIX, INDEX_SUFFIX))):
        if columns or image or shard_bytes:
            raise click.UsageError("--column, --image and --shard-bytes are not for checkpoints; leave them out.")
        _export_checkpoint(url, target, force=force, as_json=as_json)
        return
    with cas.open_read_only(url) as dataset, progress("Writing", quiet=quiet) as report:
        rows = export(
            dataset,
            target,
            format_,
            columns=columns or None,
            image=image,
            shard_bytes=shard_bytes,
            force=force,
            report=report,
        )
        version = dataset.version.id
    if as_json:
        print_json({"version": version, "rows": rows, "target": str(target)})
    else:
        click.echo(f"{target} has the {rows:,} rows of version {version[:12]}")


def _export_checkpoint(url: str, target: Path, *, force: bool, as_json: bool) -> None:
    result = export_safetensors(url, target, overwrite=force)
    if as_json:
        print_json(
            {
                "files": [str(file) for file in result.files],
                "tensors": result.tensors,
                "written_bytes": result.written_bytes,
                "verbatim": result.verbatim,
            }
        )
        return
    how = "as imported" if result.verbatim else "with a new header"
    files = ", ".join(printable(str(file)) for file in result.files)
    click.echo(f"Wrote {files}: {result.tensors:,} tensors, {format_bytes(result.written_bytes)}, {how}")
