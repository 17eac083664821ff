"""The page Errors: one tree, drawn as it is; facts as attributes; nothing odd ends the interpreter or harms a store."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cas
from cas import errors
from cas.errors import CasError

CLASSES = [member for member in vars(errors).values() if isinstance(member, type) and issubclass(member, CasError)]


@pytest.fixture
def ds(tmp_path: Path) -> cas.Dataset:
    dataset = cas.create(tmp_path / "ds", schema={"x": "int32"})
    dataset.append({"x": [1, 2, 3]})
    dataset.commit()
    return dataset


def test_the_tree_is_drawn_as_it_is() -> None:
    """Each class stands below its parent in the module's docstring, other bases in brackets."""
    drawn: dict[str, tuple[str, set[str]]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ([│ ]*)(?:├── |└── )?([A-Z]\w+Error)(?: \(([\w, ]+)\))?", line)
        if found:
            depth = len(line[4 : line.index(found[2])]) // 4
            path[depth:] = [found[2]]
            drawn[found[2]] = (path[depth - 1] if depth else "", set((found[3] or "").split(", ")) - {""})
    assert set(drawn) == {class_.__name__ for class_ in CLASSES}
    for class_ in CLASSES:
        parent, others = drawn[class_.__name__]
        bases = {base.__name__ for base in class_.__bases__}
        assert bases == ({parent} if parent else {"Exception"}) | others, class_


def test_every_class_has_an_exported_parent_to_catch() -> None:
    assert all(issubclass(class_, CasError) for class_ in CLASSES)
    assert issubclass(errors.TagNotFoundError, LookupError)
    assert issubclass(errors.ColumnNotFoundError, KeyError)
    assert issubclass(errors.RowNotFoundError, IndexError)
    assert issubclass(errors.VersionIndexError, IndexError)
    assert issubclass(errors.InvalidInputError, ValueError)
    assert issubclass(errors.InvalidTypeError, TypeError)
    assert issubclass(errors.ReadOnlyError, TypeError)
    assert issubclass(errors.ReadOnlyAttributeError, AttributeError)


def conflict(ds: cas.Dataset) -> None:
    other = cas.open(ds._repository.path)
    other["x"][0] = 4
    other.commit()
    ds["x"][0] = 5
    try:
        ds.commit()
    finally:
        ds.rollback()


FACTS: dict[str, tuple[Callable[[cas.Dataset], Any], type[CasError], dict[str, Any]]] = {
    "column": (lambda ds: ds["y"], errors.ColumnNotFoundError, {"name": "y"}),
    "row": (lambda ds: ds["x"][7], errors.RowNotFoundError, {"name": 7}),
    "tag": (lambda ds: ds.tags["v9"], errors.TagNotFoundError, {"name": "v9"}),
    "branch": (lambda ds: ds.branches["b"], errors.BranchNotFoundError, {"name": "b"}),
    "version": (lambda ds: ds.history["nope"], errors.VersionNotFoundError, {"name": "nope"}),
    "taken": (lambda ds: ds.tag("main"), errors.TagExistsError, {"name": "main"}),
    "taken column": (lambda ds: ds.add_column("x", int), errors.ColumnExistsError, {"name": "x"}),
    "value": (
        lambda ds: ds.append({"x": [1, 2**40]}),
        errors.InvalidInputError,
        {"column": "x", "row": 1, "reason": "1099511627776 does not fit int32 exactly"},
    ),
    "conflict": (conflict, errors.ConflictError, {}),
    "store": (lambda ds: cas.open(f"{ds._repository.path}-nope"), errors.StoreNotFoundError, {}),
}


@pytest.mark.parametrize("case", FACTS)
def test_facts_stand_in_attributes_and_survive_pickling(ds: cas.Dataset, case: str) -> None:
    action, kind, facts = FACTS[case]
    with pytest.raises(kind) as caught:
        action(ds)
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert type(error) is kind
        assert str(error) == str(caught.value)
        assert repr(vars(error)) == repr(vars(caught.value))
        assert facts.items() <= vars(error).items()
    if kind is errors.ConflictError:
        assert len(caught.value.expected) == len(caught.value.found) == 64  # type: ignore[attr-defined]
        (found,) = pickle.loads(pickle.dumps(caught.value)).conflicts
        assert (found.row, found.column, found.ours, found.theirs) == (0, "x", 4, 5)


def test_every_error_survives_pickling() -> None:
    for class_ in CLASSES:
        error = class_("what was wrong")
        error.name = "a fact"  # type: ignore[attr-defined]
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (class_, "what was wrong", vars(error))


def _fail(url: Path) -> None:
    ds = cas.open(url)
    ds.append({"x": [9]})
    conflict(ds)


def test_an_error_of_another_process_arrives_whole(ds: cas.Dataset, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        with pytest.raises(errors.ConflictError) as caught:
            pool.submit(_fail, tmp_path / "ds").result(60)
    assert caught.value.found == cas.open(tmp_path / "ds").version.id


HOSTILE_NAMES = [
    "",
    " ",
    "a\nb",
    "a\0b",
    "-x",
    "..",
    "a..b",
    "a@b",
    "a~1",
    "a:b",
    "a^",
    "\ud800",
    "x" * 300,
    None,
    5,
    b"a",
]
ODD: dict[str, Callable[[cas.Dataset, Any], Any]] = {
    "append(None)": lambda ds, _: ds.append(None),  # type: ignore[arg-type]
    "batches(0)": lambda ds, _: ds.batches(0),
    "batches(-1)": lambda ds, _: ds.batches(-1),
    "branch(version='nope')": lambda ds, _: ds.branch("b", version="nope"),
    "tag(version='nope')": lambda ds, _: ds.tag("t", version="nope"),
    "tag(version=None row)": lambda ds, _: ds.tag("t", version=3),  # type: ignore[arg-type]
    "commit(5)": lambda ds, _: ds.commit(5),  # type: ignore[arg-type]
    "delete of a folder": lambda ds, folder: cas.delete(folder),
    "create in a folder": lambda ds, folder: cas.create(folder),
    "open of a folder": lambda ds, folder: cas.open(folder),
    "create of a list": lambda ds, folder: cas.create(folder / "new", schema=["x"]),  # type: ignore[arg-type]
    "create of an unknown type": lambda ds, folder: cas.create(folder / "new", schema={"x": "flaot32"}),
    "read-only append": lambda ds, _: ds.version.open().append({"x": [1]}),  # type: ignore[attr-defined]
    "read-only column": lambda ds, _: ds.version.open()["x"].__setitem__(0, 1),
    **{f"tag {name!r:.20}": lambda ds, _, name=name: ds.tag(name) for name in HOSTILE_NAMES},
    **{f"branch {name!r:.20}": lambda ds, _, name=name: ds.branch(name) for name in HOSTILE_NAMES},
}


@pytest.mark.parametrize("call", ODD)
def test_odd_input_gets_an_error_and_changes_nothing(ds: cas.Dataset, tmp_path: Path, call: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    before = (ds.version, ds.tags.names(), ds.branches.names())
    with pytest.raises((CasError, AttributeError)) as caught:
        ODD[call](ds, folder)
    assert len(str(caught.value)) > 15
    assert (ds.version, ds.tags.names(), ds.branches.names()) == before
    assert not ds.has_changes
    assert cas.open(tmp_path / "ds")["x"][:].tolist() == [1, 2, 3]
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
