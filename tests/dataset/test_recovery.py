"""Handles that are left with uncommitted changes: kept with a warning, and recovered."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest

import cas
from cas.errors import ClosedError, ConflictError, UncommittedChangesError, UncommittedChangesWarning


@pytest.fixture
def url(tmp_path: Path) -> Path:
    with cas.create(tmp_path / "ds", schema={"x": "int64"}) as ds:
        ds.append({"x": [1, 2, 3]})
        ds.commit()
    return tmp_path / "ds"


def test_closing_keeps_what_was_staged(url: Path) -> None:
    ds = cas.open(url)
    ds.append({"x": [4]})
    ds["x"][0] = 10
    ds.delete(1)
    with pytest.warns(UncommittedChangesWarning, match=r"closed.*recover\(\)"):
        ds.close()
    ds = cas.open(url)
    assert ds["x"][:].tolist() == [1, 2, 3]
    assert ds.recover()
    assert ds["x"][:].tolist() == [10, 3, 4]
    assert ds.has_changes
    ds.commit()
    assert not ds.recover()
    assert ds.version.row_maps[0].runs.tolist() == [[1, 1, 0], [1, 0, 1]]


def test_leaving_a_with_block_by_an_error_keeps_them_too(url: Path) -> None:
    def fail() -> None:
        with cas.open(url) as ds:
            ds.append({"x": [4]})
            raise ZeroDivisionError

    with pytest.warns(UncommittedChangesWarning), contextlib.suppress(ZeroDivisionError):
        fail()
    assert cas.open(url).recover()


def test_a_dropped_handle_keeps_them(url: Path) -> None:
    ds = cas.open(url)
    ds.append({"x": [4]})
    del ds
    gc.collect()
    with pytest.warns(UncommittedChangesWarning, match="dropped"):
        ds = cas.open(url)
    assert ds.recover()
    assert ds["x"][:].tolist() == [1, 2, 3, 4]


def test_a_column_keeps_its_dataset(url: Path) -> None:
    column = cas.open(url)["x"]
    gc.collect()
    assert column[:].tolist() == [1, 2, 3]
    column[0] = 7
    assert column[:].tolist() == [7, 2, 3]


@pytest.mark.parametrize("rows", [1, 300_000])
def test_the_end_of_the_interpreter_keeps_them(url: Path, rows: int) -> None:
    code = f"""
        import cas
        ds = cas.open({str(url)!r})
        ds.append({{"x": range({rows})}})
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert "UncommittedChangesWarning" in done.stderr
    assert "recover()" in done.stderr
    ds = cas.open(url)
    assert ds.recover()
    assert ds["x"][3:].tolist() == list(range(rows))


def test_nothing_is_said_where_nothing_was_staged(url: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with cas.open(url) as ds:
            ds.append({"x": []})
            ds.append({"x": [1]})
            ds.rollback()
        assert not cas.open(url).recover()


def test_rolling_back_ends_a_recovered_session(url: Path) -> None:
    ds = cas.open(url)
    ds.append({"x": [4]})
    with pytest.warns(UncommittedChangesWarning):
        ds.close()
    ds = cas.open(url)
    ds.recover()
    ds.rollback()
    assert ds.sessions() == {}
    assert not ds.recover()


def test_a_recovered_session_can_be_left_and_recovered_again(url: Path) -> None:
    for number in (4, 5, 6):
        ds = cas.open(url)
        ds.recover()
        ds.append({"x": [number]})
        with pytest.warns(UncommittedChangesWarning):
            ds.close()
    ds = cas.open(url)
    assert len(ds.sessions()) == 1
    ds.recover()
    assert ds["x"][:].tolist() == [1, 2, 3, 4, 5, 6]


def test_what_other_handles_have_staged_is_not_taken(url: Path) -> None:
    busy = cas.open(url)
    busy.append({"x": [4]})
    busy.flush()
    assert not cas.open(url).recover()
    busy.commit()


def test_recovering_where_it_does_not_fit_is_refused(url: Path) -> None:
    ds = cas.open(url)
    ds.append({"x": [4]})
    with pytest.warns(UncommittedChangesWarning):
        ds.close()
    ds = cas.open(url)
    ds.append({"x": [5]})
    with pytest.raises(UncommittedChangesError):
        ds.recover()
    ds.commit()
    with pytest.raises(ConflictError, match="began at version"):
        ds.recover()
    assert ds["x"][:].tolist() == [1, 2, 3, 5]


def test_a_closed_dataset_says_so(url: Path) -> None:
    for ds in (cas.open(url), cas.open_read_only(url)):
        column = ds["x"]
        ds.close()
        ds.close()
        assert "closed" in repr(ds) or "ReadOnlyDataset" in repr(ds)
        for use in (
            lambda ds=ds: len(ds),
            lambda ds=ds: ds["x"],
            lambda ds=ds: ds.x,
            lambda ds=ds: ds.metadata,
            lambda ds=ds: ds.version,
            lambda ds=ds: ds.tags,
            lambda ds=ds: ds.history,
            lambda column=column: column[0],
        ):
            with pytest.raises(ClosedError, match="open it again"):
                use()
    with pytest.raises(ClosedError):
        ds.__enter__()
