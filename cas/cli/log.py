"""``cas log``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

import click

from cas.cli.graph import draw
from cas.cli.opened import SHORT_DIGITS, OpenedDataset, Refs, format_refs, open_dataset, version_facts
from cas.cli.output import format_time, json_option, print_json, printable
from cas.cli.run_table import print_runs, print_runs_json, select_runs
from cas.dataset.history import History, Version, walk_versions
from cas.history.refs import MAIN
from cas.integrations.experiment.reading import runs_among

_SIGNS: Final = {"added": "+", "changed": "~", "removed": "-"}


@click.command("log", epilog="Example: cas log lake/photos@v1.0 --graph -n 10")
@click.argument("url", metavar="URL[@REV]")
@click.option("-n", "--limit", type=click.IntRange(1), help="Show so many of the newest versions.")
@click.option("--reverse", is_flag=True, help="Show the oldest first.")
@click.option("--graph", is_flag=True, help="Go through all parents, and draw which version comes from which.")
@click.option("--all", "all_refs", is_flag=True, help="Go through all parents, from all branches and tags.")
@click.option("--experiments", is_flag=True, help="Compare the runs of an experiment in a table.")
@click.option("--sort", metavar="METRIC", help="Order runs by a metric, the least first; --reverse the greatest.")
@json_option
def command(
    url: str,
    limit: int | None,
    reverse: bool,
    graph: bool,
    all_refs: bool,
    experiments: bool,
    sort: str | None,
    as_json: bool,
) -> None:
    """List the versions that lead to a revision, newest first, along first parents.

    Each line has the id, the time by the storage's clock, the author, the branches and tags that name the version, the
    counts of an import (added, changed, removed), and the first line of the message.

    With --experiments it is a table of the runs among them, also of branches that were merged: when each began (UTC),
    how it ended, how long it took, parameters, seeds and inputs in which the runs differ, metrics, and the commit of
    the code, with a star where files differed from it; "cas log lake/trials --experiments --sort loss -n 10" lists the
    ten of the least loss. No content is read.
    """
    if experiments and graph:
        raise click.UsageError("--experiments prints a table; it does not go with --graph")
    if sort is not None and not experiments:
        raise click.UsageError("--sort goes with --experiments")
    if graph and reverse:
        raise click.UsageError("--graph draws the newest version first; it does not go with --reverse")
    with open_dataset(url) as opened:
        refs = opened.refs()
        if experiments:
            runs = runs_among(_walk(opened, refs if all_refs else {}))
            selected = select_runs(runs, limit, sort, reverse=reverse)
            print_runs_json(selected, refs) if as_json else print_runs(selected, sort)
            return
        if graph or all_refs:
            versions = _select_from_all(_walk(opened, refs if all_refs else {}), limit, reverse)
        else:
            versions = _select(_history(opened), limit, reverse)
        if as_json:
            print_json([_facts(version, refs) for version in versions])
        elif graph:
            _draw(versions, refs)
        else:
            for version in versions:
                click.echo(_line(version, refs))


def _history(opened: OpenedDataset) -> History:
    head = opened.find(opened.location.revision or MAIN)
    return History(opened.repository, opened.dataset, opened.location.name, bytes.fromhex(head.id))


def _walk(opened: OpenedDataset, refs: Refs) -> Iterator[Version]:
    """All that leads to the refs and to the revision of the url; without either, to the head of ``main``."""
    heads = set(refs)
    if opened.location.revision is not None or not heads:
        heads.add(opened.find(opened.location.revision or MAIN).id)
    return walk_versions(opened.repository, opened.dataset, opened.location.name, map(bytes.fromhex, heads))


def _select(history: History, limit: int | None, reverse: bool) -> Iterator[Version]:
    if not reverse:
        return islice(reversed(history), limit)
    oldest = 0 if limit is None else max(0, len(history) - limit)
    return (history[number] for number in range(oldest, len(history)))


def _select_from_all(versions: Iterator[Version], limit: int | None, reverse: bool) -> Iterator[Version]:
    newest = islice(versions, limit)
    return reversed(list(newest)) if reverse else newest


def _draw(versions: Iterable[Version], refs: Refs) -> None:
    by_id: dict[str, Version] = {}

    def with_parents() -> Iterator[tuple[str, tuple[str, ...]]]:
        for version in versions:
            by_id[version.id] = version
            yield version.id, version.parents

    for row, id_ in draw(with_parents()):
        click.echo(row if id_ is None else f"{row} {_line(by_id.pop(id_), refs)}")


def _import_counts(version: Version) -> dict[str, int]:
    """What an import noted; details come from whoever made the version, so anything else is passed over."""
    counts = version.details.get("import")
    if not isinstance(counts, dict):
        return {}
    return {name: count for name, count in counts.items() if isinstance(name, str) and type(count) is int}


def _facts(version: Version, refs: Refs) -> dict[str, Any]:
    counts = _import_counts(version)
    return version_facts(version, refs) | ({"import": counts} if counts else {})


def _line(version: Version, refs: Refs) -> str:
    parts = [version.id[:SHORT_DIGITS], format_time(version.timestamp), version.author]
    names = format_refs(version, refs)
    if names:
        parts.append(f"({names})")
    counts = _import_counts(version)
    parts += [f"{sign}{counts[name]}" for name, sign in _SIGNS.items() if name in counts]
    parts += version.message.splitlines()[:1]
    return printable(" ".join(parts))
