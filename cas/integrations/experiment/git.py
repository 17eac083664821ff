"""The state of the code: what git says of the folder it is in."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

from cas.hashing import hash_chunk

_SECONDS: Final = 30
# Nobody else's lock is taken, and no monitor is started.
_GIT: Final = ("git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false")


def read_code(folder: Path) -> dict[str, Any] | None:
    """Returns commit, branch, and whether files that git tracks differ from the commit, with a hash of how.

    ``branch`` is None on a detached head, ``commit`` before the first one; ``diff`` is the BLAKE3 hash of what
    ``git diff HEAD`` prints, None where the tree is clean. ``untracked`` counts files that git does not know and does
    not ignore: the commit does not bring them back. ``dirty`` and ``untracked`` are None where git cannot tell. None
    where there is no repository or no git.
    """
    if _run(folder, "rev-parse", "--is-inside-work-tree") != b"true\n":
        return None
    commit = _text(_run(folder, "rev-parse", "--verify", "--quiet", "HEAD"))
    branch = _text(_run(folder, "symbolic-ref", "--short", "--quiet", "HEAD"))
    code: dict[str, Any] = {"commit": commit, "branch": branch, "dirty": None, "diff": None, "untracked": None}
    status = _run(folder, "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=normal")
    if status is not None:
        lines = [line for line in status.split(b"\0") if line]
        code["untracked"] = sum(line.startswith(b"??") for line in lines)
        code["dirty"] = code["untracked"] < len(lines)
    if code["dirty"] and commit is not None:
        diff = _run(folder, "diff", "--binary", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD", "--", ":/")
        code["diff"] = None if diff is None else hash_chunk(diff).hex()
    return code


def _run(folder: Path, *arguments: str) -> bytes | None:
    """What a git command prints; None where it fails."""
    try:
        done = subprocess.run(
            [*_GIT, "-C", str(folder), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _text(output: bytes | None) -> str | None:
    return None if output is None else output.decode(errors="replace").strip() or None
