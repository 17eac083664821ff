"""Merges against a base that is named, which need not be the best common ancestor."""

from __future__ import annotations

from pathlib import Path

import pytest

import cas
from cas.errors import ConflictError
from cas.repo.merging import Merger
from cas.store.writer import BlobWriter


def test_rows_of_both_sides_that_the_base_has_not_are_compared(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", schema={"x": "int64", "y": "text"}) as ds:
        base = ds.version
        ds.append({"x": [1, 2, 3], "y": ["a", "b", "c"]})
        ds.commit()
        with ds.branch("side").open() as side:
            ds["x"][1] = 20
            ds["y"][2] = "ours"
            side["x"][1] = 21
            side["y"][0] = "a"
            ours, theirs = (bytes.fromhex(branch.commit() or "") for branch in (ds, side))
        merger = Merger(ds._repository, BlobWriter(ds._repository.store))
        with pytest.raises(ConflictError) as raised:
            merger.merge(ours, theirs, "raise", base=bytes.fromhex(base.id))
        found = [(each.column, each.row, each.base, each.ours, each.theirs) for each in raised.value.conflicts]
        assert found == [("x", 1, cas.MISSING, 20, 21), ("y", 2, cas.MISSING, "ours", "c")]
        merged = merger.merge(ours, theirs, "theirs", base=bytes.fromhex(base.id))
        tree = merger.lineage.tree(theirs)
        assert [column.streams for column in merged.tree.columns] == [column.streams for column in tree.columns]
