"""Handles in company: others that delete, replace, rename and append at the same time; threads, forks, generators."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cas
from cas.errors import (
    BranchNotFoundError,
    CasError,
    ClosedError,
    ConflictError,
    InvalidInputError,
    InvalidNameError,
    NotFoundError,
    RowNotFoundError,
    UncommittedChangesError,
    UncommittedChangesWarning,
)
from cas.store.contract import METADATA
from cas.types import Nullable


@pytest.fixture
def url(tmp_path: Path) -> Path:
    with cas.create(tmp_path / "ds", schema={"x": "int64"}) as ds:
        ds.append({"x": range(10)})
        ds.commit()
    return tmp_path / "ds"


# --- deleted and replaced -------------------------------------------------------------------------------------------


def test_a_handle_never_writes_into_the_place_of_a_deleted_store(url: Path) -> None:
    old = cas.open(url)
    old.append({"x": [99]})
    cas.delete(url)
    new = cas.create(url, schema={"x": "int64"})
    for write in (old.commit, lambda: old.metadata.update(k=1), lambda: old.tag("v1", version="main"), old.flush):
        with pytest.raises(NotFoundError, match="replaced"):
            write()
    with pytest.warns(UncommittedChangesWarning, match="could not be kept"):
        old.close()
    assert (len(new), new.metadata.to_dict(), new.tags.names(), new.sessions()) == (0, {}, [], {})


def test_a_handle_never_writes_into_the_place_of_a_deleted_dataset(tmp_path: Path) -> None:
    cas.init(tmp_path / "lake")
    old = cas.create(tmp_path / "lake/d", schema={"x": "int64"})
    old.append({"x": [1]})
    cas.delete(tmp_path / "lake/d")
    for renewed in (False, True):
        if renewed:
            new = cas.create(tmp_path / "lake/d", schema={"x": "int64"})
        writes = (
            old.commit,
            old.flush,
            lambda: old.tag("v", version=old.version.id),
            lambda: setattr(old, "name", "x"),
        )
        for write in (*writes, lambda: setattr(old, "description", "x"), lambda: old.metadata.update(k=1)):
            with pytest.raises(NotFoundError):
                write()
    assert (new.name, new.description, new.tags.names(), len(new)) == ("d", "", [], 0)
    old.rollback()


def test_a_branch_made_again_is_another_branch(url: Path) -> None:
    ds = cas.open(url)
    fix = ds.branch("fix").open()
    fix.append({"x": [1]})
    ds.branches["fix"].delete()
    again = ds.branch("fix")
    with pytest.raises(BranchNotFoundError):
        fix.commit()
    with pytest.raises(BranchNotFoundError):
        fix.metadata["k"] = 1
    assert again.version == ds.version
    fix.rollback()


def test_names_that_look_like_ids_are_refused(url: Path) -> None:
    ds = cas.open(url)
    tag = ds.tag("v1")
    for name in (ds.history[0].id, tag.id, "0" * 64, "f" * 32):
        with pytest.raises(InvalidNameError, match="looks like an id"):
            ds.tag(name)
        with pytest.raises(InvalidNameError):
            ds.branch(name)
        with pytest.raises(InvalidNameError):
            tag.rename(name)
    assert ds.tag("beef").name == "beef"


def test_a_version_object_means_that_version(url: Path, tmp_path: Path) -> None:
    ds = cas.open(url)
    first = ds.history[0]
    assert ds.branch("b", version=first).version == first
    assert cas.open_read_only(url, first).version == first
    other = cas.create(tmp_path / "other")
    for use in (lambda: other.tag("t", version=ds.version), lambda: cas.open_read_only(tmp_path / "other", ds.version)):
        with pytest.raises(NotFoundError):
            use()


# --- metadata beside schema changes ---------------------------------------------------------------------------------


def test_metadata_never_goes_to_a_column_of_the_same_name(tmp_path: Path) -> None:
    ds = cas.create(tmp_path / "ds", schema={"a": int, "b": int})
    for name in "ab":
        ds[name].metadata["who"] = name
    ds.commit()
    stale = cas.open(tmp_path / "ds")
    for old, new in (("a", "t"), ("b", "a"), ("t", "b")):
        ds.rename_column(old, new)
    ds.commit()
    for use in (lambda: stale["a"].metadata.update(note=1), lambda: stale["a"].metadata["who"]):
        with pytest.raises(ConflictError, match="refresh"):
            use()
    stale.refresh()
    assert [stale[name].metadata["who"] for name in "ab"] == ["b", "a"]


def test_metadata_set_while_a_commit_runs_is_kept(tmp_path: Path) -> None:
    ds = cas.create(tmp_path / "ds")
    for number in range(20):
        name = f"c{number}"
        ds.add_column(name, int)
        future = ds.commit_async()
        ds[name].metadata["k"] = number
        assert ds.version.id == future.result()
        assert ds[name].metadata["k"] == number


def test_metadata_of_columns_that_did_not_stay_is_removed(tmp_path: Path) -> None:
    ds = cas.create(tmp_path / "ds", schema={"x": int})
    for finish in (ds.commit, ds.rollback):
        ds.add_column("y", int)
        ds["y"].metadata["k"] = 1
        ds.remove_column("y")
        finish()
    with ds._repository.store.read() as view:
        assert list(view.scan(METADATA)) == []


# --- rows that change while they are taken --------------------------------------------------------------------------


def test_what_yields_rows_cannot_change_the_dataset(url: Path) -> None:
    ds = cas.open(url)
    edits = {
        "append": lambda: ds.append({"x": [5]}),
        "insert": lambda: ds.insert(0, {"x": [5]}),
        "delete": lambda: ds.delete(0),
        "assign": lambda: ds["x"].__setitem__(0, 5),
        "add_column": lambda: ds.add_column("y", int, 0),
        "remove_column": lambda: ds.remove_column("x"),
        "rename_column": lambda: ds.rename_column("x", "y"),
        "commit": ds.commit,
        "commit_async": ds.commit_async,
        "rollback": ds.rollback,
        "refresh": ds.refresh,
        "flush": ds.flush,
        "recover": ds.recover,
        "close": ds.close,
    }

    def rows(edit: Any) -> Iterator[Any]:
        yield {"x": [1]}
        edit()
        yield {"x": [2]}

    for edit in edits.values():
        for put in (ds.append, lambda batches: ds.insert(3, batches)):
            with pytest.raises(InvalidInputError, match="yields the rows"):
                put(rows(edit))
            assert ds["x"][:].tolist() == list(range(10))
            assert not ds.has_changes
    ds.append({"x": [len(ds)]} for _ in range(2))  # reading is free
    assert ds["x"][10:].tolist() == [10, 11]
    assert ds.sessions() == {}


def test_rows_that_are_gone_are_not_appended(url: Path, tmp_path: Path) -> None:
    ds, other = cas.open(url), cas.create(tmp_path / "other", schema={"x": "int64"})
    rows = ds[0:10]
    ds.delete(slice(0, 8))
    with pytest.raises(RowNotFoundError):
        other.append(rows)
    other.append({"x": [1]})
    other.commit()
    assert len(other) == 1


def test_rows_without_values_are_rows(tmp_path: Path) -> None:
    ds = cas.create(tmp_path / "ds", schema={"x": Nullable(int)})
    ds.append([{}, {}, {}])
    assert ds["x"][:] == [None] * 3
    strict = cas.create(tmp_path / "strict", schema={"x": int})
    with pytest.raises(InvalidInputError, match="'x' has no values"):
        strict.append([{}])


def test_two_handles_that_append_each_others_rows_do_not_wait_for_each_other(tmp_path: Path) -> None:
    pair = [cas.create(tmp_path / name, schema={"x": int}) for name in "ab"]
    for ds in pair:
        ds.append({"x": range(1000)})

    def work(mine: cas.Dataset, others: cas.Dataset) -> None:
        for _ in range(50):
            mine.append(others[0:1000])

    threads = [threading.Thread(target=work, args=order, daemon=True) for order in (pair, pair[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert [len(ds) for ds in pair] == [51_000, 51_000]


def test_reading_while_another_thread_deletes(url: Path) -> None:
    ds = cas.open(url)
    wrong: list[BaseException] = []

    def read() -> None:
        for _ in range(300):
            try:
                value = ds["x"][-1]
                assert 0 <= value < 10
            except RowNotFoundError:
                pass
            except BaseException as error:
                wrong.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(30):
        ds.delete(slice(0, None))
        ds.append({"x": range(10)})
    thread.join()
    assert wrong == []


def test_one_large_value_for_many_rows_takes_little_memory(tmp_path: Path) -> None:
    code = f"""
        import os, resource, cas
        ds = cas.create({str(tmp_path / "ds")!r}, schema={{"b": "bytes"}})
        ds.append({{"b": [b""] * 200}})
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        ds["b"][:] = os.urandom(4 << 20)
        ds.commit()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300_000


# --- sessions -------------------------------------------------------------------------------------------------------


def left(url: Path, value: int, branch: str = "main") -> None:
    ds = cas.open(url, branch)
    ds.append({"x": [value]})
    with pytest.warns(UncommittedChangesWarning):
        ds.close()


def test_a_session_that_does_not_fit_hides_no_other(url: Path) -> None:
    left(url, 1)
    early = cas.open(url)
    ds = cas.open(url)
    ds.append({"x": [100]})
    ds.commit()
    left(url, 2)
    early.append({"x": [3]})
    with pytest.warns(UncommittedChangesWarning):
        early.close()
    assert ds.recover()
    assert ds["x"][-2:].tolist() == [100, 2]
    ds.commit()
    assert ds.recover()
    assert ds["x"][-2:].tolist() == [9, 3]  # at the version where it began
    ds.commit()
    assert ds["x"][10:].tolist() == [100, 2, 3]
    assert ds.recover()
    ds.commit()
    assert sorted(ds["x"][10:].tolist()) == [1, 2, 3, 100]
    assert not ds.recover()


def test_what_was_staged_on_a_deleted_branch_is_found_at_its_version(url: Path) -> None:
    ds = cas.open(url)
    ds.branch("b")
    left(url, 7, "b")
    ds.branches["b"].delete()
    assert ds.recover()
    assert ds["x"][-1] == 7
    ds.rollback()


def test_changes_after_a_flush_with_details_are_kept_too(url: Path) -> None:
    ds = cas.open(url)
    ds.append({"x": [1]})
    ds.flush({"file": "a.csv"})
    ds.append({"x": [2]})
    with pytest.warns(UncommittedChangesWarning):
        ds.close()
    ds = cas.open(url)
    assert ds.recover()
    assert ds["x"][-2:].tolist() == [1, 2]


def test_adopting_drops_nothing(url: Path) -> None:
    left(url, 7)
    ds = cas.open(url)
    ds.append({"x": [1]})
    with pytest.raises(UncommittedChangesError):
        ds.adopt(next(iter(ds.sessions())))
    assert ds["x"][-1] == 1


def test_changes_in_an_open_handle_of_this_process_are_told_of(url: Path) -> None:
    busy = cas.open(url)
    busy.append({"x": [1]})
    with pytest.warns(UncommittedChangesWarning, match="another handle"):
        assert not cas.open(url).recover()
    del busy
    gc.collect()
    with pytest.warns(UncommittedChangesWarning, match="dropped"):
        assert cas.open(url).recover()


def test_all_handles_are_kept_where_warnings_are_errors(tmp_path: Path) -> None:
    code = f"""
        import cas
        all = [cas.create({str(tmp_path)!r} + f"/{{i}}", schema={{"x": int}}) for i in range(4)]
        for ds in all:
            ds.append({{"x": [1]}})
        try:
            all[0].close()
        except UserWarning:
            print("closed", all[0]._closed)
    """
    done = subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.stdout == "closed True\n"
    assert [cas.open(tmp_path / str(number)).recover() for number in range(4)] == [True] * 4


def test_a_closed_handle_does_nothing(url: Path, tmp_path: Path) -> None:
    ds = cas.open(url)
    version = ds.version
    ds.close()
    uses = (lambda: ds.tag("t", version=version), lambda: ds.name, lambda: ds.description, lambda: ds.branches)
    for use in (*uses, lambda: cas.copy(ds, tmp_path / "c"), lambda: cas.like(ds, tmp_path / "l")):
        with pytest.raises(ClosedError):
            use()
    assert not (tmp_path / "c").exists()
    assert not (tmp_path / "l").exists()


# --- forks ----------------------------------------------------------------------------------------------------------


def in_child(work: Any) -> None:
    """Runs a function in a forked child, which must end well within a minute."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, which is the point
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
    process.join(60)
    if process.is_alive():
        process.kill()
        pytest.fail("the child hangs")
    assert process.exitcode == 0


def test_a_child_leaves_the_parents_session_alone(url: Path) -> None:
    ds = cas.open(url)
    ds.add_column("y", int, 0)
    ds["y"].metadata["k"] = 1
    ds.append({"x": [1], "y": [2]})
    ds.flush()

    def child() -> None:
        assert ds["x"][-1] == 1
        ds.rollback()
        ds.append({"x": [5]})
        ds.flush()
        os._exit(0)

    in_child(child)
    assert len(ds.sessions()) == 2
    assert ds["y"].metadata["k"] == 1
    ds.commit()
    assert ds["y"].metadata["k"] == 1
    assert len(ds) == 11


def test_a_child_reads_although_a_thread_of_the_parent_held_the_lock(url: Path) -> None:
    ds = cas.open(url)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        gate = ds._repository.gate
        with ds._lock, ds._repository.nodes._cache._lock, gate._cache._lock, gate.store._lock:  # type: ignore[attr-defined]
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)

    def child() -> None:
        assert ds["x"][:].tolist() == list(range(10))
        os._exit(0)

    try:
        in_child(child)
    finally:
        done.set()
        thread.join()


# --- places ---------------------------------------------------------------------------------------------------------


def test_urls_and_arguments_must_agree(url: Path, tmp_path: Path) -> None:
    cas.open(url).branch("b")
    assert cas.open(f"{url}@b", "b").branch_name == "b"
    assert cas.open(f"{url}@b").branch_name == "b"
    with pytest.raises(InvalidInputError, match="give one"):
        cas.open(f"{url}@main", "b")
    with pytest.raises(InvalidInputError, match="give one"):
        cas.open_read_only(f"{url}@b", "main")
    for empty in (
        lambda: cas.open(f"{url}@"),
        lambda: cas.open_read_only(f"{url}@"),
        lambda: cas.open_read_only(url, ""),
    ):
        with pytest.raises(NotFoundError):
            empty()
    cas.init(tmp_path / "lake")
    for make in (cas.create, lambda place: cas.copy(url, place), lambda place: cas.like(url, place)):
        with pytest.raises(InvalidInputError, match="names a revision"):
            make(f"{tmp_path}/lake/new@v1")
    with pytest.raises(BranchNotFoundError, match="the branches are: 'b', 'main'"):
        cas.open(url, "nope")


def test_a_copy_without_main(url: Path, tmp_path: Path) -> None:
    ds = cas.open(url)
    ds.branches["main"].rename("trunk")
    tag = cas.open(url, "trunk").tag("v1")
    copied = cas.copy(url, tmp_path / "copy")
    assert copied.branch_name == "trunk"
    assert copied.tags["v1"] != tag
    assert copied.branches["trunk"].id != ds.branches["trunk"].id


def test_a_copy_is_of_one_moment(url: Path, tmp_path: Path) -> None:
    ds = cas.open(url)
    ds["x"].metadata["k"] = "v"
    ds.commit()

    def meanwhile(done: int, total: int) -> None:
        if done == total:
            ds.rename_column("x", "z")
            ds.commit()

    copied = cas.copy(url, tmp_path / "copy", report=meanwhile)
    assert copied["x"].metadata.to_dict() == {"k": "v"}
    assert not copied.has_changes


def test_an_interrupted_copy_takes_only_its_own_store_away(url: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    def both(done: int, total: int) -> None:
        with pytest.raises(KeyboardInterrupt):
            cas.copy(url, tmp_path / "copy", report=stop)

    assert cas.copy(url, tmp_path / "copy", report=both)["x"][:].tolist() == list(range(10))
    with pytest.raises(KeyboardInterrupt):
        cas.copy(url, tmp_path / "second", report=stop)
    assert not (tmp_path / "second").exists()


def test_links_are_not_deleted(url: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(url)
    with pytest.raises(InvalidInputError, match="is a link"):
        cas.delete(tmp_path / "link")
    assert len(cas.open(tmp_path / "link")) == 10


def test_values_that_looked_right(tmp_path: Path) -> None:
    ds = cas.create(tmp_path / "ds", schema={"e": cas.types.Embedding(3), "f": "float32", "t": "text"})
    objects = np.empty(2, object)
    objects[:] = [np.zeros(3, "f4"), np.ones(3, "f4")]
    ds.append({"e": objects, "f": [0.1, 0.2], "t": ["a", "b"]})
    assert ds["e"][:].tolist() == [[0, 0, 0], [1, 1, 1]]
    row = {"e": np.zeros((1, 3), "f4"), "f": [0.5], "t": ["c"]}
    for wrong in ({"f": [np.float64(0.1)]}, {"f": np.array([np.float64(0.1)], object)}, {"t": {"a"}}, {"f": {0.5}}):
        with pytest.raises(InvalidInputError):
            ds.append({**row, **wrong})
    ds.splice([(np.int64(0), np.int64(1), None)])
    assert len(ds) == 1
    images = cas.create(tmp_path / "images", schema={"i": "image"})
    with pytest.raises(CasError):
        images.append({"i": [np.ma.masked_array(np.zeros((4, 4), np.uint8), True)]})
    with pytest.raises(CasError):
        images.metadata["mask"] = np.ma.masked_array([1, 2], [True, False])
    with pytest.raises(InvalidInputError, match="at most 31"):
        cas.types.Array("uint8", (1,) * 70)
