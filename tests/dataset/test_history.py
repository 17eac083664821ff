"""The page History: the versions up to one, oldest first, found by number, id, prefix and time."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
import pickle
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given
from long_history import counted, extend
from other_process import output

import cas
from cas.errors import (
    AmbiguousRevisionError,
    InvalidInputError,
    InvalidTypeError,
    VersionIndexError,
    VersionNotFoundError,
)
from cas.repo.repository import find_ref
from cas.store.contract import REFS

MANY = 10_000
FEW_LOOK_UPS = 4 * math.ceil(math.log2(MANY))


@pytest.fixture
def ds(tmp_path: Path) -> cas.Dataset:
    """Seven versions: the first, the columns, and five of a row each."""
    dataset = cas.create(tmp_path / "ds", schema={"x": "int64"})
    for number in range(5):
        dataset.append({"x": [number]})
        dataset.commit(f"number {number}", author="me")
    return dataset


MESSAGES = ["Dataset created", "Columns added", *(f"number {number}" for number in range(5))]


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> cas.Dataset:
    """A dataset of 10,000 versions."""
    dataset = cas.create(tmp_path_factory.mktemp("long") / "ds", schema={"x": "int64"})
    extend(dataset, MANY - 2)
    return dataset


# --- order, length, iteration ---------------------------------------------------------------------------------------


def test_the_oldest_comes_first(ds: cas.Dataset) -> None:
    assert isinstance(ds.history, Sequence)
    assert len(ds.history) == 7
    assert [version.message for version in ds.history] == MESSAGES
    assert [version.message for version in reversed(ds.history)] == MESSAGES[::-1]
    assert ds.history[0].parents == ()
    assert ds.history[-1] == ds.version
    assert repr(ds.history) == f"<History of 7 versions up to {ds.version.id[:12]}>"


def test_each_version_of_the_iteration_opens(ds: cas.Dataset) -> None:
    for number, version in enumerate(ds.history):
        with version.open() as old:
            assert type(old) is cas.ReadOnlyDataset
            assert old.version == version
            assert (old.x[:].tolist() if number else list(old.schema)) == list(range(max(0, number - 1)))


def test_all_of_hundreds_of_versions_say_who_when_and_why(tmp_path: Path) -> None:
    ds = cas.create(tmp_path / "ds", schema={"x": "int64"})
    ids = [ds.version.id]
    for number in range(220):
        ds.metadata["number"] = number
        ids.append(ds.commit(f"message {number}", author=f"author {number}"))
    versions = list(ds.history)[1:]
    assert [version.id for version in versions] == ids
    for number, version in enumerate(versions[1:]):
        assert (version.message, version.author) == (f"message {number}", f"author {number}")
        assert version.parents == (ids[number],)
        assert version.timestamp > versions[number].timestamp
        assert abs(version.client_timestamp - version.timestamp) < dt.timedelta(minutes=5)
        assert version.open().metadata["number"] == number
    reads = "print(json.dumps([[v.id, v.message, v.author] for v in cas.open_read_only(url).history][2:]))"
    expected = [[id_, f"message {n}", f"author {n}"] for n, id_ in enumerate(ids[1:])]
    assert output(reads, tmp_path / "ds") == json.dumps(expected)


def test_a_history_is_of_its_moment(ds: cas.Dataset) -> None:
    history = ds.history
    iterator = iter(history)
    first = next(iterator)
    ds.append({"x": [9]})
    ds.commit()
    assert len(history) == 1 + len(list(iterator)) == 7
    assert len(ds.history) == 8
    assert first == ds.history[0]


def test_a_version_has_the_history_up_to_it(ds: cas.Dataset) -> None:
    for number, version in enumerate(ds.history):
        old = version.open().history
        assert [each.id for each in old] == [each.id for each in ds.history][: number + 1]


def test_a_history_travels_to_other_processes(ds: cas.Dataset, tmp_path: Path) -> None:
    script = "print([version.message for version in pickle.loads(bytes.fromhex(sys.argv[2]))])"
    assert output(script, tmp_path / "ds", pickle.dumps(ds.history).hex()) == repr(MESSAGES)


# --- by number ------------------------------------------------------------------------------------------------------


def test_numbers_count_from_either_end(ds: cas.Dataset) -> None:
    for number in range(-7, 7):
        for kind in (int, np.int8, np.int64):
            assert ds.history[kind(number)].message == MESSAGES[number]


@pytest.mark.parametrize("number", [7, -8, 2**70, -(2**70), np.int64(7), [0, 7]])
def test_a_number_outside_is_an_index_error(ds: cas.Dataset, number: Any) -> None:
    with pytest.raises(IndexError, match="out of range: the history has 7 versions") as caught:
        ds.history[number]
    assert isinstance(caught.value, VersionIndexError)
    assert isinstance(caught.value, VersionNotFoundError)


bounds = st.none() | st.integers(-10, 10) | st.integers(-(2**70), 2**70)
steps = st.none() | st.integers(1, 9) | st.integers(-9, -1)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> cas.Dataset:
    dataset = cas.create(tmp_path_factory.mktemp("short") / "ds")
    extend(dataset, 599)
    return dataset


@given(index=st.builds(slice, bounds | st.integers(-700, 700), bounds | st.integers(-700, 700), steps))
@example(slice(None))
@example(slice(None, None, -1))
@example(slice(300, 100, -7))
def test_slices_are_those_of_a_list(short: cas.Dataset, index: slice) -> None:
    expected = ["Dataset created", *(f"version {number}" for number in range(599))][index]
    found = short.history[index]
    assert isinstance(found, list)
    assert [version.message for version in found] == expected


def test_lists_of_numbers_and_masks(ds: cas.Dataset) -> None:
    assert [version.message for version in ds.history[[3, 3, -1]]] == [MESSAGES[3], MESSAGES[3], MESSAGES[-1]]
    mask = np.array([message.startswith("number") for message in MESSAGES])
    assert [version.message for version in ds.history[mask]] == MESSAGES[2:]


@pytest.mark.parametrize("index", [None, 1.0, b"main", (1, 2), object(), {}, True])
def test_anything_else_is_no_index(ds: cas.Dataset, index: Any) -> None:
    with pytest.raises(InvalidTypeError):
        ds.history[index]
    assert index not in ds.history


def test_a_step_of_zero_is_refused(ds: cas.Dataset) -> None:
    with pytest.raises(InvalidInputError, match="zero"):
        ds.history[::0]


# --- by id, prefix, name --------------------------------------------------------------------------------------------


def test_versions_by_id_and_unique_prefix(ds: cas.Dataset) -> None:
    for version in ds.history:
        for digits in (64, 63, 12, 9):
            assert ds.history[version.id[:digits]] == version
            assert version.id[:digits] in ds.history
        assert version in ds.history
    assert ds.history["main~1"] == ds.history[-2]


@pytest.mark.parametrize("name", ["nope", "ffffffff", "0" * 64, "", "abc", "main~99", "\ud800", "x" * 5000])
def test_an_unknown_id_is_not_found(ds: cas.Dataset, name: str) -> None:
    with pytest.raises(VersionNotFoundError) as caught:
        ds.history[name]
    assert isinstance(caught.value, LookupError)
    assert not isinstance(caught.value, (IndexError, AmbiguousRevisionError))
    assert name not in ds.history


def test_an_ambiguous_prefix_is_its_own_error(long: cas.Dataset) -> None:
    seen: dict[str, str] = {}
    for version in long.history:
        other = seen.setdefault(version.id[:4], version.id)
        if other != version.id:
            break
    else:
        pytest.fail("no two of 10,000 ids share four digits")
    with pytest.raises(AmbiguousRevisionError, match="give more digits") as caught:
        long.history[version.id[:4]]
    assert {other, version.id} <= set(caught.value.candidates)
    assert all(candidate.startswith(version.id[:4]) for candidate in caught.value.candidates)
    assert version.id[:4] not in long.history
    longer = next(n for n in range(5, 64) if version.id[:n] != other[:n])
    assert long.history[version.id[:longer]] == version


def test_versions_of_elsewhere_are_not_in_the_history(ds: cas.Dataset, tmp_path: Path) -> None:
    ds.append({"x": [9]})
    old = ds.history
    ds.commit()
    assert ds.version not in old
    assert ds.version in ds.history
    other = cas.create(tmp_path / "other", schema={"y": "int64"})
    assert other.version not in ds.history
    assert other.version.id not in ds.history


def test_index_and_count_find_versions_as_a_list_would(ds: cas.Dataset, tmp_path: Path) -> None:
    versions = list(ds.history)
    for number, version in enumerate(versions):
        assert ds.history.index(version) == number
        assert ds.history.count(version) == 1
        for start, stop in ((number, number + 1), (-7, 7), (number - 7, None)):
            assert ds.history.index(version, start, stop) == number
        for start, stop in ((number + 1, 7), (0, number), (-1, -1)):
            with pytest.raises(ValueError, match="not in the history"):
                ds.history.index(version, start, stop)
    elsewhere = cas.create(tmp_path / "other").version
    for other in (elsewhere, versions[0].id, None, np.array([])):
        assert ds.history.count(other) == 0
        with pytest.raises(ValueError, match="not in the history"):
            ds.history.index(other)


# --- by time --------------------------------------------------------------------------------------------------------


def test_at_gives_the_last_version_of_a_time(ds: cas.Dataset) -> None:
    microsecond = dt.timedelta(microseconds=1)
    versions = list(ds.history)
    for before, version in zip([None, *versions], versions, strict=False):
        assert ds.history.at(version.timestamp) == version
        assert ds.history.at(version.timestamp.astimezone(dt.timezone(dt.timedelta(hours=9)))) == version
        if before is not None:
            assert ds.history.at(version.timestamp - microsecond) == before
    assert ds.history.at(dt.datetime.max.replace(tzinfo=dt.UTC)) == versions[-1]
    for early in (versions[0].timestamp - microsecond, dt.datetime.min.replace(tzinfo=dt.UTC)):
        with pytest.raises(VersionNotFoundError, match=r"no version at .*; the first came at"):
            ds.history.at(early)


@pytest.mark.parametrize("time", [None, 0, "2026-11-22", dt.date(2026, 11, 22), dt.datetime(2026, 11, 22)])
def test_a_time_without_zone_is_refused(ds: cas.Dataset, time: Any) -> None:
    with pytest.raises(InvalidTypeError, match="not a point in time; expected a datetime with a time zone"):
        ds.history.at(time)


def test_at_finds_every_one_of_many(long: cas.Dataset) -> None:
    began = long.history[1].timestamp
    for number in (0, 1, 255, 256, 257, 5000, MANY - 3):
        time = began + dt.timedelta(microseconds=number + 1)
        assert long.history.at(time).message == f"version {number}"


# --- never rewritten ------------------------------------------------------------------------------------------------


def test_old_versions_stay_as_they_were(ds: cas.Dataset, tmp_path: Path) -> None:
    def facts(history: cas.History) -> list[Any]:
        return [
            (v.id, v.message, v.author, v.timestamp, v.client_timestamp, v.parents, v.tree, len(v.open()))
            for v in history
        ]

    before = facts(ds.history)
    for number in range(130):
        ds.append({"x": [number]})
        if number % 3 == 0:
            ds.x[0] = number
        ds.metadata["number"] = number
        ds.commit(f"later {number}")
    ds.tag("v1", version=before[3][0])
    extend(ds, 300)
    for history in (ds.history, cas.open(tmp_path / "ds").history):
        assert len(history) == 437
        assert facts(history[:7]) == before
        assert [history[id_].message for id_, *_ in before] == MESSAGES


# --- long histories -------------------------------------------------------------------------------------------------


def test_a_long_history_reads_as_it_was_made(long: cas.Dataset) -> None:
    assert len(long.history) == MANY
    messages = ["Dataset created", "Columns added", *(f"version {number}" for number in range(MANY - 2))]
    assert [version.message for version in long.history] == messages
    for number in (0, 1, 2, 255, 256, 4711, -1, -2, -MANY):
        assert long.history[number].message == messages[number]


@pytest.mark.parametrize(
    "use",
    [
        lambda ds, _: len(ds.history),
        lambda ds, _: ds.history[-1],
        lambda ds, _: ds.history[0],
        lambda ds, _: ds.history[4711],
        lambda ds, version: ds.history[version.id],
        lambda ds, version: ds.history[version.id[:16]],
        lambda ds, version: version.id in ds.history,
        lambda ds, version: version in ds.history,
        lambda ds, version: ds.history.index(version),
        lambda ds, version: version.open(),
        lambda ds, version: next(iter(reversed(ds.history))),
    ],
    ids=["len", "-1", "0", "4711", "id", "prefix", "id in", "in", "index", "open", "reversed"],
)
def test_access_does_not_walk_the_chain(long: cas.Dataset, use: Any) -> None:
    version = long.history[1234]
    with counted() as counts:
        use(long, version)
    assert 0 < counts.all <= 2 * FEW_LOOK_UPS < MANY / 50


def test_a_search_by_time_does_not_walk_the_chain(long: cas.Dataset) -> None:
    version = long.history[1234]
    with counted() as counts:
        assert long.history.at(version.timestamp) == version
    assert counts.all <= 14 * FEW_LOOK_UPS < MANY / 10


def test_iteration_takes_about_one_look_up_a_version(long: cas.Dataset) -> None:
    with counted() as counts:
        assert sum(1 for _ in long.history) == MANY
    assert counts.gets < 1.25 * MANY
    assert counts.blobs == 0
    with counted() as counts:
        assert len(long.history[::-1]) == MANY
    assert counts.gets < 1.25 * MANY


def test_iteration_begins_at_once_and_goes_on_as_asked(long: cas.Dataset) -> None:
    with counted() as counts:
        first = [version.message for version in islice(long.history, 3)]
    assert first == ["Dataset created", "Columns added", "version 0"]
    assert counts.all < 400


def test_the_position_of_a_head_costs_the_same_on_a_short_history(long: cas.Dataset, ds: cas.Dataset) -> None:
    found = []
    for each in (ds, long):
        with counted() as counts:
            assert each.history[-1] == each.version
            assert len(each.history) > 0
        found.append(counts.all)
    assert found[0] == found[1]


def test_a_version_that_no_branch_leads_to_is_found_by_id(ds: cas.Dataset) -> None:
    """A branch that was moved back leaves its versions to the reflog."""
    last, before = ds.version, ds.history[-2]

    def move_back(txn: Any) -> None:
        ref = find_ref(txn, ds._dataset, "main")
        assert ref is not None
        txn.put(REFS, ds._dataset + b"main", dataclasses.replace(ref, version=bytes.fromhex(before.id)).encode())

    ds._repository.store.write(move_back)
    ds.refresh()
    assert ds.version == before
    assert ds.history[last.id] == last
    assert last not in ds.history
    assert last.open().x[:].tolist() == [0, 1, 2, 3, 4]
