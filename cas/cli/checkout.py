"""``cas checkout``."""

from __future__ import annotations

from pathlib import Path

import click

import cas
from cas.cli.main import EXIT_INCOMPLETE
from cas.cli.opened import SHORT_DIGITS
from cas.cli.output import json_option, print_json, progress
from cas.cli.written import is_incomplete, pinned_facts, result_facts, tell_pinned, tell_skipped, told_result
from cas.integrations.checkout import Options, RunCheckout, checkout_run
from cas.integrations.experiment.reading import is_experiment
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
    """Write a version to DIR, bit for bit: its images under their paths, or what a run of an experiment has.

    A checkout over an earlier one writes only what differs and removes what is no more in the version. Files that no
    checkout wrote, or that were changed since, are never replaced without --force; nothing is written then.

    Of a run, DIR gets outputs/, inputs/NAME for each dataset that it used, params.json, metrics.jsonl, run.json with
    all that was noted, and a cas.lock that pins the inputs. An input that is no folder of images becomes a dataset of
    its own there. Inputs that are not found where they were are listed.
    """
    with cas.open_read_only(url) as dataset, progress("Writing", quiet=quiet) as report:
        version = dataset.version.id
        options = Options(force, jobs, report)
        if is_experiment(dataset):
            done = checkout_run(dataset, folder, options)
        else:
            done = RunCheckout(checkout(dataset, folder, force=force, jobs=jobs, report=report))
    if as_json:
        inputs = {"inputs": [pinned_facts(pinned) for pinned in done.inputs]} if done.inputs else {}
        print_json({"version": version, **result_facts(done.files), **inputs})
    else:
        tell_skipped(done.files)
        click.echo(f"{folder} is at {version[:SHORT_DIGITS]}: {told_result(done.files)}")
        for pinned in done.inputs:
            tell_pinned(pinned, folder)
    if done.files.skipped or any(map(is_incomplete, done.inputs)):
        ctx.exit(EXIT_INCOMPLETE)
