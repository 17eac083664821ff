"""``cas init``."""

from __future__ import annotations

import click

import cas
from cas.cli.output import json_option, print_json
from cas.repo.location import parse_url


@click.command("init", epilog="Example: cas init lake && cas import photos lake/photos -m 'first import'")
@click.argument("url")
@json_option
def command(url: str, as_json: bool) -> None:
    """Make a store for many datasets at URL, which must not exist yet or be an empty folder.

    Datasets in it, at URL/NAME, share what they have in common.
    """
    cas.init(url)
    path = str(parse_url(url).path)
    if as_json:
        print_json({"store": path})
    else:
        click.echo(f"Made the store {path}; datasets go to {path}/NAME")
