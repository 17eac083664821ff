"""Small merges and diffs that random programs once found to go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import cas


@pytest.fixture
def main(tmp_path: Path) -> Iterator[cas.Dataset]:
    with cas.create(tmp_path / "ds") as ds:
        yield ds


def test_versions_without_rows_and_columns_are_compared(main: cas.Dataset) -> None:
    first = main.version
    main.metadata["k"] = 1
    main.commit()
    assert [change.key for change in main.diff(first).metadata] == ["k"]
    with main.branch("side", version=first.id).open() as side:
        side.metadata["j"] = 2
        side.commit()
        main.merge("side")
    assert main.metadata.to_dict() == {"j": 2, "k": 1}
