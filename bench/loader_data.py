"""What the loaders read: arrays, real icons, and pieces of real photographs; made up where none can be brought.

Each sample has its number ``n`` and ``x``, an array or an image file. :func:`check` compares what a loader gave.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from corpus import CorpusError, fetch, files_below
from PIL import Image
from workloads.case import WrongAnswerError

ARRAY, PNG, JPEG = "array", "png", "jpeg"
ICONS, PHOTOS = "oxygen-icon-theme", "mate-backgrounds"
ARRAY_SHAPE = (64, 64, 3)
PHOTO_SIZE = (500, 375)
_QUALITY = 85
_DEPTH_AT = 24  # the bits a channel, in the header of a PNG; of 16 bits each system makes something else
_DIFFERENCE = 6
"""How much decoders of JPEG may differ in a pixel."""
LEAST_SCALE = 0.05  # below it, pictures are made up, so that no network is needed

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Samples:
    """The samples of a workload: arrays, or image files of one mode; ``what`` says in words what they are."""

    kind: str
    what: str
    values: list[Any]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def mode(self) -> str:
        """Pillow's name for the channels of the images."""
        return "RGBA" if self.kind == PNG else "RGB"

    @property
    def even(self) -> bool:
        """Whether all have one shape."""
        return self.kind != PNG

    def expected(self, number: int) -> Array:
        """The pixels of a sample, of shape (height, width, channels)."""
        value = self.values[number]
        return value if self.kind == ARRAY else np.asarray(Image.open(io.BytesIO(value)))


def samples_of(kind: str, scale: float, folder: Path) -> Samples:
    """The samples of a kind; at scale 1 some hundred megabytes of pixels."""
    count = max(40, round({ARRAY: 20_000, PNG: 4_000, JPEG: 1_500}[kind] * scale))
    if kind == ARRAY:
        rng = np.random.default_rng(0)
        return Samples(
            kind, f"{count} random arrays of 64 x 64 x 3", [*rng.integers(0, 256, (count, *ARRAY_SHAPE), np.uint8)]
        )
    real = icons if kind == PNG else photographs
    try:
        if scale >= LEAST_SCALE:
            found = real(folder, count)
            return Samples(kind, f"{len(found)} {REAL[kind]}", found)
    except CorpusError:
        pass
    return Samples(kind, f"{count} made-up {kind} files", [made_up(kind, number) for number in range(count)])


REAL = {PNG: f"icons of {ICONS}, PNG", JPEG: f"pieces of 500 x 375 of photographs of {PHOTOS}, JPEG"}


def icons(folder: Path, count: int) -> list[bytes]:
    """Icons with red, green, blue and alpha, which are most of them."""
    fetch(ICONS, folder / ICONS)
    files = [path for path in files_below(folder / ICONS) if path.suffix == ".png"]
    random.Random(0).shuffle(files)
    found: list[bytes] = []
    for path in files:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            if image.mode == "RGBA" and content[_DEPTH_AT] == 8:
                found.append(content)
        if len(found) == count:
            break
    return found


def photographs(folder: Path, count: int) -> list[bytes]:
    """Pieces of photographs, as the samples of ImageNet are large: cut out at random and encoded again."""
    fetch(PHOTOS, folder / PHOTOS)
    rng = random.Random(0)
    files = [path for path in files_below(folder / PHOTOS) if path.suffix == ".jpg"]
    sources = []
    for path in files:
        with Image.open(path) as image:
            if image.width >= 2 * PHOTO_SIZE[0] and image.height >= 2 * PHOTO_SIZE[1] and image.mode == "RGB":
                image.draft("RGB", (1600, 1200))
                sources.append(image.copy())
    found = []
    for number in range(count):
        source = sources[number % len(sources)]
        left, top = rng.randrange(source.width - PHOTO_SIZE[0] + 1), rng.randrange(source.height - PHOTO_SIZE[1] + 1)
        found.append(encoded(source.crop((left, top, left + PHOTO_SIZE[0], top + PHOTO_SIZE[1])), JPEG))
    return found


def made_up(kind: str, number: int) -> bytes:
    """A file of smooth colours."""
    rng = np.random.default_rng(number)
    size = PHOTO_SIZE if kind == JPEG else (int(rng.integers(16, 129)),) * 2
    coarse = rng.integers(0, 256, (12, 16, 3 if kind == JPEG else 4), np.uint8)
    return encoded(Image.fromarray(coarse).resize(size), kind)


def encoded(image: Image.Image, kind: str) -> bytes:
    """The file of an image."""
    buffer = io.BytesIO()
    image.save(buffer, kind.upper(), quality=_QUALITY)
    return buffer.getvalue()


def pairs(batch: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    """The samples of a batch: number and pixels."""
    for number, pixels in zip(batch["n"], batch["x"], strict=True):
        yield int(number), pixels


def check(samples: Samples, batches: Iterator[dict[str, Any]], rows: bool = True) -> int:
    """Goes through an epoch: every sample must come once, and with ``rows`` have its pixels; returns their number."""
    seen: list[int] = []
    for batch in batches:
        for number, pixels in pairs(batch) if rows else ((int(number), None) for number in batch["n"]):
            seen.append(number)
            if rows:
                check_pixels(samples, number, np.asarray(pixels))
    if sorted(seen) != list(range(len(samples))):
        raise WrongAnswerError(f"{len(seen)} samples came, {len(set(seen))} different ones, of {len(samples)}")
    return len(seen)


def check_pixels(samples: Samples, number: int, found: Array) -> None:
    """Compares pixels, with channels first or last."""
    expected = samples.expected(number)
    if found.shape != expected.shape and found.ndim == 3:
        found = found.transpose(1, 2, 0)
    # datasets makes all integers int64
    if found.shape != expected.shape or found.dtype not in (expected.dtype, np.int64):
        raise WrongAnswerError(f"sample {number} has shape {found.shape} and dtype {found.dtype}")
    difference = int(np.abs(found.astype(np.int16) - expected).max())
    if difference > (_DIFFERENCE if samples.kind == JPEG else 0):
        raise WrongAnswerError(f"sample {number} differs by {difference}")
