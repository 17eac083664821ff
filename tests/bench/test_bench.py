"""Every benchmark once at a tiny size, so that none rots, and none that reads something wrong passes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCH = Path(__file__).parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import compare  # noqa: E402
import growth  # noqa: E402
import table  # noqa: E402
from systems import SYSTEMS, system_class  # noqa: E402
from systems.cas_dataset import Cas  # noqa: E402
from systems.contract import System, can  # noqa: E402
from workloads import WORKLOADS, pictures  # noqa: E402
from workloads.case import Case, WrongAnswerError, check_equal  # noqa: E402
from workloads.workload import Measure, Target, Workload  # noqa: E402

SCALE = 0.0005
OURS = ("cas", "naive-lmdb", "npy", "memcpy", "blake3")
PEERS = {
    "deeplake": "deeplake",
    "lance": "lance",
    "icechunk": "icechunk",
    "arcticdb": "arcticdb",
    "tensorstore": "tensorstore",
    "hf-datasets": "datasets",
    "h5py": "h5py",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench") / "data"


def able(name: str, workload: Workload) -> bool:
    return can(system_class(name), workload.needs, workload.columns)


def run(workload: Workload, system: type[System], place: Path, data: Path) -> Case:
    case = Case(SCALE, data)
    if workload.prepare is not None:
        compare.execute(workload, system, compare.PREPARE, place, case)
    compare.execute(workload, system, compare.RUN, place, case)
    return case


@pytest.mark.parametrize(
    ("name", "system"), [(name, system) for name in WORKLOADS for system in OURS if able(system, WORKLOADS[name])]
)
def test_workload_runs_and_reports_what_it_declares(name: str, system: str, tmp_path: Path, data: Path) -> None:
    case = run(WORKLOADS[name], system_class(system), tmp_path / "place", data)
    declared = {measure.name for measure in WORKLOADS[name].measures}
    assert declared <= case.found.keys()
    assert all(np.isfinite(value) for value in case.found.values())


ONE_PEER = """
import sys
from pathlib import Path
sys.path.insert(0, {bench!r})
import compare
from systems import system_class
from workloads import WORKLOADS
from workloads.case import Case
system = system_class({system!r})
for name in compare.WORKLOADS:
    if name != "imports" and compare.able(name, [{system!r}]):
        for stage in (compare.PREPARE, compare.RUN):
            if stage == compare.RUN or WORKLOADS[name].prepare:
                compare.execute(WORKLOADS[name], system, stage, Path({place!r}, name), Case({scale}, Path({data!r})))
        print(name)
import os
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.parametrize("system", PEERS)
def test_peer_gives_back_what_it_was_given(system: str, tmp_path: Path, data: Path) -> None:
    if importlib.util.find_spec(PEERS[system]) is None:
        pytest.skip(f"{PEERS[system]} is not installed")
    data.mkdir(exist_ok=True)
    code = ONE_PEER.format(bench=str(BENCH), system=system, place=str(tmp_path), scale=SCALE, data=str(data))
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "ingest" in done.stdout.split()


def altered(value: Any) -> Any:
    """The same, but for one bit or item."""
    if isinstance(value, np.ndarray):
        wrong = value.copy()
        wrong.reshape(-1).view(np.uint8)[-1] ^= 1
        return wrong
    if isinstance(value, dict):
        return {key: altered(item) for key, item in value.items()}
    if isinstance(value, list):
        return value[:-1]
    return value + 1 if isinstance(value, (int, np.integer)) else value + "x"


class LyingCas(Cas):
    """Gives back something else than what it was given, in the least of bits."""

    def row(self, column: str, number: int) -> Any:
        return altered(super().row(column, number))

    def rows(self, column: str, numbers: Any) -> Any:
        return altered(super().rows(column, numbers))

    def whole(self, column: str) -> Any:
        return altered(super().whole(column))

    def scan(self, column: str, size: int) -> Any:
        return map(altered, super().scan(column, size))

    def row_at(self, version: str, column: str, number: int) -> Any:
        return altered(super().row_at(version, column, number))

    def tagged(self, name: str) -> int:
        return super().tagged(name) + 1

    def get(self, key: str) -> Any:
        return altered(super().get(key))

    def changed_rows(self, column: str) -> Any:
        return altered(super().changed_rows(column))

    def load(self, name: str) -> dict[str, Any]:
        return altered(super().load(name))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", [name for name in WORKLOADS if name != "imports"])
def test_wrong_answer_fails_the_benchmark(name: str, tmp_path: Path, data: Path) -> None:
    with pytest.raises(WrongAnswerError):
        run(WORKLOADS[name], LyingCas, tmp_path / "place", data)


def test_answers_of_another_dtype_or_shape_are_wrong() -> None:
    check_equal("same", [1, 2], np.array([1, 2]))
    for found in (np.array([1, 2], np.int32), np.array([[1, 2]]), np.array([1])):
        with pytest.raises(WrongAnswerError):
            check_equal("other", found, np.array([1, 2]))


def test_command_prints_the_table(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH / "compare.py"), "first-row", "--systems", "cas,npy", "--rounds", "1"]
    command += ["--scale", str(SCALE), "--work", str(tmp_path / "work"), "--json", str(tmp_path / "figures.json")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "| open and first row | open and first row, ms |" in printed
    assert "Failed" not in printed
    assert (tmp_path / "figures.json").exists()
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["data"]


def test_pictures_have_their_share_of_copies_and_no_more(tmp_path: Path) -> None:
    distinct = [bytes([number]) * (50 + number) for number in range(200)]
    contents = [content for content in distinct for _ in range(3)]
    found = pictures.with_copies(contents)
    assert list(dict.fromkeys(found)) == distinct
    copied = sum(map(len, found)) - sum(map(len, distinct))
    assert 0.27 < copied / sum(map(len, found)) <= pictures.COPIES


def test_pictures_that_were_kept_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [b"one", b"", b"three", b"one"]
    monkeypatch.setattr(pictures, "real_pictures", lambda folder: made)
    case = Case(1.0, tmp_path)
    assert pictures.kept_pictures(case) == made
    monkeypatch.setattr(pictures, "real_pictures", None)
    assert pictures.kept_pictures(case) == made


@pytest.mark.parametrize(
    "command", [("cutting.py", "0.1"), ("history_cost.py", "1000"), ("import_time.py", "1")], ids=lambda words: words[0]
)
def test_other_benchmarks_run(command: tuple[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH / command[0]), command[1]], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("\n| ") >= 3


def test_run_that_fails_is_named(tmp_path: Path) -> None:
    runner = compare.Runner(SCALE, tmp_path, tmp_path / "places", timeout=600)
    place = tmp_path / "places" / "scan"
    place.mkdir(parents=True)
    assert runner.process("scan", "npy", compare.RUN, place) is None
    assert "scan, npy" in runner.failures
    assert "Failed: scan, npy" in table.markdown(runner.results, runner.failures, SCALE, 1)


def test_growth_measures_everything_and_draws(tmp_path: Path) -> None:
    found = growth.measure([200], 1, tmp_path)
    assert {name: list(figures) for name, figures in found.items()} == {name: [200] for name in growth.UNITS}
    assert "| commit, ms |" in growth.report(found)
    pytest.importorskip("matplotlib")
    growth.plot(found, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_growth_counts_from_100_000_rows_on() -> None:
    assert growth.growth({10_000: 9.0, 100_000: 2.0, 1_000_000: 3.0, 10_000_000: 2.5}) == 1.5
    assert growth.growth({10_000: 9.0}) is None


def test_table_tells_what_was_reached() -> None:
    rate = Measure("ingest", "MB/s", Target(1.0, "deeplake"), Target(0.7, "npy"), "npy")
    assert table.verdict(90, rate, {"deeplake": 100, "npy": 200}) == "**no**"
    assert table.verdict(100, rate, {"deeplake": 100, "npy": 200}) == "yes"
    assert table.verdict(150, rate, {"deeplake": 100, "npy": 200}) == "aim"
    assert table.verdict(150, rate, {}) == "-"
    time = Measure("commit", "ms", Target(1.5))
    assert table.verdict(1.5, time, {}) == "yes"
    assert table.verdict(1.6, time, {}) == "**no**"


def test_best_peer_is_neither_a_limit_nor_cas() -> None:
    medians = {"cas": 9.0, "npy": 8.0, "naive-lmdb": 2.0}
    assert table.best_peer(medians, Measure("ingest", "MB/s")) == "naive-lmdb"
    assert table.best_peer({"cas": 1.0, "npy": 2.0}, Measure("ingest", "MB/s")) is None
    assert set(medians) <= set(SYSTEMS)


ONE_LOADER = """
import os, sys
from pathlib import Path
sys.path.insert(0, {bench!r})
import loaders
from loader_data import samples_of
from loader_systems import SYSTEMS
loaders._SECONDS = 0
for kind in loaders.KINDS:
    samples = samples_of(kind, {scale}, Path("none"))
    for name in [name for name in SYSTEMS if SYSTEMS[name].module == {module!r}]:
        place = Path({place!r}, kind + name)
        SYSTEMS[name]().write(place, samples)
        assert loaders.measure(name, place, samples, 0) > 0
        print(name, kind, flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("module", ["cas", "deeplake", "datasets", "webdataset"])
def test_loaders_give_every_sample(module: str, tmp_path: Path) -> None:
    for needed in ("torch", "PIL", module):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    code = ONE_LOADER.format(bench=str(BENCH), scale=SCALE, module=module, place=str(tmp_path))
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.splitlines()) == (3 if module in ("deeplake", "webdataset") else 6)


def test_loaders_print_the_table() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("PIL")
    command = [sys.executable, str(BENCH / "loaders.py"), "array", "--systems", "cas", "--workers", "0"]
    done = subprocess.run(
        [*command, "--rounds", "1", "--scale", str(SCALE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| samples | workers | cas |" in done.stdout
    assert "| 40 random arrays of 64 x 64 x 3 | 0 | " in done.stdout


def test_loader_that_gives_something_else_is_found() -> None:
    pytest.importorskip("PIL")
    import loader_data

    for kind in (loader_data.ARRAY, loader_data.PNG, loader_data.JPEG):
        samples = loader_data.samples_of(kind, SCALE, Path("none"))
        good = [{"n": [number], "x": [samples.expected(number)]} for number in range(len(samples))]
        assert loader_data.check(samples, iter(good)) == len(samples)
        wrong = {"n": [3], "x": [samples.expected(3) ^ 16]}
        for batches in ([*good[:3], wrong, *good[4:]], good[1:], [*good, good[0]]):
            with pytest.raises(WrongAnswerError):
                loader_data.check(samples, iter(batches))
