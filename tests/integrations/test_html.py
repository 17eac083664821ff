"""HTML by construction: nothing comes through unescaped, and pictures become data or reasons."""

from __future__ import annotations

import base64
import io
import re
import sys

import numpy as np
import pytest
from html_words import Words
from hypothesis import given
from hypothesis import strategies as st
from pictures import png
from PIL import Image

from cas.integrations.html import Html, element, escape, join, table, thumbnail_html


@given(st.text())
def test_any_text_stays_text(text: str) -> None:
    read = Words(element("p", text, title=text))
    assert read.tags == ["p"]
    assert all(c.isprintable() for c in "".join(read.words))
    assert read.values == ["".join(read.words)]
    plain = "".join(c for c in text if c.isprintable())
    assert [c for c in plain if c not in "".join(read.words)] == []


def test_what_is_html_already_stays() -> None:
    assert element("div", Html("<br>"), "<br>") == "<div><br>&lt;br&gt;</div>"
    assert join(["a&b", Html("&amp;")]) == "a&amp;b&amp;"
    assert element("img", src='x" onerror="y', alt="") == '<img src="x&quot; onerror=&quot;y" alt="">'
    assert element("p", class_="a", hidden=True, lang=None, draggable=False, aria_label="b", tabindex=0) == (
        '<p class="a" hidden aria-label="b" tabindex="0"></p>'
    )
    assert escape("\x00\u202e") == "\\x00\\u202e"
    assert table(["<a>"], [["<b>", Html("<i>c</i>")]]) == (
        '<table><thead><tr><th scope="col">&lt;a&gt;</th></tr></thead>'
        "<tbody><tr><td>&lt;b&gt;</td><td><i>c</i></td></tr></tbody></table>"
    )


def decoded(html: Html) -> Image.Image:
    found = re.search(r'src="data:image/(png|jpeg);base64,([^"]*)"', html)
    assert found, html
    image = Image.open(io.BytesIO(base64.b64decode(found[2])))
    assert image.format is not None
    assert image.format.lower() == found[1]
    return image


def test_thumbnails() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (300, 600, 3), np.uint8)
    html = thumbnail_html(pixels, 64, 'a "cat"')
    assert decoded(html).size == (64, 32)
    assert 'alt="a &quot;cat&quot;"' in html
    assert 'width="64" height="32"' in html
    assert decoded(html).format == "JPEG"
    assert decoded(thumbnail_html(png(1), 64, "")).format == "PNG"
    buffer = io.BytesIO()
    Image.new("RGBA", (300, 300), (9, 9, 9, 128)).save(buffer, "PNG")
    assert decoded(thumbnail_html(buffer.getvalue(), 64, "")).mode == "RGBA"
    assert decoded(thumbnail_html(np.zeros((4, 4), np.float32), 64, "")).size == (4, 4)


def test_what_cannot_be_drawn_becomes_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cannot be decoded" in thumbnail_html(b"<b>no image", 64, "")
    assert "<b>" not in thumbnail_html(b"<b>no image", 64, "")
    assert ">none<" in thumbnail_html(None, 64, "")
    monkeypatch.setattr("cas.integrations.html._MOST_BYTES", 10)
    assert "too large" in thumbnail_html(png(1), 64, "")
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "cas.integrations.pictures", raising=False)
    assert thumbnail_html(png(1), 64, "") == ""
