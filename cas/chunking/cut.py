"""Content-defined cuts between rows (FORMAT section 3), vectorised in NumPy.

The rolling hash is a polynomial over the hashes of the last rows, computed for all rows at once by doubling the
window; cutting follows FastCDC (Xia et al., USENIX ATC 2016) in relaxing the threshold for long chunks.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cas.codec.rows import Ints, Rows
from cas.types import Layout

SINGLE_ROW_BYTES: Final = 4096
PIECE_BYTES: Final = 262_080
MIN_BYTES: Final = 16_384
RELAX_BYTES: Final = 131_072
MAX_BYTES: Final = 262_080
MEAN_BYTES: Final = 49_152
RELAX_FACTOR: Final = 16
MAX_WINDOW: Final = 16
MAX_WORDS: Final = 16
FRAME_BYTES: Final = 4

MULTIPLIER_A: Final = 0x9E3779B97F4A7C15
MULTIPLIER_B: Final = 0xBF58476D1CE4E5B9
SHIFT_BITS: Final = 4
_A, _B = np.uint64(MULTIPLIER_A), np.uint64(MULTIPLIER_B)
_WORD: Final = np.dtype("<u8")
_UNIT: Final = 2**64 // MEAN_BYTES
_TOP: Final = 2**64 - 1
_BLOCK_ROWS: Final = 16_384

Words = NDArray[np.uint64]


def window_rows(row_bytes: int | None) -> int:
    """Returns how many rows the window spans: at most 16, and 16 KiB in a fixed layout."""
    if row_bytes is None or row_bytes < 1024:
        return MAX_WINDOW
    return 8 if row_bytes < 2048 else 4


def stands_alone(layout: Layout) -> bool:
    """Whether the layout alone makes every row a chunk of its own."""
    return layout.alone or (layout.row_bytes is not None and layout.row_bytes >= SINGLE_ROW_BYTES)


def comes_in_pieces(layout: Layout) -> bool:
    """Whether rows of the layout may be cut in pieces."""
    return layout.row_bytes is None or layout.row_bytes > PIECE_BYTES


def find_cuts(rows: Rows, layout: Layout, *, final: bool) -> Ints:
    """Returns the row counts after which a chunk ends, for rows that begin at a cut.

    Without ``final`` more rows may follow, and rows after the last cut are undecided; with it the last cut is
    the number of rows. A row that stands alone has a cut on either side. Linear time, vectorised.
    """
    if not rows.count:
        return np.empty(0, np.int64)
    if stands_alone(layout):
        return np.arange(1, rows.count + 1, dtype=np.int64)
    if layout.row_bytes is not None:
        cuts = _cut_group(rows, 0, rows.count, ended=final)
        return np.array(cuts, np.int64)
    big = np.flatnonzero(rows.lengths() >= SINGLE_ROW_BYTES)
    cuts = []
    begin = 0
    for index in big.tolist():
        cuts += _cut_group(rows, begin, index, ended=True)
        cuts.append(index + 1)
        begin = index + 1
    cuts += _cut_group(rows, begin, rows.count, ended=final)
    return np.array(cuts, np.int64)


def _cut_group(rows: Rows, begin: int, end: int, *, ended: bool) -> list[int]:
    """Cuts the small rows ``begin`` to ``end``; ``ended`` tells that the group cannot go on after them."""
    if begin == end:
        return []
    small = rows.slice(begin, end)
    sizes = _FixedSizes(small) if small.row_bytes is not None else _VaryingSizes(small)
    window = window_rows(small.row_bytes)
    cuts: list[int] = []
    start, passed, count = 0, 0, small.count
    total = sizes.total(count)
    if count < window and total <= MAX_BYTES:
        return [end] if ended else []  # too few for any rule, which is told without their hashes
    strong, weak = _candidates(small, sizes)
    while start < count:
        # Rule 5: the chunk holds at most the rows up to `limit`.
        limit = sizes.rows_within(passed + MAX_BYTES)
        low = max(start + window - 1, sizes.first_reaching(passed + MIN_BYTES))
        relaxed = max(low, sizes.first_reaching(passed + RELAX_BYTES))
        stop = _first_cut(strong, weak, low, relaxed, limit)
        if stop == 0:
            if total - passed <= MAX_BYTES:
                if ended:
                    cuts.append(begin + count)
                break
            stop = limit
        cuts.append(begin + stop)
        start, passed = stop, sizes.total(stop)
    return cuts


def _first_cut(strong: Ints, weak: Ints, low: int, relaxed: int, limit: int) -> int:
    """Returns the row count after which rules 1 to 3 end the chunk, or 0."""
    at = int(strong.searchsorted(low))
    first = int(strong[at]) + 1 if at < len(strong) else limit + 1
    if first <= min(relaxed, limit):
        return first
    at = int(weak.searchsorted(relaxed))
    first = min(first, int(weak[at]) + 1 if at < len(weak) else limit + 1)
    return first if first <= limit else 0


class _FixedSizes:
    """Sums of the weights of rows of one length."""

    def __init__(self, rows: Rows) -> None:
        self._weight = max(rows.row_bytes or 0, 1)
        self._count = rows.count

    def total(self, count: int) -> int:
        """The weight of the first ``count`` rows."""
        return count * self._weight

    def rows_within(self, weight: int) -> int:
        """How many rows weigh no more than this."""
        return min(weight // self._weight, self._count)

    def first_reaching(self, weight: int) -> int:
        """The first row with which the sum is at least this."""
        return -(-weight // self._weight) - 1

    def thresholds(self, begin: int, end: int) -> tuple[np.uint64, np.uint64]:
        """The threshold of rules 1 and 2, for all rows."""
        limit = self._weight * _UNIT
        return np.uint64(limit), np.uint64(min(limit * RELAX_FACTOR, _TOP))


class _VaryingSizes:
    """The same for rows of varying length, from their running sums."""

    def __init__(self, rows: Rows) -> None:
        self._sums = rows.row_ends() + np.arange(1, rows.count + 1, dtype=np.int64) * FRAME_BYTES
        self._weights = (rows.lengths() + FRAME_BYTES).astype(np.uint64)

    def total(self, count: int) -> int:
        return int(self._sums[count - 1])

    def rows_within(self, weight: int) -> int:
        return int(self._sums.searchsorted(weight, "right"))

    def first_reaching(self, weight: int) -> int:
        return int(self._sums.searchsorted(weight, "left"))

    def thresholds(self, begin: int, end: int) -> tuple[Words, Words]:
        limits = self._weights[begin:end] * np.uint64(_UNIT)
        fits = limits <= np.uint64(_TOP // RELAX_FACTOR)
        return limits, np.where(fits, limits * np.uint64(RELAX_FACTOR), np.uint64(_TOP))


def _candidates(rows: Rows, sizes: _FixedSizes | _VaryingSizes) -> tuple[Ints, Ints]:
    """Returns the rows after which rule 1 may end a chunk, and those after which rules 2 and 3 may.

    Works block by block in two buffers that stay in cache.
    """
    window = window_rows(rows.row_bytes)
    buffer = np.empty((2, min(rows.count, _BLOCK_ROWS + window + 1)), np.uint64)
    strong: list[Ints] = []
    weak: list[Ints] = []
    for begin in range(0, rows.count, _BLOCK_ROWS):
        end = min(begin + _BLOCK_ROWS, rows.count)
        lead = min(begin, window + 1)
        hashes, scratch = buffer[:, : end - begin + lead]
        _hash_rows(rows.slice(begin - lead, end), hashes, scratch)
        _roll(hashes, scratch, window)
        ended = _ended_runs(hashes)[lead:]
        hashes = hashes[lead:]
        tight, relaxed = sizes.thresholds(begin, end)
        weak_here = ((hashes < relaxed) | ended).nonzero()[0]
        limits = tight if isinstance(tight, np.uint64) else tight[weak_here]
        weak.append(weak_here + begin)
        strong.append(weak_here[hashes[weak_here] < limits] + begin)
    return np.concatenate(strong), np.concatenate(weak)


def _ended_runs(hashes: Words) -> NDArray[np.bool_]:
    """Tells which rows are the first after a run of equal ones, at least a window and a row long."""
    same = hashes[1:] == hashes[:-1]
    ended = np.zeros(len(hashes), np.bool_)
    np.greater(same[:-1], same[1:], out=ended[2:])
    return ended


def _roll(hashes: Words, scratch: Words, window: int) -> None:
    """Replaces row hashes by window hashes, in place: doubles the window, then mixes the sum."""
    span = 1
    while span < window:
        earlier = scratch[:-span]
        np.left_shift(hashes[:-span], np.uint64(SHIFT_BITS * span), out=earlier)
        hashes[span:] += earlier
        span *= 2
    hashes *= _B


def _hash_rows(rows: Rows, hashes: Words, scratch: Words) -> None:
    """Writes the hash of each row to ``hashes``."""
    if rows.row_bytes is None:
        _hash_varying(rows, hashes)
    else:
        _hash_fixed(rows, rows.row_bytes, hashes)
    np.right_shift(hashes, np.uint64(32), out=scratch)
    hashes ^= scratch


def word_offsets(length: int) -> list[int]:
    """Returns the byte offsets of the words that are sampled from a row of 8 bytes or more."""
    count = min(MAX_WORDS, -(-length // 8))
    return [index * (length - 8) // max(count - 1, 1) for index in range(count)]


def _hash_fixed(rows: Rows, size: int, hashes: Words) -> None:
    """Runs the sampled words of fixed rows through the row hash, one word of all rows at a time."""
    hashes.fill(size)
    for word in _fixed_words(rows, size):
        hashes ^= word
        hashes *= _A


def _fixed_words(rows: Rows, size: int) -> list[Words]:
    """Returns the sampled words of fixed rows, each an array over the rows."""
    if size == 0 or rows.count == 0:
        return []
    if size < 8:
        padded = np.zeros((rows.count, 8), np.uint8)
        padded[:, :size] = rows.flat.reshape(rows.count, size)
        return [padded.reshape(-1).view(_WORD)]
    return [np.ndarray((rows.count,), _WORD, rows.flat, offset, (size,)) for offset in word_offsets(size)]


def _hash_varying(rows: Rows, hashes: Words) -> None:
    """Runs the sampled words of varying rows through the row hash, one word of all rows at a time."""
    lengths = rows.lengths()
    hashes[:] = lengths
    # Every byte offset of the padded rows, seen as the word that begins there.
    padded = np.concatenate((rows.flat, np.zeros(8, np.uint8)))
    words = np.ndarray((rows.nbytes + 1,), _WORD, padded, 0, (1,))
    begins = rows.row_ends() - lengths
    counts = np.where(lengths < 8, np.minimum(lengths, 1), np.minimum(MAX_WORDS, -(-lengths // 8)))
    for index in range(int(counts.max(initial=0))):
        chosen = np.flatnonzero(counts > index)
        length = lengths[chosen]
        steps = np.maximum(counts[chosen] - 1, 1)
        offsets = begins[chosen] + index * np.maximum(length - 8, 0) // steps
        word = words[offsets]
        short = np.minimum(length, 8).astype(np.uint64) * np.uint64(8)
        word = np.where(short < 64, word & ((np.uint64(1) << short % np.uint64(64)) - np.uint64(1)), word)
        hashes[chosen] = (hashes[chosen] ^ word) * _A
