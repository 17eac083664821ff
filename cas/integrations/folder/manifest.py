"""What a checkout wrote to a folder, kept there in a small SQLite database, so that nobody else's files are touched."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cas.errors import StoreError

MANIFEST_NAME: Final = ".cas-checkout"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, key BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER
NOT NULL) WITHOUT ROWID
"""


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
        try:
            self._database = sqlite3.connect(self._path, isolation_level=None)
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.execute(_SCHEMA)
            self._database.execute("CREATE TEMP TABLE wanted (path TEXT PRIMARY KEY) WITHOUT ROWID")
            self._database.execute("BEGIN")
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}, the records of a checkout, cannot be used: {error}; delete it") from error

    def get(self, path: str) -> WrittenFile | None:
        """Returns what was written at a path."""
        query = "SELECT key, size, mtime_ns FROM files WHERE path = ?"
        row = self._database.execute(query, (path,)).fetchone()
        return None if row is None else WrittenFile(*row)

    def put(self, path: str, file: WrittenFile) -> None:
        """Notes what was written at a path."""
        self._database.execute(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (path, file.key, file.size_bytes, file.mtime_ns)
        )

    def remove(self, path: str) -> None:
        """Forgets a path."""
        self._database.execute("DELETE FROM files WHERE path = ?", (path,))

    def want(self, path: str) -> bool:
        """Notes a path of the version; False where it was noted before."""
        return self._database.execute("INSERT OR IGNORE INTO wanted VALUES (?)", (path,)).rowcount == 1

    def is_wanted(self, path: str) -> bool:
        """Whether a path of the version was noted."""
        return self._database.execute("SELECT 1 FROM wanted WHERE path = ?", (path,)).fetchone() is not None

    def unwanted(self) -> list[tuple[str, WrittenFile]]:
        """Returns the files that were written and are not in the version."""
        query = "SELECT path, key, size, mtime_ns FROM files WHERE path NOT IN (SELECT path FROM wanted) ORDER BY path"
        return [(path, WrittenFile(*rest)) for path, *rest in self._database.execute(query)]

    def save(self) -> None:
        """Makes the notes up to here permanent."""
        self._database.execute("COMMIT")
        self._database.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.execute("COMMIT")
        self._database.close()
