"""Checkpoints out of datasets: only the tensors that are asked for, each read into its own memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np

from cas.chunking.cut import SINGLE_ROW_BYTES
from cas.codec.rows import Flat
from cas.dataset.opening import open_read_only
from cas.dataset.readable import Readable
from cas.dataset.state import State
from cas.errors import CorruptedError, InvalidTypeError, NotFoundError, shown
from cas.integrations.tensors.memory import check_framework, tensor_of
from cas.integrations.tensors.nesting import from_plain, unflatten
from cas.integrations.tensors.table import HEADER, PATH, VALUE, Row, column_of, is_small, read_rows
from cas.repo.location import Url
from cas.types import DATA

_THREADS: Final = 2
"""They share what is Python, so more do not help; each hands large tensors to the threads that unpack chunks."""


def load_tensors(url: Url, names: Iterable[str] | None = None, *, framework: str | None = None) -> dict[str, Any]:
    """Returns the tensors of a checkpoint, as of a version where the url names one: ``lake/model@v1.0``.

    Without ``names`` they are as they were saved: nested, in their order, with what is no tensor in its place. With
    ``names``, as :func:`tensor_names` lists them, it is a flat dict of those, in the order asked for, and nothing else
    is read. Each tensor is what it was saved as, of PyTorch on the CPU or of NumPy, unless ``framework`` says
    ``"torch"`` or ``"numpy"`` (bfloat16 and float8 of NumPy are those of ml_dtypes). Each has memory of its own and may
    be written to.

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
            values[number] = from_plain(value[VALUE])
    tensors = [row for row in rows if row.dtype != VALUE]
    elements = read_elements(dataset, tensors)
    return [
        values[row.number] if row.dtype == VALUE else tensor_of(row, elements[row.number], framework) for row in rows
    ]


def read_elements(dataset: Readable, rows: Sequence[Row]) -> Mapping[int, Flat]:
    """Returns the bytes of tensors by row number, each in an array of its own."""
    state = dataset._frozen()
    small = [row for row in rows if is_small(row, SINGLE_ROW_BYTES)]
    numbers = {row.number for row in small}
    large = [row for row in rows if row.number not in numbers]
    found = _read_small(state, small)

    def read(row: Row) -> Flat:
        try:
            return _writable(_stream(state, row).read(row.number, row.number + 1).flat)
        except CorruptedError as error:
            raise _told(error, row, dataset) from error

    if len(large) < 2:
        flats = list(map(read, large))
    else:
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="cas-load") as threads:
            flats = list(threads.map(read, large))
    found.update(zip((row.number for row in large), flats, strict=True))
    return found


def _stream(state: State, row: Row) -> Any:
    column = state.columns.get(column_of(row.dtype))
    if column is None:
        raise CorruptedError(f"there is no column {column_of(row.dtype)!r}, which {row.name!r} should stand in")
    return column.streams[DATA]


def _read_small(state: State, rows: Sequence[Row]) -> dict[int, Flat]:
    """Small tensors share chunks with others, so those of a column are read at once."""
    found: dict[int, Flat] = {}
    by_column: dict[str, list[Row]] = {}
    for row in rows:
        by_column.setdefault(column_of(row.dtype), []).append(row)
    for some in by_column.values():
        numbers = np.array([row.number for row in some], np.int64)
        taken = _stream(state, some[0]).take(numbers)
        found.update(
            {row.number: np.array(np.frombuffer(part, np.uint8)) for row, part in zip(some, taken, strict=True)}
        )
    return found


def _writable(flat: Flat) -> Flat:
    """Memory of its own: rows that share a chunk come as views of it."""
    return flat if flat.flags.writeable and flat.base is None else flat.copy()


def _told(error: CorruptedError, row: Row, dataset: Readable) -> CorruptedError:
    version = dataset.version.id
    return CorruptedError(
        f"{error} (tensor {row.name!r}, version {version})",
        blob=error.blob,
        version=version,
        column=column_of(row.dtype),
        rows=[(row.number, row.number + 1)],
    )
