"""Width and height from the header, as Pillow has them from a decoder."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from cas.codec.image_format import image_size

FIXTURES = sorted((Path(__file__).parents[2] / "fixtures/images").rglob("*.*"))
KNOWN = {".png", ".gif", ".bmp", ".jpg", ".jpeg", ".webp"}


@pytest.mark.parametrize("path", [path for path in FIXTURES if path.name != "broken.png"], ids=lambda path: path.name)
def test_fixtures(path: Path) -> None:
    with Image.open(path) as image:
        assert image_size(path.read_bytes()) == (image.size if path.suffix in KNOWN else None)


@pytest.mark.parametrize("size", [(1, 1), (300, 7), (16_000, 1), (1, 16_000)])
@pytest.mark.parametrize(
    ("format_", "mode", "options"),
    [
        ("PNG", "L", {}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("JPEG", "RGB", {"progressive": True, "comment": b"\xff\xc0 no frame"}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("WEBP", "RGB", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}),
    ],
    ids=["png", "gif", "bmp", "jpeg", "webp", "lossless", "extended"],
)
def test_odd_sizes(format_: str, mode: str, options: dict[str, object], size: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, format_, **options)
    assert image_size(buffer.getvalue()) == size


def test_rows_from_the_top_and_a_header_of_16_bits() -> None:
    head = b"BM" + bytes(12)
    assert image_size(head + (40).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"\xfb\xff\xff\xff") == (3, 5)
    assert image_size(head + (12).to_bytes(4, "little") + b"\x03\0\x05\0") == (3, 5)


@pytest.mark.parametrize("path", [path for path in FIXTURES if path.suffix in KNOWN], ids=lambda path: path.name)
def test_any_beginning_is_looked_at_safely(path: Path) -> None:
    data = path.read_bytes()
    for end in range(64):
        found = image_size(data[:end])
        assert found is None or found == image_size(data)
    image_size(data[:2] + bytes(100))
    image_size(data[:4] + b"\xff" * 100)
