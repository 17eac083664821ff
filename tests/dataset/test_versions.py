"""The page Version: what a version knows of itself, its clocks, its equality, and opening it."""

from __future__ import annotations

import datetime as dt
import os
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
from other_process import output

import cas
from cas.dataset.dataset import default_author
from cas.errors import InvalidInputError, ReadOnlyError
from cas.history.records import load_tree, load_version

YEAR = dt.timedelta(days=365)


@pytest.fixture
def ds(tmp_path: Path) -> cas.Dataset:
    dataset = cas.create(tmp_path / "ds", schema={"x": "int64"})
    dataset.append({"x": [0]})
    dataset.commit("number 0", author="me")
    return dataset


def commit_one(ds: cas.Dataset, message: str = "") -> cas.Version:
    ds.append({"x": [len(ds)]})
    ds.commit(message)
    return ds.version


# --- facts ----------------------------------------------------------------------------------------------------------


def test_the_id_is_a_hash_and_what_commit_returned(ds: cas.Dataset) -> None:
    ds.append({"x": [1]})
    id_ = ds.commit("more")
    assert ds.version.id == ds.history[-1].id == id_
    assert len(bytes.fromhex(id_)) == 32
    assert id_ == id_.lower()
    assert len({version.id for version in ds.history}) == len(ds.history) == 4


def test_message_and_author(ds: cas.Dataset, tmp_path: Path) -> None:
    assert (ds.version.message, ds.version.author) == ("number 0", "me")
    text = "two lines\n\nand a grüße \U0001f600 " + "long " * 10_000
    assert commit_one(ds, text).message == text
    assert ds.version.author == default_author() != ""
    assert cas.open(tmp_path / "ds").version.message == text
    ds.append({"x": [1]})
    ds.commit()
    assert ds.version.message == ""


@pytest.mark.parametrize("fact", ["message", "author"])
@pytest.mark.parametrize("text", [5, b"bytes", "\ud800"])
def test_what_is_no_text_is_refused_and_the_rows_stay_staged(ds: cas.Dataset, fact: str, text: Any) -> None:
    ds.append({"x": [1]})
    before = ds.version.id
    with pytest.raises(InvalidInputError):
        ds.commit(**{fact: text})
    assert (ds.has_changes, ds.version.id) == (True, before)


def test_details_and_tree(ds: cas.Dataset) -> None:
    ds.append({"x": [1]})
    ds.commit("more", details={"counts": [1, 2.5]})
    assert ds.version.details == {"counts": [1, 2.5]}
    ds.delete(1)
    ds.commit("less")
    assert ds.version.details == {}
    assert ds.version.tree == ds.history[-3].tree
    assert ds.version != ds.history[-3]


def test_parents_are_the_ids_it_comes_from(ds: cas.Dataset) -> None:
    assert ds.history[0].parents == ()
    for before, version in zip(ds.history[:-1], ds.history[1:], strict=True):
        assert version.parents == (before.id,)


def test_a_version_is_not_changed_by_assignment(ds: cas.Dataset) -> None:
    for name in ("id", "message", "author", "timestamp", "client_timestamp", "parents", "more"):
        with pytest.raises(AttributeError):
            setattr(ds.version, name, "changed")


def test_the_repr_helps(ds: cas.Dataset) -> None:
    moment = f"{ds.version.timestamp:%Y-%m-%d %H:%M:%S}"
    assert repr(ds.version) == f"<Version {ds.version.id[:12]} {moment} 'number 0'>"


# --- clocks ---------------------------------------------------------------------------------------------------------


def test_both_times_are_aware_and_near_now(ds: cas.Dataset) -> None:
    for moment in (ds.version.timestamp, ds.version.client_timestamp):
        assert moment.tzinfo is dt.UTC
        assert abs(moment - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=5)


def test_times_always_go_forward(ds: cas.Dataset) -> None:
    for _ in range(20):
        commit_one(ds)
    times = [version.timestamp for version in ds.history]
    assert times == sorted(set(times))


def test_times_go_forward_when_the_clock_of_the_file_system_steps_back(
    ds: cas.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage clock is what the file system says of the marker file; here it says what it said a year ago."""
    touch, past = os.utime, time.time_ns() - 365 * 24 * 3600 * 10**9
    touched = []

    def in_the_past(path: Any, *args: Any, **kwargs: Any) -> None:
        touched.append(Path(path).name)
        touch(path, ns=(past, past))

    before = ds.version.timestamp
    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", in_the_past)
        later = [commit_one(ds, f"later {number}").timestamp for number in range(5)]
        tag = ds.tag("v1")
    assert touched == ["cas-store"] * 6
    assert os.stat(tmp_path / "ds/cas-store").st_mtime_ns == past
    assert [before, *later, tag.timestamp] == sorted({before, *later, tag.timestamp})
    assert later[-1] - before < dt.timedelta(seconds=1)
    # Another process, whose clock is right again, goes on from there.
    output("ds = cas.open(url); ds.append({'x': [1]}); ds.commit('right again')", tmp_path / "ds")
    ds.refresh()
    assert ds.version.timestamp > tag.timestamp
    assert abs(ds.version.timestamp - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=5)


@pytest.mark.parametrize("wrong", [-YEAR, YEAR], ids=["a year slow", "a year fast"])
def test_a_writers_wrong_clock_is_kept_and_orders_nothing(
    ds: cas.Dataset, monkeypatch: pytest.MonkeyPatch, wrong: dt.timedelta
) -> None:
    before, right = ds.version.timestamp, time.time_ns
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: right() + int(wrong.total_seconds()) * 10**9)
        version = commit_one(ds, "wrong clock")
    after = commit_one(ds, "right clock")
    for each in (version, pickle.loads(pickle.dumps(version)), ds.history[-2]):
        assert abs(each.client_timestamp - (before + wrong)) < dt.timedelta(minutes=5)
        assert before < each.timestamp < after.timestamp < before + dt.timedelta(minutes=5)


def test_the_clock_of_the_interpreter_orders_nothing_either(ds: cas.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ds.version.timestamp
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    version = commit_one(ds)
    assert version.client_timestamp == dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    assert before < version.timestamp < before + dt.timedelta(minutes=5)


# --- equality -------------------------------------------------------------------------------------------------------


def test_what_a_commit_remembers_is_what_would_be_loaded(ds: cas.Dataset) -> None:
    repository = ds._repository
    ds.add_column("more", "int64", 7)
    ds.metadata["of the dataset"] = {"long": "x" * 3000}
    ds.commit("added")
    ds.rename_column("more", "renamed")
    ds.commit("renamed")
    ds["renamed"].metadata["of the column"] = (1, 2.5)
    ds.commit("metadata")
    for version in ds.history:
        hash_ = bytes.fromhex(version.id)
        record = repository.version(hash_)
        assert repr(record) == repr(load_version(repository.gate, hash_)), version.message
        assert repr(repository.tree(record.tree)) == repr(load_tree(repository.gate, record.tree)), version.message


def test_versions_are_equal_by_id_across_handles(ds: cas.Dataset, tmp_path: Path) -> None:
    mine, url = ds.version, tmp_path / "ds"
    same = [cas.open(url).version, cas.open_read_only(url).version, ds.history[-1], mine.open().version]
    for other in same:
        assert mine == other
        assert hash(mine) == hash(other)
    assert len({mine, *same}) == 1
    assert mine != ds.history[0]
    assert mine != mine.id
    assert {version: version.message for version in ds.history}[mine] == "number 0"


def test_versions_are_equal_across_processes(ds: cas.Dataset, tmp_path: Path) -> None:
    script = """
    theirs = pickle.loads(bytes.fromhex(sys.argv[2]))
    mine = cas.open(url).version
    assert theirs == mine and len({theirs, mine}) == 1
    assert theirs != cas.open(url).history[0]
    print(theirs.message, theirs.open().x[:].tolist(), pickle.dumps(mine).hex())
    """
    message, rows, back = output(script, tmp_path / "ds", pickle.dumps(ds.version).hex()).rsplit(" ", 2)
    assert (message, rows) == ("number 0", "[0]")
    assert pickle.loads(bytes.fromhex(back)) == ds.version


def test_pickles_keep_what_a_version_says(ds: cas.Dataset) -> None:
    for version in ds.history:
        again = pickle.loads(pickle.dumps(version))
        for name in ("id", "message", "author", "timestamp", "client_timestamp", "parents", "tree", "details"):
            assert getattr(again, name) == getattr(version, name)
        assert repr(again) == repr(version)


# --- opening --------------------------------------------------------------------------------------------------------


def test_open_shows_the_dataset_as_it_was(ds: cas.Dataset) -> None:
    version = ds.version
    for number in range(1, 4):
        ds.x[0] = -number
        commit_one(ds)
    ds.append({"x": [99]})
    with version.open() as old:
        assert type(old) is cas.ReadOnlyDataset
        assert old.x[:].tolist() == [0]
        assert old.version == version
        assert old.history[-1] == version
        with pytest.raises(ReadOnlyError):
            old.append({"x": [1]})
    assert ds.history[0].open().schema == {}
    assert len(ds) == 5  # the handle that is open for writing goes on


def test_a_version_opens_after_its_dataset_was_closed(ds: cas.Dataset) -> None:
    version = ds.version
    ds.close()
    assert version.message == "number 0"
    with version.open() as old:
        assert old.x[0] == 0
    assert version.open().x[0] == 0


# --- revisions ------------------------------------------------------------------------------------------------------


def test_revisions_name_versions_everywhere(ds: cas.Dataset, tmp_path: Path) -> None:
    for number in range(1, 5):
        commit_one(ds, f"number {number}")
    ds.tag("v1", version=ds.history[3])
    messages = {
        "main": "number 4",
        "main~": "number 3",
        "main~2": "number 2",
        "v1": "number 1",
        "v1~1~1": "Columns added",
        ds.history[2].id: "number 0",
    }
    for revision, message in messages.items():
        assert cas.open_read_only(tmp_path / "ds", revision).version.message == message
        assert cas.open_read_only(f"{tmp_path}/ds@{revision}").version.message == message
    for version in ds.history:
        assert cas.open_read_only(tmp_path / "ds", version).version == version
