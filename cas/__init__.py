"""Git for tensors: datasets of tensors and images as deduplicated, exact, durable versions.

>>> import cas, tempfile
>>> ds = cas.create(tempfile.mkdtemp() + "/numbers", schema={"x": "int64"})
>>> ds.append({"x": [1, 2, 3]})
>>> version = ds.commit("three numbers")
>>> ds["x"][1:]
array([2, 3])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cas import errors, types
    from cas.dataset.branches import Branch, Branches, BranchesView, BranchView
    from cas.dataset.bridges import from_arrow, from_numpy, from_pandas, from_polars
    from cas.dataset.column import Column, ReadOnlyColumn
    from cas.dataset.dataset import Dataset
    from cas.dataset.diff import Diff
    from cas.dataset.future import Future
    from cas.dataset.history import History, Version
    from cas.dataset.metadata import Metadata, ReadOnlyMetadata
    from cas.dataset.opening import copy, create, delete, exists, init, like, open, open_async, open_read_only  # noqa: A004
    from cas.dataset.read_only import ReadOnlyDataset
    from cas.dataset.reflog import ReflogEntry
    from cas.dataset.rows import Row, RowRange, RowRangeView, RowView
    from cas.dataset.tags import Tag, Tags, TagsView, TagView
    from cas.history.conflicts import Conflict
    from cas.history.missing import MISSING
    from cas.integrations.experiment.reading import RecordedRun, runs
    from cas.integrations.experiment.run import Run, experiment
    from cas.integrations.formats.huggingface import from_huggingface
    from cas.integrations.lock.locking import open_locked
    from cas.integrations.tensors.loading import load_tensors, tensor_names
    from cas.integrations.tensors.saving import save_tensors

__version__ = "0.1.0"

__all__ = [
    "MISSING",
    "Branch",
    "BranchView",
    "Branches",
    "BranchesView",
    "Column",
    "Conflict",
    "Dataset",
    "Diff",
    "Future",
    "History",
    "Metadata",
    "ReadOnlyColumn",
    "ReadOnlyDataset",
    "ReadOnlyMetadata",
    "RecordedRun",
    "ReflogEntry",
    "Row",
    "RowRange",
    "RowRangeView",
    "RowView",
    "Run",
    "Tag",
    "TagView",
    "Tags",
    "TagsView",
    "Version",
    "__version__",
    "copy",
    "create",
    "delete",
    "errors",
    "exists",
    "experiment",
    "from_arrow",
    "from_huggingface",
    "from_numpy",
    "from_pandas",
    "from_polars",
    "init",
    "like",
    "load_tensors",
    "open",
    "open_async",
    "open_locked",
    "open_read_only",
    "runs",
    "save_tensors",
    "tensor_names",
    "types",
]

# Names are imported when they are first used (PEP 562), so that `import cas` itself costs next to nothing.
_MODULES = {
    "dataset.branches": ("Branch", "BranchView", "Branches", "BranchesView"),
    "dataset.bridges": ("from_arrow", "from_numpy", "from_pandas", "from_polars"),
    "dataset.column": ("Column", "ReadOnlyColumn"),
    "dataset.dataset": ("Dataset",),
    "dataset.diff": ("Diff",),
    "dataset.future": ("Future",),
    "dataset.history": ("History", "Version"),
    "dataset.metadata": ("Metadata", "ReadOnlyMetadata"),
    "dataset.opening": ("copy", "create", "delete", "exists", "init", "like", "open", "open_async", "open_read_only"),
    "dataset.read_only": ("ReadOnlyDataset",),
    "dataset.reflog": ("ReflogEntry",),
    "dataset.rows": ("Row", "RowRange", "RowRangeView", "RowView"),
    "dataset.tags": ("Tag", "TagView", "Tags", "TagsView"),
    "history.conflicts": ("Conflict",),
    "history.missing": ("MISSING",),
    "integrations.experiment.reading": ("RecordedRun", "runs"),
    "integrations.experiment.run": ("Run", "experiment"),
    "integrations.lock.locking": ("open_locked",),
    "integrations.formats.huggingface": ("from_huggingface",),
    "integrations.tensors.loading": ("load_tensors", "tensor_names"),
    "integrations.tensors.saving": ("save_tensors",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in ("errors", "types"):
        return importlib.import_module(f"cas.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'cas' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"cas.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
