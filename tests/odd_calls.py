"""Calls everything public with odd arguments; run as a script with the absolute path of a store of many datasets.

It writes a JSON object: for each callable, what came of it that is neither a result nor an error of the package.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import faulthandler
import inspect
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from itertools import islice
from typing import Any

import numpy as np

import cas


def finished(future: cas.Future[Any]) -> cas.Future[Any]:
    """A future whose result is there, so that no time to wait is too short."""
    future.result()
    return future


@cache
def begun_run(url: str) -> cas.Run:
    """A run under way, the same each time."""
    return cas.experiment(url, code=False).__enter__()


@cache
def recorded_run(url: str) -> cas.RecordedRun:
    """A run that has ended, the same each time."""
    with cas.experiment(url, params={"x": 1}, code=False) as run:
        run.output("out", b"1")
    return cas.runs(url)[0]


def beside(ds: cas.Dataset, name: str) -> str:
    """A path beside the store of a dataset."""
    return str(pathlib.Path(ds._repository.path).parent / name)


# One of each class. Rows have a class or several.
CLASSES: dict[str, Callable[[cas.Dataset], Any]] = {
    "Dataset": lambda ds: ds,
    "ReadOnlyDataset": lambda ds: ds.version.open(),
    "Column": lambda ds: ds.x,
    "ReadOnlyColumn": lambda ds: ds.version.open().x,
    "Metadata": lambda ds: ds.metadata,
    "ReadOnlyMetadata": lambda ds: ds.version.open().metadata,
    "Future": lambda ds: finished(ds.version.open_async()),
    "Diff": lambda ds: ds.diff(ds.history[0]),
    "Conflict": lambda ds: cas.Conflict("cell", "x", 0, 1, 2, 3, 4),
    "ReflogEntry": lambda ds: ds.reflog[0],
    "Row": lambda ds: ds[0],
    "RowView": lambda ds: ds.version.open()[0],
    "RowRange": lambda ds: ds[:],
    "RowRangeView": lambda ds: ds.version.open()[:],
    "Branch": lambda ds: ds.branches["b"] if "b" in ds.branches else ds.branch("b", version="main"),
    "BranchView": lambda ds: ds.version.open().branches["main"],
    "Branches": lambda ds: ds.branches,
    "BranchesView": lambda ds: ds.version.open().branches,
    "Version": lambda ds: ds.version,
    "History": lambda ds: ds.history,
    "Tag": lambda ds: ds.tags["v1"] if "v1" in ds.tags else ds.tag("v1", version="main"),
    "TagView": lambda ds: next(iter(ds.version.open().tags), None) or ds.tag("v2", version="main"),
    "Tags": lambda ds: ds.tags,
    "TagsView": lambda ds: ds.version.open().tags,
    "Run": lambda ds: begun_run(beside(ds, "begun")),
    "RecordedRun": lambda ds: recorded_run(beside(ds, "recorded")),
}
OPERATORS = {"__getitem__", "__setitem__", "__delitem__", "__contains__", "__eq__", "__getattr__", "__setattr__"}


def public_names() -> list[str]:
    """All callables, as ``Class.method``, ``function`` and ``types.Name``."""
    names = [name for name in cas.__all__ if inspect.isfunction(getattr(cas, name))]
    for class_ in (name for name in cas.__all__ if inspect.isclass(getattr(cas, name))):
        for name in dir(getattr(cas, class_)):
            member = inspect.getattr_static(getattr(cas, class_), name)
            is_value = inspect.isdatadescriptor(member) or isinstance(member, cached_property)
            if name in OPERATORS or (not name.startswith("_") and not is_value):
                names.append(f"{class_}.{name}")
    for name, member in vars(cas.types).items():
        if (
            not name.startswith("_")
            and str(getattr(member, "__module__", "")).startswith("cas.types")
            and callable(member)
        ):
            names.append(f"types.{name}")
    return sorted(names)


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


def nested(depth: int) -> list[Any]:
    return [] if depth == 0 else [nested(depth - 1)]


def odd_arguments(ds: cas.Dataset) -> Iterator[Any]:
    """Fresh ones each time, since some of them are used up."""
    yield from (None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, Number.ONE)
    yield from (0.5, -0.0, float("nan"), float("inf"), 1j, decimal.Decimal("1.5"))
    yield from ("", " ", "a", "main", "x", "\0", "\n", "\ud800", "../..", ".", "~nosuchuser", "@", "-", "main~")
    yield from ("x" * 5000, "é" * 200, "0" * 64, "0" * 4, "int8", "https://example.org", Text("x"), "main~" + "9" * 30)
    yield from (b"", b"\xff", b"\0" * 16, bytearray(b"a"), memoryview(b"ab"))
    yield from ([], [[]], [[1], [2, 3]], nested(100), [None], [1, "a"], [0], [-1], [2**70], [0.5], [True], ["\ud800"])
    yield from ([{}], [{"x": None}], [{1: 2}], [{"x": 1}, {}], [object()], [(0, 0, None)], [(0, 1)], [(1, 0, {})])
    yield from ({}, {"x": []}, {"x": None}, {"x": 1}, {"x": [1], "y": [2]}, {"": []}, {None: 1}, {"x": {"y": 1}})
    yield from ({"x": [2**70], "b": [b""]}, {"x": "ab", "b": "ab"}, {"x": [1], "b": [None]}, {"x": [1], "b": [b""]})
    yield from ((), (1, 2), set(), {1}, frozenset(), range(3), range(-5, 0), iter([]), iter([1, 2]))
    yield from (slice(None), slice(None, None, 0), slice("a"), slice(0.5), slice(None, 10**30), slice(10**30, None, -1))
    yield from (np.array(5), np.array([]), np.zeros((0, 3)), np.array([np.nan]), np.array(["a"]), np.array([object()]))
    yield from (np.zeros((2, 2), bool), np.ones(3, bool), np.ones(0, bool), np.array([2**63], np.uint64), np.int64(-1))
    yield from (
        np.datetime64("NaT", "us"),
        np.str_("x"),
        np.float16("nan"),
        np.bool_(True),
        np.dtype("O"),
        np.dtype("V3"),
    )
    yield from (dt.datetime(2026, 1, 1), dt.datetime.max.replace(tzinfo=dt.UTC), dt.date(2026, 1, 1), dt.timedelta(1))
    yield from (object(), lambda: 0, int, Exception, sys, NotImplemented, ..., pathlib.Path("x"), pathlib.Path())
    yield from (ds, ds.version, ds.history, ds.tags, ds.metadata, ds.version.open(), *ds.version.open(), *ds.history)
    yield from (ds[name] for name in ds.schema)


def sensible(name: str, ds: cas.Dataset, function: str = "") -> Any:
    """An argument of that name which is not odd, for those beside the odd one."""
    if name == "url" and function not in ("open", "open_read_only", "open_async", "exists"):
        return f"{ds._repository.path}/spare"  # functions that make or delete have a dataset for themselves
    return {
        "rows": {"x": [1], "b": [b"b"]},
        "index": 0,
        "value": 1,
        "key": "key",
        "name": "name",
        "new": "new",
        "dtype": "int64",
        "size": 2,
        "url": f"{ds._repository.path}/{ds._name}",
        "of": "int64",
        "time": ds.version.timestamp,
        "edits": [],
    }.get(name, 0)


def argument_lists(
    name: str, function: Callable[..., Any], ds: cas.Dataset
) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """Every odd argument in every place, the other required places sensible; and in all required places at once."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:
        return
    required = [
        p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]

    def rest() -> list[Any]:
        return [sensible(p.name, ds, name) for p in required]

    yield rest(), {}
    for odd in odd_arguments(ds) if len(required) > 1 else ():
        yield [odd for _ in required], {}
    for place, parameter in enumerate(parameters):
        for odd in odd_arguments(ds):
            arguments = rest()
            if parameter in required:
                arguments[place] = odd
                yield arguments, {}
            elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                yield [*arguments, odd], {}
            else:
                yield arguments, {"odd" if parameter.kind is parameter.VAR_KEYWORD else parameter.name: odd}


def allowed(name: str) -> tuple[type[Exception], ...]:
    """What may be raised: the package's errors, TypeError, and what Python's own protocols ask for."""
    class_, _, method = name.partition(".")
    errors: list[type[Exception]] = [cas.errors.CasError, TypeError]
    if class_ in ("Metadata", "ReadOnlyMetadata") and method in ("__getitem__", "__delitem__", "pop", "popitem"):
        errors.append(KeyError)
    if method == "index":
        errors.append(ValueError)
    if method in ("__getattr__", "__setattr__"):
        errors.append(AttributeError)
    return tuple(errors)


def consume(result: Any) -> None:
    """Uses what a call gave, as far as that is quick."""
    repr(result)
    if hasattr(result, "result"):
        result = result.result(30)
    if isinstance(result, (Iterator, Mapping, Sequence, cas.Dataset, cas.ReadOnlyDataset)):
        for item in islice(result, 20):
            repr(item)


def call(name: str, ds: cas.Dataset) -> Callable[..., Any]:
    class_, _, method = name.rpartition(".")
    if class_ == "":
        return getattr(cas, name)  # type: ignore[no-any-return]
    if class_ == "types":
        return getattr(cas.types, method)  # type: ignore[no-any-return]
    return getattr(CLASSES[class_](ds), method)  # type: ignore[no-any-return]


def problems_of(name: str, url: str) -> Iterator[str]:
    """Calls one callable on a dataset of its own, which commits in the end what was staged."""
    ds = cas.create(url, schema={"x": "int64", "b": "bytes"})
    ds.append({"x": [1, 2], "b": [b"1", b"2"]})
    ds.metadata["key"] = 1
    ds.commit("two rows")
    ds.tag("v1")
    for arguments, keywords in argument_lists(name, call(name, ds), ds):
        shown = f"{arguments!r:.60} {keywords!r:.60}"
        try:
            consume(call(name, ds)(*arguments, **keywords))
        except allowed(name):
            pass
        except Exception as error:
            # NumPy has its own answer where an array is asked whether it is true.
            if not str(error).startswith("The truth value of an"):
                yield f"{shown}: {error!r:.200}"
    if name != "Dataset.close":
        try:
            ds.commit(f"after {name}")
        except Exception as error:
            ds.rollback()
            ds.metadata.clear()
            yield f"then no commit: {error!r:.200}"


def main(lake: str) -> None:
    """Calls all, one after the other, each on a dataset of the lake."""
    faulthandler.enable()
    os.chdir(tempfile.mkdtemp())  # some of the arguments are paths of new datasets
    problems = {name: list(problems_of(name, f"{lake}/{number}")) for number, name in enumerate(public_names())}
    sys.stdout.write(json.dumps({name: found for name, found in problems.items() if found}))


if __name__ == "__main__":
    main(sys.argv[1])
