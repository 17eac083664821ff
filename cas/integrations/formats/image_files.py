"""Images that a table names by path, read from below one folder."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path, PurePosixPath
from typing import Final

from cas.errors import InvalidInputError, StoreError
from cas.integrations.folder.confined import ConfinedFolder, UnsafePathError
from cas.integrations.formats.source import Unusable

_BLOCK_BYTES: Final = 1 << 20
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


class ImageFiles:
    """The files below a folder, for paths that a stranger may have written: none leads out of it, links included."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser().absolute()
        if not self.folder.is_dir():
            raise InvalidInputError(f"{self.folder} is not a folder; expected the one that paths of images are below")

    def read(self, path: str) -> bytes | Unusable:
        """Returns the bytes of a file, or why there are none.

        An absolute path is taken where it leads below the folder. Raises :class:`~cas.errors.StoreError` for a file
        that is there and cannot be read: that says nothing about its image.
        """
        confined = ConfinedFolder(self.folder)
        try:
            inner = self._below(path)
            status = confined.status(inner)
            if status is None or not stat.S_ISREG(status.st_mode):
                return Unusable(path, _what(status))
            return b"".join(confined.read(inner, _BLOCK_BYTES))
        except UnsafePathError as error:
            return Unusable(path, str(error))
        except OSError as error:
            if error.errno in _GONE:
                return Unusable(path, f"there is no such file below {self.folder}, or a link leads there")
            raise StoreError(f"{self.folder / path} cannot be read: {error.strerror}; nothing was imported") from error
        finally:
            confined.close()

    def _below(self, path: str) -> str:
        """The path from the folder on, without parts that mean nothing."""
        if path.startswith("/"):
            if not PurePosixPath(path).is_relative_to(self.folder):
                raise UnsafePathError(f"path {path!r} leads out of {self.folder}; say with --images where images are")
            path = str(PurePosixPath(path).relative_to(self.folder))
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise UnsafePathError(f"path {path!r} leads out of {self.folder}, or might; write it without '..'")
        return "/".join(parts)


def _what(status: os.stat_result | None) -> str:
    if status is None:
        return "there is no such file"
    is_link = stat.S_ISLNK(status.st_mode)
    return "it is a symbolic link, which is not followed" if is_link else "it is not a regular file"
