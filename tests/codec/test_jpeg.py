"""JPEG decoded by simplejpeg has the pixels that Pillow gives, or is left to Pillow."""

from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
import pytest

from cas.codec import images
from cas.codec.images import decode_image
from cas.errors import InvalidInputError

simplejpeg = pytest.importorskip("simplejpeg")
pillow = pytest.importorskip("PIL.Image")

SIZES = [(500, 375), (333, 251), (17, 9), (8, 8), (1, 1)]


def picture(size: tuple[int, int], mode: str = "RGB") -> Any:
    coarse = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    return pillow.fromarray(coarse).resize(size).convert(mode)


def jpeg(image: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def by_pillow(data: bytes, mode: str | None = None) -> Any:
    with pillow.open(io.BytesIO(data)) as image:
        return np.asarray(image if mode is None else image.convert(mode))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The colours that simplejpeg was asked for."""
    asked: list[str] = []
    original = simplejpeg.decode_jpeg
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda data, space: (asked.append(space), original(data, space))[1])
    return asked


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_same_pixels(size: tuple[int, int], mode: str, decoded: list[str]) -> None:
    image = picture(size, mode)
    for quality, subsampling, progressive in itertools.product((30, 95), (0, 1, 2), (False, True)):
        data = jpeg(image, quality=quality, subsampling=subsampling, progressive=progressive)
        for wanted in (None, "L", "RGB", "RGBA"):
            found, expected = decode_image(data, wanted), by_pillow(data, wanted)
            assert found.dtype == expected.dtype
            assert np.array_equal(found, expected)
    # Grey of colours is the only one that is left to Pillow.
    assert len(decoded) == 12 * (4 if mode == "L" else 3)
    assert np.array_equal(decode_image(memoryview(data)), by_pillow(data))


def test_files_of_red_green_and_blue() -> None:
    data = jpeg(picture((40, 30)), keep_rgb=True)
    assert simplejpeg.decode_jpeg_header(data)[2] == "RGB"
    assert np.array_equal(decode_image(data), by_pillow(data))


def test_other_colours_are_left_to_pillow(decoded: list[str]) -> None:
    data = jpeg(picture((40, 30), "CMYK"))
    for mode in (None, "RGB"):
        assert np.array_equal(decode_image(data, mode), by_pillow(data, mode))
    assert decoded == []


def test_large_images_are_left_to_pillow(decoded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_MOST_PIXELS", 40 * 30 - 1)
    decode_image(jpeg(picture((40, 30))))
    assert decoded == []
    monkeypatch.setattr(pillow, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(InvalidInputError, match="exceeds limit"):
        decode_image(jpeg(picture((40, 30))))


def test_damage_is_told_as_pillow_tells_it(decoded: list[str]) -> None:
    data = jpeg(picture((200, 200)), quality=95)
    with pytest.raises(InvalidInputError, match=r"cannot be decoded: .*truncated"):
        decode_image(data[: len(data) // 2])
    assert decoded == ["RGB"]


def test_without_simplejpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg(picture((40, 30)))
    monkeypatch.setattr(images, "_simplejpeg", lambda: None)
    assert np.array_equal(decode_image(data), by_pillow(data))


def test_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """JPEG needs one of the two."""
    data = jpeg(picture((40, 30)))
    expected = by_pillow(data)
    monkeypatch.setattr(images, "_pillow", None)
    assert np.array_equal(decode_image(data), expected)
