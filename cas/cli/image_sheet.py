"""The images that differ between two versions, on a contact sheet; needs Pillow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cas.cli.changes import Changes, counted
from cas.cli.opened import SHORT_DIGITS
from cas.cli.row_groups import image_column, paths_or_none
from cas.cli.whole_file import replacing
from cas.codec.rows import Ints
from cas.dataset.column import ReadOnlyColumn
from cas.dataset.read_only import ReadOnlyDataset
from cas.errors import InvalidInputError
from cas.integrations.contact_sheet import CHANGED, DELETED, INSERTED, Card, Section, draw_sheet
from cas.integrations.pictures import Picture
from cas.integrations.values import image_facts, image_text, named_value, picture_at, plain_type
from cas.types import Image

_CARDS: Final = 200


@dataclass(frozen=True, slots=True)
class ImageChanges:
    """The column of images of two versions, by its name in each; None in the old one where it has no such."""

    changes: Changes
    old_column: str | None
    column: str

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many images were changed, inserted and deleted."""
        diff = self.changes.diff
        changed = diff.updated.get(self.column)
        deleted = 0 if self.old_column is None else len(diff.deleted)
        return 0 if changed is None else len(changed), len(diff.inserted), deleted


def image_changes(changes: Changes, column: str | None) -> ImageChanges:
    """Returns what there is to draw of a column, by default the first one of images."""
    name = column or image_column(changes.new)
    type_ = changes.new[name].type
    if not isinstance(plain_type(type_), Image):
        raise InvalidInputError(f"column {name!r} of type {type_} has no images to draw", column=name)
    return ImageChanges(changes, changes.old_name(name), name)


def write_sheet(images: ImageChanges, target: str) -> str:
    """Writes a contact sheet to a file and returns in words what is on it.

    The file is there when it is complete. At most 200 cards are drawn, of each kind about as many.
    """
    changed, inserted, deleted = images.counts
    shown = share(images.counts, _CARDS)
    diff, old, new = images.changes.diff, images.changes.old, images.changes.new
    sections = [
        Section(
            f"{counted(changed, 'image')} changed: old left, new right",
            CHANGED,
            _changed_cards(images, shown[0]) if changed else (),
            shown[0],
            changed,
            2,
        ),
        Section(
            f"{counted(inserted, 'image')} inserted",
            INSERTED,
            _cards(new, images.column, diff.inserted.first(shown[1])),
            shown[1],
            inserted,
            1,
        ),
        Section(
            f"{counted(deleted, 'image')} deleted",
            DELETED,
            _cards(old, images.old_column, diff.deleted.first(shown[2])) if images.old_column else (),
            shown[2],
            deleted,
            1,
        ),
    ]
    subtitle = f"column {images.column}, from {diff.a.id[:SHORT_DIGITS]} to {diff.b.id[:SHORT_DIGITS]}"
    words = f"{changed:,} changed, {inserted:,} inserted and {deleted:,} deleted images"
    some = [section for section in sections if section.total]
    data = draw_sheet(new.name, subtitle if some else f"{subtitle}: no differences", some)
    with replacing(target) as file:
        file.write(data)
    hidden = sum(section.hidden for section in sections)
    return words + (f" ({hidden:,} of them not drawn)" if hidden else "")


def share(counts: tuple[int, ...], total: int) -> list[int]:
    """Returns how many of each of some counts there is place for, those that are small first.

    >>> share((500, 3, 120), 200)
    [99, 3, 98]
    """
    shares = [0] * len(counts)
    for done, number in enumerate(sorted(range(len(counts)), key=lambda number: counts[number])):
        shares[number] = min(counts[number], (total - sum(shares)) // (len(counts) - done))
    return shares


def _changed_cards(images: ImageChanges, limit: int) -> Iterator[Card]:
    assert images.old_column is not None
    old_rows, rows = images.changes.updated_rows(images.column, limit)
    old, new = images.changes.old[images.old_column], images.changes.new[images.column]
    paths = paths_or_none(images.changes.new, rows)
    for old_row, row, path in zip(old_rows.tolist(), rows.tolist(), paths, strict=True):
        pictures = picture_at(old, old_row), picture_at(new, row)
        yield Card(_name(row, path), pictures, (_about(old, pictures[0]), _about(new, pictures[1])))


def _cards(dataset: ReadOnlyDataset, name: str, rows: Ints) -> Iterator[Card]:
    column = dataset[name]
    for row, path in zip(rows.tolist(), paths_or_none(dataset, rows), strict=True):
        picture = picture_at(column, row)
        yield Card(_name(row, path), (picture,), (_about(column, picture),))


def _name(row: int, path: str | None) -> str:
    return f"row {row}" if path is None else path


def _about(column: ReadOnlyColumn, picture: Picture) -> str:
    if picture is None:
        return "none"
    return image_text(image_facts(picture) if isinstance(picture, bytes) else named_value(column.type, picture))
