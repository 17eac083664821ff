"""Files and folders that take their name when they are complete and on disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from cas.errors import ExistsError, InvalidInputError
from cas.integrations.whole_file import name_beside, whole_file
from cas.store.lmdb import sync_directory

MARK: Final = ".cas-export"
"""A file in every folder that an export made: only such a folder is replaced."""


class DestinationExistsError(ExistsError):
    """Something is at the destination of an export already; nothing was written."""


@contextmanager
def new_file(target: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """Opens a file for writing that takes its name at the end of the block, on disk; ``force`` replaces a file."""
    _check_free(target, force=force)
    if target.is_dir():
        raise InvalidInputError(f"{target} is a folder; expected the name of a file")
    with whole_file(target, lambda: _check_free(target, force=force)) as file:
        yield file


@contextmanager
def new_folder(target: Path, *, force: bool) -> Iterator[Path]:
    """Gives a folder that takes its name at the end of the block, when what is in it is on disk.

    ``force`` replaces a folder that an export made; one that is empty is always replaced.
    """
    _check_replaceable(target, force=force)
    part = name_beside(target)
    old = name_beside(target)
    try:
        part.mkdir()
        (part / MARK).touch()
        yield part
        # All files at once: to sync them one by one takes as many turns of the disk.
        os.sync()
        _check_replaceable(target, force=force)
        if target.exists():
            target.rename(old)
        try:
            part.rename(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
        sync_directory(target.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)


def _check_free(target: Path, *, force: bool) -> None:
    if not target.parent.is_dir():
        raise InvalidInputError(f"{target.parent} is not a folder; make it first")
    if os.path.lexists(target) and not force:
        raise DestinationExistsError(
            f"{target} is there already; choose another name, or replace it with --force (force=True)", name=str(target)
        )


def _check_replaceable(target: Path, *, force: bool) -> None:
    is_folder = target.is_dir() and not target.is_symlink()
    if is_folder and not any(target.iterdir()):
        return
    _check_free(target, force=force)
    if os.path.lexists(target) and not (is_folder and (target / MARK).is_file()):
        raise DestinationExistsError(
            f"{target} was not made by an export, so it is not replaced; move it away", name=str(target)
        )
