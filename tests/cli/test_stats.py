"""``cas stats``: the table and its JSON; the counts themselves are tested in ``tests/repo``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import png
from terminal import facts, ok, refused

import cas
from cas.dataset.summary import format_bytes
from cas.errors import VersionNotFoundError
from cas.repo.repository import open_repository
from cas.repo.stats import version_stats


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "ds"
    with cas.create(path, {"image": "image", "vector": np.dtype((np.float32, 2048))}) as ds:
        ds.append({"image": [png(1), png(2), png(1), png(1)], "vector": np.zeros((4, 2048), np.float32)})
        ds.commit()
        ds.delete([2, 3])
        ds.commit()
    return path


def test_json_is_what_was_counted(url: Path) -> None:
    repository, _ = open_repository(url, read_only=True)
    with cas.open_read_only(url, "main~1") as ds:
        version = ds.version
        expected = version_stats(repository, repository.tree(bytes.fromhex(version.tree)))
        assert facts("stats", f"{url}@main~1") == {
            "dataset": str(url),
            "version": version.id,
            **expected.to_dict(),
        }
    image, vector = expected.columns
    assert image.usage.logical_bytes == 3 * len(png(1)) + len(png(2))
    assert image.usage.unique_bytes == len(png(1)) + len(png(2))
    assert vector.usage.dedup == 4.0


def test_table(url: Path) -> None:
    lines = ok("stats", f"{url}@main~1").splitlines()
    found = facts("stats", f"{url}@main~1")
    assert lines[0].split() == [
        *("column", "type", "rows", "bytes", "unique", "stored", "chunks", "unique", "chunks", "dedup", "compression")
    ]
    vector = found["columns"][1]
    ratio = f"{vector['compression']:.2f}x"
    assert lines[2].split() == [
        *("vector", "float32[2048]", "4", "32.0", "KiB", "8.0", "KiB"),
        *(str(vector["stored_bytes"]), "B", "4", "1", "4.00x", ratio),
    ]
    assert lines[3].split()[:2] == ["total", "4"]
    assert lines[4] == f"version {found['version'][:12]}"
    assert lines[5] == f"the store takes {format_bytes(found['store_bytes'])} on disk"
    assert found["store_bytes"] == sum(file.stat().st_blocks * 512 for file in url.iterdir())


def test_a_version_counts_its_own_rows(url: Path) -> None:
    assert facts("stats", url)["total"]["rows"] == 2
    assert facts("stats", url)["columns"][0]["dedup"] == 1.0
    refused(VersionNotFoundError, "stats", f"{url}@nope")


def test_help_shows_an_example() -> None:
    assert "Example: cas stats " in ok("stats", "--help")
