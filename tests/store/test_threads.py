"""Work handed to threads: done once, by whoever begins with it, and never under way when it was ended."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from cas.store import threads
from cas.store.threads import Task, map_in_pool, workers


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """All workers are busy until the event is set, and no other thread can be had: an executor queues work and raises.

    So it is under a limit on processes.
    """
    monkeypatch.setattr(threads, "_pools", {})
    go_on, begun = threading.Event(), threading.Event()
    workers().submit(lambda: begun.set() or go_on.wait(20))
    assert begun.wait(20)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    yield go_on
    go_on.set()


def drain() -> None:
    """Waits until a worker has done what was queued before."""
    workers().submit(int).result(20)


def test_queued_work_is_done_once_where_no_thread_can_be_had(no_threads: threading.Event) -> None:
    done: list[str] = []
    task = Task(lambda: done.append(threading.current_thread().name)).start(workers)
    assert done == [threading.main_thread().name]
    assert task.error() is None
    no_threads.set()
    workers()._threads.clear()  # so that the executor asks for no other one
    time.sleep(0.1)
    assert len(done) == 1


def test_a_list_is_mapped_where_no_thread_can_be_had(no_threads: threading.Event) -> None:
    done: list[int] = []
    assert map_in_pool(lambda number: done.append(number) or -number, range(9), 2) == [-number for number in range(9)]  # type: ignore[func-returns-value]
    no_threads.set()
    time.sleep(0.1)
    assert done == list(range(9))


def test_what_was_ended_before_it_began_is_never_done(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    task = Task(lambda: done.append(1))
    task.end()
    task.start(workers)
    drain()
    assert done == []


def test_what_has_begun_is_waited_for() -> None:
    begun = threading.Event()
    ended: list[bool] = []

    def work() -> None:
        begun.set()
        time.sleep(0.2)
        ended.append(True)

    task = Task(work).start(workers)
    assert begun.wait(20)
    task.end()
    assert ended == [True]


def test_an_error_of_the_work_is_that_of_the_task() -> None:
    def work() -> int:
        raise ValueError("no")

    task = Task(work).start(workers)
    assert isinstance(task.error(), ValueError)
    with pytest.raises(ValueError, match="no"):
        task.result()


def test_a_task_is_not_that_of_a_forked_child() -> None:
    task = Task(int).start(workers)
    assert task.is_ours
    child = os.fork()
    if not child:
        os._exit(task.is_ours)
    assert os.waitpid(child, 0)[1] == 0


def test_no_task_is_under_way_after_an_error() -> None:
    begun, under_way = threading.Event(), threading.Event()

    def work(number: int) -> None:
        if number == 0:
            assert begun.wait(10)
            raise ValueError(number)
        under_way.set()
        begun.set()
        time.sleep(0.2)
        under_way.clear()

    with pytest.raises(ValueError, match="0"):
        map_in_pool(work, [0, 1], 1)
    assert not under_way.is_set()
