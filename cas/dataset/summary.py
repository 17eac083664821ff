"""A dataset at a glance, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cas.codec.rows import Ints
from cas.dataset.state import ColumnState

if TYPE_CHECKING:
    from cas.dataset.readable import Readable

_SHOWN_RUNS: Final = 8


class Summary(str):
    """Text that shows its lines where a value is shown, as in a notebook or at the prompt."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def summarise(dataset: Readable, facts: dict[str, str]) -> Summary:
    """Returns the facts and a table of the columns: name, type, and bytes before dedup and compression."""
    columns = list(dataset._state.columns.values())
    facts = {**facts, "rows": f"{len(dataset):,}", "size": format_bytes(sum(map(_size_bytes, columns)))}
    width = max(map(len, facts))
    lines = [f"{key:{width}}  {value}" for key, value in facts.items()]
    table = [
        ("column", "type", "size"),
        *((column.name, str(column.type), format_bytes(_size_bytes(column))) for column in columns),
    ]
    widths = [max(len(row[at]) for row in table) for at in range(3)]
    lines.append("")
    lines += [f"{name:{widths[0]}}  {type_:{widths[1]}}  {size:>{widths[2]}}" for name, type_, size in table]
    return Summary("\n".join(lines))


def _size_bytes(column: ColumnState) -> int:
    return sum(stream.size_bytes for stream in column.streams.values())


def format_bytes(size: float) -> str:
    """Returns a size in bytes with a binary unit.

    >>> format_bytes(999), format_bytes(123456)
    ('999 B', '120.6 KiB')
    """
    if size < 1024:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size /= 1024
        if size < 1024 or unit == "TiB":
            break
    return f"{size:.1f} {unit}"


def format_runs(starts: Ints, lengths: Ints) -> str:
    """Returns the first of some runs of rows in words.

    >>> import numpy as np
    >>> format_runs(np.array([0, 7]), np.array([5, 1]))
    '0 to 4, 7'
    """
    pairs = zip(starts[:_SHOWN_RUNS].tolist(), lengths[:_SHOWN_RUNS].tolist(), strict=True)
    words = [str(start) if length == 1 else f"{start} to {start + length - 1}" for start, length in pairs]
    more = len(starts) - len(words)
    return ", ".join(words) + (f" and {more:,} more runs" if more else "")
