"""The process dies at each operation on its store, in each of many scenarios: all or nothing of a step is there."""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from fault_matrix import Counts, fault
from faulty_store import DIED, Fuse, faulty_stores
from pictures import png
from walker import Content, check_everything, check_with_fsck, recover_all, seen

import cas
from cas.dataset import draft
from cas.integrations.folder.importing import import_folder

SAMPLE_EVERY = 37
Step = Iterator[None]
Scenario = Callable[[Path], Step]
Finish = Callable[[Path], None]


def scenario(function: Scenario) -> Scenario:
    """Enters a scenario: it works in a directory that holds ``ds``, and yields where a step is acknowledged."""
    return scenario_ended_by(None)(function)


def scenario_ended_by(finish: Finish | None) -> Callable[[Scenario], Scenario]:
    """Enters a scenario; ``finish`` does after each death what a user would do before looking."""

    def enter(work: Scenario) -> Scenario:
        @fault(f"dies in {work.__name__.replace('_', ' ')}")
        def trial(place: Path, full: bool) -> Counts:
            return die_everywhere(place, work, 1 if full else SAMPLE_EVERY, finish)

        return work

    return enter


def prepare(place: Path) -> None:
    """Makes the dataset that scenarios begin with, on two branches."""
    with cas.create(place / "ds", schema={"x": "int64", "t": "text"}) as ds:
        ds.append({"x": range(20), "t": [f"row {n}" for n in range(20)]})
        ds.metadata["k"] = 1
        ds["x"].metadata["unit"] = "m"
        ds.commit("first")
        ds.tag("v1", message="one")
        b = ds.branch("b").open()
        b["x"][3] = 300
        b.append({"x": [99], "t": ["of b"]})
        b.commit("on b")
        ds["x"][5] = 500
        ds.delete(0)
        ds.commit("second")
    (place / "in").mkdir()
    for number in range(4):
        (place / "in" / f"{number}.png").write_bytes(png(number))


@scenario
def create(place: Path) -> Step:
    ds = cas.create(place / "new")
    yield
    ds.add_column("x", "int64")
    ds.commit("columns")
    yield
    cas.init(place / "lake")
    ds = cas.create(place / "lake/cats")
    yield
    ds.description = "cats"
    yield


@scenario
def flush(place: Path) -> Step:
    ds = cas.open(place / "ds")
    for number in range(6):
        ds.append({"x": [number] * 50, "t": ["new"] * 50})
        ds["x"][number] = -1
        ds.flush()
        yield
    ds.rollback()
    yield
    ds.add_column("y", "int64", 7)
    ds["y"].metadata["note"] = "new"
    ds.flush()
    yield
    ds.rename_column("y", "z")
    ds.commit("z")
    yield


@scenario
def commit(place: Path) -> Step:
    ds = cas.open(place / "ds")
    other = cas.open(place / "ds")
    for number in range(6):
        ds.append({"x": range(100), "t": ["r"] * 100})
        ds.delete(number)
        ds.commit(f"commit {number}")
        yield
        other["x"][10 + number] = 1000 + number
        other.commit(f"merged {number}")
        yield


@scenario
def refs(place: Path) -> Step:
    ds = cas.open(place / "ds")
    for number in range(4):
        tag = ds.tag(f"t{number}", message="a tag")
        yield
        tag.rename(f"u{number}")
        yield
        branch = ds.branch(f"c{number}")
        yield
        branch.rename(f"d{number}")
        yield
        if number % 2:
            tag.delete()
            yield
            branch.delete()
            yield


@scenario
def metadata(place: Path) -> Step:
    ds = cas.open(place / "ds")
    for number in range(8):
        ds.metadata[f"key {number}"] = number
        yield
        ds["x"].metadata["unit"] = f"unit {number}"
        yield
        ds.metadata.update(k=number, many=list(range(number)))
        yield
    ds.name = "another name"
    yield
    ds.commit("metadata")
    yield


@scenario
def merge(place: Path) -> Step:
    ds, b = cas.open(place / "ds"), cas.open(place / "ds", "b")
    for number in range(4):
        ds.merge("b", f"merge {number}")
        yield
        b.merge("main", "fast-forward")
        yield
        ds["x"][7] = number
        ds.commit("ours")
        yield
        b["x"][8] = number
        b.commit("theirs")
        yield


@scenario
def back(place: Path) -> Step:
    ds = cas.open(place / "ds")
    for _ in range(4):
        ds.revert_to("v1", "revert")
        yield
        ds.undo()
        yield
        ds.append({"x": [1], "t": ["again"]})
        ds.commit("again")
        yield
    ds.undo()
    yield
    ds.undo()
    yield


@scenario
def recover(place: Path) -> Step:
    for number in range(4):
        with cas.open(place / "ds") as ds:
            ds.recover()
            ds.append({"x": [number], "t": ["left"]})
        yield
        if number == 1:
            with cas.open(place / "ds") as ds:
                ds["x"][2] = 22
                ds.commit("meanwhile")
            yield
    ds = cas.open(place / "ds")
    ds.recover()
    ds.commit("recovered")
    yield
    ds.append({"x": [5], "t": ["left"]})
    ds.close()
    yield
    cas.open(place / "ds").discard()
    yield


@scenario
def importing(place: Path) -> Step:
    url = place / "lake/images"
    cas.init(place / "lake")
    ds = cas.create(url)
    yield
    with (
        mock.patch("cas.integrations.folder.importing._STAGE_EDITS", 1),
        mock.patch("cas.integrations.folder.importing._FLUSH_BYTES", 1),
    ):
        import_folder(place / "in", ds, message="import", jobs=1)
        yield
        (place / "in" / "1.png").unlink()
        (place / "in" / "9.png").write_bytes(png(9))
        import_folder(place / "in", ds, message="again", jobs=1)
        yield


@scenario
def copy(place: Path) -> Step:
    cas.copy(place / "ds", place / "copy")
    yield
    cas.init(place / "lake")
    cas.copy(place / "ds", place / "lake/one")
    yield
    cas.copy(place / "lake/one", place / "lake/two")
    yield
    cas.delete(place / "lake/one")
    yield


def places(place: Path) -> Content:
    """What is seen of all stores that a scenario may make."""
    return {name: seen(place / name) for name in ("ds", "new", "lake", "copy")}


def in_child(place: Path, work: Scenario, at: int | None) -> tuple[int, list[Any]]:
    """Runs a scenario in a forked child that dies at an operation.

    Returns how many steps were acknowledged. Without a death also what was seen after each of them, in the end the
    count of operations.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking with threads, and of what is left uncommitted
        child = os.fork()
        if not child:
            os.close(reader)
            try:
                _work(place, work, Fuse(at), writer)
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
            os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        told = [json.loads(line) for line in pipe]
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code == (0 if at is None else DIED), f"{work.__name__} ended with {code} instead of dying at {at}"
    return len(told), told


def _work(place: Path, work: Scenario, fuse: Fuse, writer: int) -> None:
    draft.FLUSH_SECONDS = 3600.0
    with faulty_stores(fuse):
        for _ in work(place):
            fuse.paused = True
            told = places(place) if fuse.at is None else 0
            os.write(writer, json.dumps(told).encode() + b"\n")
            fuse.paused = False
    if fuse.at is None:
        os.write(writer, json.dumps(fuse.count).encode() + b"\n")


def judge(place: Path, states: list[Content], acknowledged: int, finish: Finish | None = None) -> tuple[bool, bool]:
    """Whether what is found after a death is wrong, and whether it lacks what was acknowledged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if finish is not None:
                finish(place)
            found = places(place)
            for name in found:
                if (place / name / "cas-store").exists() and found[name]:
                    check_everything(place / name)
                    check_with_fsck(place / name)
                    recover_all(place / name)
    except Exception as error:
        sys.stderr.write(f"{place}: {error!r}\n")
        return True, False
    if found in states[acknowledged : acknowledged + 2]:
        return False, False
    lost = found in states[:acknowledged]
    sys.stderr.write(f"{place}: {'lost' if lost else 'neither before nor after'} step {acknowledged}\n")
    return not lost, lost


def die_everywhere(place: Path, work: Scenario, every: int, finish: Finish | None = None) -> Counts:
    """Lets a scenario die at each operation, or at each ``every``-th."""
    counts = Counts()
    start = place / "start"
    start.mkdir(parents=True)
    prepare(start)
    shutil.copytree(start, place / "whole")
    _, told = in_child(place / "whole", work, None)
    states, total = [places(start), *told[:-1]], told[-1]
    states.append(states[-1])
    for at in range(1 + hash_of(work) % every, total + 1, every):
        here = place / str(at)
        shutil.copytree(start, here)
        acknowledged, _ = in_child(here, work, at)
        wrong, lost = judge(here, states, acknowledged, finish)
        counts.add(wrong=wrong, lost=lost)
        shutil.rmtree(here)
    return counts


def hash_of(work: Scenario) -> int:
    """A number that differs between scenarios, so that samples begin at different operations."""
    return sum(map(ord, work.__name__))
