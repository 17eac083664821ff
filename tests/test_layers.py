"""Imports point down (DESIGN section 3), foreign libraries are met in one place each, exported names are pinned."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import cas

ROOT = Path(cas.__file__).parent
ORDER = ["codec", "chunking", "store", "tree", "history", "repo", "remote", "dataset", "integrations", "cli"]
DOORS = ("cas.dataset.bridges", "cas")
"""What may import integrations, though not when it is imported itself: methods of datasets, and names at the top."""
GROUND = {"errors", "hashing", "types"}
ALLOWED_ON_GROUND = {("types", "errors")}
ONLY_IN = {
    "lmdb": {"cas.store.lmdb", "cas.store.environment"},
    "zstandard": {"cas.codec.compression"},
    "blake3": {"cas.hashing"},
    "cbor2": {"cas.codec.cbor"},
    "datasets": {"cas.integrations.formats.huggingface"},
    "ml_dtypes": {"cas.types.dtypes"},
    "pyarrow": {
        "cas.integrations.arrow.library",
        "cas.integrations.formats.parquet",
        "cas.integrations.formats.to_parquet",
    },
    "pandas": {"cas.integrations.pandas"},
    "polars": {"cas.integrations.polars"},
    "PIL": {"cas.codec.images", "cas.integrations.contact_sheet", "cas.integrations.pictures"},
    "simplejpeg": {"cas.codec.images"},
    "torch": {
        "cas.integrations.tensors.memory",
        "cas.integrations.torch.datasets",
        "cas.integrations.torch.loader",
        "cas.integrations.torch.opening",
        "cas.integrations.torch.sampler",
        "cas.integrations.torch.tensors",
    },
}


class Import(NamedTuple):
    source: str
    target: str
    at_import_time: bool


def module_name(path: Path) -> str:
    parts = ("cas", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def walk(node: ast.AST, at_import_time: bool = True) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below, and whether it is run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        later = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or is_type_checking(child)
        yield child, at_import_time
        yield from walk(child, at_import_time and not later)


def targets(node: ast.AST, module: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{module} imports relatively"
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            yield full if full in MODULES else str(node.module)


IMPORTS = [
    Import(module, target, now)
    for module, path in MODULES.items()
    for node, now in walk(ast.parse(path.read_text()))
    for target in targets(node, module)
]
INNER = [each for each in IMPORTS if each.target.split(".")[0] == "cas"]


def layer(module: str) -> str:
    """The package directly below ``cas``; the top, ``cas`` itself, stands with ``dataset``."""
    return [*module.split("."), "dataset"][1]


def test_the_source_is_seen() -> None:
    assert {layer(module) for module in MODULES} == {*ORDER, *GROUND}
    assert Import("cas.tree.edit", "cas.tree.node", True) in INNER
    assert Import("cas.dataset.history", "cas.dataset.read_only", False) in INNER
    assert Import("cas.codec.values", "cas.types", True) in INNER
    assert len(INNER) > 100


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    here = layer(module)
    for each in INNER:
        there = layer(each.target)
        if each.source != module or here == there:
            continue
        if module in DOORS and there == "integrations":
            assert not each.at_import_time, f"{each} points up at import time"
            continue
        if here in GROUND:
            assert (here, there) in ALLOWED_ON_GROUND, each
        elif there not in GROUND:
            assert ORDER.index(there) < ORDER.index(here), f"{each} points up"


def test_the_ground_floor_has_one_package() -> None:
    assert {name for name in GROUND if MODULES[f"cas.{name}"] == ROOT / f"{name}.py"} == GROUND - {"types"}


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_foreign_library_is_met_in_one_place(library: str) -> None:
    assert {each.source for each in IMPORTS if each.target.split(".")[0] == library} == ONLY_IN[library]


@pytest.mark.parametrize("library", ["click", "rich"])
def test_the_terminal_is_known_to_the_command_alone(library: str) -> None:
    users = {layer(each.source) for each in IMPORTS if each.target.split(".")[0] == library}
    assert users == {"cli"}


def test_no_cycles_when_imported() -> None:
    """Depth first: a module that is met again while still open closes a cycle."""
    below: dict[str, list[str]] = {module: [] for module in MODULES}
    for each in INNER:
        if each.at_import_time and each.source != each.target and each.target != "cas":
            below[each.source].append(each.target)
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for target in below[module]:
                visit(target, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())
    assert done == set(MODULES)


def test_no_file_is_named_for_nothing() -> None:
    names = {part for path in MODULES.values() for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not names & {"util", "utils", "helper", "helpers", "common", "misc"}


def test_exported_names() -> None:
    assert cas.__all__ == [
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
    assert all(hasattr(cas, name) for name in cas.__all__)


def test_import_is_light() -> None:
    """Neither the terminal's libraries nor optional ones are loaded by ``import cas`` and its names."""
    heavy = ["click", "rich", "PIL", "torch", "pandas", "polars", "pyarrow", "datasets", "ml_dtypes", "simplejpeg"]
    code = f"import sys; from cas import *; print([name for name in {heavy!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_nothing_else_stands_at_the_top() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT.parent, capture_output=True, text=True)
    if listed.returncode == 0:
        top = {path.split("/")[0] for path in listed.stdout.split("\0") if path}
        assert {name for name in top if not name.startswith(".")} <= {
            *("LICENSE", "README.md", "pyproject.toml", "bench", "cas", "fixtures", "tests")
        }
