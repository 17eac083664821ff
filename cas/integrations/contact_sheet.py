"""A contact sheet: small pictures on cards, old beside new, in sections, drawn to one PNG with Pillow.

The same pictures and words give the same bytes, with the same Pillow and, for letters that its own font lacks, the same
fonts of the system.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from cas.errors import UnsupportedError

try:
    from PIL import Image, ImageDraw, ImageFont

    from cas.integrations.pictures import Picture, reason_of, thumbnail, without_warnings
except ImportError:
    raise UnsupportedError("a contact sheet needs Pillow; install it with: pip install 'tensor-cas[images]'") from None

Colour = tuple[int, int, int]

CHANGED: Final = (200, 140, 20)
INSERTED: Final = (40, 140, 70)
DELETED: Final = (190, 60, 50)

_PANEL: Final = 160
_PAD: Final = 8
_SLOT: Final = _PANEL + 2 * _PAD
_GAP: Final = 12
_MARGIN: Final = 24
_SLOTS: Final = (4, 6)
_TITLE_HEIGHT: Final = 66
_HEADING_HEIGHT: Final = 44
_LINE: Final = 17
_CARD_HEIGHT: Final = _PAD + _PANEL + 6 + 2 * _LINE + 4
_MOST_ENLARGED: Final = 4
_CHECK: Final = 8

_PAGE: Final = (243, 243, 245)
_CARD: Final = (255, 255, 255)
_EDGE: Final = (214, 214, 218)
_GROUND: Final = (228, 228, 231)
_CHECKS: Final = ((255, 255, 255), (205, 205, 205))
_INK: Final = (28, 28, 32)
_FAINT: Final = (105, 105, 112)
_BROKEN: Final = ((250, 232, 230), (150, 50, 45))

# Looked for on the system, for letters that Pillow's own font lacks, which has little but ASCII.
_OTHER_FONTS: Final = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial Unicode.ttf", "Arial.ttf"),
    *("NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "PingFang.ttc", "NotoEmoji-Regular.ttf"),
)
_NO_LETTER: Final = "\U0010ffff"
_ELLIPSIS: Final = "…"


@dataclass(frozen=True, slots=True)
class Card:
    """One picture, or an old and a new one, with what it is called and a few words about each."""

    name: str
    pictures: Sequence[Picture]
    details: Sequence[str]


@dataclass(frozen=True, slots=True)
class Section:
    """Cards under a heading: ``shown`` of ``total``, each with ``width`` pictures; they are taken one at a time."""

    heading: str
    colour: Colour
    cards: Iterable[Card]
    shown: int
    total: int
    width: int

    @property
    def hidden(self) -> int:
        """How many are left out."""
        return self.total - self.shown


def draw_sheet(title: str, subtitle: str, sections: Sequence[Section]) -> bytes:
    """Returns a PNG with all sections below each other; of an image that cannot be decoded it tells the reason.

    Cost: the pixels of the sheet, and one card at a time.
    """
    slots = min(max(_SLOTS[0], *(section.shown * section.width for section in sections), 0), _SLOTS[1])
    width = 2 * _MARGIN + slots * _SLOT + (slots - 1) * _GAP
    height = _TITLE_HEIGHT + sum(_height(section, slots) for section in sections) + _MARGIN
    sheet = _Sheet(Image.new("RGB", (width, height), _PAGE))
    sheet.text((_MARGIN, 16), title, 20, _INK, width - 2 * _MARGIN)
    sheet.text((_MARGIN, 44), subtitle, 13, _FAINT, width - 2 * _MARGIN)
    top = _TITLE_HEIGHT
    for section in sections:
        with without_warnings():
            sheet.section(section, top, slots)
        top += _height(section, slots)
    buffer = io.BytesIO()
    sheet.image.save(buffer, "PNG")
    return buffer.getvalue()


def _height(section: Section, slots: int) -> int:
    rows = -(-section.shown // (slots // section.width))
    note = 2 * _LINE if section.hidden else 0
    return _HEADING_HEIGHT + rows * (_CARD_HEIGHT + _GAP) + note


class _Sheet:
    """The picture that is drawn, and what is drawn on it."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self._draw = ImageDraw.Draw(image)

    def text(self, place: tuple[int, int], text: str, size: int, colour: Colour, width: int) -> None:
        """Writes a line, shortened in the middle to a width."""
        line, font = _fitted(text, size, width)
        self._draw.text(place, line, colour, font)

    def section(self, section: Section, top: int, slots: int) -> None:
        """Draws a heading with all cards below, and how many are left out."""
        right = self.image.width - _MARGIN
        self._draw.rectangle((_MARGIN, top + 10, _MARGIN + 4, top + 30), section.colour)
        self.text((_MARGIN + 14, top + 10), section.heading, 16, _INK, right - _MARGIN - 14)
        top += _HEADING_HEIGHT
        places = _places(top, slots // section.width, section.width)
        for (left, upper), card in zip(places, section.cards, strict=False):
            self._card(card, left, upper, section)
        if section.hidden:
            rows = -(-section.shown // (slots // section.width))
            below = top + rows * (_CARD_HEIGHT + _GAP)
            self.text((_MARGIN, below), f"and {section.hidden:,} more", 14, _FAINT, right - _MARGIN)

    def _card(self, card: Card, left: int, top: int, section: Section) -> None:
        right = left + _card_width(section.width) - 1
        self._draw.rectangle((left, top, right, top + _CARD_HEIGHT - 1), _CARD, _EDGE)
        first, last = left + _PAD, right + 1 - _PAD - _PANEL
        below = top + _PAD + _PANEL + 6
        self.text((first, below), card.name, 13, _INK, right - left - 2 * _PAD)
        for at, picture, detail in zip((first, last)[: section.width], card.pictures, card.details, strict=True):
            self._panel(picture, at, top + _PAD)
            self.text((at, below + _LINE), detail, 12, _FAINT, _PANEL)
        if section.width > 1:
            self._arrow((first + _PANEL + last) // 2, top + _PAD + _PANEL // 2, section.colour)

    def _arrow(self, x: int, y: int, colour: Colour) -> None:
        self._draw.polygon([(x - 5, y - 7), (x - 5, y + 7), (x + 6, y)], colour)

    def _panel(self, picture: Picture, left: int, top: int) -> None:
        box = (left, top, left + _PANEL - 1, top + _PANEL - 1)
        try:
            small = None if picture is None else thumbnail(picture, _PANEL, _MOST_ENLARGED)
        except Exception as error:
            # Decoders of many formats, each with errors of its own, meet bytes of strangers here.
            self._reason(f"cannot be decoded: {reason_of(error)}", box, _BROKEN)
            return
        if small is None:
            self._reason("no image", box, (_GROUND, _FAINT))
            return
        self._draw.rectangle(box, _GROUND)
        place = left + (_PANEL - small.width) // 2, top + (_PANEL - small.height) // 2
        if small.mode == "RGBA":
            self.image.paste(_checkers(small.size), place)
            self.image.paste(small, place, small)
        else:
            self.image.paste(small, place)

    def _reason(self, reason: str, box: tuple[int, int, int, int], colours: tuple[Colour, Colour]) -> None:
        ground, ink = colours
        self._draw.rectangle(box, ground, ink if ground != _GROUND else None)
        lines = _wrapped(reason, 12, _PANEL - 2 * _PAD, 6)
        top = box[1] + (_PANEL - len(lines) * _LINE) // 2
        for number, line in enumerate(lines):
            text, font = _fitted(line, 12, _PANEL - 2 * _PAD)
            left = box[0] + (_PANEL - round(font.getlength(text))) // 2
            self._draw.text((left, top + number * _LINE), text, ink, font)


def _card_width(pictures: int) -> int:
    return pictures * _SLOT + (pictures - 1) * _GAP


def _places(top: int, columns: int, pictures: int) -> Iterator[tuple[int, int]]:
    """Where cards stand, row by row without end."""
    step = _card_width(pictures) + _GAP
    while True:
        yield from ((_MARGIN + column * step, top) for column in range(columns))
        top += _CARD_HEIGHT + _GAP


def _checkers(size: tuple[int, int]) -> Image.Image:
    """What stands behind transparent pixels."""
    x, y = np.arange(size[0]) // _CHECK, np.arange(size[1]) // _CHECK
    return Image.fromarray(np.array(_CHECKS, np.uint8)[(x[None, :] + y[:, None]) % 2])


# Words


@lru_cache(maxsize=16)
def _fonts(size: int) -> list[Any]:
    """Pillow's own font, and those of others that the system has."""
    fonts: list[Any] = [ImageFont.load_default(size)]
    for name in _OTHER_FONTS:
        try:
            fonts.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return fonts


@lru_cache(maxsize=4096)
def _draws(size: int, font: int, letter: str) -> bool:
    """Whether a font has a letter: otherwise it draws the box that it draws for what is none."""
    found = _fonts(size)[font]
    drawn, box = found.getmask(letter), found.getmask(_NO_LETTER)
    return drawn.size != box.size or bytes(drawn) != bytes(box)


def _font_for(text: str, size: int) -> tuple[str, Any]:
    """The first font that has all letters of a text, or most of them; those that it lacks become escapes."""
    fonts = _fonts(size)
    lacking = [sum(not _draws(size, font, letter) for letter in set(text)) for font in range(len(fonts))]
    best = lacking.index(min(lacking))
    shown = [c if c.isprintable() and _draws(size, best, c) else c.encode("unicode_escape").decode() for c in text]
    return "".join(shown), fonts[best]


def _fitted(text: str, size: int, width: int) -> tuple[str, Any]:
    """A text that fits a width, shortened in the middle where it is longer, and its font."""
    text, font = _font_for(text, size)
    if font.getlength(text) <= width:
        return text, font
    low, high = 0, len(text)
    while low < high - 1:
        middle = (low + high) // 2
        fits = font.getlength(_without_middle(text, middle)) <= width
        low, high = (middle, high) if fits else (low, middle)
    return _without_middle(text, low), font


def _without_middle(text: str, letters: int) -> str:
    """A text with so many of its letters left, the most at the end, where files have their names."""
    begin = letters // 2
    return text[:begin] + _ELLIPSIS + text[len(text) - (letters - begin) :]


def _wrapped(text: str, size: int, width: int, most: int) -> list[str]:
    """A text in lines of a width."""
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        drawn, font = _font_for(joined, size)
        if lines and font.getlength(drawn) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines if len(lines) <= most else [*lines[: most - 1], _ELLIPSIS]
