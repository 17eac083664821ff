"""Scripts in a process of their own: another reader or writer, where a crash is a return code."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

PRELUDE = """
import json, os, pickle, sys
from pathlib import Path
import cas
from cas.errors import *
url = Path(sys.argv[1])
"""


def run(script: str, url: Path, *arguments: str, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Runs a script that finds ``cas``, its errors and the path ``url`` at hand."""
    code = PRELUDE + textwrap.dedent(script)
    command = [*prefix, sys.executable, "-X", "faulthandler", "-c", code, str(url), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def output(script: str, url: Path, *arguments: str, prefix: Sequence[str] = ()) -> str:
    """What a script prints, which must end well."""
    done = run(script, url, *arguments, prefix=prefix)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def bound_by_permissions() -> list[str]:
    """A prefix for commands that permissions shall bind: root must lose the capability to pass over them."""
    if os.geteuid() != 0:
        return []
    prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    try:
        subprocess.run([*prefix, "true"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("permissions do not bind root, and setpriv cannot take that capability away")
    return prefix
