"""What an image looks like: the hash of the library, whatever form the image has, and reasons for what has none."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from cas.errors import InvalidInputError
from cas.integrations.near.looks import Looks, hash_greys, look_at, pack_looks

WHITE, RED, BLUE = (255, 255, 255), (220, 20, 30), (10, 60, 200)


def scene(seed: int, size: tuple[int, int] = (240, 160)) -> Image.Image:
    """Returns soft blobs of colour, which hold still when they are resized."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def looks(*pictures: Any) -> Looks:
    return pack_looks([look_at(picture) for picture in pictures])


def distances(*pictures: Any) -> list[int]:
    """How far each is from the first."""
    codes = looks(*pictures).codes
    return [int(bits) for bits in np.bitwise_count(codes ^ codes[0])]


# The hash


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_it_is_the_hash_of_the_library(mode: str) -> None:
    imagehash = pytest.importorskip("imagehash", reason="the hash is compared with that of imagehash")
    rng = np.random.default_rng(1)
    images = [scene(seed) for seed in range(60)]
    images += [Image.fromarray(rng.integers(0, 256, (90, 120, 3), np.uint8)) for _ in range(60)]
    images = [image.convert(mode) for image in images]
    expected = [int(str(imagehash.phash(image)), 16) for image in images]
    assert looks(*(encoded(image) for image in images)).codes.tolist() == expected


def test_a_jpeg_decoded_at_a_fraction_is_at_most_a_little_off() -> None:
    imagehash = pytest.importorskip("imagehash", reason="the hash is compared with that of imagehash")
    bits = []
    for seed in range(20):
        data = encoded(scene(seed, (2000, 1500)), "JPEG")
        with Image.open(io.BytesIO(data)) as image:
            library = int(str(imagehash.phash(image)), 16)
        bits.append(int(looks(data).codes[0] ^ np.uint64(library)).bit_count())
    assert max(bits) <= 6
    assert np.mean(bits) <= 2


def test_a_symmetric_image_has_one_hash() -> None:
    """Half of its frequencies are nought, so rounding would decide on their bits."""
    half = np.asarray(scene(3, (64, 128)).convert("L"))
    whole = np.hstack((half, half[:, ::-1]))
    greys = np.asarray(Image.fromarray(whole).resize((32, 32), Image.Resampling.BOX))
    assert (greys == greys[:, ::-1]).all()
    flipped, same = hash_greys(np.stack((greys[:, ::-1], greys)))
    assert flipped == same


def test_batches_do_not_matter() -> None:
    pictures = [encoded(scene(seed)) for seed in range(9)]
    assert looks(*pictures).words.tolist() == [looks(picture).words[0].tolist() for picture in pictures]
    assert pack_looks([]).words.shape == (0, 3)


# What is packed


def test_the_words_say_size_and_colour() -> None:
    found = looks(encoded(Image.new("RGB", (7, 5), RED)), encoded(Image.new("RGB", (300, 20000), WHITE), "JPEG"))
    assert found.widths.tolist() == [7, 300]
    assert found.heights.tolist() == [5, 20000]
    assert found.colours.tolist() == [list(RED), list(WHITE)]
    assert found.flat.tolist() == [True, True]
    assert found.codes.tolist() == [0, 0]
    assert looks(encoded(scene(1))).flat.tolist() == [False]


# Forms of images


def test_the_same_picture_in_every_form() -> None:
    image = scene(5)
    forms: list[Any] = [encoded(image)]
    forms += [
        encoded(image, format_, **options)
        for format_, options in (
            ("JPEG", {"quality": 90}),
            ("BMP", {}),
            ("TIFF", {}),
            ("WEBP", {"lossless": True}),
            ("PPM", {}),
            ("JPEG", {"quality": 30}),
        )
    ]
    forms += [encoded(image.convert("P", palette=Image.Palette.ADAPTIVE)), encoded(image.convert("RGBA"))]
    forms += [encoded(image.convert("CMYK"), "JPEG"), encoded(image.resize((60, 40))), np.asarray(image)]
    forms += [encoded(image, "GIF"), encoded(image.convert("L")), np.asarray(image.convert("L"))]
    assert max(distances(*forms)) <= 4
    assert distances(encoded(image), encoded(scene(6)))[1] > 16


def test_sixteen_bits_count_by_their_upper_half() -> None:
    grey = np.asarray(scene(7).convert("L")).astype(np.uint16)
    deep = encoded(Image.fromarray(grey * 257))
    assert distances(encoded(scene(7).convert("L")), deep, grey * 257, (grey * 257)[:, :, None]) == [0, 0, 0, 0]
    pale = (grey * 40).astype(">u2")  # none of it bright, which shows if it is spread
    dark = looks(encoded(Image.fromarray(pale.astype(np.uint16))), pale, encoded(Image.fromarray(pale), "TIFF"))
    assert dark.words[0].tolist() == dark.words[1].tolist() == dark.words[2].tolist()


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_is_turned_as_its_camera_says(turn: int) -> None:
    upright = scene(8)
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = upright.transpose(back[turn]) if turn in back else upright
    assert distances(encoded(upright), encoded(stored, "PNG", exif=exif)) == [0, 0]


def test_of_several_frames_the_first_counts() -> None:
    first, second = scene(9), scene(10)
    moving = encoded(first, "GIF", save_all=True, append_images=[second, second])
    assert distances(encoded(first), moving)[1] <= 6
    assert distances(encoded(second), moving)[1] > 16


def glyph(colour: tuple[int, int, int], kind: str = "disc") -> Image.Image:
    """A sign on a ground that is seen through; below it, where nothing is seen, stands another colour."""
    alpha = np.zeros((64, 64), np.uint8)
    y, x = np.mgrid[:64, :64]
    if kind == "disc":
        alpha[(x - 20) ** 2 + (y - 25) ** 2 < 200] = 255
    else:
        alpha[10:20, 5:50] = 255
    pixels = np.empty((64, 64, 4), np.uint8)
    pixels[:, :, :3] = np.where(alpha[:, :, None] > 0, colour, (9, 99, 199))
    pixels[:, :, 3] = alpha
    return Image.fromarray(pixels)


def test_what_is_seen_through_lies_on_white() -> None:
    flattened = Image.new("RGB", (64, 64), WHITE)
    flattened.paste(glyph(RED), mask=glyph(RED).getchannel("A"))
    found = looks(encoded(glyph(RED)), encoded(flattened))
    assert found.codes[0] == found.codes[1]
    assert found.colours[0].tolist() == found.colours[1].tolist()


def test_white_signs_are_told_apart_on_black() -> None:
    """On white nothing of them would be seen, and all would be alike."""
    found = looks(encoded(glyph(WHITE)), encoded(glyph(WHITE, "bar")))
    assert not found.flat.any()
    assert int(found.codes[0] ^ found.codes[1]).bit_count() > 8
    assert looks(encoded(Image.new("RGBA", (9, 9), (255, 255, 255, 0)))).flat.all()


@pytest.mark.parametrize("quality", [20, 60, 95])
@pytest.mark.parametrize("colour", [WHITE, RED, (128, 128, 128)])
def test_noise_on_one_colour_is_flat(quality: int, colour: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(quality)
    noisy = np.clip(np.array(colour) + rng.normal(0, 5, (480, 640, 1)), 0, 255).astype(np.uint8)
    assert looks(encoded(Image.fromarray(noisy), "JPEG", quality=quality)).flat.all()


def test_a_pale_picture_is_not_flat() -> None:
    pale = Image.blend(scene(11), Image.new("RGB", (240, 160), WHITE), 0.9).filter(ImageFilter.GaussianBlur(2))
    assert not looks(encoded(pale)).flat.any()
    assert distances(encoded(pale), encoded(pale, "JPEG", quality=50))[1] <= 8


# What cannot be looked at


def test_what_cannot_be_decoded_has_a_reason_that_stays_the_same() -> None:
    whole = encoded(scene(12))
    for broken in (whole[:400] + whole[-12:], b"\x89PNG\r\n\x1a\n" + b"x" * 50, b"", b"\xff\xd8\xff\xd9"):
        with pytest.raises(InvalidInputError) as first:
            look_at(broken)
        with pytest.raises(InvalidInputError) as second:
            look_at(bytes(bytearray(broken)))
        assert str(first.value)
        assert str(first.value) == str(second.value)
