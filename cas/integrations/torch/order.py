"""In which order rows come: pure functions of a seed and an epoch, the same with every NumPy and on every machine."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from cas.codec.rows import Ints
from cas.errors import InvalidInputError, InvalidTypeError, shown

MAX_SEED: Final = 2**63 - 1
_RUNS_A_WINDOW: Final = 32


def checked_count(value: Any, what: str, least: int, most: int = MAX_SEED) -> int:
    """Returns an int between ``least`` and ``most``."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InvalidTypeError(f"{what}={shown(value)} is not valid; expected an int") from None
    if not least <= number <= most:
        raise InvalidInputError(f"{what}={number} is not valid; expected an int from {least} to {most}")
    return number


def permutation(count: int, seed: int, *salt: int) -> Ints:
    """Returns the numbers below ``count`` in an order that the seed and the ``salt`` decide. Memory: 24 bytes each.

    It sorts random words: the streams of NumPy's bit generators are fixed, what its other methods make of them is not
    (NEP 19).

    >>> permutation(8, 7, 0).tolist() == permutation(8, 7, 0).tolist() != permutation(8, 7, 1).tolist()
    True
    """
    words = np.random.Philox(np.random.SeedSequence([seed, *salt])).random_raw(count)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)


def share(count: int, part: int, parts: int) -> tuple[int, int]:
    """Returns where one of several parts of nearly equal size begins and ends.

    >>> [share(10, part, 4) for part in range(4)]
    [(0, 2), (2, 5), (5, 7), (7, 10)]
    """
    return count * part // parts, count * (part + 1) // parts


def run_rows(window_rows: int) -> int:
    """Returns how many rows in a row are read at once where a window of so many is shuffled."""
    return max(1, window_rows // _RUNS_A_WINDOW)


def runs(rows: int, length: int, order: Ints | None, start: int, stop: int) -> Iterator[range]:
    """Yields runs of rows: those of ``length`` rows, in their order or in ``order``, laid one after the other.

    Only the rows from place ``start`` to ``stop`` of all of them come, so that several may share an epoch.

    >>> list(runs(10, 4, np.array([2, 0, 1]), 1, 7))
    [range(9, 10), range(0, 4), range(4, 5)]
    """
    count = -(-rows // length)
    place = 0
    for number in range(count) if order is None else order.tolist():
        run = range(number * length, min((number + 1) * length, rows))
        if place < stop and place + len(run) > start:
            yield run[max(0, start - place) : stop - place]
        place += len(run)


def windows(pieces: Iterator[range], rows: int) -> Iterator[list[range]]:
    """Yields runs in lists of at least so many rows together; the last list may have fewer."""
    window: list[range] = []
    for piece in pieces:
        window.append(piece)
        if sum(map(len, window)) >= rows:
            yield window
            window = []
    if window:
        yield window
