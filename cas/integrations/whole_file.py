"""Files that take their name when they are complete and on disk."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from cas.store.lmdb import sync_directory


@contextmanager
def whole_file(target: Path, check: Callable[[], None] | None = None) -> Iterator[IO[bytes]]:
    """Opens a file for writing that takes its name at the end of the block, durably.

    A file that had the name is replaced, and gives its permissions to the new one. ``check`` is called just before, and
    may raise to prevent it. If anything raises, what was there is as it was, and nothing is left beside it.
    """
    part = name_beside(target)
    try:
        with open(part, "xb") as file:
            with suppress(FileNotFoundError):
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check()
        os.replace(part, target)
        sync_directory(target.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def name_beside(target: Path) -> Path:
    """Returns a name in the same folder that nothing has, for what is being written."""
    return target.with_name(f".cas-writing-{secrets.token_hex(8)}")
