"""Results that are still being made, for threads and for asyncio alike."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import concurrent.futures

T = TypeVar("T")


class Future(Generic[T]):
    """The result of something that runs in a thread of its own.

    ``result(timeout)`` waits for it, ``await`` does so in asyncio, ``done()`` asks; any number of times, from any
    thread or event loop. What was raised in the thread is raised to each who asks. It runs to its end even if nobody
    waits, before the interpreter ends.

    >>> Future(lambda: 6 * 7).result()
    42
    """

    __slots__ = ("_inner",)

    def __init__(self, work: Callable[[], T]) -> None:
        # Imported here because few programs need it, and it takes as long as half of this package.
        import concurrent.futures

        self._inner: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._inner.set_running_or_notify_cancel()
        threading.Thread(target=self._run, args=(work,), name="cas-future").start()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            result = work()
        except BaseException as error:
            self._inner.set_exception(error)
        else:
            self._inner.set_result(result)

    def result(self, timeout: float | None = None) -> T:
        """Returns the result, waiting for it ``timeout`` seconds at most; ``TimeoutError`` if it takes longer."""
        return self._inner.result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Returns what was raised instead of a result, or None, waiting ``timeout`` seconds at most."""
        return self._inner.exception(timeout)

    def done(self) -> bool:
        """Whether the result, or an error, is there."""
        return self._inner.done()

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio

        # Shielded, so that cancelling one who waits leaves the others waiting.
        return asyncio.shield(asyncio.wrap_future(self._inner)).__await__()

    def __repr__(self) -> str:
        if not self.done():
            return "<Future: running>"
        error = self.exception()
        return f"<Future: {self.result()!r}>" if error is None else f"<Future: raised {error!r}>"
