"""The promises about identity and deduplication, at the size that people use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lmdb
import numpy as np
import pytest

import cas
from cas import types

IMAGES = 20_000
NUMBERS = 1_000_000
IMAGE = types.Array("uint8", (64, 64, 3))


def blob_count(url: Path) -> int:
    """Returns the number of blobs in a store that this process has closed, as LMDB itself counts them."""
    with lmdb.open(str(url), readonly=True, max_dbs=16) as env:
        index = env.open_db(b"index", create=False)
        with env.begin() as txn:
            return int(txn.stat(index)["entries"])


def payload_bytes(url: Path) -> int:
    """Returns the bytes at rest of all blobs, from the index itself."""
    with lmdb.open(str(url), readonly=True, max_dbs=16) as env:
        index = env.open_db(b"index", create=False)
        with env.begin() as txn, txn.cursor(index) as cursor:
            return sum(int.from_bytes(value[8:], "little") for _, value in cursor)


def file_bytes(url: Path) -> int:
    return (url / "data.mdb").stat().st_blocks * 512


def batches(total: int, seed: int) -> Iterator[slice]:
    """Yields slices of random sizes that cover ``total`` rows."""
    rng = np.random.default_rng(seed)
    start = 0
    while start < total:
        stop = min(total, start + int(rng.integers(1, total // 5)))
        yield slice(start, stop)
        start = stop


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Noise, of which every fifth row is a copy of another one in a random place."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (IMAGES, 64, 64, 3), dtype=np.uint8)
    order = rng.permutation(IMAGES)
    copies, originals = order[: IMAGES // 5], order[IMAGES // 5 :]
    rows[copies] = rows[rng.choice(originals, len(copies))]
    return rows


def test_copies_updates_insertions_and_second_datasets_cost_next_to_nothing(tmp_path: Path, images: np.ndarray) -> None:
    lake, url = tmp_path / "lake", tmp_path / "lake/one"
    cas.init(lake)
    with cas.create(url, schema={"image": IMAGE, "label": "int64"}) as ds:
        ds.append({"image": images, "label": np.arange(IMAGES)})
        first = ds.commit("all")
    ingest = payload_bytes(lake)
    unique = IMAGES * 4 // 5 * images[0].nbytes
    assert unique < ingest < 1.01 * unique  # each distinct row once
    ingest_file = file_bytes(lake)
    assert ingest_file < 1.05 * unique  # whole pages, the index and the tree included

    rng = np.random.default_rng(1)
    chosen = rng.choice(IMAGES, IMAGES // 100, replace=False)
    updated = rng.integers(0, 256, (len(chosen), 64, 64, 3), dtype=np.uint8)
    with cas.open(url) as ds:
        ds.image[chosen] = updated
        ds.commit("1 % updated")
    with cas.open(url) as ds:
        ds.insert(0, {"image": updated[:1], "label": [-1]})
        ds.commit("one in front")
    with cas.create(lake / "two", schema={"image": IMAGE, "label": "int64"}) as ds:
        ds.append({"image": images, "label": np.arange(IMAGES)})
        ds.commit("the same again")
    assert payload_bytes(lake) - ingest < 0.02 * ingest
    assert file_bytes(lake) - ingest_file < 0.02 * ingest_file

    with cas.open_read_only(url) as ds:
        expected = images.copy()
        expected[chosen] = updated
        assert (ds.image[1:] == expected).all()
        assert (ds.image[0] == updated[0]).all()
        assert ds.label[:3].tolist() == [-1, 0, 1]
    with cas.open_read_only(url, first) as ds:
        assert (ds.image[:] == images).all()
    with cas.open_read_only(lake / "two") as two, cas.open_read_only(url, first) as one:
        assert two.version.tree == one.version.tree


def test_batches_do_not_show_in_the_tree(tmp_path: Path, images: np.ndarray) -> None:
    numbers = np.random.default_rng(3).integers(0, 1000, NUMBERS)
    trees = []
    for seed in range(3):
        with cas.create(tmp_path / f"n{seed}", schema={"x": "int64"}) as ds:
            for part in batches(NUMBERS, seed):
                ds.append({"x": numbers[part]})
            ds.commit()
            trees.append(ds.version.tree)
            assert (ds.x[:] == numbers).all()
    assert len(set(trees)) == 1

    trees = []
    for seed in range(2):
        with cas.create(tmp_path / f"i{seed}", schema={"image": IMAGE}) as ds:
            for part in batches(IMAGES, seed):
                ds.append({"image": images[part]})
            ds.commit()
            trees.append(ds.version.tree)
    assert len(set(trees)) == 1


def test_an_insertion_in_the_middle_adds_few_blobs(tmp_path: Path, images: np.ndarray) -> None:
    numbers = np.random.default_rng(4).integers(0, 1000, NUMBERS)
    for url, schema, values in (
        (tmp_path / "numbers", {"x": "int64"}, numbers),
        (tmp_path / "images", {"x": IMAGE}, images),
    ):
        with cas.create(url, schema=schema) as ds:
            ds.append({"x": values})
            ds.commit()
        before = blob_count(url)
        with cas.open(url) as ds:
            ds.insert(len(values) // 2, {"x": values[:1] + 1})
            ds.commit()
            tree = ds.version.tree
        # 9 of the column, and the records of the tree and the version.
        assert blob_count(url) - before <= 9 + 2
        with cas.create(tmp_path / "again", schema=schema) as ds:
            middle = len(values) // 2
            ds.append({"x": np.concatenate((values[:middle], values[:1] + 1, values[middle:]))})
            ds.commit()
            assert ds.version.tree == tree
        for file in (tmp_path / "again").iterdir():
            file.unlink()
        (tmp_path / "again").rmdir()
