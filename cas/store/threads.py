"""The threads of the process: those that hash, compress and read, and those that put."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

ITEMS_PER_TASK: Final = 32
TASK_BYTES: Final = 1 << 20
LARGE_CHUNK_BYTES: Final = 32 << 10
"""Chunks from this size on are hashed in threads; handing the interpreter over takes longer than hashing others."""
Item = TypeVar("Item")
Result = TypeVar("Result")
_PUTTERS: Final = 8
_pools: dict[str, ThreadPoolExecutor] = {}
_pools_pid = 0
_pool_lock = threading.Lock()
_turn = threading.Lock()
_LONGEST_TURN: Final = 0.1


def _after_fork_in_child() -> None:
    """Another thread of the parent may have held the locks, which nobody here would ever give back."""
    global _pool_lock, _turn
    _pool_lock = threading.Lock()
    _turn = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)


def workers() -> ThreadPoolExecutor:
    """Returns the process's thread pool; hashing and compression release the GIL."""
    return _pool("cas", os.cpu_count() or 2)


def putters() -> ThreadPoolExecutor:
    """Threads that put blobs. They wait for whoever writes to the store, who may wait for :func:`workers`."""
    return _pool("cas-put", _PUTTERS)


def _pool(name: str, threads: int) -> ThreadPoolExecutor:
    global _pools_pid
    # Imported here because few programs need it before they write, and it takes as long as half of this package.
    from concurrent.futures import ThreadPoolExecutor

    with _pool_lock:
        if _pools_pid != os.getpid():
            _pools.clear()
            _pools_pid = os.getpid()
        if name not in _pools:
            _pools[name] = ThreadPoolExecutor(threads, thread_name_prefix=name)
        return _pools[name]


@contextmanager
def short_calls() -> Iterator[None]:
    """Has its turn at the interpreter, for many short calls that let go of it; who hashes waits, see :func:`give_way`.

    Two threads that do so at once spend most of their time handing it over: that takes as long as ten such calls. But
    nobody depends on it: of two that want their turn both go on, and one that is never given back is taken away.
    """
    _turn.acquire(blocking=False)
    try:
        yield
    finally:
        _give_back()


def give_way() -> None:
    """Waits for a thread that is in :func:`short_calls`, not for long; for who makes such calls too, now and then."""
    if _turn.locked():
        _turn.acquire(timeout=_LONGEST_TURN)
        _give_back()


def _give_back() -> None:
    with suppress(RuntimeError):  # somebody else did
        _turn.release()


class Task(Generic[Result]):
    """Work that a thread does meanwhile, or, where none has come to it, whoever asks what came of it.

    No thread can be had at the end of the interpreter, and under a limit, and a pool's threads may all wait for work
    of their own. So who begins first has it, and nobody does it twice, although an executor may have it queued.
    """

    def __init__(self, work: Callable[[], Result]) -> None:
        from concurrent.futures import Future

        self._work = work
        self._pid = os.getpid()
        self._begun = threading.Lock()
        self._done: Future[Result] = Future()

    def start(self, pool: Callable[[], ThreadPoolExecutor]) -> Task[Result]:
        """Hands the work to a pool; returns the task."""
        with suppress(RuntimeError):
            pool().submit(self._run)
        return self

    def _run(self) -> None:
        if not self._begun.acquire(blocking=False):
            return
        try:
            result = self._work()
        except BaseException as error:
            self._done.set_exception(error)
        else:
            self._done.set_result(result)

    @property
    def is_ours(self) -> bool:
        """False in a forked child, where nobody does the work: do not wait for it there."""
        return self._pid == os.getpid()

    def result(self) -> Result:
        """Returns what came of the work, or raises what it has raised."""
        self._run()
        return self._done.result()

    def error(self) -> BaseException | None:
        """Returns what the work has raised, once it is done."""
        self._run()
        return self._done.exception()

    def end(self) -> None:
        """Sees to it that nobody is at it: waits for who is, and keeps others from beginning."""
        if not self._begun.acquire(blocking=False):
            self._done.exception()


def map_in_pool(function: Callable[[Item], Result], items: Sequence[Item], batch: int = ITEMS_PER_TASK) -> list[Result]:
    """Maps in the process's thread pool, ``batch`` items a task; a short list is not worth handing over.

    The caller takes part, so ``function`` may map in turn. When it returns or raises no task is under way any more:
    what they read, such as the map of a store, may go then.
    """
    if len(items) < 2 * batch:
        return [function(item) for item in items]

    def run(begin: int) -> list[Result]:
        return [function(item) for item in items[begin : begin + batch]]

    tasks = [Task(partial(run, begin)) for begin in range(0, len(items), batch)]
    try:
        for task in tasks:
            task.start(workers)
        return [result for task in tasks for result in task.result()]
    finally:
        for task in tasks:
            task.end()
