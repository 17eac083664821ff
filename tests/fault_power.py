"""Power is lost at any moment, with a disk that may have written any part of what was not synced."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fault_kills import WORK, missing
from fault_matrix import Counts, fault
from system_calls import Event, Resize, Say, Sync, Write, has_tracer, traced
from walker import check_everything, recover_all

import cas

PAGE_BYTES = 4096
SECTOR_BYTES = 512
Piece = tuple[int, bytes]


class Disk:
    """A file as the disk has it, and what may not have reached it: pieces in the order they were written."""

    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)
        self.volatile: list[Piece] = []

    def take(self, event: Event) -> None:
        """Goes on by an event, which is complete then."""
        match event:
            case Write(_, pieces, synced):
                if synced:
                    self.content = bytearray(self.after(pieces))
                else:
                    self.volatile += split(pieces, PAGE_BYTES)
            case Resize(_, size_bytes):
                self.volatile.append((size_bytes, b""))
            case Sync():
                self.content, self.volatile = bytearray(self.after(self.volatile)), []

    def after(self, pieces: list[Piece]) -> bytes:
        """The file with these pieces, too."""
        content = bytearray(self.content)
        for offset, data in pieces:
            content += bytes(max(0, offset + len(data) - len(content)))
            content[offset : offset + len(data)] = data
        return bytes(content)

    def losses(self, coming: Event | None, chance: random.Random, count: int) -> Iterator[bytes]:
        """What may be found after a loss of power now, while the event that comes next may have begun."""
        pieces = list(self.volatile)
        if isinstance(coming, Write):
            pieces += split(coming.pieces, PAGE_BYTES)
        yield self.after([])
        if not pieces:
            return
        yield self.after(pieces)
        for _ in range(count):
            kept = [piece for piece in pieces if chance.random() < chance.choice((0.1, 0.5, 0.9))]
            chance.shuffle(kept)
            yield self.after(kept)


def split(pieces: list[Piece], size: int) -> list[Piece]:
    """Pieces of at most ``size`` bytes, which do not cross its multiples: what a disk writes as a whole."""
    parts = []
    for offset, data in pieces:
        begin = 0
        while begin < len(data):
            end = min(len(data), begin + size - (offset + begin) % size)
            parts.append((offset + begin, data[begin:end]))
            begin = end
    return parts


def facts_of(event: Event) -> list[Any]:
    """What a script told with an event."""
    return [json.loads(line) for line in event.text.splitlines()] if isinstance(event, Say) else []


def recorded(place: Path, steps: int) -> tuple[bytes, list[Event]]:
    """The file of a new dataset, and what a process at work on it wrote, synced and told."""
    cas.create(place / "ds", schema={"x": "int64"}).close()
    start = (place / "ds/data.mdb").read_bytes()
    script = f"import sys\nsys.argv += ['5', '{steps}']\n" + WORK.replace("MOST_ROWS = 20_000", "MOST_ROWS = 500")
    events = traced(script, place / "ds")
    return start, [event for event in events if isinstance(event, Say) or event.path.endswith("data.mdb")]


def survives(place: Path, content: bytes, told: list[Any]) -> tuple[bool, bool]:
    """Whether what is found is wrong, and whether it lacks what was told."""
    url = place / "found"
    url.mkdir()
    try:
        (url / "data.mdb").write_bytes(content)
        shutil.copy(place / "ds/cas-store", url)
        check_everything(url)
        lost = missing(url, told)
        if told and told[-1][0] == "flush":
            recover_all(url)
        return False, bool(lost)
    except Exception as error:
        sys.stderr.write(f"after {told[-1:]}: {error!r}\n")
        return True, False
    finally:
        shutil.rmtree(url)


@fault("power lost")
def trial(place: Path, full: bool) -> Counts:
    counts = Counts()
    if not has_tracer():
        return counts
    place.mkdir(exist_ok=True)
    start, events = recorded(place, 60 if full else 16)
    disk, told = Disk(start), list[Any]()
    chance = random.Random(11)
    for number, event in enumerate([*events, None]):
        if full or chance.random() < 0.25:
            for content in disk.losses(event, chance, 6 if full else 1):
                wrong, lost = survives(place, content, told)
                counts.add(wrong=wrong, lost=lost)
                if wrong or lost:
                    sys.stderr.write(f"event {number}: {event!r}, wrong {wrong}, lost {lost}\n")
        if event is not None:
            disk.take(event)
            told += facts_of(event)
    return counts
