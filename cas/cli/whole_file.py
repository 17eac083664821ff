"""Files that a command writes where the user says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cas.integrations.whole_file import whole_file


@contextmanager
def replacing(target: str) -> Iterator[IO[bytes]]:
    """Opens a file for writing that takes its name when it is complete, so that nobody finds a part of it.

    A link stays, and leads to it; a pipe or device is written to as it is.
    """
    is_file = os.path.isfile(target) or not os.path.exists(target)
    with whole_file(Path(os.path.realpath(target))) if is_file else open(target, "wb") as file:
        yield file
