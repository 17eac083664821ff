"""What ``cas import`` does with a file, by how its name ends."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

import cas
from cas.cli.output import print_json, printable
from cas.dataset.summary import format_bytes
from cas.errors import InvalidInputError
from cas.integrations.safetensors.importing import INDEX_SUFFIX, SUFFIX, import_safetensors


def import_file(file: Path, url: str, *, message: str | None, author: str | None, as_json: bool) -> None:
    """Brings a file into the dataset at a url and prints what came of it."""
    if not file.name.endswith((SUFFIX, INDEX_SUFFIX)):
        raise InvalidInputError(
            f"{file} is of no kind that can be imported; expected a folder, or a file that ends with {SUFFIX} or "
            f"{INDEX_SUFFIX}"
        )
    made = not cas.exists(url)
    result = import_safetensors(file, url, message, author=author)
    if as_json:
        print_json(dataclasses.asdict(result))
        return
    if made:
        click.echo(f"Made the dataset {printable(url)}")
    what = "Version" if result.made_version else "Nothing changed since version"
    click.echo(f"{what} {result.version[:12]}: {result.tensors:,} tensors, read {format_bytes(result.read_bytes)}")
