"""Work handed to threads: done once, by whoever begins with it, and never under way when it was ended."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cas.hashing import Hashes, hash_chunk, split_hashes
from cas.store import threads
from cas.store import writer as writing
from cas.store.lmdb import create_files
from cas.store.threads import Task, give_way, map_in_pool, short_calls, workers
from cas.store.writer import BlobWriter
from cas.types import Layout


@pytest.fixture(autouse=True)
def behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads compress little too."""
    monkeypatch.setattr(writing, "_BEHIND_BYTES", 0)


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
    assert done == []
    assert task.error() is None
    assert done == [threading.main_thread().name]
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


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn may take as long as a test."""
    monkeypatch.setattr(threads, "_LONGEST_TURN", 20)


def stay_in_short_calls() -> tuple[threading.Thread, threading.Event]:
    """A thread that is in short calls until the event is set."""
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        with short_calls():
            begun.set()
            go_on.wait(20)

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(20)
    return thread, go_on


def test_who_gives_way_waits_for_the_short_calls_of_another_thread(patient: None) -> None:
    give_way()  # nobody is at it
    thread, go_on = stay_in_short_calls()
    waiting = threading.Thread(target=give_way)
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    go_on.set()
    waiting.join(20)
    thread.join(20)
    assert not waiting.is_alive()


def test_nobody_depends_on_a_turn() -> None:
    """Whoever has it may be interrupted before he can give it back, or wait for somebody who waits for it."""
    thread, go_on = stay_in_short_calls()
    give_way()
    with short_calls():
        give_way()
    go_on.set()
    thread.join(20)
    assert not threads._turn.locked()


def test_a_forked_child_does_not_give_way_to_a_thread_of_its_parent(patient: None) -> None:
    thread, go_on = stay_in_short_calls()
    child = os.fork()
    if not child:
        signal.alarm(10)
        give_way()
        with short_calls():
            os._exit(0)
    go_on.set()
    thread.join(20)
    assert os.waitpid(child, 0)[1] == 0


def test_chunks_are_hashed_while_nobody_is_in_short_calls(tmp_path: Path, patient: None) -> None:
    """Otherwise the two would take turns at the interpreter: see ``short_calls``."""
    thread, go_on = stay_in_short_calls()
    store = create_files(tmp_path / "store", lambda txn: None)
    writer = BlobWriter(store, background=True)
    payloads = [bytes([number]) * 200 for number in range(100)]
    found: list[Hashes] = []
    hashing = threading.Thread(target=lambda: found.append(writer.add_chunks(payloads, Layout(200))))
    hashing.start()
    hashing.join(0.05)
    assert hashing.is_alive()
    go_on.set()
    hashing.join(20)
    thread.join(20)
    assert split_hashes(found[0]) == list(map(hash_chunk, payloads))
    writer.release()
    store.close()


def test_what_is_mapped_may_map_in_turn() -> None:
    """A pool whose threads all wait for work of their own would wait for ever."""

    def outer(item: int) -> list[int]:
        return map_in_pool(abs, range(item, item + 3), batch=1)

    assert map_in_pool(outer, range(40), batch=1) == [[at, at + 1, at + 2] for at in range(40)]


def test_what_is_mapped_may_write_with_threads_of_its_own(tmp_path: Path) -> None:
    payload = np.arange(80_000, dtype=np.uint32).view(np.uint8)

    def write(number: int) -> bytes:
        store = create_files(tmp_path / str(number), lambda txn: None)
        writer = BlobWriter(store, background=True)
        payloads = [bytes(payload[at : at + 4000]) for at in range(0, len(payload), 4000)]
        hashes = writer.add_chunks(payloads, Layout(4000, compress=True))
        writer.flush()
        writer.release()
        with store.read() as view:
            assert None not in view.sizes(split_hashes(hashes))
        store.close()
        return hashes.tobytes()

    assert len(set(map_in_pool(write, range(16), batch=1))) == 1
