"""What datasets for writing and for reading have in common: schema, columns, rows."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

from cas.dataset.bridges import Bridges
from cas.dataset.column import ReadOnlyColumn
from cas.dataset.history import Version, find_version
from cas.dataset.indexing import choose_columns, is_columns, no_column, select
from cas.dataset.reflog import ReflogEntry, read_reflog
from cas.dataset.refs import RefView
from cas.dataset.rows import RowRangeView, RowView
from cas.dataset.state import ColumnState, State
from cas.dataset.summary import Summary, summarise
from cas.errors import ClosedError, InvalidInputError, ReadOnlyAttributeError
from cas.repo.repository import Repository
from cas.store.forks import renewed_in_children
from cas.types import Type

if TYPE_CHECKING:
    from cas.dataset.blame import Blame
    from cas.dataset.diff import Diff
    from cas.dataset.metadata import Metadata, ReadOnlyMetadata


class Readable(Bridges):
    """A table of named columns."""

    _column_class: type[ReadOnlyColumn] = ReadOnlyColumn
    _row_class: type[RowView] = RowView
    _rows_class: type[RowRangeView] = RowRangeView

    def __init__(self, repository: Repository, dataset: bytes, name: str) -> None:
        self._repository = repository
        self._dataset = dataset
        self._name = name
        self._closed = False
        self._lock = renewed_in_children(self, threading.RLock)

    @property
    def _state(self) -> State:
        """The table as it is; refused once the dataset is closed."""
        raise NotImplementedError

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the dataset is closed; open it again")

    def close(self) -> None:
        """Releases the store; the dataset cannot be used any more."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _where(self) -> str:
        return f"{self._repository.path}/{self._name}".rstrip("/")

    @property
    def id(self) -> str:
        """What names the dataset in its store, for good: 32 hexadecimal digits."""
        return self._dataset.hex()

    @property
    def name(self) -> str:
        """The name of the dataset: the last part of its path, unless it was given another one."""
        self._check_open()
        facts = self._repository.facts(self._name, self._dataset)
        return facts.title or self._name.rsplit("/", 1)[-1] or self._repository.path.name

    @property
    def description(self) -> str:
        """What the dataset is, in words; empty unless it was set."""
        self._check_open()
        return self._repository.facts(self._name, self._dataset).description

    @property
    def reflog(self) -> list[ReflogEntry]:
        """Every move of the branches and tags, newest first: what ``main@{1}`` and ``main@{2026-11-01}`` look at.

        A branch or tag that was deleted is made again from here, as by ``ds.branch("fixes", version="fixes@{1}")``.
        """
        self._check_open()
        with self._repository.store.read() as view:
            return read_reflog(view, self._dataset)

    @property
    def schema(self) -> Mapping[str, Type]:
        """The types of the columns, by name, in column order; changed by ``add_column`` and the like only."""
        return MappingProxyType({name: column.type for name, column in self._state.columns.items()})

    def summary(self) -> Summary:
        """Returns the dataset at a glance: where it stands, its rows, and the type and size of each column.

        It shows as it is at the prompt; ``print`` it elsewhere. Sizes are before dedup and compression.
        """
        return summarise(self, {"dataset": self._where, **self._standing()})

    def diff(self, a: str | Version | RefView, b: str | Version | RefView | None = None) -> Diff:
        """Returns what changed from one version to another, by default to the one that is open here.

        Both are named by a revision, or given as a version, tag or branch. Staged changes are in no version. Cost: see
        :class:`~cas.dataset.diff.Diff`.
        """
        from cas.dataset.diff import Diff  # it opens both versions

        return Diff(self._repository, self._version_named(a), self.version if b is None else self._version_named(b))

    def blame(self, column: str, rows: Any = None) -> Blame:
        """Returns for each row of a column the version that last changed its value, followed through merges.

        ``rows`` are those of :attr:`version`, by any index, by default all; staged changes are in no version. Cost: the
        row maps of the versions that made the rows, and the chunks around changes.
        """
        from cas.dataset.blame import blame

        return blame(self._repository, self.version, column, rows)

    def _version_named(self, version: str | Version | RefView) -> Version:
        """A version of this dataset by a revision, or as one of the objects that have one."""
        self._check_open()
        named = version.version if isinstance(version, RefView) else version
        return Version(
            self._repository, self._dataset, self._name, find_version(self._repository, self._dataset, named)
        )

    @property
    def version(self) -> Version:
        """The version that is open."""
        raise NotImplementedError

    def _standing(self) -> dict[str, str]:
        """Which version it is, in words."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self._state.rows

    @overload
    def __getitem__(self, index: str) -> Any: ...
    @overload
    def __getitem__(self, index: int) -> RowView: ...
    @overload
    def __getitem__(self, index: Any) -> Any: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            return self._column(index)
        if is_columns(index):
            return self._rows_class(self, range(len(self)), choose_columns(self.schema, index))
        selected = select(index, len(self))
        return self._row_class(self, selected) if isinstance(selected, int) else self._rows_class(self, selected)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        if name in self._state.columns:
            return self._column(name)
        from difflib import get_close_matches  # for the error only

        near = get_close_matches(name, [*dir(type(self)), *self._state.columns], 1)
        hint = f"did you mean {near[0]!r}?" if near else f"the columns are {list(self._state.columns)}"
        raise AttributeError(f"{type(self).__name__!r} has no attribute and no column {name!r}; {hint}")

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            column = f"assign the values of the column with ds[{name!r}][:] = ..."
            what = column if name in self else "it has no such attribute, and no column of that name"
            raise InvalidInputError(f"{name!r} cannot be set on a dataset: {what}", column=name)
        if isinstance(known := getattr(type(self), name, None), property) and known.fset is None:
            raise ReadOnlyAttributeError(f"{name!r} of a {type(self).__name__} cannot be set")
        super().__setattr__(name, value)

    def __iter__(self) -> Iterator[RowView]:
        for row in range(len(self)):
            yield self._row_class(self, row)

    def __contains__(self, name: object) -> bool:
        return name in self._state.columns

    def batches(self, batch_size: int, drop_last: bool = False) -> Iterator[RowRangeView]:
        """Gives all rows in order, ``batch_size`` rows at a time; ``drop_last`` leaves out a shorter last batch."""
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise InvalidInputError(f"a batch size of {batch_size!r} is not valid; expected an int of 1 or more")
        rows = len(self) - len(self) % batch_size if drop_last else len(self)
        starts = range(0, rows, batch_size)
        return (self._rows_class(self, range(start, min(start + batch_size, rows))) for start in starts)

    def _column(self, name: str) -> Any:
        self._column_state(name)
        return self._column_class(self, name)

    def _column_state(self, name: str) -> ColumnState:
        column = self._state.columns.get(name) if isinstance(name, str) else None
        if column is None:
            raise no_column(self._state.columns, name)
        return column

    def _frozen(self) -> State:
        """The table as it is now, to be read without the lock."""
        with self._lock:
            return self._state.frozen()

    def _metadata(self, column: str | None) -> Metadata | ReadOnlyMetadata:
        raise NotImplementedError
