"""``cas log --experiments``: runs side by side."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest
from terminal import facts, ok, run, usage_error

import cas
from cas.cli import run_table


@pytest.fixture
def url(tmp_path: Path) -> Path:
    """Four runs: losses 3, 1, 2 and none, of two versions of an input, the last one failed."""
    cas.init(tmp_path / "lake")
    ds = cas.create(tmp_path / "lake/train", {"x": "int64"})
    url = tmp_path / "lake/trials"
    for number, loss in enumerate([3.0, 1.0, 2.0]):
        params = {"seed": 7, "net": {"kind": "mlp", "width": 2**number}, "name": "x\x1b[2J"}
        with cas.experiment(url, params=params, code=False) as trial:
            trial.input("train", ds)
            trial.log(step=1, loss=loss)
            trial.metrics["number"] = number
        if number == 1:
            ds.append({"x": [1]})
            ds.commit()

    def fail() -> None:
        with cas.experiment(url, params={"seed": 7}, code=False):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    return url


def table(*args: object) -> list[list[str]]:
    lines = ok("log", *args, "--experiments").splitlines()
    return [re.split(r"  +", line.strip()) for line in lines]


def test_only_what_differs_is_a_column(url: Path) -> None:
    with cas.open_read_only(url) as ds:
        ids = [version.id[:12] for version in reversed(ds.history)]
    heading, *rows = table(url, "-n", 3)
    assert heading == [
        "run",
        "started",
        "status",
        "took",
        "name",
        "net.kind",
        "net.width",
        "loss",
        "number",
        "input train",
    ]
    assert [row[0] for row in rows] == ids[:3]
    heading, *rows = table(f"{url}@main~1")
    assert heading == ["run", "started", "status", "took", "net.width", "loss", "number", "input train"]
    assert [row[4:7] for row in rows] == [["4", "2", "2"], ["2", "1", "1"], ["1", "3", "0"]]
    with cas.open_read_only(url.parent / "train") as ds:
        inputs = [f"main {version.id[:8]}" for version in reversed(ds.history)]
    assert [row[7] for row in rows] == [inputs[0], inputs[1], inputs[1]]
    assert [row[2] for row in rows] == ["finished"] * 3


def test_a_failed_run(url: Path) -> None:
    assert table(url, "-n", 1)[1][2] == "failed: RuntimeError"
    assert "\x1b" not in ok("log", url, "--experiments")


def test_sorted_by_a_metric(url: Path) -> None:
    def losses(*args: object) -> list[object]:
        return [each["run"]["metrics"].get("loss") for each in facts("log", url, "--experiments", *args)]

    assert losses() == [None, 2.0, 1.0, 3.0]
    assert losses("--reverse") == [3.0, 1.0, 2.0, None]
    assert losses("--sort", "loss") == [1.0, 2.0, 3.0, None]
    assert losses("--sort", "loss", "--reverse") == [3.0, 2.0, 1.0, None]
    assert losses("--sort", "loss", "-n", 2) == [1.0, 2.0]
    assert losses("-n", 2) == [None, 2.0]
    assert "no run has a number as metric 'lss'; the metrics are: loss, number" in usage_error(
        "log", url, "--experiments", "--sort", "lss"
    )


def test_json_has_all_that_was_noted(url: Path) -> None:
    (first, *_) = facts("log", url, "--experiments", "-n", 1)
    assert set(first) == {"id", "timestamp", "author", "message", "parents", "branches", "tags", "run"}
    assert first["branches"] == ["main"]
    assert first["run"]["error"] == "RuntimeError"
    assert first["run"]["params"] == {"seed": 7}
    assert "numpy" in first["run"]["environment"]["packages"]


def test_branches(url: Path) -> None:
    cas.open(url).branch("other", version="main~1")
    with cas.experiment(f"{url}@other", code=False):
        pass
    assert len(facts("log", url, "--experiments")) == 4
    assert len(facts("log", f"{url}@other", "--experiments")) == 4
    assert len(facts("log", url, "--experiments", "--all")) == 5


def test_seeds_that_differ(tmp_path: Path) -> None:
    for seed in (3, 4):
        with cas.experiment(tmp_path / "trials", seeds={"seed": seed, "numpy": seed % 2, "fixed": 1}, code=False):
            pass
    heading, *rows = table(tmp_path / "trials")
    assert heading == ["run", "started", "status", "took", "seed", "seed numpy"]
    assert [row[4:] for row in rows] == [["4", "0"], ["3", "1"]]


def test_no_runs_and_other_options(url: Path) -> None:
    assert ok("log", url.parent / "train", "--experiments") == ""
    assert facts("log", url.parent / "train", "--experiments") == []
    assert "does not go with --graph" in usage_error("log", url, "--experiments", "--graph")
    assert "--sort goes with --experiments" in usage_error("log", url, "--sort", "loss")
    assert run("log", url).exit_code == 0


def test_commits_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "init", "-q"], check=True)
    (tmp_path / "train.py").write_text("1")
    subprocess.run(["git", "add", "train.py"], check=True)
    subprocess.run(["git", *identity, "commit", "-q", "-m", "one"], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout[:8]
    with cas.experiment("trials"):
        pass
    (tmp_path / "train.py").write_text("2")
    with cas.experiment("trials"):
        pass
    heading, *rows = table("trials")
    assert [row[heading.index("commit")] for row in rows] == [f"{commit}*", commit]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0s"), (59.94, "59.9s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (90_061, "25h01m")],
)
def test_durations(seconds: float, text: str) -> None:
    assert run_table._show_duration(seconds) == text


def on_a_terminal(columns: int, *args: str) -> str:
    """What a command prints on a terminal of so many columns."""
    leader, follower = pty.openpty()
    ioctl(follower, TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "cas.cli.main", *args]
    with subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=environment) as process:
        os.close(follower)
        text = b""
        while True:
            try:
                block = os.read(leader, 4096)
            except OSError:
                break
            if not block:
                break
            text += block
        assert process.wait(60) == 0
    os.close(leader)
    return re.sub(r"\x1b\[[0-9;]*m", "", text.decode()).replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_the_table_fits_the_terminal(url: Path, columns: int) -> None:
    lines = on_a_terminal(columns, "log", str(url), "--experiments", "--sort", "loss").splitlines()
    rows = [line for line in lines if not line.startswith("left out")][:5]
    assert max(map(len, rows)) <= columns
    heading = re.split(r"  +", rows[0].strip())
    assert heading[0] == "run"
    assert "loss" in heading
    assert ("left out, for the terminal is narrow: " in " ".join(lines)) == (columns < 160)
    assert ("input train" in heading) == (columns == 160)


def test_a_long_value_is_cut_on_a_terminal(tmp_path: Path) -> None:
    for letter in "ab":
        with cas.experiment(tmp_path / "trials", params={"text": letter * 200}, code=False):
            pass
    text = on_a_terminal(100, "log", str(tmp_path / "trials"), "--experiments")
    assert f"{'a' * 23}…" in text
    assert "a" * 200 in ok("log", tmp_path / "trials", "--experiments")
