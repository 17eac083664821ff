"""The picture of a graph: shapes as they look, and random ones read back from the picture alone."""

from __future__ import annotations

import textwrap
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from version_graphs import Parents, graphs

from cas.cli.graph import draw

Edges = set[tuple[int, int]]


def drawn(parents: Parents, limit: int | None = None) -> list[tuple[str, int | None]]:
    """The picture of versions, the last one first."""
    return list(draw([(version, parents[version]) for version in reversed(range(len(parents)))][:limit]))


# --- shapes ---------------------------------------------------------------------------------------------------------

SHAPES = {
    "line": ([[], [0], [1]], "* 2\n* 1\n* 0"),
    "fork": (
        [[], [0], [0], [1]],
        r"""
        * 3
        | * 2
        * | 1
        |/
        * 0
        """,
    ),
    "merge": (
        [[], [0], [0], [2, 1], [3]],
        r"""
        * 4
        * 3
        |\
        * | 2
        | * 1
        |/
        * 0
        """,
    ),
    "criss-cross": (
        [[], [0], [0], [1, 2], [2, 1], [3], [4], [5, 6]],
        r"""
        * 7
        |\
        | * 6
        * | 5
        | * 4
        | |\
        * | | 3
        |\| |
        | |/
        |/|
        | * 2
        * | 1
        |/
        * 0
        """,
    ),
    "octopus beside another line": (
        [[], [0], [0], [0], [0], [4, 1, 2], [3], [5, 6]],
        r"""
        * 7
        |\
        | * 6
        * | 5
        |\ \
        |\ \ \
        * | | | 4
        | | | * 3
        | |_|/
        |/| |
        | | * 2
        | |/
        |/|
        | * 1
        |/
        * 0
        """,
    ),
    "main merged into a branch again and again": (
        [[], [0], [0], [1], [2, 3], [3], [4, 5], [5, 6]],
        r"""
        * 7
        |\
        | * 6
        |/|
        * | 5
        | * 4
        |/|
        * | 3
        | * 2
        * | 1
        |/
        * 0
        """,
    ),
    "roots stand apart": (
        [[], [], [1], [0], [2], []],
        r"""
        * 5

        * 4
        | * 3
        * | 2
        * | 1
         /
        * 0
        """,
    ),
    "roots merged": (
        [[], [], [], [2, 1, 0]],
        r"""
        * 3
        |\
        |\ \
        * | | 2
         / /
        * | 1
         /
        * 0
        """,
    ),
}


@pytest.mark.parametrize(("parents", "picture"), SHAPES.values(), ids=SHAPES)
def test_shapes(parents: Parents, picture: str) -> None:
    rows = [row if version is None else f"{row} {version}" for row, version in drawn(parents)]
    assert rows == textwrap.dedent(picture).strip().split("\n")


def test_the_same_parent_twice_is_one_line() -> None:
    assert drawn([[], [0, 0]]) == [("*", 1), ("*", 0)]


def test_versions_are_taken_when_their_rows_are_asked_for() -> None:
    asked: list[int] = []

    def versions() -> object:
        for version in range(1000, 0, -1):
            asked.append(version)
            yield version, [version - 1]

    rows = draw(versions())
    assert [next(rows)[1] for _ in range(5)] == asked == [1000, 999, 998, 997, 996]


# --- reading pictures -----------------------------------------------------------------------------------------------


class Reader:
    """Reads which versions come from which, by the rules of the module and nothing else."""

    def __init__(self, picture: list[tuple[str, int | None]]) -> None:
        self._picture = picture
        self._lanes: dict[int, set[int]] = {}
        self._crossing: dict[int, set[int]] = {}
        self.edges: Edges = set()
        for number, (row, version) in enumerate(picture):
            assert row == row.rstrip()
            assert (row.count("*") == 1) == (version is not None)
            if version is not None:
                self._version(number, version)
            else:
                self._between(number)

    def at(self, number: int, place: int) -> str:
        row = self._picture[number][0] if 0 <= number < len(self._picture) else ""
        return row[place] if 0 <= place < len(row) else " "

    def _version(self, number: int, version: int) -> None:
        row = self._picture[number][0]
        column = row.index("*") // 2
        assert set(row[1::2]) <= {" "}
        self._end(set(self._lanes) - {place // 2 for place in range(0, len(row), 2) if row[place] in "|*"}, number)
        assert row.count("|") == len(set(self._lanes) - {column})
        if column not in self._lanes:
            above = [self.at(number - 1, place) for place in (2 * column - 1, 2 * column, 2 * column + 1)]
            assert above[0] != "\\"
            assert above[1] == " "
            assert above[2] != "/"
        self.edges |= {(child, version) for child in self._lanes.get(column, ())}
        self._lanes[column] = {version}
        assert not self._crossing

    def _end(self, lanes: set[int], number: int) -> None:
        """No lanes end but that of a version, directly below it."""
        above = self._picture[number - 1][0]
        assert lanes <= {above.index("*") // 2 if "*" in above else None}
        for lane in lanes:
            del self._lanes[lane]

    def _between(self, number: int) -> None:
        lanes: defaultdict[int, set[int]] = defaultdict(set)
        crossing: dict[int, set[int]] = {}
        row = self._picture[number][0]
        for place, mark in enumerate(row):
            lane = place // 2
            if mark == "|":
                lanes[lane] |= self._lanes[lane]
            elif mark == "\\":
                lanes[lane + 1] |= self._lanes[lane]
            elif mark == "/":
                led = self._crossing.pop(lane + 1, None) or self._lanes[lane + 1]
                while self.at(number, 2 * lane - 1) == "_":
                    lane -= 1
                goes_on = self.at(number + 1, 2 * lane - 1) == "/" and self.at(number + 1, 2 * lane) == "|"
                if self.at(number, 2 * lane) == "|" and goes_on:
                    crossing[lane] = led
                else:
                    assert lane == place // 2
                    lanes[lane] |= led
        assert not self._crossing
        led_on = {child for children in (*lanes.values(), *crossing.values()) for child in children}
        self._end({lane for lane, children in self._lanes.items() if not children <= led_on}, number)
        self._lanes, self._crossing = dict(lanes), crossing


@settings(max_examples=500)
@given(graphs(), st.integers(1, 14))
def test_a_picture_tells_which_versions_come_from_which(parents: Parents, limit: int) -> None:
    shown = range(len(parents))[::-1][:limit]
    picture = drawn(parents, limit)
    assert [version for _, version in picture if version is not None] == list(shown)
    expected = {(version, parent) for version in shown for parent in parents[version] if parent in shown}
    assert Reader(picture).edges == expected


@given(graphs())
def test_no_lane_is_without_a_version_that_waits(parents: Parents) -> None:
    """The width of a row is that of the versions above that have parents below."""
    for row, version in drawn(parents):
        if version is not None:
            later = {parent for child in range(version + 1, len(parents)) for parent in parents[child]}
            assert (len(row) + 1) // 2 == len({parent for parent in later if parent <= version} | {version})
