"""What a script writes and syncs, and in which order, as the system sees it (strace)."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_CALLS = "openat,write,pwrite64,pwritev,writev,lseek,fdatasync,fsync,msync,sync,syncfs,ftruncate,truncate,mkdir,mkdirat"
_LINE = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True)
class Write:
    """Bytes written to a file; synced where the file was opened so."""

    path: str
    pieces: list[tuple[int, bytes]] = field(repr=False)
    synced: bool


@dataclass(frozen=True)
class Sync:
    """A file, with all that was written to it before, or a directory is on the disk."""

    path: str


@dataclass(frozen=True)
class Resize:
    """A file was made as long."""

    path: str
    size_bytes: int


@dataclass(frozen=True)
class MakeDirectory:
    """A directory was made."""

    path: str


@dataclass(frozen=True)
class Say:
    """A line on standard output: what the script acknowledges."""

    text: str


Event = Write | Sync | Resize | MakeDirectory | Say


@functools.cache
def has_tracer() -> bool:
    """Whether system calls can be traced here."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode == 0


needs_tracer = pytest.mark.skipif(not has_tracer(), reason="strace is not there or not allowed")


def traced(script: str, place: Path) -> list[Event]:
    """What a script does to files below ``place``, and says by ``os.write(1, ...)``, in order."""
    log = place.with_name(place.name + ".strace")
    command = ["strace", "-f", "-y", "-xx", "-s", "100000000", "-e", f"trace={_CALLS}", "-o", str(log)]
    done = subprocess.run(
        [*command, sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), str(place)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with open(log, errors="replace") as lines:
        return list(_events(_joined(lines), str(place)))


def _joined(lines: Iterator[str] | object) -> Iterator[str]:
    """Puts together what stands in two lines, because another thread came between."""
    begun: dict[str, str] = {}
    for line in lines:  # type: ignore[attr-defined]
        thread = line.split(" ", 1)[0]
        if line.rstrip().endswith("<unfinished ...>"):
            begun[thread] = line.rstrip().removesuffix("<unfinished ...>")
        elif "resumed>" in line[:60]:
            yield begun.pop(thread) + line.split("resumed>", 1)[1]
        else:
            yield line


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _events(lines: Iterator[str], place: str) -> Iterator[Event]:
    synced: dict[str, bool] = {}
    positions: dict[str, int] = {}  # LMDB sets one before each writev
    for line in lines:
        found = _LINE.match(line)
        if found is None or found[3].startswith("-"):
            continue
        call, arguments, result = found.groups()
        number, _, rest = arguments.partition("<")
        if call == "openat":
            if "O_WRONLY" in arguments or "O_RDWR" in arguments:
                synced[result] = "O_DSYNC" in arguments or "O_SYNC" in arguments
        elif call in ("mkdir", "mkdirat"):
            path = _unhex(_TEXT.search(arguments)[1]).decode()  # type: ignore[index]
            if path.startswith(place):
                yield MakeDirectory(path)
        elif call == "truncate":
            path = _unhex(_TEXT.search(arguments)[1]).decode()  # type: ignore[index]
            if path.startswith(place):
                yield Resize(path, int(arguments.rsplit(",", 1)[1]))
        elif number == "1" and call == "write":
            yield Say(_unhex(_TEXT.search(rest)[1]).decode())  # type: ignore[index]
        else:
            yield from _file_event(call, number, rest, place, synced, positions)


def _file_event(
    call: str, number: str, rest: str, place: str, synced: dict[str, bool], positions: dict[str, int]
) -> Iterator[Event]:
    path = _unhex(rest.split(">", 1)[0]).decode() if rest.startswith("\\x") else ""
    if not path.startswith(place):
        return
    texts = [_unhex(text) for text in _TEXT.findall(rest.split(">", 1)[1])]
    last = rest.rsplit(",", 1)[-1]
    match call:
        case "fdatasync" | "fsync":
            yield Sync(path)
        case "ftruncate":
            yield Resize(path, int(last))
        case "pwrite64" | "pwritev":
            yield Write(path, [(int(last), b"".join(texts))], synced.get(number, False))
        case "lseek":
            positions[number] = int(rest.split(",")[1])
        case "write" | "writev":
            yield Write(path, [(positions.get(number, 0), b"".join(texts))], synced.get(number, False))
