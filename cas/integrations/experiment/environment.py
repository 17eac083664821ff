"""What a run ran on: Python, platform, processors, and the packages that it used."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from typing import Any


def read_environment() -> dict[str, Any]:
    """Returns a summary: no names of people or machines, no variables, no arguments.

    ``packages`` are the versions of those installed packages of which something has been imported by now.
    """
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "packages": _packages(),
    }


def _packages() -> dict[str, str]:
    loaded = {name.partition(".")[0] for name in list(sys.modules)}
    # A package whose metadata is broken has no name.
    names = {name for module in loaded for name in _packages_of().get(module, ()) if isinstance(name, str)}
    found: dict[str, str] = {}
    for name in sorted(names, key=str.lower):
        try:
            found[name] = str(metadata.version(name))
        except metadata.PackageNotFoundError:
            continue  # removed since it was imported
    return found


@lru_cache(1)
def _packages_of() -> Mapping[str, list[str]]:
    """The packages that each module at the top belongs to; it takes a look at all that are installed."""
    return metadata.packages_distributions()
