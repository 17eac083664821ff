"""A sequence under edit, as pieces of what it was and of what is new (a piece table)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from cas.history.row_map import RowMap
from cas.tree.stream import KeepRows


class Piece(Protocol):
    """A run of rows that can be cut."""

    def __len__(self) -> int: ...

    def slice(self, start: int, stop: int) -> Piece:
        """Returns the rows ``start`` to ``stop`` of the piece."""


@dataclass(frozen=True, slots=True)
class Inserted:
    """New rows, of which only the number matters."""

    count: int

    def __len__(self) -> int:
        return self.count

    def slice(self, start: int, stop: int) -> Inserted:
        """Returns the rows ``start`` to ``stop`` of the piece."""
        return Inserted(stop - start)


New = TypeVar("New", bound=Piece)
Edit = tuple[int, int, New | None]


class Pieces(Generic[New]):
    """The pieces of a sequence that had ``rows`` rows when editing began."""

    def __init__(self, rows: int) -> None:
        self._pieces: list[KeepRows | New] = [KeepRows(0, rows)] if rows else []
        self._rows = rows
        self.edited = False

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[KeepRows | New]:
        return iter(self._pieces)

    def copy(self) -> Pieces[New]:
        """Returns the same pieces, which later edits of these leave alone."""
        other: Pieces[New] = Pieces(0)
        other._pieces, other._rows, other.edited = list(self._pieces), self._rows, self.edited
        return other

    def save(self) -> tuple[list[Any], int, int, bool]:
        """Returns what :meth:`restore` needs to undo later changes; constant cost."""
        return self._pieces, len(self._pieces), self._rows, self.edited

    def restore(self, saved: tuple[list[Any], int, int, bool]) -> None:
        """Goes back to a saved state."""
        self._pieces, count, self._rows, self.edited = saved
        del self._pieces[count:]

    @property
    def count(self) -> int:
        """How many pieces there are."""
        return len(self._pieces)

    def append(self, new: New) -> None:
        """Adds rows at the end, at constant cost."""
        self.edited = True
        self._rows += len(new)
        if not len(new):
            return
        last = self._pieces[-1] if self._pieces else None
        if isinstance(new, Inserted) and isinstance(last, Inserted):
            # In a new list, for a saved state must not see the change.
            merged: Any = Inserted(len(last) + len(new))
            self._pieces = [*self._pieces[:-1], merged]
        else:
            self._pieces.append(new)

    def splice(self, edits: Sequence[Edit[New]]) -> None:
        """Replaces rows ``start`` to ``stop`` by new ones, for each edit.

        Edits are in ascending order and do not overlap; all of their numbers count the rows before the call. Cost:
        one pass over the pieces.
        """
        if not edits:
            return
        old = self._pieces
        self._pieces, self._rows, self.edited = [], 0, True
        position = 0
        source = iter(old)
        piece: KeepRows | New | None = next(source, None)
        offset = 0

        def advance(upto: int, *, keep: bool) -> None:
            nonlocal position, piece, offset
            while position < upto and piece is not None:
                length = min(len(piece) - offset, upto - position)
                if keep:
                    self._add(piece.slice(offset, offset + length))  # type: ignore[arg-type]
                position += length
                offset += length
                if offset == len(piece):
                    piece, offset = next(source, None), 0

        for start, stop, new in edits:
            advance(start, keep=True)
            if new is not None:
                self._add(new)
            advance(stop, keep=False)
        advance(2**62, keep=True)

    def _add(self, piece: KeepRows | New) -> None:
        if not len(piece):
            return
        self._rows += len(piece)
        last = self._pieces[-1] if self._pieces else None
        if isinstance(piece, KeepRows) and isinstance(last, KeepRows) and last.stop == piece.start:
            self._pieces[-1] = KeepRows(last.start, piece.stop)
        elif isinstance(piece, Inserted) and isinstance(last, Inserted):
            merged: Any = Inserted(len(last) + len(piece))
            self._pieces[-1] = merged
        else:
            self._pieces.append(piece)

    def within(self, start: int, stop: int) -> Iterator[KeepRows | New]:
        """Yields the parts of pieces in rows ``start`` to ``stop``."""
        position = 0
        for piece in self._pieces:
            first, last = max(start - position, 0), min(stop - position, len(piece))
            if first < last:
                yield piece.slice(first, last)  # type: ignore[misc]
            position += len(piece)
            if position >= stop:
                return


def row_map_of(pieces: Pieces[Inserted], parent_rows: int) -> RowMap:
    """Returns the row map that leads from the sequence as it was to the pieces."""
    runs: list[tuple[int, int, int]] = []
    position = 0
    for piece in pieces:
        if isinstance(piece, KeepRows):
            runs.append((0, piece.start - position, 0))
            runs.append((len(piece), 0, 0))
            position = piece.stop
        else:
            runs.append((0, 0, len(piece)))
    runs.append((0, parent_rows - position, 0))
    return RowMap.from_runs(runs)
