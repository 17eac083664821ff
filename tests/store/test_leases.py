"""Leases: held by handles of one process and of several, given back whatever ends the holder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cas.store.leases import OPEN, WRITING, ExclusiveLease, FileLease, is_held, place_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "marker"
    path.write_bytes(b"cas store\n")
    return path


def refused(file: Path, place: int = WRITING) -> bool:
    try:
        ExclusiveLease(file, place).release()
    except BlockingIOError:
        return True
    return False


def test_many_may_share_and_one_alone_may_not(file: Path) -> None:
    first, second = FileLease(file, WRITING), FileLease(file, WRITING)
    assert refused(file)
    assert is_held(file, WRITING)
    assert not refused(file, OPEN), "other places are free"
    first.release()
    first.release()
    assert refused(file)
    second.release()
    assert not refused(file)
    assert not is_held(file, WRITING)


def test_a_lease_ends_when_it_is_dropped(file: Path) -> None:
    lease = FileLease(file, place_of(b"\xff" * 32))
    assert is_held(file, place_of(b"\xff" * 32))
    assert not is_held(file, place_of(b"\0" * 32))
    del lease
    assert not is_held(file, place_of(b"\xff" * 32))


def test_sharing_waits_until_the_one_is_done(file: Path) -> None:
    alone = ExclusiveLease(file, WRITING)
    code = (
        "import sys; from pathlib import Path; from cas.store.leases import *;"
        "print('begun', flush=True); FileLease(Path(sys.argv[1]), WRITING); print('got it', flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "begun\n"
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.5)
        alone.release()
        assert other.stdout.readline() == "got it\n"


def test_a_killed_process_holds_nothing(file: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from cas.store.leases import *;"
        "lease = FileLease(Path(sys.argv[1]), WRITING); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert refused(file)
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert not refused(file)


def test_a_forked_child_leaves_the_lease_to_its_parent(file: Path) -> None:
    lease = FileLease(file, WRITING)
    child = os.fork()
    if child == 0:
        lease.release()
        os._exit(0)
    os.waitpid(child, 0)
    assert refused(file)
    lease.release()
    assert not refused(file)
