"""Checkpoints out of datasets: only the tensors that are asked for, each read into its own memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from cas.chunking.cut import SINGLE_ROW_BYTES
from cas.codec.rows import Flat
from cas.dataset.opening import open_read_only
from cas.dataset.readable import Readable
from cas.dataset.state import State
from cas.errors import CorruptedError, InvalidTypeError, NotFoundError, shown
from cas.integrations.tensors.memory import check_framework, tensor_of
from cas.integrations.tensors.nesting import unflatten, value_of
from cas.integrations.tensors.table import HEADER, PATH, VALUE, Row, read_rows
from cas.repo.location import Url
from cas.store.threads import map_in_pool
from cas.types import DATA

_BLOCK_BYTES: Final = 16 << 20


def load_tensors(url: Url, names: Iterable[str] | None = None, *, framework: str | None = None) -> dict[str, Any]:
    """Returns the tensors of a checkpoint, as of a version where the url names one: ``lake/model@v1.0``.

    Without ``names`` they are as they were saved: nested, in their order, with what is no tensor in its place. With
    ``names``, as :func:`tensor_names` lists them, it is a flat dict of those, in the order asked for, and nothing else
    is read. Each tensor is what it was saved as, of PyTorch on the CPU or of NumPy, unless ``framework`` says
    ``"torch"`` or ``"numpy"`` (bfloat16 and float8 of NumPy are those of ml_dtypes). All may be
    written to; those below 16 MiB share blocks of memory, so what is kept of a checkpoint for long is better copied.

    Cost: the chunks of the tensors that are asked for, each read, checked and unpacked into its place. Raises
    :class:`~cas.errors.NotFoundError` for a name that is not there, :class:`~cas.errors.UnsupportedError` where a
    package is missing or does not have a dtype.

    >>> import cas, numpy as np, tempfile
    >>> url = tempfile.mkdtemp() + "/model"
    >>> version = cas.save_tensors(url, {"layer": {"weight": np.arange(3), "bias": np.zeros(2)}, "epoch": 7})
    >>> cas.load_tensors(url, ["layer.weight"])
    {'layer.weight': array([0, 1, 2])}
    >>> cas.load_tensors(url)["epoch"]
    7
    """
    check_framework(framework)
    if isinstance(names, (str, bytes)):
        raise InvalidTypeError(f"names={shown(names)} is one name; expected a list of names, [{shown(names)}]")
    with open_read_only(url) as dataset:
        rows = [row for row in read_rows(dataset) if row.dtype != HEADER]
        if names is not None:
            chosen = _chosen(rows, names, url)
            return dict(zip((row.name for row in chosen), _read(dataset, chosen, framework), strict=True))
        found = _read(dataset, rows, framework)
        paths = dataset[PATH][:] if PATH in dataset.schema else [None] * len(dataset)
        return unflatten((row.name, paths[row.number], value) for row, value in zip(rows, found, strict=True))


def tensor_names(url: Url) -> list[str]:
    """Returns the names of the rows of a checkpoint in order: of its tensors, and of what is no tensor.

    >>> import cas, numpy as np, tempfile
    >>> url = tempfile.mkdtemp() + "/model"
    >>> version = cas.save_tensors(url, {"layer": {"weight": np.arange(3), "bias": np.zeros(2)}, "epoch": 7})
    >>> cas.tensor_names(url)
    ['layer.weight', 'layer.bias', 'epoch']
    """
    with open_read_only(url) as dataset:
        return [row.name for row in read_rows(dataset) if row.dtype != HEADER]


def _chosen(rows: Sequence[Row], names: Iterable[str], url: Url) -> list[Row]:
    by_name = {row.name: row for row in rows}
    chosen = []
    for name in dict.fromkeys(names):
        row = by_name.get(name)
        if row is None:
            raise NotFoundError(
                f"there is no tensor {shown(name)} in {url}; cas.tensor_names lists the {len(rows)} there are",
                name=name,
            )
        chosen.append(row)
    return chosen


def _read(dataset: Readable, rows: Sequence[Row], framework: str | None) -> list[Any]:
    """The tensors and values of rows, in their order."""
    values = {row.number: None for row in rows if row.dtype == VALUE}
    if values:
        for number, value in zip(values, dataset[VALUE][list(values)], strict=True):
            values[number] = value_of(value)
    tensors = [row for row in rows if row.dtype != VALUE]
    elements = read_elements(dataset, tensors)
    return [
        values[row.number] if row.dtype == VALUE else tensor_of(row, elements[row.number], framework) for row in rows
    ]


def read_elements(dataset: Readable, rows: Sequence[Row]) -> Mapping[int, Flat]:
    """Returns the bytes of tensors by row number: of large ones each in memory of its own, of others in blocks."""
    state = dataset._frozen()
    found: dict[int, Flat] = {}

    def read(block: Sequence[Row]) -> None:
        found.update(zip((row.number for row in block), _read_block(state, block, dataset), strict=True))

    map_in_pool(read, list(_blocks(rows)), batch=1)
    return found


def _blocks(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Tensors that are read together: of one column, in ascending order, small ones apart from those in chunks alone.

    One array of several megabytes takes a fraction of the time that many take, for the system gives it large pages.
    """
    by_kind: dict[tuple[str, bool], list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.number):
        small = row.size_bytes is not None and row.size_bytes < SINGLE_ROW_BYTES
        by_kind.setdefault((row.column, small), []).append(row)
    for some in by_kind.values():
        block: list[Row] = []
        size = 0
        for row in some:
            # What does not tell its size stands alone.
            length = _BLOCK_BYTES if row.size_bytes is None else row.size_bytes
            if block and size + length > _BLOCK_BYTES:
                yield block
                block, size = [], 0
            block.append(row)
            size += length
        yield block


def _read_block(state: State, rows: Sequence[Row], dataset: Readable) -> list[Flat]:
    column = state.columns.get(rows[0].column)
    if column is None:
        raise CorruptedError(f"there is no column {rows[0].column!r}, which {rows[0].name!r} should stand in")
    try:
        read = column.streams[DATA].take(np.array([row.number for row in rows], np.int64))
    except CorruptedError as error:
        if len(rows) > 1:  # one of them; the others can be read
            return [_read_block(state, [row], dataset)[0] for row in rows]
        raise _told(error, rows[0], dataset) from error
    flat = read.flat if read.flat.flags.writeable else read.flat.copy()
    return [flat[begin:end] for begin, end in pairwise([0, *read.row_ends().tolist()])]


def _told(error: CorruptedError, row: Row, dataset: Readable) -> CorruptedError:
    version = dataset.version.id
    return CorruptedError(
        f"{error} (tensor {row.name!r}, version {version})",
        blob=error.blob,
        version=version,
        column=row.column,
        rows=[(row.number, row.number + 1)],
    )
