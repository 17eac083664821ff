"""How fast do 25,000 real PNG files become durable, of which 28 % of the bytes are copies, and how many bytes are they?

The files are those of several of Debian's icon themes (see corpus.py), links among them as copies: every distinct file,
and as many of the copies, the first ones, as make 28 % of the bytes.
"""

from __future__ import annotations

import random
import struct
from hashlib import blake2b
from pathlib import Path
from zlib import crc32

import numpy as np
from corpus import fetch, files_below
from systems.contract import Array, Verbs

from workloads.case import Case, check_table
from workloads.data import in_batches, kept
from workloads.workload import PICTURES, Measure, Target, Workload

THEMES = ("oxygen-icon-theme", "gnome-icon-theme", "tango-icon-theme", "lxde-icon-theme", "faenza-icon-theme")
COPIES = 0.28
PICTURE_COUNT = 25_000
LEAST_SCALE = 0.01  # below it, pictures are made up, so that no network is needed


def real_pictures(folder: Path) -> list[bytes]:
    """All files, in an order that is shuffled but always the same."""
    contents: list[bytes] = []
    for theme in THEMES:
        fetch(theme, folder / theme)
        contents += [path.read_bytes() for path in files_below(folder / theme) if path.suffix == ".png"]
    random.Random(0).shuffle(contents)
    return with_copies(contents)[:PICTURE_COUNT]


def kept_pictures(case: Case) -> list[bytes]:
    """All files, which are brought once and then kept as one array, with the number of files and their sizes first."""

    def make() -> Array:
        contents = real_pictures(case.kept / "themes")
        sizes = np.array([len(contents), *map(len, contents)])
        return np.concatenate([sizes.view(np.uint8), np.frombuffer(b"".join(contents), np.uint8)])

    flat = kept(case, "pictures", make)
    count = int(flat[:8].view(np.int64)[0])
    ends = 8 * (1 + count) + np.cumsum(flat[8 : 8 * (1 + count)].view(np.int64))
    data = flat.tobytes()
    starts = [8 * (1 + count), *ends[:-1].tolist()]
    return [data[start:end] for start, end in zip(starts, ends.tolist(), strict=True)]


def with_copies(contents: list[bytes]) -> list[bytes]:
    """Leaves out copies where they are more than their share so far."""
    seen: set[bytes] = set()
    kept: list[bytes] = []
    total = copied = 0
    for content in contents:
        digest = blake2b(content).digest()
        if digest in seen and copied + len(content) > COPIES * (total + len(content)):
            continue
        copied += len(content) if digest in seen else 0
        total += len(content)
        seen.add(digest)
        kept.append(content)
    return kept


def made_picture(pixels: bytes) -> bytes:
    """What looks like a PNG file of 1 x 1 pixels, whatever its pixels are."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)), (b"IDAT", pixels), (b"IEND", b""))
    framed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def pictures(case: Case) -> list[bytes]:
    """The files at this scale."""
    count = case.count(PICTURE_COUNT, 20)
    if case.scale >= LEAST_SCALE:
        return kept_pictures(case)[:count]
    rng = random.Random(1)
    made = [made_picture(rng.randbytes(rng.randrange(100, 6000))) for _ in range(count * 3 // 4)]
    return [*made, *made[: count - len(made)]]


def warm(system: Verbs) -> None:
    """A few files."""
    system.ingest([{"image": [made_picture(bytes([number])) for number in range(10)]}])


def run(case: Case, system: Verbs) -> None:
    """Ingests from memory, and reads all of it back."""
    files = pictures(case)
    size = sum(map(len, files))
    case.report("files", len(files))
    case.report("distinct / source", sum(map(len, set(files))) / size)
    seconds = case.timed(lambda: system.ingest(in_batches({"image": files})), much=True)
    case.report("ingest", size / seconds / 1e6)
    case.report("stored / source", case.stored() / size)
    check_table(case, system, "image", files)


REAL_PICTURES = Workload(
    "25,000 real PNG files",
    ("ingest", "open"),
    (
        Measure("ingest", "MB/s", Target(1.0, "deeplake"), Target(1.4, "deeplake"), "blake3"),
        Measure("stored / source", "x", Target(0.74)),
        Measure("distinct / source", "x"),
        Measure("files", "in all"),
    ),
    run,
    PICTURES,
    warm=warm,
)
