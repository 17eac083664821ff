"""Contact sheets as pictures: what stands where, in which colours, and words that fit."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from cas.integrations import contact_sheet
from cas.integrations.contact_sheet import CHANGED, INSERTED, Card, Colour, Picture, Section, draw_sheet
from cas.integrations.pictures import thumbnail

RED, BLUE = (250, 10, 10), (10, 10, 250)
MARGIN, PAD, PANEL, SLOT, GAP = 24, 8, 160, 176, 12
TOP = 66 + 44 + PAD
FIXTURES = sorted((Path(__file__).parents[2] / "fixtures/images").rglob("*.*"))


def encoded(colour: Any, size: tuple[int, int] = (160, 160), mode: str = "RGB", format_: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, format_)
    return buffer.getvalue()


def singles(*pictures: Picture, total: int | None = None) -> Section:
    cards = [Card(f"row {row}", (picture,), ("png",)) for row, picture in enumerate(pictures)]
    return Section("inserted", INSERTED, iter(cards), len(cards), total or len(cards), 1)


def drawn(*sections: Section, title: str = "photos") -> Image.Image:
    with Image.open(io.BytesIO(draw_sheet(title, "from here to there", sections))) as image:
        assert image.format == "PNG"
        return image.convert("RGB")


def at(sheet: Image.Image, x: int, y: int) -> Colour:
    found = sheet.getpixel((x, y))
    assert isinstance(found, tuple)
    red, green, blue = found
    return int(red), int(green), int(blue)


def middle(sheet: Image.Image, slot: int = 0, row: int = 0) -> Colour:
    """The colour in the middle of a panel of a section of single pictures."""
    return at(sheet, MARGIN + PAD + 80 + slot * (SLOT + GAP), TOP + 80 + row * (sheet_row() + GAP))


def sheet_row() -> int:
    return contact_sheet._CARD_HEIGHT


def colours(sheet: Image.Image, box: Sequence[int]) -> set[Colour]:
    pixels = np.asarray(sheet)[box[1] : box[3], box[0] : box[2]].reshape(-1, 3)
    return {(int(red), int(green), int(blue)) for red, green, blue in np.unique(pixels, axis=0)}


def test_old_left_and_new_right() -> None:
    card = Card("a.png", (encoded(RED), encoded(BLUE)), ("png", "png"))
    sheet = drawn(Section("changed", CHANGED, [card], 1, 1, 2))
    assert at(sheet, MARGIN + PAD + 80, TOP + 80) == RED
    assert at(sheet, MARGIN + 2 * SLOT + GAP - PAD - 80, TOP + 80) == BLUE
    assert at(sheet, MARGIN + SLOT + GAP // 2, TOP + 80) == CHANGED  # the arrow
    assert at(sheet, MARGIN + 2, TOP - PAD - 44 + 20) == CHANGED  # beside the heading


def test_cards_fill_rows_from_the_left() -> None:
    sheet = drawn(singles(*[encoded(RED)] * 6, encoded(BLUE)))
    assert [middle(sheet, slot) for slot in range(6)] == [RED] * 6
    assert middle(sheet, 0, 1) == BLUE
    assert middle(sheet, 1, 1) not in (RED, BLUE)
    assert sheet.width == 2 * MARGIN + 6 * SLOT + 5 * GAP


def test_the_aspect_ratio_stays_and_small_pictures_are_enlarged_by_whole_pixels() -> None:
    sheet = drawn(singles(encoded(RED, (400, 100)), encoded(RED, (10, 30)), encoded(RED, (1, 4000))))
    box = np.all(np.asarray(sheet) == RED, axis=2)
    for slot, (width, height) in enumerate([(160, 40), (40, 120), (1, 160)]):
        left = MARGIN + PAD + slot * (SLOT + GAP)
        found = box[TOP : TOP + PANEL, left : left + PANEL]
        assert (found.any(axis=0).sum(), found.any(axis=1).sum()) == (width, height)


def test_transparent_pixels_show_a_chequered_ground() -> None:
    sheet = drawn(singles(encoded((0, 0, 0, 0), mode="RGBA")))
    assert colours(sheet, (MARGIN + PAD, TOP, MARGIN + PAD + PANEL, TOP + PANEL)) == set(contact_sheet._CHECKS)


@pytest.mark.parametrize(
    ("picture", "colour"),
    [
        (encoded(200, mode="L"), (200, 200, 200)),
        (encoded(1, mode="1"), (255, 255, 255)),
        (encoded(128 * 256, mode="I;16"), (128, 128, 128)),
        (encoded((0, 255, 255, 0), mode="CMYK", format_="JPEG"), (255, 0, 0)),
        (encoded(0.5, mode="F", format_="TIFF"), (255, 255, 255)),
        (np.full((5, 5), 200, np.uint8), (200, 200, 200)),
        (np.full((5, 5, 1), 200, np.uint8), (200, 200, 200)),
        (np.full((5, 5, 3), RED, np.uint8), RED),
        (np.full((5, 5, 7), 200, np.uint8), (200, 200, 200)),
        (np.full((5, 5), 200 << 8, np.uint16), (200, 200, 200)),
        (np.full((5, 5), True), (255, 255, 255)),
        (np.full((5, 5), np.nan), (0, 0, 0)),
    ],
)
def test_pixels_of_every_kind(picture: Picture, colour: Colour) -> None:
    assert middle(drawn(singles(picture))) == colour


def test_pictures_are_turned_as_their_camera_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (40, 20), RED).save(buffer, "PNG", exif=exif)
    assert thumbnail(buffer.getvalue(), PANEL, 4).size == (80, 160)


@pytest.mark.parametrize("picture", [encoded(RED)[:60], b"\x89PNG\r\n\x1a\n", b"?", np.zeros((0, 3), np.uint8)])
def test_a_broken_picture_leaves_the_others(picture: Picture) -> None:
    sheet = drawn(singles(picture, encoded(BLUE)))
    assert at(sheet, MARGIN + PAD + 4, TOP + 4) == contact_sheet._BROKEN[0]
    assert contact_sheet._BROKEN[1] in colours(sheet, (MARGIN + PAD + 2, TOP + 40, MARGIN + PAD + 150, TOP + 120))
    assert middle(sheet, 1) == BLUE


def test_a_bomb_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    section = singles(encoded(RED, (150, 160)), encoded(RED, (300, 300)))
    with monkeypatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000)  # it warns of the first one and refuses the second one
        data = draw_sheet("photos", "", [section])
    sheet = Image.open(io.BytesIO(data)).convert("RGB")
    assert middle(sheet) == RED
    assert at(sheet, MARGIN + PAD + SLOT + GAP + 4, TOP + 4) == contact_sheet._BROKEN[0]


def test_a_row_without_a_picture() -> None:
    assert middle(drawn(singles(None))) != contact_sheet._BROKEN[0]
    assert contact_sheet._FAINT in colours(drawn(singles(None)), (MARGIN, TOP, MARGIN + SLOT, TOP + PANEL))


def test_what_is_left_out_is_said() -> None:
    all_, some = drawn(singles(encoded(RED))), drawn(singles(encoded(RED), total=50))
    assert some.height > all_.height
    below = TOP - PAD + sheet_row() + GAP
    assert contact_sheet._FAINT in colours(some, (MARGIN, below, MARGIN + 100, below + 20))


def test_no_sections() -> None:
    assert drawn().height < 100


def test_the_same_again() -> None:
    pictures = [path.read_bytes() for path in FIXTURES]
    assert draw_sheet("a", "b", [singles(*pictures)]) == draw_sheet("a", "b", [singles(*pictures)])


def test_fixtures_can_all_be_drawn_but_the_broken_one() -> None:
    for path in FIXTURES:
        if path.name != "broken.png":
            assert max(thumbnail(path.read_bytes(), PANEL, 4).size) <= PANEL


@pytest.mark.parametrize("text", ["short.png", "a/" * 200 + "name.png", "x" * 3000, "", "日本" * 100])
@pytest.mark.parametrize("width", [20, 160, 700])
def test_words_fit(text: str, width: int) -> None:
    line, font = contact_sheet._fitted(text, 13, width)
    assert font.getlength(line) <= width


def test_a_long_path_is_shortened_in_the_middle() -> None:
    line, _ = contact_sheet._fitted("circles/" + "long/" * 50 + "name.png", 13, 160)
    assert line.startswith("circles/")
    assert line.endswith("name.png")
    assert "…" in line


def test_letters_that_no_font_has_are_told_by_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert features.check("freetype2")
    for function in (contact_sheet._fonts, contact_sheet._draws):
        function.cache_clear()
    monkeypatch.setattr(contact_sheet, "_OTHER_FONTS", ())
    try:
        assert contact_sheet._font_for("круг.png", 13)[0] == "\\u043a\\u0440\\u0443\\u0433.png"
        assert contact_sheet._font_for("a\x1b\n.png", 13)[0] == "a\\x1b\\n.png"
    finally:
        for function in (contact_sheet._fonts, contact_sheet._draws):
            function.cache_clear()
