"""Files that take their name when they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


@contextmanager
def replacing(target: str) -> Iterator[IO[bytes]]:
    """Opens a file for writing that takes its name when it is complete, so that nobody finds a part of it.

    A pipe or device is written to as it is.
    """
    if os.path.exists(target) and not os.path.isfile(target):
        with open(target, "wb") as file:
            yield file
        return
    path = os.path.realpath(target)
    part = f"{path}.{os.getpid()}.part"
    try:
        with open(part, "xb") as file:
            yield file
        os.replace(part, path)
    except BaseException:
        if os.path.exists(part):
            os.unlink(part)
        raise
