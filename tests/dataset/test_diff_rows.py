"""The first rows of a difference, without the numbers of all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cas
from cas.dataset.diff import DiffRows


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 7, 100])
def test_as_the_beginning_of_all(tmp_path: Path, count: int) -> None:
    with cas.create(tmp_path / "ds", {"x": "int64"}) as ds:
        ds.append({"x": range(20)})
        ds.commit()
        ds.delete([1, 2, 5, 9, 10, 11])
        ds.commit()
        deleted = ds.diff("main~1").deleted
        assert deleted.first(count).tolist() == deleted.rows.tolist()[:count] == [1, 2, 5, 9, 10, 11][:count]
        assert ds.diff("main").deleted.first(count).tolist() == []


def test_a_long_run_is_not_listed() -> None:
    rows = DiffRows(None, np.array([5]), np.array([1 << 60]))  # type: ignore[arg-type]
    assert rows.first(3).tolist() == [5, 6, 7]
