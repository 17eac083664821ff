"""Handles that are left with uncommitted changes: kept with a warning, and recovered."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest

import cas
from cas.errors import ClosedError, ConflictError, UncommittedChangesError, UncommittedChangesWarning
from cas.repo.sessions import birth_of
from cas.store.contract import SESSIONS


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


def leave(url: Path, *values: int) -> None:
    ds = cas.open(url)
    ds.append({"x": values})
    with pytest.warns(UncommittedChangesWarning):
        ds.close()


def test_what_began_at_an_older_version_is_merged(url: Path) -> None:
    leave(url, 4)
    ds = cas.open(url)
    ds.append({"x": [5]})
    with pytest.raises(UncommittedChangesError):
        ds.recover()
    head = ds.commit()
    assert ds.recover()
    assert ds.version.id != head
    assert ds["x"][:].tolist() == [1, 2, 3, 4]
    ds.commit("recovered")
    assert ds["x"][:].tolist() == [1, 2, 3, 5, 4]
    assert ds.version.parents == (head,)
    assert ds.sessions() == {}


def test_what_was_recovered_may_be_in_conflict(url: Path) -> None:
    ds = cas.open(url)
    ds["x"][0] = 10
    with pytest.warns(UncommittedChangesWarning):
        ds.close()
    ds = cas.open(url)
    ds["x"][0] = 20
    ds.commit()
    assert ds.recover()
    with pytest.raises(ConflictError) as caught:
        ds.commit()
    assert [(c.ours, c.theirs) for c in caught.value.conflicts] == [(20, 10)]
    with pytest.warns(UncommittedChangesWarning):
        ds.close()
    ds = cas.open(url)
    assert ds.recover()
    ds.commit(on_conflict="theirs")
    assert ds["x"][0] == 10


def told(url: Path, *args: object) -> list[str]:
    """What is said when a dataset is opened."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ds = cas.open(url, *args)  # type: ignore[arg-type]
        assert len(ds)
        ds.append({"x": [1]})
        ds.rollback()
        assert not ds.has_changes
    assert {warning.filename for warning in caught} <= {__file__}
    return [str(warning.message) for warning in caught]


def test_opening_says_what_can_be_recovered(url: Path) -> None:
    assert told(url) == []
    base = cas.open(url).branch("b").version.id
    leave(url, 4, 5)
    (message,) = told(url)
    assert "(branch 'main')" in message
    assert f"2 rows inserted since version {base[:12]}" in message
    assert "written at 20" in message
    assert "recover()" in message
    assert told(url, "b") == []
    ds = cas.open(url)
    ds.delete(0)
    with pytest.warns(UncommittedChangesWarning):
        ds.close()
    (message,) = told(url)
    assert "1 row deleted" in message
    assert "the last of 2" in message
    assert cas.open(url).discard() == 2
    assert told(url) == []


def test_opening_says_nothing_of_what_somebody_holds_or_an_import_takes_up(url: Path) -> None:
    busy = cas.open(url)
    busy.append({"x": [4]})
    busy.flush()
    assert told(url) == []
    busy.flush({"import": {"fingerprints": []}})
    with pytest.warns(UncommittedChangesWarning):
        busy.close()
    assert [session.alive for session in cas.open(url).sessions().values()] == [False]
    assert told(url) == []


def test_a_session_that_cannot_be_read_does_not_stop_a_dataset_from_opening(url: Path) -> None:
    leave(url, 4)
    ds = cas.open(url)
    (id_,) = ds.sessions()
    ds._repository.store.write(lambda txn: txn.put(SESSIONS, ds._dataset + id_, b"\xa0"))
    (message,) = told(url)
    assert "cannot be read" in message


def test_another_process_of_the_same_number_is_another_one(monkeypatch: pytest.MonkeyPatch, url: Path) -> None:
    ds = cas.open(url)
    ds.append({"x": [4]})
    ds.flush()
    other = cas.open(url)
    assert not other.recover()
    monkeypatch.setattr("cas.repo.sessions.birth_of", lambda pid: "")
    assert not other.recover()  # not known
    monkeypatch.setattr("cas.repo.sessions.birth_of", lambda pid: "another boot 17")
    assert other.recover()
    monkeypatch.undo()
    ticks = birth_of(os.getpid()).split()[1]
    assert abs(int(ticks) / os.sysconf("SC_CLK_TCK") - seconds_from_boot()) < 60


def test_a_killed_process_is_gone_before_its_parent_asks_for_its_end(url: Path) -> None:
    code = f"""
        import os, signal, cas
        ds = cas.open({str(url)!r})
        ds.append({{"x": [4]}})
        ds.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert cas.open(url).recover()
    child.wait()


def seconds_from_boot() -> float:
    """Seconds from the boot to the start of this process, by ``ps``."""
    elapsed = subprocess.run(["ps", "-o", "etimes=", "-p", str(os.getpid())], capture_output=True, text=True)
    if elapsed.returncode:
        pytest.skip("there is no ps")
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - int(elapsed.stdout)


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
