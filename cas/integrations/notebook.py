"""Datasets, histories, differences, tags and branches as small tables in a notebook, images as thumbnails."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from cas.codec.rows import Ints
from cas.dataset.diff import CellChanges, Diff
from cas.dataset.history import History, Version
from cas.dataset.readable import Readable
from cas.dataset.refs import RefsView
from cas.dataset.summary import format_bytes
from cas.dataset.tags import TagView
from cas.integrations.html import Html, element, join, table, thumbnail_html
from cas.integrations.values import image_text, picture_at, plain_type, read_values, show_value
from cas.types import Image

if TYPE_CHECKING:
    from cas.integrations.pictures import Picture

_ROWS: Final = 5
_COLUMNS: Final = 12
_VERSIONS: Final = 10
_REFS: Final = 20
_SIDE: Final = 64
_MOST_ROW_BYTES: Final = 32 << 20
"""Of columns whose rows are larger on average only the type is shown."""
_ID_DIGITS: Final = 12
_VERSION_HEADINGS: Final = ("version", "time", "author", "rows", "message")
# One sheet for all of them: notebooks drop what stands outside of the output.
_STYLE: Final = Html(
    "<style>.cas-table{border-collapse:collapse;margin:.3em 0}.cas-table th,.cas-table td{text-align:left;"
    "vertical-align:middle;padding:.25em .6em;border-bottom:1px solid rgba(128,128,128,.35);max-width:24em;"
    "overflow-wrap:anywhere}.cas-table small{font-weight:normal;opacity:.75}.cas-table img{display:block}"
    ".cas-facts{opacity:.8;margin:.3em 0}</style>"
)


def to_html(shown: object) -> str | None:
    """Returns a small table for a notebook, or None for what has none, or cannot be read at the moment.

    Only a few rows are read, images up to 64 MiB decoded; without Pillow thumbnails are left out.
    """
    makers: list[tuple[type[Any], Callable[[Any], Iterable[str]]]] = [
        (Readable, _dataset),
        (History, _history),
        (Diff, _diff),
        (RefsView, _refs),
    ]
    for kind, maker in makers:
        if isinstance(shown, kind):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of large images, and of odd fields beside the pixels
                    return element("div", _STYLE, *maker(shown), class_="cas")
            except Exception:
                # A notebook asks for it whenever a value is left on a line: then it shows the text, which tells more.
                return None
    return None


def _facts(*facts: str) -> Html:
    return element("p", ", ".join(facts), class_="cas-facts")


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    return table(headings, rows, class_="cas-table")


# Datasets


def _dataset(dataset: Readable) -> Iterable[str]:
    yield element("strong", dataset.name)
    standing = [f"{what} {value}" for what, value in dataset._standing().items()]
    yield _facts(*standing, f"{len(dataset):,} rows", f"{len(dataset.schema):,} columns")
    yield _some_rows(dataset, range(min(_ROWS, len(dataset))))


def _some_rows(dataset: Readable, rows: range | Ints) -> Html:
    """A table of a few rows, with the types of the columns, of which some may be left out."""
    names = list(dataset.schema)[:_COLUMNS]
    headings = [join((name, Html("<br>"), element("small", str(dataset.schema[name])))) for name in names]
    cells = [_cells(dataset, name, rows) for name in names]
    hidden = len(dataset.schema) - len(names)
    if hidden:
        headings.append(join((f"and {hidden:,} more",)))
        cells.append([""] * len(rows))
    return _table(["row", *headings], zip(map(str, map(int, rows)), *cells, strict=True))


def _cells(dataset: Readable, name: str, rows: range | Ints) -> list[str]:
    """A few values of a column, images as thumbnails with their facts."""
    column = dataset[name]
    state = dataset._column_state(name)
    size = sum(stream.size_bytes for stream in state.streams.values())
    if not len(rows) or size // max(1, len(dataset)) > _MOST_ROW_BYTES:
        return [f"{format_bytes(size // max(1, len(dataset)))}"] * len(rows)
    values = list(read_values(column, rows))
    if not isinstance(plain_type(column.type), Image):
        return [show_value(column.type, value) for value in values]
    return [
        _pictured(picture_at(column, int(row)), f"{name} of row {row}", image_text(value) if value else "")
        for row, value in zip(rows, values, strict=True)
    ]


def _pictured(picture: Picture, alt: str, text: str) -> Html:
    return join((thumbnail_html(picture, _SIDE, alt), element("small", text)))


# Versions


def _history(history: History) -> Iterable[str]:
    first = max(0, len(history) - _VERSIONS)
    versions = list(enumerate(history[first:], first))[::-1]
    yield _facts(f"versions: {len(history):,}, the last first")
    yield _table(
        ("", *_VERSION_HEADINGS),
        [(str(number), *_version(version)) for number, version in versions],
    )
    if first:
        yield _facts(f"and {first:,} before")


def _version(version: Version) -> tuple[str, ...]:
    rows = version._repository.tree(bytes.fromhex(version.tree)).rows
    return _id(version), f"{version.timestamp:%Y-%m-%d %H:%M:%S}", version.author, f"{rows:,}", version.message


def _id(version: Version) -> Html:
    return element("code", version.id[:_ID_DIGITS], title=version.id)


def _refs(refs: RefsView[Any]) -> Iterable[str]:
    some = list(refs)
    yield _facts(f"{refs._plural}: {len(some):,}")
    # What is said of a tag beside what is said of its version.
    said = ("about",) if issubclass(refs._class, TagView) else ()
    rows = [(ref.name, *((ref.message,) if said else ()), *_version(ref.version)) for ref in some[:_REFS]]
    yield _table(("name", *said, *_VERSION_HEADINGS), rows)
    if len(some) > _REFS:
        yield _facts(f"and {len(some) - _REFS:,} more")


# Differences


def _diff(diff: Diff) -> Iterable[str]:
    head, *lines = diff.summary().splitlines()
    yield element("strong", head)
    yield element("ul", *(element("li", line) for line in lines))
    for name, changes in diff.updated.items():
        yield _facts(f"changed values of {name!r}: {len(changes):,}{_first(len(changes))}")
        yield _table(("row", "old", "new"), _changed(changes))
    for what, rows, dataset in (("inserted", diff.inserted, diff._new), ("deleted", diff.deleted, diff._old)):
        if len(rows):
            yield _facts(f"{what} rows: {len(rows):,}{_first(len(rows))}")
            yield _some_rows(dataset, rows.first(_ROWS))


def _first(count: int) -> str:
    return f", of which {_ROWS} are shown" if count > _ROWS else ""


def _changed(changes: CellChanges) -> Iterable[Sequence[str]]:
    rows = changes.rows[:_ROWS]
    sides = zip(changes._sides, changes._names, (changes.old_rows[:_ROWS], rows), strict=True)
    old, new = (_cells(dataset, name, numbers) for dataset, name, numbers in sides)
    return zip(map(str, rows.tolist()), old, new, strict=True)
