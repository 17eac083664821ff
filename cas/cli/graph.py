"""A graph of versions drawn with characters, as ``git log --graph`` does.

Every version that is still to come and that one above comes from has a *lane*: lane ``i`` stands at character ``2 * i``
of each row. A row has ``*`` for its version and ``|`` for the other lanes; rows between two versions lead lanes on:

    |  at 2i          lane i stays
    \\  at 2i + 1      from lane i above to lane i + 1 below
    /  at 2i + 1      from lane i + 1 above to lane i below
    _  and then /     a way to the left across lanes, which go on: across all but one in a row of ``_``, across the
                      last one by a ``/`` in the row after

Lanes part only directly below their version; wherever else two meet, they wait for the same version and go on as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def draw(versions: Iterable[tuple[T, Sequence[T]]]) -> Iterator[tuple[str, T | None]]:
    """Yields the rows of a picture of versions, given with their parents, none before one that comes from it.

    With each row goes its version, whose facts are to be put beside it, or None for a row between two versions.
    Parents that never come have lanes to the end. Cost: the rows asked for, and the width of each.
    """
    lanes: list[T] = []
    between: list[str] = []
    ended = -1  # the lane of the version above, where it has no parents
    for version, parents in versions:
        yield from ((row, None) for row in between)
        if version not in lanes:
            if len(lanes) == ended:
                yield _row(lanes), None  # it does not come from the one above
            lanes.append(version)
        column = lanes.index(version)
        yield _row(lanes, {2 * column: "*"}), version
        ended = -1 if parents else column
        between = _lead_on(lanes, column, list(dict.fromkeys(parents)))


def _row(lanes: Sequence[object], marks: dict[int, str] | None = None) -> str:
    """A row in which all lanes stay, but for the marks by place."""
    places = dict.fromkeys(range(0, 2 * len(lanes), 2), "|") | (marks or {})
    return "".join(places.get(place, " ") for place in range(max(places, default=-1) + 1)).rstrip()


def _lead_on(lanes: list[T], column: int, parents: list[T]) -> list[str]:
    """Changes the lanes from those of a row with a version to those below it; returns the rows that show it."""
    rows: list[str] = []
    to_left = sorted((parent for parent in parents if parent in lanes[:column]), key=lanes.index)
    others = [parent for parent in parents if parent not in to_left]
    for parent in to_left:
        stays = bool(others) or parent != to_left[-1]
        rows += _join_left(lanes, column, lanes.index(parent), stays=stays)
    if others:
        rows += _part(lanes, column, others)
        for parent in others:
            left = lanes.index(parent)
            if parent in lanes[left + 1 :]:
                rows += _join_left(lanes, lanes.index(parent, left + 1), left, stays=False)
    elif not to_left:
        if column < len(lanes) - 1:
            rows.append(_row(lanes, _shifted(lanes, column)))
        del lanes[column]
    return rows


def _part(lanes: list[T], column: int, parents: list[T]) -> list[str]:
    """Gives the lane of a version to its first parent, and each other parent one to the right of it."""
    lanes[column], *rest = parents
    rows: list[str] = []
    if lanes[column + 1 : column + 2] and lanes[column + 1] in rest:
        rest.remove(lanes[column + 1])
        rows.append(_row(lanes, {2 * column + 1: "\\"}))
    for parent in reversed(rest):
        right = {2 * lane + 1: "\\" for lane in range(column, len(lanes))}
        rows.append(_row(lanes[: column + 1], right))
        lanes.insert(column + 1, parent)
    return rows


def _join_left(lanes: list[T], source: int, target: int, *, stays: bool) -> list[str]:
    """Leads a lane, or one more from the version on it, into one further left; in two rows where others lie between."""
    across = dict.fromkeys(range(2 * target + 3, 2 * source - 1, 2), "_")
    shifted = {} if stays else _shifted(lanes, source)
    rows = [_row(lanes, {**across, **shifted, 2 * source - 1: "/"})]
    if not stays:
        del lanes[source]
    if source - target > 1:
        rows.append(_row(lanes, {2 * target + 1: "/"}))
    return rows


def _shifted(lanes: Sequence[object], column: int) -> dict[int, str]:
    """The marks of a row in which a lane ends and those right of it move up."""
    right = range(column + 1, len(lanes))
    return {2 * lane: " " for lane in range(column, len(lanes))} | {2 * lane - 1: "/" for lane in right}
