"""Versions and history, as far as they go."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import pytest

import cas
from cas.errors import (
    AmbiguousRevisionError,
    InvalidTypeError,
    VersionNotFoundError,
)


@pytest.fixture
def ds(tmp_path: Path) -> cas.Dataset:
    dataset = cas.create(tmp_path / "ds", schema={"x": "int64"})
    for number in range(5):
        dataset.append({"x": [number]})
        dataset.commit(f"number {number}", author="me")
    return dataset


def test_history(ds: cas.Dataset, tmp_path: Path) -> None:
    history = ds.history
    assert len(history) == 7
    assert [version.message for version in history][-3:] == ["number 2", "number 3", "number 4"]
    assert [version.message for version in reversed(history)][:2] == ["number 4", "number 3"]
    assert history[0].message == "Dataset created"
    assert history[-1] == ds.version
    assert [version.message for version in history[-2:]] == ["number 3", "number 4"]
    for index, version in enumerate(history):
        assert history[index] == version
        assert history[version.id[:10]] == version
        assert version in history
        assert version.id in history
        with version.open() as old:
            assert len(old) == max(0, index - 1)
    assert history[-1].parents == (history[-2].id,)
    assert history[3].author == "me"
    for bad in (7, -8):
        with pytest.raises(IndexError):
            history[bad]
    for name in ("nope", "ffffffff", "0" * 64, "", "main~99"):
        with pytest.raises(VersionNotFoundError):
            history[name]
        assert name not in history


def test_times(ds: cas.Dataset) -> None:
    times = [version.timestamp for version in ds.history]
    assert times == sorted(set(times))
    assert all(moment.tzinfo is dt.UTC for moment in times)
    assert abs(ds.version.timestamp - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=5)
    assert abs(ds.version.client_timestamp - ds.version.timestamp) < dt.timedelta(seconds=60)
    for version in ds.history:
        assert ds.history.at(version.timestamp) == version
    assert ds.history.at(times[-1] + dt.timedelta(days=1)) == ds.version
    with pytest.raises(VersionNotFoundError):
        ds.history.at(times[0] - dt.timedelta(microseconds=1))
    with pytest.raises(InvalidTypeError):
        ds.history.at(times[0].replace(tzinfo=None))


def test_a_wrong_client_clock_shows_but_does_not_order(ds: cas.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    a_year_ago = time.time_ns() - 365 * 24 * 3600 * 10**9
    before = ds.version.timestamp
    monkeypatch.setattr(time, "time_ns", lambda: a_year_ago)
    ds.append({"x": [9]})
    ds.commit()
    assert ds.version.timestamp > before
    assert ds.version.client_timestamp < before - dt.timedelta(days=364)


def test_revisions(ds: cas.Dataset, tmp_path: Path) -> None:
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


def test_prefixes_must_be_unique(tmp_path: Path) -> None:
    ds = cas.create(tmp_path / "ds", schema={"x": int})
    seen: dict[str, str] = {}
    for number in range(2000):
        ds.append({"x": [number]})
        id_ = ds.commit()
        if id_[:4] in seen:
            break
        seen[id_[:4]] = id_
    else:
        pytest.fail("no two ids share four digits")
    with pytest.raises(AmbiguousRevisionError, match="give more digits") as caught:
        ds.history[id_[:4]]
    assert sorted(caught.value.candidates) == sorted([id_, seen[id_[:4]]])
    longer = next(n for n in range(5, 64) if id_[:n] != seen[id_[:4]][:n])
    assert ds.history[id_[:longer]].id == id_
