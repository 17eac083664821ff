"""Tables and JSON, whatever the terminal and the values."""

from __future__ import annotations

import datetime as dt
import sys

import numpy as np
import pytest
from rich.console import Console

from cas.cli import output
from cas.cli.output import format_time, print_table, to_json


def narrow() -> Console:
    return Console(file=sys.stdout, width=10, soft_wrap=True)


def test_a_narrow_terminal_cuts_nothing_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "console", narrow)
    print_table(("name", "size"), [("a" * 30, "1,234,567"), ("b", "8")], right=("size",))
    assert capsys.readouterr().out.splitlines() == [
        "name" + " " * 28 + "     size",
        "a" * 30 + "  1,234,567",
        "b" + " " * 31 + "        8",
    ]


def test_a_table_shows_text_as_it_is_and_nothing_that_drives_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("[b]x[/b]", "y\x1b[2J"), [(":smile:", "\x1b[31m\r\n")])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["[b]x[/b]", "y\\x1b[2J"],
        [":smile:", "\\x1b[31m\\r\\n"],
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (2**80, 2**80),
        (float("nan"), "nan"),
        (np.float32(0.5), 0.5),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.array([[True], [False]]), [[True], [False]]),
        (np.array(3), 3),
        (complex(1, float("inf")), [1.0, "inf"]),
        (b"\x00\xff", "00ff"),
        ({"a": [(1, b"\x01")]}, {"a": [[1, "01"]]}),
        (dt.datetime(2026, 11, 1, tzinfo=dt.timezone(dt.timedelta(hours=2))), "2026-11-01T00:00:00+02:00"),
        (dt.datetime(2026, 11, 1), "2026-11-01T00:00:00"),
    ],
)
def test_values_as_json(value: object, expected: object) -> None:
    found = to_json(value)
    assert found == expected
    assert type(found) is type(expected)


def test_times_are_given_in_utc() -> None:
    time = dt.datetime(2026, 11, 1, 1, 2, 3, 4, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    assert format_time(time) == "2026-10-31T23:02:03Z"
    assert format_time(time, "microseconds") == "2026-10-31T23:02:03.000004Z"


def test_no_line_of_a_table_ends_in_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("a", "long heading"), [("x", "y"), ("", "")])
    assert capsys.readouterr().out == "a  long heading\nx  y\n\n"
