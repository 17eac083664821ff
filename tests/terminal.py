"""The command ``cas`` as tests call it: in this process, or for exit codes in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from click.testing import CliRunner, Result

from cas.cli.main import cli
from cas.errors import CasError


def run(*args: object) -> Result:
    """Runs a command in this process."""
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def ok(*args: object) -> str:
    """Runs a command that must succeed, and returns what it prints."""
    result = run(*args)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def facts(*args: object) -> Any:
    """Runs a command with ``--json`` and returns what it prints, which must be strict JSON."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(ok(*args, "--json"), parse_constant=refuse)


def refused(error: type[CasError], *args: object) -> str:
    """Runs a command that must fail with an error and print nothing, and returns the error's message."""
    result = run(*args)
    assert isinstance(result.exception, error), (result.exception, result.output)
    assert result.stdout == ""
    return str(result.exception)


def usage_error(*args: object) -> str:
    """Runs a command that must be refused for its options, and returns what is said."""
    result = run(*args)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr


def process(*args: object, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a command in a process of its own."""
    command = [sys.executable, "-m", "cas.cli.main", *map(str, args)]
    return subprocess.run(command, input=stdin, env={**os.environ, **environment}, capture_output=True, check=False)
