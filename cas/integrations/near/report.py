"""One page that shows groups of images that look alike, and the list of what to remove: no other file, no network."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

import numpy as np

from cas.dataset.column import ReadOnlyColumn
from cas.dataset.read_only import ReadOnlyDataset
from cas.dataset.summary import format_bytes
from cas.integrations.html import Html, element, join, table, thumbnail_html
from cas.integrations.near.groups import Members, NearDuplicates, NearGroup
from cas.integrations.pictures import without_warnings
from cas.integrations.values import picture_at
from cas.store.threads import map_in_pool

SHOWN_GROUPS: Final = 100
_SHOWN_IMAGES: Final = 12
_SHOWN_ROWS: Final = 6
_SHOWN_UNREADABLE: Final = 100
_SIDE: Final = 160
_MOST_LIST_BYTES: Final = 8 << 20
_UNCOPIED: Final = frozenset(b"\0\r")
"""Browsers change these in text that is shown, so a list with them is only downloaded."""


@dataclass(frozen=True, slots=True)
class RemovalList:
    """What to remove, as the lines of a file, or why there is no such list; ``what`` says what the lines are."""

    lines: bytes | None
    what: str
    reason: str = ""


def make_report(
    dataset: ReadOnlyDataset,
    where: str,
    found: NearDuplicates,
    names: Sequence[str],
    unreadable: Sequence[str],
    removal: RemovalList,
    limit: int = SHOWN_GROUPS,
) -> bytes:
    """Returns the page in UTF-8.

    ``names`` are what the rows of the first ``limit`` groups are called, group by group, ``unreadable`` what those are
    that cannot be decoded. Thumbnails are JPEGs and PNGs within the page, some 5 KB an image; of a group 12 images are
    drawn. Cost: decoding these.
    """
    groups = [found[number] for number in range(min(limit, len(found)))]
    named = iter(names)
    shown = [_Shown(group, [next(named) for _ in range(len(group.rows))]) for group in groups]
    body = join(
        (
            _header(dataset, where, found),
            element("main", *_main(dataset, found, shown, unreadable, removal)),
            element("footer", "Made by cas. The page holds all that it shows; nothing is loaded from elsewhere."),
        )
    )
    return _page(f"Near duplicates in {dataset.name}", body).encode()


def _main(
    dataset: ReadOnlyDataset,
    found: NearDuplicates,
    shown: Sequence[_Shown],
    unreadable: Sequence[str],
    removal: RemovalList,
) -> Iterator[Html]:
    if not len(found):
        yield element("p", "No two images look alike within these bounds.", class_="empty")
    column = dataset[found.column]
    for number, each in enumerate(shown, 1):
        yield _section(column, number, each)
    if len(found) > len(shown):
        more = f"{len(found) - len(shown):,} more groups are not drawn; the list below has them. --limit draws more."
        yield element("p", more, class_="more")
    if len(found):
        yield _removal(found, removal)
    if found.unreadable:
        yield _unreadable(found, unreadable)


# The top


def _header(dataset: ReadOnlyDataset, where: str, found: NearDuplicates) -> Html:
    facts = (
        (f"{len(found):,}", "groups"),
        (f"{len(found.repeats()):,}", "rows to remove"),
        (format_bytes(found.wasted_bytes), "in their files"),
        (f"{found.images:,}", "different images compared"),
        (f"{len(found.unreadable):,}", "rows that cannot be decoded"),
    )
    colours = "" if found.colour == 255 else f", mean colours by at most {found.colour} of 255"
    return element(
        "header",
        element("h1", f"Near duplicates in {dataset.name}"),
        element("p", where, " at version ", element("code", dataset.version.id[:12], title=dataset.version.id)),
        element("p", f"Column {found.column!r}: hashes differ by at most {found.threshold} of 64 bits{colours}."),
        element(
            "dl",
            *(element("div", element("dt", what), element("dd", count)) for count, what in facts),
            class_="facts",
        ),
        element(
            "p",
            "Of each group the image of most pixels stays, then of most bytes, then the first. The others look like "
            "this one, each by itself. Look before you remove: hashes do not see what matters to you. ",
            element("a", "To the list of what to remove", href="#removal") if len(found) else "",
        ),
    )


# Groups


@dataclass(frozen=True, slots=True)
class _Shown:
    """A group, and what its rows are called."""

    group: NearGroup
    names: Sequence[str]

    def images(self) -> Iterator[tuple[int, Members, Sequence[str]]]:
        """Yields the place of each different image in the group, its rows, and what these are called."""
        members = self.group.members
        starts = np.flatnonzero(np.diff(members.images, prepend=-1)).tolist()
        for start, stop in zip(starts, [*starts[1:], len(members)], strict=True):
            yield start, members.take(slice(start, stop)), self.names[start:stop]


def _section(column: ReadOnlyColumn, number: int, shown: _Shown) -> Html:
    group = shown.group
    images = list(shown.images())
    drawn = images[:_SHOWN_IMAGES]
    pictures = [picture_at(column, int(members.rows[0])) for _, members, _ in drawn]
    with without_warnings():
        thumbnails = map_in_pool(
            lambda pair: thumbnail_html(pair[0], _SIDE, f"Thumbnail of {pair[1]}"),
            [(picture, names[0]) for picture, (_, _, names) in zip(pictures, drawn, strict=True)],
            1,
        )
    cards = [_card(thumbnail, *image) for thumbnail, image in zip(thumbnails, drawn, strict=True)]
    hidden = len(images) - len(drawn)
    return element(
        "section",
        element("h2", f"Group {number}", id=f"group-{number}"),
        element("p", f"{len(group.rows):,} rows, {len(images):,} images; {format_bytes(group.wasted_bytes)} to save"),
        element("ul", *cards, class_="cards"),
        element("p", f"and {hidden:,} more images", class_="more") if hidden else "",
        aria_labelledby=f"group-{number}",
    )


def _card(thumbnail: Html, place: int, members: Members, names: Sequence[str]) -> Html:
    """One image with all of its rows; the first row of the group stays."""
    keeps = place == 0
    distance = int(members.distances[0])
    size = f"{int(members.widths[0])}x{int(members.heights[0])}, {format_bytes(int(members.sizes[0]))}"
    rows = [
        element(
            "li", element("b", "keep" if keeps and index == 0 else "remove"), " ", element("span", name, class_="name")
        )
        for index, name in enumerate(names[:_SHOWN_ROWS])
    ]
    if len(names) > _SHOWN_ROWS:
        rows.append(element("li", f"and {len(names) - _SHOWN_ROWS:,} identical ones to remove"))
    bits = "best of the group" if keeps else f"distance {distance}"
    return element(
        "li",
        element("div", thumbnail, class_="picture"),
        element("p", element("span", bits, class_="distance"), size),
        element("ul", *rows, class_="rows"),
        class_="card keeps" if keeps else "card",
    )


# The lists at the end


def _removal(found: NearDuplicates, removal: RemovalList) -> Html:
    heading = element("h2", "What to remove", id="removal")
    if removal.lines is None:
        return element("section", heading, element("p", removal.reason), aria_labelledby="removal")
    if len(removal.lines) > _MOST_LIST_BYTES:
        size = format_bytes(len(removal.lines))
        text = f"The list takes {size}, which is too much for a page; write it with --delete-list FILE."
        return element("section", heading, element("p", text), aria_labelledby="removal")
    address = f"data:text/plain;charset=utf-8;base64,{base64.b64encode(removal.lines).decode()}"
    count = len(found.repeats())
    download = element("a", "Download as a file", href=address, download="delete-list.txt", class_="button")
    parts = [
        heading,
        element("p", f"{count:,} {removal.what}: all of each group but the one that stays.", id="removal-what"),
    ]
    if _UNCOPIED.isdisjoint(removal.lines):
        button = element("button", "Copy", type="button", id="copy")
        parts.append(element("p", button, " ", download, " ", element("span", role="status", id="copied")))
        text = Html(html.escape(removal.lines.decode(), quote=False))
        parts.append(
            element("textarea", text, id="list", readonly=True, rows=min(count, 12), aria_labelledby="removal-what")
        )
    else:
        parts.append(element("p", download))
    return element("section", *parts, aria_labelledby="removal")


def _unreadable(found: NearDuplicates, names: Sequence[str]) -> Html:
    rows = [
        (str(each.row), name, each.reason)
        for each, name in zip(found.unreadable[:_SHOWN_UNREADABLE], names, strict=False)
    ]
    hidden = len(found.unreadable) - len(rows)
    return element(
        "section",
        element("h2", "Left out", id="left-out"),
        element("p", "These images cannot be decoded, so they are in no group."),
        table(("row", "name", "reason"), rows),
        element("p", f"and {hidden:,} more", class_="more") if hidden else "",
        aria_labelledby="left-out",
    )


# The page


def _page(title: str, body: Html) -> str:
    style, script = (resources.files(__package__).joinpath(name).read_text() for name in ("report.css", "report.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Whatever slipped through could load and run nothing.
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name_="color-scheme", content="light dark"),
        element("title", title),
        Html(f"<style>{style}</style>"),
    )
    page = element("html", head, element("body", body, Html(f"<script>{script}</script>")), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"
