"""Which version made each value of a column what it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from cas.codec.rows import Ints
from cas.dataset.history import Version
from cas.dataset.indexing import select
from cas.errors import ColumnNotFoundError
from cas.history.blame import blame_cells
from cas.repo.repository import Repository
from cas.tree.alignment import ascending_with_places


class Blame(Sequence[Version]):
    """For rows of a column the versions that last changed them, in the order in which the rows were asked for.

    ``rows`` are the row numbers (int64), ``versions`` the versions that occur, newest first, and ``numbers`` (int64,
    one a row) says which of them each row has: millions of rows take 16 bytes each.
    """

    def __init__(self, rows: Ints, versions: list[Version], numbers: Ints) -> None:
        self.rows = rows
        self.versions = versions
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Version: ...
    @overload
    def __getitem__(self, index: slice) -> list[Version]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.versions[number] for number in self.numbers[index].tolist()]
        return self.versions[self.numbers[range(len(self))[index]]]

    def rows_of(self, version: Version) -> Ints:
        """Returns the rows, of those asked for, that a version made what they are."""
        if version not in self.versions:
            return np.empty(0, np.int64)
        found: Ints = self.rows[self.numbers == self.versions.index(version)]
        return found

    def __repr__(self) -> str:
        return f"<Blame of {len(self)} rows on {len(self.versions)} versions>"


def blame(repository: Repository, version: Version, column: str, rows: Any) -> Blame:
    """Returns who made the values of a column what they are, in rows given by any index, by default all."""
    tree = repository.tree(bytes.fromhex(version.tree))
    if not isinstance(column, str) or tree.column(column) is None:
        names = ", ".join(repr(known.name) for known in tree.columns) or "none"
        raise ColumnNotFoundError(f"there is no column {column!r}; the columns are: {names}", name=column)
    selected = select(slice(None) if rows is None else rows, tree.rows)
    asked = np.atleast_1d(np.asarray(selected, np.int64))
    distinct, places = ascending_with_places(asked)
    lineage = repository.lineage()
    versions, numbers = blame_cells(lineage, repository.nodes, version._hash, column, distinct)
    found = [Version(version._repository, version._dataset, version._name, hash_) for hash_ in versions]
    return Blame(asked, found, numbers[places])
