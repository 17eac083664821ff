"""Futures: result, await, done, any number of times, errors carried."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import cas
from cas.errors import ConflictError, DatasetNotFoundError, NotFoundError


@pytest.fixture
def url(tmp_path: Path) -> Path:
    with cas.create(tmp_path / "ds", schema={"x": "int64"}) as ds:
        ds.append({"x": [1, 2, 3]})
        ds.commit("three")
        ds.tag("v1")
    return tmp_path / "ds"


def test_open_async(url: Path) -> None:
    future = cas.open_async(url)
    ds = future.result(timeout=60)
    assert ds["x"][:].tolist() == [1, 2, 3]
    assert future.done()
    assert future.result() is ds
    assert future.exception() is None
    assert "Dataset" in repr(future)


def test_commit_async(url: Path) -> None:
    ds = cas.open(url)
    ds.append({"x": [4]})
    future = ds.commit_async("four", author="me", details={"why": 1})
    ds.append({"x": [5]})  # staged after the call: not part of it
    version = ds.history[future.result()]
    assert (version.message, version.author, version.details) == ("four", "me", {"why": 1})
    assert version.open()["x"][:].tolist() == [1, 2, 3, 4]
    assert ds["x"][:].tolist() == [1, 2, 3, 4, 5]
    assert ds.has_changes


def test_versions_and_tags_open_async(url: Path) -> None:
    ds = cas.open(url)
    assert len(ds.version.open_async().result()) == 3
    assert len(ds.tags["v1"].open_async().result()) == 3
    with cas.open_read_only(url, "v1") as old:
        assert isinstance(old.tags["v1"].open_async().result(), cas.ReadOnlyDataset)


def test_awaiting_any_number_of_times(url: Path) -> None:
    future = cas.open_async(url)

    async def main() -> None:
        first = await future
        assert await future is first
        gathered = await asyncio.gather(future, future, cas.open_async(url, "main"))
        assert gathered[0] is gathered[1] is first
        first.append({"x": [4]})
        assert (await first.commit_async()) == first.version.id
        assert len(await first.version.open_async()) == 4

    asyncio.run(main())

    async def again() -> cas.Dataset:
        return await future

    assert asyncio.run(again()) is future.result()


def test_a_cancelled_waiter_leaves_the_others() -> None:
    gate = threading.Event()
    future = cas.Future(lambda: gate.wait(60))

    async def main() -> None:
        waiting = [asyncio.ensure_future(_wait(future)) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        assert not future.done()
        gate.set()
        assert await waiting[1] is True

    asyncio.run(main())


async def _wait(future: cas.Future[bool]) -> bool:
    return await future


def test_timeouts() -> None:
    gate = threading.Event()
    future = cas.Future(gate.wait)
    assert not future.done()
    assert repr(future) == "<Future: running>"
    for _ in range(2):
        with pytest.raises(TimeoutError):
            future.result(timeout=0.01)
    gate.set()
    assert future.result(60) is True


def test_errors_are_carried_any_number_of_times(url: Path, tmp_path: Path) -> None:
    future = cas.open_async(tmp_path / "nothing")
    for _ in range(2):
        with pytest.raises(NotFoundError):
            future.result()
    assert isinstance(future.exception(), NotFoundError)
    assert "raised" in repr(future)

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(NotFoundError):
                await future
        with pytest.raises(DatasetNotFoundError):
            await cas.open_async(url / "below")

    asyncio.run(main())


def test_a_conflict_in_the_background_keeps_the_rows(url: Path) -> None:
    mine, theirs = cas.open(url), cas.open(url)
    theirs["x"][0] = 9
    theirs.commit()
    mine.append({"x": [4]})
    mine["x"][0] = 1000
    future = mine.commit_async()
    with pytest.raises(ConflictError):
        future.result()
    assert mine["x"][:].tolist() == [1000, 2, 3, 4]


def test_the_end_of_the_interpreter_waits_for_a_commit(url: Path) -> None:
    code = f"import cas; ds = cas.open({str(url)!r}); ds.append({{'x': [4]}}); ds.commit_async('last words')"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert cas.open(url).version.message == "last words"
