"""Sources over datasets: the rows of the source in its order, the difference only, all or nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import png

import cas
from cas import types
from cas.errors import InvalidInputError
from cas.integrations.folder.importing import ImportResult
from cas.integrations.formats.importing import import_source
from cas.integrations.formats.landing import import_into
from cas.integrations.formats.matching import joined_keys, match_rows
from cas.integrations.formats.source import Source, Table, Unusable

SCHEMA = {"name": types.Text(), "number": types.Int64, "image": types.Nullable(types.Image())}
Row = tuple[str, int, Any]


def source(rows: list[Row], *, key: str | None = None, batch: int = 3, schema: Any = None) -> Source:
    def batches() -> Iterator[Table]:
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            names, numbers, images = (list(values) for values in zip(*part, strict=True))
            yield {"name": names, "number": np.array(numbers, np.int64), "image": images}

    return Source(schema or SCHEMA, batches, key=key)


def table(n: int) -> list[Row]:
    return [(f"row {i}", i, png(i) if i % 3 else None) for i in range(n)]


def rows_of(url: Path | str) -> list[Row]:
    with cas.open_read_only(url) as ds:
        images = [
            None if value is None else ds["image"].bytes(row)
            for row, value in enumerate(ds["image"][:] if len(ds) else [])
        ]
        return list(zip(ds["name"][:], ds["number"][:].tolist(), images, strict=True))


def tree_of(url: Path) -> str:
    with cas.open_read_only(url) as ds:
        return ds.version.tree


def test_first_import_appends_everything(tmp_path: Path) -> None:
    result = import_into(tmp_path / "ds", source(table(10)))
    assert rows_of(tmp_path / "ds") == table(10)
    assert result.counts() == {"added": 10, "changed": 0, "removed": 0, "unchanged": 0}
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert dict(ds.schema) == SCHEMA
        assert ds.version.message == "Import: 10 added, 0 changed, 0 removed"
        assert ds.version.details == {"import": result.counts()}


@pytest.mark.parametrize("key", [None, "name"])
def test_the_same_source_makes_no_version(tmp_path: Path, key: str | None) -> None:
    first = import_into(tmp_path / "ds", source(table(10), key=key))
    again = import_into(tmp_path / "ds", source(table(10), key=key, batch=4))
    assert (again.version, again.made_version, again.unchanged) == (first.version, False, 10)


def test_a_changed_cell_is_an_update_of_its_row(tmp_path: Path) -> None:
    """Also where rows have no key, as long as those around it stayed."""
    url = tmp_path / "ds"
    first = import_into(url, source(table(10)))
    rows = table(10)
    rows[4] = ("row 4", 40, rows[4][2])
    result = import_into(url, source(rows))
    assert result.counts() == {"added": 0, "changed": 1, "removed": 0, "unchanged": 9}
    with cas.open_read_only(url) as ds:
        diff = ds.diff(first.version)
        assert (len(diff.inserted), len(diff.deleted), list(diff.updated)) == (0, 0, ["number"])
        assert [(change.row, change.old, change.new) for change in diff.updated["number"]] == [(4, 4, 40)]


def test_rows_with_a_key_keep_their_history_wherever_they_change(tmp_path: Path) -> None:
    url = tmp_path / "ds"
    import_into(url, source(table(6), key="name"))
    rows = [("new", 9, None), *((name, number * 10, image) for name, number, image in table(6)[1:])]
    result = import_into(url, source(rows, key="name"))
    assert result.counts() == {"added": 1, "changed": 5, "removed": 1, "unchanged": 0}
    assert rows_of(url) == rows


cells = st.tuples(st.sampled_from("abcde"), st.integers(0, 2), st.sampled_from([None, png(1), png(2)]))


@settings(max_examples=60)
@given(
    st.lists(st.lists(cells, max_size=12), min_size=2, max_size=4), st.sampled_from([None, "name"]), st.integers(1, 5)
)
def test_any_sources_one_after_the_other(
    tmp_path_factory: pytest.TempPathFactory, tables: list[list[Row]], key: str | None, batch: int
) -> None:
    """After each import the rows are those of the source, and the tree is that of a first import."""
    folder = tmp_path_factory.mktemp("any")
    before: list[Row] = []
    for number, rows in enumerate(tables):
        result = import_into(folder / "ds", source(rows, key=key, batch=batch))
        assert rows_of(folder / "ds") == rows
        assert result.added + result.changed + result.unchanged == len(rows)
        assert result.removed + result.changed + result.unchanged == len(before)
        import_into(folder / f"fresh{number}", source(rows, key=key))
        assert tree_of(folder / "ds") == tree_of(folder / f"fresh{number}")
        with cas.open_read_only(folder / "ds") as ds:
            diff = ds.diff(ds.history[-2]) if result.made_version else None
            if diff is not None:
                assert (len(diff.inserted), len(diff.deleted)) == (result.added, result.removed)
        before = rows


@given(st.lists(st.integers(0, 5), max_size=30), st.lists(st.integers(0, 5), max_size=30), st.booleans())
def test_matching_keeps_order_and_equality(old: list[int], new: list[int], pair: bool) -> None:
    keys = [joined_keys([bytes([value]) * 16 for value in values]) for values in (old, new)]
    target = match_rows(keys[0], keys[1], pair_rest=pair).tolist()
    kept = [row for row in target if row >= 0]
    assert kept == sorted(set(kept))
    if not pair:
        assert all(old[row] == value for row, value in zip(target, new, strict=True) if row >= 0)
    if old == new:
        assert target == list(range(len(old)))


def test_rows_of_columns_that_the_source_lacks_keep_their_values(tmp_path: Path) -> None:
    url = tmp_path / "ds"
    import_into(url, source(table(4), key="name"))
    with cas.open(url) as ds:
        ds.add_column("note", types.Nullable("text"))
        ds["note"][2] = "blurred"
        ds.commit("note")
    rows = [("new", 1, None), *table(4)]
    import_into(url, source(rows, key="name"))
    with cas.open_read_only(url) as ds:
        assert ds["note"][:] == [None, None, None, "blurred", None]


@pytest.mark.parametrize("missing", ["leave-out", "null"])
def test_what_is_no_image_is_listed(tmp_path: Path, missing: str) -> None:
    rows: list[Row] = [("a", 1, png(1)), ("b", 2, Unusable("b.png", "gone")), ("c", 3, b"no image"), ("d", 4, None)]
    schema = {**SCHEMA, "image": types.Image()} if missing == "null" else SCHEMA
    result = import_into(tmp_path / "ds", source(rows, key="name", schema=schema), missing=missing)
    assert [(item.path, item.reason) for item in result.skipped] == [
        ("b.png", "gone"),
        ("c", "it is no image: it does not begin like an image of a known format"),
    ]
    kept = [("a", 1, png(1)), ("d", 4, None)]
    if missing == "null":
        kept[1:1] = [("b", 2, None), ("c", 3, None)]
    assert rows_of(tmp_path / "ds") == kept


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    url = tmp_path / "ds"
    bad = source([*table(5), ("six", 6, 5)])
    with pytest.raises(InvalidInputError, match="column 'image', row 5 of the values") as caught:
        import_into(url, bad)
    assert (caught.value.column, caught.value.row) == ("image", 5)
    assert not cas.exists(url)
    first = import_into(url, source(table(3)))
    with pytest.raises(InvalidInputError):
        import_into(url, bad)
    with cas.open(url) as ds:
        assert ds.version.id == first.version
        assert not ds.has_changes
        assert ds.recover() == 0


def test_a_source_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    url = tmp_path / "ds"
    import_into(url, source(table(3)))
    turns = iter([table(6), table(7)])
    changing = Source(SCHEMA, lambda: source(next(turns)).batches())
    with pytest.raises(InvalidInputError, match="changed while it was being read"):
        import_into(url, changing)
    assert rows_of(url) == table(3)


def test_other_columns_are_refused(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", schema={"name": "text", "number": "float64", "image": "image"}) as ds:
        with pytest.raises(InvalidInputError, match="column 'number' is of type int64, and the dataset's is float64"):
            import_source(source(table(1)), ds)
    with cas.create(tmp_path / "more", schema={**SCHEMA, "more": "text"}) as ds:
        with pytest.raises(InvalidInputError, match="'more' is not nullable"):
            import_source(source(table(1)), ds)
        ds.remove_column("more")
        with pytest.raises(InvalidInputError, match="uncommitted"):
            import_source(source(table(1)), ds)
        ds.rollback()
        with pytest.raises(InvalidInputError, match="missing='drop' is unknown"):
            import_source(source(table(1)), ds, missing="drop")


def test_a_killed_import_leaves_nothing_half_visible(tmp_path: Path) -> None:
    url = tmp_path / "ds"
    first = import_into(url, source(table(3)))
    code = f"""
        import os, signal, sys
        import numpy as np
        sys.path[:0] = [{str(Path(__file__).parents[2])!r}]
        from cas.integrations.formats.landing import import_into
        from cas.integrations.formats.source import Source
        from cas import types

        def batches():
            for start in range(0, 400, 4):
                if start == 300:
                    os.kill(os.getpid(), signal.SIGKILL)
                rows = range(start, start + 4)
                noise = [np.random.default_rng(row).bytes(300_000) for row in rows]
                yield {{"name": [str(row) for row in rows], "number": list(rows), "image": [None] * 4, "noise": noise}}

        schema = {{"name": types.Text(), "number": types.Int64, "image": types.Nullable("image")}}
        schema["noise"] = types.Bytes()
        import_into(sys.argv[1], Source(schema, batches))
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code), os.fspath(tmp_path / "new")])
    assert run.returncode == -signal.SIGKILL
    with cas.open(tmp_path / "new") as ds:
        assert (len(ds), ds.recover()) == (0, 0)
    with cas.open(url) as ds:
        assert ds.version.id == first.version


def test_results_are_those_of_folder_imports(tmp_path: Path) -> None:
    told: list[int] = []
    result = import_into(tmp_path / "ds", source(table(5)), report=lambda done, *rest: told.append(done))
    assert isinstance(result, ImportResult)
    assert told == [3, 5]
    assert result.read_bytes > len(png(1)) * 3
