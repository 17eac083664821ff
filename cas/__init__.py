"""Git for tensors: datasets of tensors and images as deduplicated, exact, durable versions.

>>> import cas, tempfile
>>> ds = cas.create(tempfile.mkdtemp() + "/numbers", schema={"x": "int64"})
>>> ds.append({"x": [1, 2, 3]})
>>> version = ds.commit("three numbers")
>>> ds["x"][1:]
array([2, 3])
"""

from cas import errors, types
from cas.dataset.column import Column, ReadOnlyColumn
from cas.dataset.dataset import Dataset, ReadOnlyDataset
from cas.dataset.history import History, Version
from cas.dataset.metadata import Metadata, ReadOnlyMetadata
from cas.dataset.opening import create, exists, init, open, open_read_only  # noqa: A004
from cas.dataset.rows import Row, RowsView
from cas.dataset.tags import Tag, Tags, TagsView, TagView

__version__ = "0.1.0"

__all__ = [
    "Column",
    "Dataset",
    "History",
    "Metadata",
    "ReadOnlyColumn",
    "ReadOnlyDataset",
    "ReadOnlyMetadata",
    "Row",
    "RowsView",
    "Tag",
    "TagView",
    "Tags",
    "TagsView",
    "Version",
    "__version__",
    "create",
    "errors",
    "exists",
    "init",
    "open",
    "open_read_only",
    "types",
]
