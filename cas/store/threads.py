"""The threads of the process: those that hash, compress and read, and those that put."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

ITEMS_PER_TASK: Final = 32
Item = TypeVar("Item")
Result = TypeVar("Result")
_PUTTERS: Final = 8
_pools: dict[str, ThreadPoolExecutor] = {}
_pools_pid = 0
_pool_lock = threading.Lock()


def _after_fork_in_child() -> None:
    """Another thread of the parent may have held the lock, which nobody here would ever give back."""
    global _pool_lock
    _pool_lock = threading.Lock()


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


def map_in_pool(function: Callable[[Item], Result], items: Sequence[Item], batch: int = ITEMS_PER_TASK) -> list[Result]:
    """Maps in the process's thread pool, ``batch`` items a task; a short list is not worth handing over.

    When it returns or raises no task is under way any more: what they read, such as the map of a store, may go then.
    """
    if len(items) < 2 * batch:
        return [function(item) for item in items]

    def run(begin: int) -> list[Result]:
        return [function(item) for item in items[begin : begin + batch]]

    tasks: list[Future[list[Result]]] = []
    try:
        try:
            pool = workers()
            for start in range(0, len(items), batch):
                tasks.append(pool.submit(run, start))
        except RuntimeError:
            # The interpreter is about to end: threads take no more work, nor can they be had for the first time.
            pass
        results = [result for task in tasks for result in task.result()]
    finally:
        _end(tasks)
    return results + [function(item) for item in items[len(tasks) * batch :]]


def _end(tasks: list[Future[list[Result]]]) -> None:
    """Sees to it that no task is under way."""
    for task in tasks:
        if not task.cancel() and not task.done():
            task.exception()
