"""Datasets of a lock file: added, moved on, removed, opened, verified."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cas.dataset.read_only import ReadOnlyDataset
from cas.errors import CasError, ExistsError, InvalidInputError
from cas.integrations.lock.contents import Fault, check_contents
from cas.integrations.lock.file import LockFile, editing, read_lock
from cas.integrations.lock.pin import Pin, open_pin, pin_url, portable_url
from cas.integrations.lock.toml import Entry, check_name
from cas.repo.fsck_blobs import Report
from cas.repo.location import Url

LockPath = str | os.PathLike[str]


class EntryExistsError(ExistsError):
    """The lock file pins another dataset or version by that name."""


def open_locked(lock: LockPath, name: str) -> ReadOnlyDataset:
    """Opens a dataset at the version that a lock file pins, after comparing version id and tree hash.

    Both are computed from what the store has now, so what is read is what was pinned, bit for bit, or an error.
    Relative urls begin at the folder of the lock file. Raises ``LockFileNotFoundError``, ``EntryNotFoundError``,
    ``StoreNotFoundError``, ``DatasetNotFoundError`` or ``VersionNotFoundError``, all of them
    :class:`~cas.errors.NotFoundError`; ``LockFileError``, with the line, for a malformed file; and
    :class:`~cas.errors.CorruptedError` where the version has another tree. Cost: two records are read.

    >>> import cas, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> cas.create(folder + "/train", schema={"x": "int64"}).close()
    >>> from cas.integrations.lock.locking import add
    >>> entry = add(folder + "/cas.lock", "train", folder + "/train")
    >>> len(cas.open_locked(folder + "/cas.lock", "train"))
    0
    """
    return open_entry(read_lock(lock), name)


def open_entry(lock: LockFile, name: str) -> ReadOnlyDataset:
    """Opens the dataset of an entry, compared as by :func:`open_locked`."""
    entry = lock.entry(name)
    return open_pin(lock.url(name), entry.version, entry.tree, f"{name!r} in {lock.path}")


def entry_of(pin: Pin, folder: Path) -> Entry:
    """Returns the entry for a pin in a lock file of a folder."""
    return Entry(portable_url(pin.path, folder), pin.version, pin.tree, pin.revision)


def add(lock: LockPath, name: str, url: Url, *, replace: bool = False) -> Entry:
    """Pins what a url names now, under a name; makes the file where there is none.

    Where the same is pinned already, nothing changes. Raises :class:`EntryExistsError` where the name has something
    else and ``replace`` is not given.
    """
    check_name(name)
    pin = pin_url(url)
    with editing(lock) as (place, entries):
        entry = entry_of(pin, place.parent)
        there = entries.get(name)
        if there not in (None, entry) and not replace:
            raise EntryExistsError(
                f"{place} pins something else as {name!r}: {there.url} at {there.version[:12]}; choose another name, "
                f"'cas lock update' to move it on, or --force (replace=True)",
                name=name,
            )
        entries[name] = entry
    return entry


@dataclass(frozen=True, slots=True)
class Moved:
    """An entry before and after an update; equal where its branch or tag is where it was, or where it has none."""

    name: str
    old: Entry
    new: Entry


def update(lock: LockPath, names: tuple[str, ...] = ()) -> list[Moved]:
    """Pins entries, or all, where their branch or tag is now; those pinned by a version id stay.

    All of them are moved, or, where one cannot be, none.
    """
    moves = []
    with editing(lock) as (place, entries):
        file = LockFile(place, dict(sorted(entries.items())))
        for name, entry in file.selected(names).items():
            new = entry
            if entry.revision is not None:
                pin = pin_url(f"{file.url(name)}@{entry.revision}")
                new = Entry(entry.url, pin.version, pin.tree, entry.revision)
            entries[name] = new
            moves.append(Moved(name, entry, new))
    return moves


def remove(lock: LockPath, names: tuple[str, ...]) -> list[Entry]:
    """Removes entries, all of those named or, where one is not there, none; returns them."""
    if not names:
        raise InvalidInputError("name the datasets that the lock file is to pin no more")
    with editing(lock) as (place, entries):
        file = LockFile(place, dict(entries))
        removed = [file.entry(name) for name in names]
        for name in set(names):
            del entries[name]
    return removed


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found of an entry: the error that keeps it from being opened, or the blobs that are not as they must."""

    name: str
    entry: Entry
    error: CasError | None
    faults: tuple[Fault, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return self.error is None and not self.faults


def verify(
    lock: LockFile, names: tuple[str, ...] = (), *, full: bool = False, report: Report | None = None
) -> list[Verified]:
    """Compares the entries, or those named, with what their stores have.

    That is, whether the version is there and has the tree; with ``full``, whether every blob of that tree is there and
    has the content that its hash names. Cost: two records an entry; with ``full`` all nodes and chunks of the trees.
    """
    found = []
    for name, entry in lock.selected(names).items():
        try:
            with open_entry(lock, name) as dataset:
                faults = check_contents(dataset, report) if full else ()
            found.append(Verified(name, entry, None, faults))
        except CasError as error:
            found.append(Verified(name, entry, error))
    return found
