"""Collecting what nothing leads to: exactly that goes, at any moment, beside readers and writers."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from other_process import output
from worlds import Truth, World, history

import cas
from cas.cli.main import cli
from cas.dataset.abandoned import keep_left
from cas.errors import ConflictError, CorruptedError, ReadOnlyError, VersionNotFoundError
from cas.repo import collect
from cas.repo.collect import Collection, Expiry
from cas.repo.repository import Repository
from cas.store.contract import CACHE, REFLOG, SESSIONS, VERSIONS

NO_REFLOG = Expiry(reflog_days=0)


def apply(repository: Repository, expiry: Expiry = NO_REFLOG) -> collect.Collected:
    """Plans and applies; the plan says what is done."""
    keep_left()  # what handles left that were dropped is in sessions then, and they write no more
    planned = Collection(repository, expiry).plan()
    done = Collection(repository, expiry).apply()
    assert (planned.blobs, planned.stored_bytes, planned.versions) == (done.blobs, done.stored_bytes, done.versions)
    assert planned.kept_blobs == done.kept_blobs
    return done


def kept_by_names(world: World, *, reflog: bool) -> frozenset[bytes]:
    truth = Truth(world)
    found: frozenset[bytes] = frozenset()
    for name in world.ids:
        found |= frozenset().union(*truth.refs(name).values()) | truth.sessions(name)
        if reflog:
            found |= truth.reach(truth.moved(name))
    return found


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.booleans())
def test_exactly_what_nothing_leads_to_goes(seed: int, reflog: bool) -> None:
    world = history(seed)
    keep_left()
    expected = kept_by_names(world, reflog=reflog)
    before = set(world.store._blobs)
    done = apply(world.repository, Expiry() if reflog else NO_REFLOG)
    assert set(world.store._blobs) == expected
    assert done.blobs == len(before - expected)
    assert apply(world.repository, Expiry() if reflog else NO_REFLOG).blobs == 0
    fresh = Truth(world)
    with world.store.read() as view:
        rows = {key for key, _ in view.scan(VERSIONS)}
        assert reflog or next(view.scan(REFLOG), None) is None
    assert rows == {version for version in rows if version in expected}
    for name in world.ids:
        for version in world.refs(name).values():
            assert fresh.reach([version]) <= expected


def test_small_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "_BATCH_BLOBS", 3)
    world = history(7)
    keep_left()
    expected = kept_by_names(world, reflog=False)
    apply(world.repository)
    assert set(world.store._blobs) == expected


def noise(rows: int, seed: int) -> dict[str, Any]:
    return {"x": np.random.default_rng(seed).integers(0, 256, (rows, 5000), dtype=np.uint8)}


@pytest.fixture
def ds(tmp_path: Path) -> cas.Dataset:
    """A dataset on disk with a version on main, and one of a branch that was deleted."""
    dataset = cas.create(tmp_path / "ds", schema={"x": cas.types.Array("uint8", (5000,))})
    dataset.append(noise(100, 1))
    dataset.commit("kept")
    with dataset.branch("lost").open() as lost:
        lost.append(noise(300, 2))
        lost.commit("lost")
    dataset.branches["lost"].delete(force=True)
    return dataset


def test_space_is_used_again_and_compacting_gives_it_back(ds: cas.Dataset) -> None:
    store = ds._repository.store
    before = store.stored_bytes()
    done = apply(ds._repository)
    assert done.stored_bytes > 1_500_000
    assert done.reclaimed_bytes >= done.stored_bytes * 0.9
    for seed in (3, 4):
        ds.append(noise(100, seed))
        ds.commit("in its place")
    assert store.stored_bytes() <= before + 600_000, "free pages are used again"
    with cas.open(ds._repository.path) as other, pytest.raises(ConflictError, match="another handle"):
        other._repository.store.compact()
    cas.open(ds._repository.path)["x"][0]  # a handle that is dropped is in nobody's way
    path, truth = ds._repository.path, ds["x"][:]
    ds.close()
    with cas.open(path) as again:
        apply(again._repository)
        after = again._repository.store.compact()
        assert after < before
        assert (again["x"][:] == truth).all()
        again.append(noise(1, 5))
        again.commit("written to the new file")
    with cas.open(path) as again:
        assert len(again) == 301
    assert sorted(file.name for file in path.iterdir()) == ["cas-store", "data.mdb", "lock.mdb"]


def test_segments_that_are_mostly_dead_are_written_anew(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", schema={"x": "bytes"}) as ds:
        # One small row of each segment stays.
        rows = [np.random.default_rng(n).bytes(5000 if n % 50 == 0 else 4100) for n in range(1000)]
        ds.append({"x": rows})
        ds.commit("all")
        ds.delete([n for n in range(1000) if n % 50])
        ds.commit("few")
        few, head = ds["x"][:], ds.version.id
        ds.branch("new", version=head)
        main = ds.branches["main"]
        main.delete(force=True)
    with cas.open(tmp_path / "ds", "new") as ds:
        # The version before is an ancestor and stays; so a dataset of the last rows alone is made.
        apply(ds._repository)
        assert len(ds.history[-2].open()) == 1000
        assert ds["x"][:] == few


def test_versions_in_use_stay_until_they_are_closed(ds: cas.Dataset) -> None:
    lost = next(entry.new for entry in ds.reflog if entry.name == "lost" and entry.command == "commit")
    old = ds.history[lost].open()
    assert apply(ds._repository).versions == 0
    assert len(old) == 400
    assert old["x"][399].shape == (5000,)
    old.close()
    del old
    ds = cas.open(ds._repository.path)
    assert apply(ds._repository).versions == 1
    with pytest.raises(VersionNotFoundError):
        ds.history[lost]


def test_a_reader_in_another_process_goes_on(ds: cas.Dataset) -> None:
    lost = next(entry.new for entry in ds.reflog if entry.name == "lost" and entry.command == "commit")
    code = (
        "import sys, cas; old = cas.open_read_only(sys.argv[1], sys.argv[2]); print('open', flush=True);"
        "sys.stdin.readline(); print(old['x'][:].sum(), flush=True)"
    )
    command = [sys.executable, "-c", code, str(ds._repository.path), str(lost)]
    expected = ds.history[str(lost)].open()["x"][:].sum()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdin is not None
        assert reader.stdout.readline() == "open\n"
        assert apply(ds._repository).versions == 0
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert int(reader.stdout.readline()) == expected
    assert apply(ds._repository).versions == 1


def test_a_writer_is_not_robbed_of_what_it_relies_on(ds: cas.Dataset) -> None:
    """It found chunks that only the deleted branch has, and so did not write them."""
    writer = cas.open(ds._repository.path)
    writer.append(noise(300, 2))
    writer.flush()
    writer.append(noise(10, 5))
    writer._draft.state.settle(writer._draft.writer)
    with pytest.raises(ConflictError, match="others are writing"):
        Collection(ds._repository, NO_REFLOG).apply()
    writer.commit("the rows again")
    apply(ds._repository)
    assert (writer.version.open()["x"][100:400] == noise(300, 2)["x"]).all()


def test_what_lands_between_plan_and_removal_is_kept(ds: cas.Dataset) -> None:
    collection = Collection(ds._repository, NO_REFLOG)
    writer = cas.open(ds._repository.path)
    writer.append(noise(300, 2))  # there already, and in the plan
    writer.commit("the rows again")
    assert collection.apply().blobs < 300
    assert (writer.version.open()["x"][100:] == noise(300, 2)["x"]).all()


def test_another_process_that_writes_is_waited_for_or_told_of(ds: cas.Dataset) -> None:
    code = """
    ds = cas.open(url)
    import numpy as np
    ds.append({"x": np.random.default_rng(9).integers(0, 256, (2000, 5000), dtype=np.uint8)})
    from cas.repo.collect import Collection, Expiry
    from cas.errors import ConflictError
    other = cas.open(url)
    try:
        Collection(other._repository, Expiry(0)).apply()
    except ConflictError:
        print("told")
    ds.commit("done")
    """
    assert output(code, ds._repository.path) == "told"
    ds.refresh()
    assert len(ds) == 2100


def test_uncommitted_rows_stay_until_they_expire(ds: cas.Dataset) -> None:
    path = ds._repository.path
    output("ds = cas.open(url); ds.append({'x': [[7] * 5000] * 50}); ds.flush(); os._exit(0)", path)
    apply(ds._repository)
    with cas.open(path) as again:
        assert again.recover()
        assert (again["x"][100:] == 7).all()
        again.flush()
        again._draft.release()
    apply(ds._repository, Expiry(0, session_days=0))
    with ds._repository.store.read() as view:
        left = list(view.scan(SESSIONS))
    assert len(left) in (0, 1)


def test_caches_may_be_anything(ds: cas.Dataset) -> None:
    store = ds._repository.store
    for number, value in enumerate([b"", b"\xff\xff", b"\xa0", b"\xa1fstream\x00", b"\xa1fstream\x83\xf6\x00\x00"]):
        store.write(lambda txn, key=b"%d" % number, value=value: txn.put(CACHE, key, value))
    apply(ds._repository)
    assert (ds["x"][:] == noise(100, 1)["x"]).all()


def test_damage_stops_it_before_anything_goes(ds: cas.Dataset) -> None:
    """What cannot be followed may lead to more."""
    tree = bytes.fromhex(ds.version.tree)
    store = ds._repository.store
    store.write(lambda txn: txn.remove_blobs([tree]))
    with store.read() as view:
        before = view.hashes(b"", 10**6)
    fresh = Repository(store, ds._repository.path)
    with pytest.raises(CorruptedError, match=tree.hex()):
        Collection(fresh, NO_REFLOG).apply()
    with store.read() as view:
        assert view.hashes(b"", 10**6) == before


def test_readers_and_writers_beside_collections(tmp_path: Path) -> None:
    """A thread commits and deletes branches while another one collects all the time; nothing that is named is lost."""
    url = tmp_path / "ds"
    with cas.create(url, schema={"x": "bytes"}) as ds:
        ds.append({"x": [b"first"]})
        ds.commit()
    done = threading.Event()
    failures: list[BaseException] = []
    collections = 0

    def collect_all_the_time() -> None:
        nonlocal collections
        with cas.open(url) as mine:
            while not done.is_set():
                try:
                    Collection(mine._repository, NO_REFLOG).apply()
                    collections += 1
                except ConflictError:
                    pass
                except BaseException as error:
                    failures.append(error)
                    return

    thread = threading.Thread(target=collect_all_the_time)
    thread.start()
    try:
        with cas.open(url) as ds:
            for number in range(40):
                row = np.random.default_rng(number % 7).bytes(6000)  # again and again the same rows
                ds.append({"x": [row]})
                ds.commit(str(number))
                with ds.branch("short").open() as short:
                    short.append({"x": [np.random.default_rng(100 + number % 3).bytes(6000)]})
                    short.commit("short")
                    assert len(short["x"][:]) == number + 3
                ds.branches["short"].delete(force=True)
    finally:
        done.set()
        thread.join()
    assert failures == []
    assert collections > 3
    with cas.open(url) as ds:
        for version in ds.history:
            table = version.open()
            assert len(table) == 0 or len(table["x"][:]) == len(table)


def test_the_command(ds: cas.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ds.close()
    url = str(tmp_path / "ds")
    with cli.make_context("cas", ["gc", url, "--dry-run", "--reflog-days", "0"]) as context:
        cli.invoke(context)
    assert "would be removed" in capsys.readouterr().out
    with cli.make_context("cas", ["gc", url, "--reflog-days", "0", "--compact", "--json"]) as context:
        cli.invoke(context)
    assert '"versions": 1' in capsys.readouterr().out
    with cas.open(url) as again:
        assert (again["x"][:] == noise(100, 1)["x"]).all()


def test_a_store_that_is_open_for_reading_is_only_looked_at(ds: cas.Dataset) -> None:
    opened = cas.open_read_only(ds._repository.path)
    planned = Collection(opened._repository, NO_REFLOG).plan()
    assert planned.versions in (0, 1)
    with pytest.raises(ReadOnlyError):
        Collection(opened._repository, NO_REFLOG).apply()
