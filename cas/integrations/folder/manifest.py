"""What a checkout wrote to a folder, kept there in a small SQLite database, so that nobody else's files are touched."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from cas.errors import StoreError

MANIFEST_NAME: Final = ".cas-checkout"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, key BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER
NOT NULL) WITHOUT ROWID
"""


UNKNOWN: Final = -1
"""The size and time of a file that is about to be written."""


_VALID: Final = (
    "typeof(path) = 'text' AND typeof(key) = 'blob' AND typeof(size) = 'integer' AND typeof(mtime_ns) = 'integer'"
)


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file as it was written: the key of its content, its size, and its modification time in nanoseconds."""

    key: bytes
    size_bytes: int
    mtime_ns: int

    def fits(self, status: os.stat_result) -> bool:
        """Whether the file still looks as it was written."""
        return (status.st_size, status.st_mtime_ns) == (self.size_bytes, self.mtime_ns)


class Manifest:
    """The files that checkouts wrote below a folder, by path."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / MANIFEST_NAME
        if self._path.is_symlink() or (self._path.exists() and not self._path.is_file()):
            raise StoreError(f"{self._path} is not a file; a checkout keeps its records there: move it away")
        self._database = sqlite3.connect(self._path, isolation_level=None)
        try:
            # The folder may come from a stranger: what his schema says is not run, and it must be ours.
            self._run("PRAGMA trusted_schema = OFF")
            self._run("PRAGMA synchronous = OFF")
            self._run(_SCHEMA)
            self._check()
            self._run("CREATE TEMP TABLE wanted (path TEXT PRIMARY KEY) WITHOUT ROWID")
            self._run("BEGIN")
        except BaseException:
            self._database.close()
            raise

    def _check(self) -> None:
        objects = self._all("SELECT type, name FROM sqlite_master")
        columns = [(name, hidden) for _, name, *_, hidden in self._all("PRAGMA table_xinfo(files)")]
        if objects != [("table", "files")] or columns != [(name, 0) for name in ("path", "key", "size", "mtime_ns")]:
            raise self._unusable("it holds something else")
        if self._run(f"SELECT 1 FROM files WHERE NOT ({_VALID}) LIMIT 1").fetchone() is not None:
            raise self._unusable("it holds values of other types")

    def _run(self, query: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._database.execute(query, values)
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, reason: object) -> StoreError:
        return StoreError(f"{self._path}, the records of a checkout, cannot be used: {reason}; delete it")

    def get(self, path: str) -> WrittenFile | None:
        """Returns what was written at a path."""
        row = self._run("SELECT key, size, mtime_ns FROM files WHERE path = ?", (path,)).fetchone()
        return None if row is None else WrittenFile(*row)

    def put(self, path: str, file: WrittenFile) -> None:
        """Notes what was written at a path."""
        self._run("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (path, file.key, file.size_bytes, file.mtime_ns))

    def remove(self, path: str) -> None:
        """Forgets a path."""
        self._run("DELETE FROM files WHERE path = ?", (path,))

    def want(self, path: str) -> bool:
        """Notes a path of the version; False where it was noted before."""
        return self._run("INSERT OR IGNORE INTO wanted VALUES (?)", (path,)).rowcount == 1

    def is_wanted(self, path: str) -> bool:
        """Whether a path of the version was noted."""
        return self._run("SELECT 1 FROM wanted WHERE path = ?", (path,)).fetchone() is not None

    def unwanted(self) -> list[tuple[str, WrittenFile]]:
        """Returns the files that were written and are not in the version."""
        query = "SELECT path, key, size, mtime_ns FROM files WHERE path NOT IN (SELECT path FROM wanted) ORDER BY path"
        return [(path, WrittenFile(*rest)) for path, *rest in self._all(query)]

    def unfinished(self) -> list[str]:
        """Returns the paths at which a checkout was to write when it was interrupted."""
        return [path for (path,) in self._all(f"SELECT path FROM files WHERE mtime_ns = {UNKNOWN} ORDER BY path")]

    def _all(self, query: str) -> list[tuple[Any, ...]]:
        try:
            return self._run(query).fetchall()
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def save(self) -> None:
        """Makes the notes up to here permanent."""
        self._run("COMMIT")
        self._run("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._run("COMMIT")
        finally:
            self._database.close()
