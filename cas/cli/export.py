"""``cas export``."""

from __future__ import annotations

from pathlib import Path

import click

from cas.cli.output import json_option, print_json, printable
from cas.dataset.summary import format_bytes
from cas.integrations.safetensors.exporting import export_safetensors

_EXAMPLE = "cas import fixtures/checkpoints/tiny.safetensors lake/tiny && cas export lake/tiny tiny.safetensors"


@click.command("export", epilog=f"Example: {_EXAMPLE}")
@click.argument("url", metavar="URL[@REV]")
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
@click.option("-f", "--force", is_flag=True, help="Replace files that are in the way.")
@json_option
def command(url: str, target: Path, force: bool, as_json: bool) -> None:
    """Write the tensors of a version to FILE, which ends with .safetensors.

    A checkpoint that was imported from such a file gives the same file, bit for bit. A FILE that ends with
    .safetensors.index.json gets the index that was imported, with its files beside it.
    """
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
