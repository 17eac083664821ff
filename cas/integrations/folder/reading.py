"""Reading image files in parallel, in order, holding a bounded number of bytes."""

from __future__ import annotations

import mmap
import os
import stat
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from cas.codec.image_format import NotAnImageError, image_format, recognise
from cas.hashing import Bytes
from cas.integrations.folder.scan import FoundFile, Skipped, identity_of

BATCH_FILES: Final = 64
BATCH_BYTES: Final = 4 << 20
IN_FLIGHT_BYTES: Final = 32 << 20
LARGE_BYTES: Final = 16 << 20
MOST_WAITING: Final = 4096
_COPY_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file's content, with what ``stat`` said of it before and after, which was the same."""

    file: FoundFile
    content: Bytes
    read_at: int
    """When reading began, in nanoseconds since 1970."""


class _Unusable(Exception):  # noqa: N818 - not an error: a reason to skip
    """Why a file is left out."""


def read_in_order(
    folder: Path, items: Iterable[FoundFile | Skipped], wanted: Callable[[FoundFile], bool], *, jobs: int, spool: Path
) -> Iterator[FoundFile | Skipped | ReadFile]:
    """Yields each item in its order: files that are ``wanted`` as read, or as skipped; others as they are.

    Reads ahead with ``jobs`` threads, up to about 32 MiB; files above 16 MiB are copied to an unlinked file in
    ``spool`` and mapped, so that memory stays bounded and nobody can change them meanwhile.
    """
    with ThreadPoolExecutor(jobs, thread_name_prefix="cas-read") as pool:
        queue = _Queue(pool, folder, spool)
        for item in items:
            if isinstance(item, FoundFile) and wanted(item):
                queue.read(item)
            else:
                queue.pass_on(item)
            while queue.full:
                yield from queue.take()
        queue.send()
        while queue:
            yield from queue.take()


class _Queue:
    """Items in order, of which batches of files are being read."""

    def __init__(self, pool: ThreadPoolExecutor, folder: Path, spool: Path) -> None:
        self._pool = pool
        self._folder = folder
        self._spool = spool
        self._waiting: deque[tuple[Future[list[ReadFile | Skipped]] | FoundFile | Skipped, int]] = deque()
        self._in_flight = 0
        self._batch: list[FoundFile] = []
        self._batch_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether as much is read ahead as may be."""
        return self._in_flight > IN_FLIGHT_BYTES or len(self._waiting) > MOST_WAITING

    def read(self, file: FoundFile) -> None:
        """Adds a file to be read."""
        self._batch.append(file)
        self._batch_bytes += min(file.size_bytes, LARGE_BYTES)
        if len(self._batch) >= BATCH_FILES or self._batch_bytes >= BATCH_BYTES:
            self.send()

    def pass_on(self, item: FoundFile | Skipped) -> None:
        """Adds an item that stays as it is."""
        self.send()
        self._waiting.append((item, 0))

    def send(self) -> None:
        """Hands the files added last to a thread."""
        if self._batch:
            files = self._batch
            future = self._pool.submit(lambda: [_read(self._folder, file, self._spool) for file in files])
            self._waiting.append((future, self._batch_bytes))
            self._in_flight += self._batch_bytes
            self._batch, self._batch_bytes = [], 0

    def take(self) -> Iterator[FoundFile | Skipped | ReadFile]:
        """Yields the first item, or all of the first batch once it has been read."""
        item, size = self._waiting.popleft()
        self._in_flight -= size
        if isinstance(item, Future):
            yield from item.result()
        else:
            yield item


def _read(folder: Path, file: FoundFile, spool: Path) -> ReadFile | Skipped:
    read_at = time.time_ns()
    try:
        content = _read_content(folder, file, spool)
        image_format(content)
    except _Unusable as reason:
        return Skipped(file.path, str(reason), unknown=True)
    except NotAnImageError as error:
        return Skipped(file.path, f"it is no image: {error}")
    except OSError as error:
        return Skipped(file.path, f"the file cannot be read: {error.strerror}", unknown=True)
    return ReadFile(file, content, read_at)


def _read_content(folder: Path, file: FoundFile, spool: Path) -> Bytes:
    descriptor = os.open(os.path.join(folder, file.path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb", buffering=0) as source:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or identity_of(status) != file.identity:
            raise _Unusable("it changed between being listed and being read")
        large = file.size_bytes > LARGE_BYTES
        content = _map(source, file, spool) if large else _read_exactly(source, file.size_bytes)
        if len(content) != file.size_bytes or identity_of(os.fstat(descriptor)) != file.identity:
            raise _Unusable("it changed while it was being read")
    return content


def _read_exactly(source: IO[bytes], size: int) -> bytes:
    # One more byte than expected shows that the file grew.
    return source.read(size + 1) or b""


def _map(source: IO[bytes], file: FoundFile, spool: Path) -> memoryview:
    # Before it is copied: what is no image need not be.
    recognise(os.pread(source.fileno(), 32, 0))
    with tempfile.TemporaryFile(dir=spool) as copy:
        left = file.size_bytes + 1
        while left and (block := source.read(min(left, _COPY_BYTES))):
            copy.write(block)
            left -= len(block)
        if left != 1:
            raise _Unusable("it changed while it was being read")
        copy.flush()
        return memoryview(mmap.mmap(copy.fileno(), 0, access=mmap.ACCESS_READ))
