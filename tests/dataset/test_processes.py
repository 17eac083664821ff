"""All that a user holds goes to another process, in a pickle, and shows the same there; children harm no parent."""

from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
from other_process import output

import cas

FACTS = """
def facts(held):
    return {
        name: [type(value).__name__, repr(value), len(value) if hasattr(value, "__len__") else None, seen(value)]
        for name, value in held.items()
    }

def seen(value):
    if isinstance(value, (cas.Dataset, cas.ReadOnlyDataset)):
        return [value["x"][:].tolist(), value.version.id, value.metadata.to_dict()]
    if isinstance(value, (cas.Column, cas.ReadOnlyColumn)):
        return [value[1:].tolist(), value.metadata.to_dict()]
    if isinstance(value, cas.Version):
        return value.open()["x"][:].tolist()
    return None
"""


@pytest.fixture
def held(tmp_path: Path) -> dict[str, Any]:
    ds = cas.create(tmp_path / "ds", schema={"x": "int64"})
    ds.append({"x": range(5)})
    ds.metadata["k"] = 1
    ds["x"].metadata["unit"] = "m"
    ds.commit("first")
    ds.tag("v1")
    ds.append({"x": [5]})
    ds.commit("second")
    view = cas.open_read_only(tmp_path / "ds", "v1")
    return {
        "dataset": ds,
        "column": ds["x"],
        "metadata": ds.metadata,
        "metadata of a column": ds["x"].metadata,
        "version": ds.version,
        "history": ds.history,
        "tag": ds.tags["v1"],
        "tags": ds.tags,
        "branch": ds.branches["main"],
        "branches": ds.branches,
        "view": view,
        "version opened": ds.history[-2].open(),
        "column of a view": view["x"],
        "metadata of a view": view.metadata,
        "tags of a view": view.tags,
    }


def test_all_goes_to_another_process(held: dict[str, Any], tmp_path: Path) -> None:
    names: dict[str, Any] = {"cas": cas}
    exec(FACTS, names)
    mine = names["facts"](held)
    script = FACTS + "\nprint(facts(pickle.loads(bytes.fromhex(sys.argv[2]))))"
    assert output(script, tmp_path / "ds", pickle.dumps(held).hex()) == repr(mine)
    assert mine["column"][3] == [[1, 2, 3, 4, 5], {"unit": "m"}]


def test_all_is_used_in_a_forked_child(held: dict[str, Any], tmp_path: Path) -> None:
    names: dict[str, Any] = {"cas": cas}
    exec(FACTS, names)
    mine = names["facts"](held)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
        child = os.fork()
    if not child:
        try:
            same = names["facts"](held) == mine
            with cas.open(tmp_path / "ds") as own:
                own.append({"x": [6]})
                own.commit("child")
            os._exit(0 if same else 2)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert names["facts"](held)["column"] == mine["column"]
    held["dataset"].refresh()
    assert held["dataset"]["x"][:].tolist() == list(range(7))
    held["dataset"].append({"x": [7]})
    held["dataset"].commit("parent")
