"""What ``cas import`` does with a checkpoint."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

import cas
from cas.cli.output import print_json, printable
from cas.dataset.summary import format_bytes
from cas.integrations.safetensors.importing import import_safetensors


def import_checkpoint(file: Path, url: str, *, message: str | None, author: str | None, as_json: bool) -> None:
    """Brings a checkpoint into the dataset at a url and prints what came of it."""
    made = not cas.exists(url)
    result = import_safetensors(file, url, message, author=author)
    if as_json:
        print_json(dataclasses.asdict(result))
        return
    if made:
        click.echo(f"Made the dataset {printable(url)}")
    what = "Version" if result.made_version else "Nothing changed since version"
    click.echo(f"{what} {result.version[:12]}: {result.tensors:,} tensors, read {format_bytes(result.read_bytes)}")
