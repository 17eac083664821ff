"""HTML that is safe by how it is made: whatever is not HTML already is escaped, and pictures stand in it as data."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from cas.errors import UnsupportedError
from cas.integrations.values import printable

if TYPE_CHECKING:
    from cas.integrations.pictures import Picture

_EMPTY: Final = {"img", "meta", "link", "br"}
_MOST_BYTES: Final = 64 << 20
"""Larger images are not decoded for a thumbnail."""


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Attribute = str | int | bool | None


def escape(text: str) -> Html:
    """Returns text as HTML; characters that do not print, or turn the direction of others, are shown as escapes.

    >>> escape("<b>\\u202egnp")
    '&lt;b&gt;\\\\u202egnp'
    """
    return Html(html.escape(printable(text)))


def element(name: str, *children: str, **attributes: Attribute) -> Html:
    """Returns an element; children that are not :class:`Html` are escaped, attributes always.

    Underscores in the names of attributes stand for hyphens, one at the end for nothing; True gives an attribute
    without a value, None and False none.

    >>> element("p", "a < b", element("b", "!"), class_="note", hidden=True)
    '<p class="note" hidden>a &lt; b<b>!</b></p>'
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _EMPTY:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def _attribute(key: str, value: Attribute) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def join(children: Iterable[str]) -> Html:
    """Returns children one after the other, escaped where they are not HTML."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], **attributes: Attribute) -> Html:
    """Returns a table with a row of headings."""
    head = element("tr", *(element("th", heading, scope="col") for heading in headings))
    body = (element("tr", *(element("td", cell) for cell in row)) for row in rows)
    return element("table", element("thead", head), element("tbody", *body), **attributes)


def thumbnail_html(picture: Picture, side: int, alt: str) -> Html:
    """Returns a small picture that fits a square, with ``alt`` in words; what cannot be drawn becomes the reason.

    Without Pillow it is empty. Cost: decoding; pictures above 64 MiB are not decoded. Pillow may warn of large ones.
    """
    if picture is None:
        return element("span", "none", class_="cas-none")
    try:
        from cas.integrations.pictures import reason_of
    except UnsupportedError:
        return Html()
    if len(picture) > _MOST_BYTES:
        return element("span", "too large to be drawn", class_="cas-none")
    try:
        width, height, address = _draw(picture, side)
    except Exception as error:
        # Decoders of many formats, each with errors of its own, meet bytes of strangers here.
        return element("span", f"cannot be decoded: {reason_of(error)[:200]}", class_="cas-none")
    return element("img", src=address, width=width, height=height, alt=alt)


def _draw(picture: Any, side: int) -> tuple[int, int, str]:
    from cas.integrations.pictures import data_uri, thumbnail

    small = thumbnail(picture, side)
    return small.width, small.height, data_uri(small)
