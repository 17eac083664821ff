"""What ``cas branch`` and ``cas tag`` do alike: list names of versions, make, rename and delete them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import click

from cas.cli.opened import SHORT_DIGITS, OpenedDataset, open_dataset, open_version, refuse_revision
from cas.cli.output import format_time, print_json, print_table, printable
from cas.dataset.branches import Branch
from cas.dataset.refs import create_ref
from cas.dataset.tags import Tag
from cas.history.refs import MAIN
from cas.repo.repository import Repository

One = TypeVar("One", Tag, Branch)
_Found = TypeVar("_Found", bound=Tag | Branch, covariant=True)


class _Refs(Protocol[_Found]):
    def __getitem__(self, name: str) -> _Found: ...
    def __iter__(self) -> Iterator[_Found]: ...


@dataclass(frozen=True, slots=True)
class RefKind(Generic[One]):
    """Branches or tags: what one is called, and the classes of one and of all."""

    word: str
    one: type[One]
    all: Callable[[Repository, bytes, str], _Refs[One]]

    def of(self, opened: OpenedDataset) -> _Refs[One]:
        """Returns those of a dataset."""
        return self.all(opened.repository, opened.dataset, opened.location.name)


def check_one_action(kind: RefKind[One], name: str | None, delete: str | None, rename: tuple[str, str] | None) -> None:
    """Raises a usage error where more than one thing is to be done."""
    if (name is not None) + (delete is not None) + (rename is not None) > 1:
        raise click.UsageError(
            f"NAME makes a {kind.word}; it does not go with --delete or --rename, nor these with each other"
        )


def list_refs(url: str, kind: RefKind[One], as_json: bool) -> None:
    """Prints all of a kind, or, where the url has a revision, those that name its version."""
    with open_dataset(url) as opened:
        refs = list(kind.of(opened))
        if opened.location.revision is not None:
            version = opened.find(opened.location.revision)
            refs = [ref for ref in refs if ref.version == version]
        if as_json:
            print_json([_facts(ref) for ref in refs])
        elif refs:
            print_table((kind.word, "version", "time", "message"), map(_row, refs))


def make_ref(url: str, kind: RefKind[One], name: str, text: str, as_json: bool, *, message: str = "") -> None:
    """Makes one at the version that a url names; ``text`` tells of it and has places for ``version`` and ``name``."""
    with open_version(url, read_only=False) as opened:
        hash_ = bytes.fromhex(opened.version.id)
        name, record = create_ref(opened.repository, opened.dataset, kind.one, name, hash_, message)
        ref = kind.one(opened.repository, opened.dataset, opened.location.name, name, record)
        _tell(_facts(ref), text.format(version=opened.version.id[:SHORT_DIGITS], name=name), as_json)


def delete_ref(url: str, kind: RefKind[One], name: str, delete: Callable[[One], None], as_json: bool) -> None:
    """Finds one and has it deleted."""
    with open_dataset(url, read_only=False) as opened:
        refuse_revision(opened.location)
        ref = kind.of(opened)[name]
        facts = _facts(ref)
        delete(ref)
        _tell(facts, f"Deleted {kind.word} {ref.name}, which was at version {facts['version'][:SHORT_DIGITS]}", as_json)


def rename_ref(url: str, kind: RefKind[One], old: str, new: str, as_json: bool) -> None:
    """Finds one and gives it another name."""
    with open_dataset(url, read_only=False) as opened:
        refuse_revision(opened.location)
        ref = kind.of(opened)[old]
        before = ref.name
        ref.rename(new)
        _tell(_facts(ref), f"Renamed {kind.word} {before} to {ref.name}", as_json)


def _tell(facts: dict[str, str], text: str, as_json: bool) -> None:
    if as_json:
        print_json(facts)
    else:
        click.echo(printable(text))


def _message(ref: Tag | Branch) -> str:
    """A tag's own, and that of a branch's last version."""
    return ref.message if isinstance(ref, Tag) else ref.version.message


def _facts(ref: Tag | Branch) -> dict[str, str]:
    return {
        "name": ref.name,
        "id": ref.id,
        "version": ref.version.id,
        "timestamp": format_time(ref.timestamp, "microseconds"),
        "message": _message(ref),
    }


def _row(ref: Tag | Branch) -> tuple[str, ...]:
    mark = "" if isinstance(ref, Tag) else "* " if ref.name == MAIN else "  "
    first_line = next(iter(_message(ref).splitlines()), "")
    return mark + ref.name, ref.version.id[:SHORT_DIGITS], format_time(ref.timestamp), first_line
