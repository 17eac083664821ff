"""Where branches and tags have been: every move, with its time and command (FORMAT section 7)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cas.errors import CorruptedError
from cas.history.refs import ReflogRecord
from cas.store.contract import REFLOG, View

_TIME_BYTES = 8


@dataclass(frozen=True, slots=True)
class Move:
    """One move of the ref ``name``, at ``timestamp`` by the storage's clock (microseconds since 1970, UTC)."""

    name: str
    timestamp: int
    record: ReflogRecord


def moves_of(view: View, dataset: bytes, name: str) -> Iterator[Move]:
    """Yields the moves of the ref of that name, newest first; cost: those that are asked for."""
    prefix = dataset + name.encode(errors="surrogatepass") + b"\0"
    for key, data in view.scan(REFLOG, prefix, reverse=True):
        if len(key) == len(prefix) + _TIME_BYTES:
            yield decode_move(key[len(dataset) :], data)


def all_moves(view: View, dataset: bytes) -> list[Move]:
    """Returns the moves of all refs of a dataset, newest first."""
    moves = [decode_move(key[len(dataset) :], data) for key, data in view.scan(REFLOG, dataset)]
    # Of those in one transaction, a rename, what was removed comes first.
    return sorted(moves, key=lambda move: (move.timestamp, move.record.new is not None), reverse=True)


def decode_move(key: bytes, data: bytes) -> Move:
    """Returns the move in a row of the reflog, whose key is given without the dataset."""
    name, mark, time = key[: -_TIME_BYTES - 1], key[-_TIME_BYTES - 1 : -_TIME_BYTES], key[-_TIME_BYTES:]
    try:
        text = name.decode()
    except UnicodeDecodeError:
        mark = b""
    if mark != b"\0":
        raise CorruptedError("an entry of the reflog is damaged", blob="reflog")
    return Move(text, int.from_bytes(time, "big"), ReflogRecord.decode(data))
