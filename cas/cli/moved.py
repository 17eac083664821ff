"""Branches that a command moves: opened for writing, and told of afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import click

from cas.cli.changes import count_changes, summarise_changes
from cas.cli.opened import SHORT_DIGITS, OpenedDataset, open_dataset, version_facts
from cas.cli.output import print_json, printable
from cas.dataset.dataset import Dataset
from cas.dataset.diff import Diff
from cas.dataset.history import Version
from cas.history.refs import MAIN

NOTHING: Final = "nothing"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done, in a word and in a line, from which version to which one, and the version that was named."""

    word: str
    line: str
    old: Version
    new: Version
    named: Version


@contextmanager
def open_branch(url: str) -> Iterator[tuple[OpenedDataset, Dataset]]:
    """Opens the branch that a url names after an ``@``, by default ``main``, for writing."""
    with open_dataset(url, read_only=False) as opened:
        branch = opened.location.revision or MAIN
        with Dataset(opened.repository, opened.dataset, opened.location.name, branch) as ds:
            yield opened, ds


def name_version(revision: str, version: Version) -> str:
    """Returns how a version was named, with the beginning of its id where that says something more."""
    short = version.id[:SHORT_DIGITS]
    return short if version.id.startswith(revision) else f"{revision} ({short})"


def tell(opened: OpenedDataset, branch: str, outcome: Outcome, as_json: bool) -> None:
    """Prints what was done to a branch, and how much that changed."""
    diff = Diff(opened.repository, outcome.old, outcome.new)
    if as_json:
        refs = opened.refs()
        print_json(
            {
                "branch": branch,
                "outcome": outcome.word,
                "old": outcome.old.id,
                "version": version_facts(outcome.new, refs),
                "named": version_facts(outcome.named, refs),
                "changes": count_changes(diff),
            }
        )
    elif outcome.word == NOTHING:
        click.echo(printable(outcome.line))
    else:
        click.echo(printable(f"{outcome.line}: {summarise_changes(diff)}"))
