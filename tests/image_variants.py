"""Copies of an image as they come about: resized, compressed again, cropped, marked, and changed in other ways."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

Random = np.random.Generator


def jpeg(image: Image.Image, quality: int = 85) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))))


def cropped(image: Image.Image, share: float, rng: Random) -> Image.Image:
    """Leaves out a share of width and height, more or less of it on either side."""
    width, height = (round(side * (1 - share)) for side in image.size)
    left, top = (int((side - kept) * rng.random()) for side, kept in zip(image.size, (width, height), strict=True))
    return image.crop((left, top, left + width, top + height))


def marked(image: Image.Image) -> Image.Image:
    """Writes a line of text at the lower right."""
    copy = image.copy()
    place = image.width * 0.6, image.height * 0.9
    ImageDraw.Draw(copy).text(place, "(c) example.org", (255, 255, 255), font_size=max(10, image.height // 16))
    return copy


VARIANTS: dict[str, Callable[[Image.Image, Random], bytes]] = {
    "half": lambda image, rng: jpeg(scaled(image, 0.5)),
    "tenth": lambda image, rng: jpeg(scaled(image, 0.1)),
    "quality 20": lambda image, rng: jpeg(image, 20),
    "quality 60": lambda image, rng: jpeg(image, 60),
    "png": lambda image, rng: png(image),
    "cropped by 2 %": lambda image, rng: jpeg(cropped(image, 0.02, rng)),
    "cropped by 5 %": lambda image, rng: jpeg(cropped(image, 0.05, rng)),
    "marked": lambda image, rng: jpeg(marked(image)),
    "brighter": lambda image, rng: jpeg(ImageEnhance.Brightness(image).enhance(1.15)),
    "less contrast": lambda image, rng: jpeg(ImageEnhance.Contrast(image).enhance(0.8)),
}


def tiles(image: Image.Image) -> list[Image.Image]:
    """Returns six parts that do not overlap."""
    width, height = image.width // 3, image.height // 2
    return [
        image.crop((column * width, row * height, (column + 1) * width, (row + 1) * height))
        for row in range(2)
        for column in range(3)
    ]


def drawn_scene(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Returns a picture of a ground that fades, and things on it."""
    rng = np.random.default_rng(seed)
    corners: Any = rng.integers(0, 256, (2, 2, 3), np.uint8)
    image = Image.fromarray(corners).resize(size, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(4, 10)):
        left, top = (int(side * rng.uniform(-0.2, 0.9)) for side in size)
        box = (left, top, left + int(rng.uniform(20, 140)), top + int(rng.uniform(20, 140)))
        colour = tuple(rng.integers(0, 256, 3).tolist())
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(box, fill=colour)
    return image
