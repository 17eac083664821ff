"""Rows whose images look alike: each image is looked at once, hashes are compared, and groups form around the best."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cas.codec.rows import Ints
from cas.codec.values import single_values
from cas.dataset.column import ReadOnlyColumn
from cas.dataset.read_only import ReadOnlyDataset
from cas.errors import CorruptedError, InvalidInputError, shown
from cas.hashing import HASH_BYTES, Hashes, hash_chunk
from cas.integrations.near.groups import COLOUR, THRESHOLD, Members, NearDuplicates, Unreadable
from cas.integrations.near.hamming import CODE_BITS
from cas.integrations.near.kept import KeptLooks
from cas.integrations.near.leaders import find_leaders
from cas.integrations.near.looks import Look, Looks, look_at, pack_looks
from cas.integrations.pictures import without_warnings
from cas.integrations.values import plain_type
from cas.repo.distinct import group_hashes
from cas.repo.identical import ColumnContent, order_groups, read_content
from cas.store.threads import map_in_pool
from cas.types import DATA, SHAPE, Image

_MOST_COLOUR: Final = 255
_FLAT_COLOUR: Final = 4
"""Of flat images the colour is all there is; compression moves it by one or two."""
_BATCH_BYTES: Final = 32 << 20
_BATCH_IMAGES: Final = 1024
_KEEP_IMAGES: Final = 1 << 14

Report = Callable[[int, int], None]
"""Is told how many images were looked at, and of how many."""


def find_near_duplicates(
    dataset: ReadOnlyDataset,
    column: str,
    threshold: int = THRESHOLD,
    colour: int = COLOUR,
    report: Report | None = None,
) -> NearDuplicates:
    """Finds rows whose images look alike: see :meth:`cas.Dataset.near_duplicates`."""
    _check_count("threshold", threshold, CODE_BITS)
    _check_count("colour", colour, _MOST_COLOUR)
    repository = dataset._repository
    kind = _image_type(dataset, column)
    content = read_content(repository, repository.tree(bytes.fromhex(dataset.version.tree)), column)
    images = _distinct(content)
    looked = _Looking(dataset[column], images, kind, report).run()
    return _group(images, looked, column, threshold, colour)


def _image_type(dataset: ReadOnlyDataset, column: str) -> Image:
    kind = plain_type(dataset._column_state(column).type)
    if isinstance(kind, Image):
        return kind
    raise InvalidInputError(
        f"column {column!r} of type {kind} has no images to compare; identical rows of other columns are found by "
        f"duplicates",
        column=column,
    )


def _check_count(name: str, value: object, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value <= most:
        raise InvalidInputError(f"{name}={shown(value)} is not valid; expected an int from 0 to {most}")


@dataclass(frozen=True, slots=True, eq=False)
class _Images:
    """The distinct images of a column: key and bytes of each, and all rows of each, ``rows[begins[i] : ends[i]]``."""

    keys: Hashes
    sizes: Ints
    rows: Ints
    begins: Ints
    ends: Ints

    @property
    def firsts(self) -> Ints:
        """The first row of each."""
        return self.rows[self.begins]

    def __len__(self) -> int:
        return len(self.begins)


def _distinct(content: ColumnContent) -> _Images:
    keys = _shaped_keys(content) if SHAPE in content.column.streams else content.keys
    order, begins = group_hashes(keys)
    return _Images(
        keys[order[begins]],
        content.sizes[order[begins]],
        content.rows[order],
        begins,
        np.append(begins[1:], len(order)) if len(begins) else begins,
    )


def _shaped_keys(content: ColumnContent) -> Hashes:
    """Keys of raw images, which say their type and shape too: the same bytes may be other pixels."""
    kind = str(content.column.type).removesuffix("?").encode()
    shapes = content.shapes(np.arange(len(content.rows)))
    keys = [hash_chunk(key.tobytes() + shape.tobytes() + kind) for key, shape in zip(content.keys, shapes, strict=True)]
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, HASH_BYTES)


@dataclass(frozen=True, slots=True, eq=False)
class _Looked:
    """Which images could be decoded, what they look like, the others with the reason, and how many are new."""

    readable: NDArray[np.bool_]
    looks: Looks
    reasons: dict[int, str]
    new: int


class _Looking:
    """Images on their way to looks: those that are known are taken over, the others decoded in threads."""

    def __init__(self, column: ReadOnlyColumn, images: _Images, kind: Image, report: Report | None) -> None:
        self._column = column
        self._images = images
        self._raw = kind.raw
        self._report = report or (lambda done, total: None)
        self._kept = KeptLooks(column._dataset._repository, len(images))
        self._reasons: dict[int, str] = {}

    def run(self) -> _Looked:
        """Looks at what is not known yet, and keeps it, also as far as it came before an error."""
        known, looks = self._kept.find(self._images.keys)
        unknown = np.flatnonzero(~known)
        unknown = unknown[np.argsort(self._images.firsts[unknown])]  # as they lie in the store
        done = 0
        pending: list[Ints] = []
        try:
            for batch in self._batches(unknown):
                numbers, found = self._look(batch)
                looks.words[numbers] = found.words
                pending.append(numbers)
                done += len(batch)
                self._report(done, len(unknown))
                if sum(map(len, pending)) >= _KEEP_IMAGES:
                    self._keep(pending, looks)
        finally:
            self._keep(pending, looks)
        readable = np.ones(len(self._images), np.bool_)
        readable[list(self._reasons)] = False
        return _Looked(readable, looks, self._reasons, len(unknown) - len(self._reasons))

    def _keep(self, pending: list[Ints], looks: Looks) -> None:
        if pending:
            numbers = np.concatenate(pending)
            pending.clear()
            self._kept.keep(self._images.keys[numbers], Looks(looks.words[numbers]))

    def _batches(self, numbers: Ints) -> Iterator[Ints]:
        """Splits images so that those of a batch are not too many, nor too large."""
        ends = np.cumsum(self._images.sizes[numbers])
        start = 0
        while start < len(numbers):
            before = int(ends[start - 1]) if start else 0
            stop = int(np.searchsorted(ends, before + _BATCH_BYTES, "right"))
            stop = min(max(stop, start + 1), start + _BATCH_IMAGES)
            yield numbers[start:stop]
            start = stop

    def _look(self, numbers: Ints) -> tuple[Ints, Looks]:
        """Looks at images; returns those that can be decoded, and notes why the others cannot."""
        with without_warnings():
            found = map_in_pool(_look_or_reason, self._read(self._images.firsts[numbers]), 2)
        self._reasons.update(
            (number, what) for number, what in zip(numbers.tolist(), found, strict=True) if isinstance(what, str)
        )
        good = np.array([isinstance(what, Look) for what in found])
        return numbers[good], pack_looks([what for what in found if isinstance(what, Look)])

    def _read(self, rows: Ints) -> list[Any]:
        """The encoded images of ascending rows, or the pixels of raw ones."""
        if self._raw:
            return list(single_values(self._column.type, self._column[rows]))
        state = self._column._dataset._column_state(self._column.name)
        try:
            return [bytes(row) for row in state.streams[DATA].take(rows)]
        except CorruptedError as error:
            raise self._column._told(error, state, rows) from error


def _look_or_reason(picture: Any) -> Look | str:
    try:
        return look_at(picture)
    except InvalidInputError as error:
        return str(error)


def _group(images: _Images, looked: _Looked, column: str, threshold: int, colour: int) -> NearDuplicates:
    """Groups the images that can be decoded, and gives each group the rows of its images."""
    numbers = np.flatnonzero(looked.readable)
    looks = Looks(looked.looks.words[numbers])
    pixels = looks.widths * looks.heights
    best = np.lexsort((images.firsts[numbers], -images.sizes[numbers], -pixels))
    numbers, looks = numbers[best], Looks(looks.words[best])
    flat, colours = looks.flat, looks.colours

    def alike(first: Ints, second: Ints) -> NDArray[np.bool_]:
        different = np.abs(colours[first] - colours[second]).max(axis=1, initial=0)
        most = np.where(flat[first], min(colour, _FLAT_COLOUR), colour)
        same: NDArray[np.bool_] = (flat[first] == flat[second]) & (different <= most)
        return same

    led = find_leaders(looks.codes, threshold, alike)
    counts = (images.ends - images.begins)[numbers]
    order = np.lexsort((np.arange(len(numbers)), led.distances, led.leaders))
    order = order[_in_groups(led.leaders[order], counts[order])]
    ranked, times = numbers[order], counts[order]
    rows = images.rows[_spans(images.begins[ranked], times)]
    members = Members(
        rows,
        np.repeat(led.distances[order].astype(np.int64), times),
        np.repeat(ranked, times),
        np.repeat(images.sizes[ranked], times),
        np.repeat(looks.widths[order], times),
        np.repeat(looks.heights[order], times),
    )
    ends = _ends(np.repeat(led.leaders[order], times))
    ranking = _by_waste(members, ends)
    positions, ends = order_groups(ends, ranking)
    unreadable = [
        Unreadable(int(row), reason)
        for number, reason in looked.reasons.items()
        for row in images.rows[images.begins[number] : images.ends[number]]
    ]
    return NearDuplicates(
        members.take(positions),
        ends,
        column,
        int(threshold),
        int(colour),
        tuple(sorted(unreadable)),
        len(numbers),
        looked.new,
    )


def _in_groups(leaders: Ints, counts: Ints) -> NDArray[np.bool_]:
    """Which of some images, sorted by leader, are of groups of at least two rows."""
    total = np.zeros(int(leaders.max(initial=-1)) + 1, np.int64)
    np.add.at(total, leaders, counts)
    return total[leaders] > 1


def _spans(begins: Ints, counts: Ints) -> Ints:
    """The numbers from each begin on, so many of each."""
    ends = np.cumsum(counts)
    numbers: Ints = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(begins - (ends - counts), counts)
    return numbers


def _ends(labels: Ints) -> Ints:
    """Where runs of equal labels end."""
    if not len(labels):
        return np.empty(0, np.int64)
    return np.append(np.flatnonzero(labels[1:] != labels[:-1]) + 1, len(labels))


def _by_waste(members: Members, ends: Ints) -> Ints:
    """The order of groups by wasted bytes, most first, then by first row."""
    starts = ends - np.diff(ends, prepend=0)
    if not len(ends):
        return ends
    wasted = np.add.reduceat(members.sizes, starts) - members.sizes[starts]
    order: Ints = np.lexsort((members.rows[starts], -wasted))
    return order
