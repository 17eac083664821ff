"""What is staged is written by itself: by bytes, by seconds; through busy handles, full disks, forks and the end."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pictures import png

import cas
from cas.dataset import background, draft
from cas.dataset.state import StreamState
from cas.errors import SessionNotFoundError, StoreFullError, UncommittedChangesWarning
from cas.integrations.folder.importing import import_folder
from cas.store.lmdb import LmdbStore

HOUR = 3600.0


@pytest.fixture
def url(tmp_path: Path) -> Path:
    with cas.create(tmp_path / "ds", schema={"x": "int64"}) as ds:
        ds.append({"x": range(10)})
        ds.commit()
    return tmp_path / "ds"


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "FLUSH_SECONDS", 0.05)
    monkeypatch.setattr(background, "_RETRY_SECONDS", 0.05)


def wait_until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)


def kept_rows(ds: cas.Dataset) -> list[int]:
    """How many rows each session of a dataset holds."""
    return [ds._repository.tree(session.tree).rows for session in ds.sessions().values()]


@pytest.mark.usefixtures("soon")
def test_what_is_staged_is_written_after_a_while(url: Path) -> None:
    ds = cas.open(url)
    ds.append({"x": [1]})
    wait_until(lambda: kept_rows(ds) == [11])
    ds.delete(slice(0, 5))
    wait_until(lambda: kept_rows(ds) == [6])
    ds["x"][0] = 7
    ds.commit()
    assert ds.sessions() == {}
    ds.add_column("y", int, 0)
    wait_until(lambda: kept_rows(ds) == [6])
    ds.rollback()
    assert ds.sessions() == {}
    assert ds["x"][:].tolist() == [7, 6, 7, 8, 9, 1]


def test_what_is_staged_is_written_by_bytes_with_the_edit(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "FLUSH_SECONDS", HOUR)
    monkeypatch.setattr(draft, "FLUSH_BYTES", 1000)
    ds = cas.open(url)
    ds.append({"x": range(100)})
    assert ds.sessions() == {}
    ds["x"][:50] = range(50)
    assert kept_rows(ds) == [110]
    ds.append({"x": range(100)})
    assert kept_rows(ds) == [110]

    def batches() -> Iterator[dict[str, range]]:
        for _ in range(3):
            yield {"x": range(100)}
            assert kept_rows(ds) == [110]  # half of an edit is kept nowhere

    ds.append(batches())
    assert kept_rows(ds) == [510]


@pytest.mark.usefixtures("soon")
def test_a_killed_program_loses_nothing_that_was_written_by_itself(url: Path) -> None:
    code = f"""
        import time, cas
        from cas.dataset import draft
        draft.FLUSH_SECONDS = 0.05
        ds = cas.open({str(url)!r})
        ds.append({{"x": range(1000)}})
        time.sleep(60)
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    ds = cas.open(url)
    wait_until(lambda: kept_rows(ds) == [1010])
    assert not ds.recover()
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert ds.recover()
    assert ds["x"][10:].tolist() == list(range(1000))


@pytest.mark.usefixtures("soon")
def test_the_thread_is_there_only_while_something_is_staged(url: Path) -> None:
    def running() -> bool:
        return any(thread.name == "cas flush" for thread in threading.enumerate())

    wait_until(lambda: not running())
    ds = cas.open(url)
    assert ds["x"][:].tolist() == list(range(10))
    ds.tag("v1")
    ds.metadata["k"] = 1
    cas.open_read_only(url)["x"][0]
    assert not running()
    ds.append({"x": [1]})
    assert running()
    wait_until(lambda: not running())
    assert kept_rows(ds) == [11]


def test_a_dropped_handle_is_not_held(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "FLUSH_SECONDS", HOUR)
    ds = cas.open(url)
    ds.append({"x": [1]})
    assert background._planned
    del ds
    gc.collect()
    with pytest.warns(UncommittedChangesWarning, match="dropped"):
        ds = cas.open(url)
    assert ds.recover()


@pytest.mark.usefixtures("soon")
def test_a_busy_handle_is_written_when_it_is_free(url: Path) -> None:
    ds = cas.open(url)
    with ds._lock:
        ds.append({"x": [1]})
        time.sleep(0.2)
        assert ds.sessions() == {}
    wait_until(lambda: kept_rows(ds) == [11])


def test_a_handle_that_is_always_busy_is_written_by_its_edits(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "FLUSH_SECONDS", 0.05)
    ds = cas.open(url)
    with ds._lock:
        ds.append({"x": [1]})
        time.sleep(0.15)
        ds.append({"x": [2]})
        assert kept_rows(ds) == [12]


@pytest.mark.usefixtures("soon")
def test_a_full_disk_is_met_by_the_next_edit_and_tried_again(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = cas.open(url)
    tried: list[threading.Thread] = []

    def full(*args: object) -> None:
        tried.append(threading.current_thread())
        raise StoreFullError("no space is left")

    with monkeypatch.context() as patch:
        patch.setattr(LmdbStore, "write", full)
        ds.append({"x": [1]})
        wait_until(lambda: len(tried) >= 3)
        assert threading.current_thread() not in tried
        with pytest.raises(StoreFullError):
            ds.append({"x": [2]})
        assert len(ds) == 11
    wait_until(lambda: kept_rows(ds) == [11])
    ds.append({"x": [2]})
    ds.commit()
    assert ds["x"][10:].tolist() == [1, 2]


def test_what_was_flushed_with_details_stays_what_they_tell_of(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(draft, "FLUSH_BYTES", 1)
    ds = cas.open(url)
    ds.flush({"file": 1})
    ds.append({"x": [1]})
    time.sleep(0.1)
    assert kept_rows(ds) == [10]
    ds.flush()
    ds.append({"x": [1]})
    assert kept_rows(ds) == [12]


def test_an_import_keeps_its_own_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(draft, "FLUSH_BYTES", 1)
    monkeypatch.setattr("cas.integrations.folder.importing._STAGE_EDITS", 1)
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    ds = cas.create(tmp_path / "ds")

    def report(*progress: int) -> None:
        assert ds.sessions() == {}
        if progress[0] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_folder(tmp_path, ds, report=report)
    (session,) = ds.sessions().values()
    assert "import" in session.details
    ds.close()
    with cas.open(tmp_path / "ds") as again:
        assert again.sessions()
        assert not again.recover()
        import_folder(tmp_path, again)
        assert len(again) == 3
        assert again.sessions() == {}
        again.append({"path": ["z"], "image": [png(9)], "label": [None]})
        assert kept_rows(again) == [4]
        again.rollback()


def forked(work: Callable[[], None]) -> None:
    """Runs a function in a forked child, which must end well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, which is the point
        child = os.fork()
    if not child:
        try:
            work()
        except BaseException:
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0


@pytest.mark.usefixtures("soon")
def test_a_child_writes_what_it_stages_and_not_what_it_inherits(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = cas.open(url)
    with monkeypatch.context() as patch:
        patch.setattr(draft, "FLUSH_SECONDS", HOUR)
        ds.append({"x": [1]})

        def child() -> None:
            patch.undo()
            time.sleep(0.2)
            assert ds.sessions() == {}
            ds.append({"x": [2]})
            wait_until(lambda: kept_rows(ds) == [12])

        forked(child)
    assert kept_rows(ds) == [12]
    ds.append({"x": [3]})
    wait_until(lambda: sorted(kept_rows(ds)) == [12, 12])
    ds.rollback()


@pytest.mark.usefixtures("soon")
def test_a_fork_waits_for_what_is_being_written(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, halfway = StreamState._replace, threading.Event()

    def slow(self: StreamState, ref: object) -> None:
        halfway.set()
        time.sleep(0.3)
        real(self, ref)  # type: ignore[arg-type]
        halfway.clear()

    monkeypatch.setattr(StreamState, "_replace", slow)
    ds = cas.open(url)
    ds.append({"x": [1]})
    assert halfway.wait(30)

    def child() -> None:
        assert not halfway.is_set()
        assert ds["x"][:].tolist() == [*range(10), 1]

    start = time.monotonic()
    forked(child)
    assert time.monotonic() - start < 5


def test_the_end_of_the_interpreter_is_quiet(url: Path) -> None:
    code = f"""
        import time, cas
        from cas.dataset import draft
        from cas.dataset.state import State
        draft.FLUSH_SECONDS = 0.01
        settle = State.settle
        def slow(self, writer):
            time.sleep(0.3)
            return settle(self, writer)
        State.settle = slow
        ds = cas.open({str(url)!r})
        ds.append({{"x": range(1000)}})
        time.sleep(0.1)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) <= 2, done.stderr
    assert "still open at the end" in done.stderr
    ds = cas.open(url)
    assert ds.recover()
    assert len(ds) == 1010


def test_what_was_left_is_taken_once(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = cas.open(url)
    ds.append({"x": [1]})
    with pytest.warns(UncommittedChangesWarning):
        ds.close()
    first, second = cas.open(url), cas.open(url)
    left = second.sessions()
    assert first.recover()
    assert not second.recover()
    monkeypatch.setattr(cas.Dataset, "sessions", lambda ds: left)
    with pytest.raises(SessionNotFoundError):
        second.recover()
    assert not second.has_changes
    first.commit()
    assert len(first) == 11
