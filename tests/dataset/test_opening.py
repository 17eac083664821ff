"""Copying, likening and deleting datasets: whole, or not at all, and nothing else is touched."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from pictures import png
from raw_store import RawStore

import cas
from cas.errors import (
    BranchNotFoundError,
    CorruptedError,
    DatasetExistsError,
    DatasetNotFoundError,
    InvalidInputError,
    NotFoundError,
    StoreExistsError,
    StoreNotFoundError,
)
from cas.repo.commit import create_dataset
from cas.repo.repository import place_for_dataset
from cas.types import Array, Nullable


@pytest.fixture
def ds(tmp_path: Path) -> cas.Dataset:
    schema = {"x": "int64", "image": Nullable("image"), "a": Array("uint8", (None,))}
    dataset = cas.create(tmp_path / "ds", schema=schema)
    for part in range(3):
        pictures = [None if n % 7 == 0 else png(100 * part + n) for n in range(50)]
        dataset.append({"x": np.arange(50) * part, "image": pictures, "a": [[n] * n for n in range(50)]})
        dataset.metadata["part"] = part
        dataset["x"].metadata["big"] = "x" * 5000
        dataset.commit(f"part {part}", author="me")
    dataset.tag("v1", "first part", version="main~2")
    dataset.description = "three parts"
    dataset.metadata["live"] = True
    return dataset


def content(ds: cas.ReadOnlyDataset) -> list[object]:
    """All values of a version, images as their bytes."""
    if "x" not in ds:
        return []
    arrays = [array.tolist() for array in ds["a"]]
    return [ds["x"][:].tolist(), [ds["image"].bytes(row) for row in range(len(ds))], arrays]


@pytest.mark.parametrize("where", ["copy", "lake/copy", "store/copy"])
def test_a_copy_has_everything(ds: cas.Dataset, tmp_path: Path, where: str) -> None:
    cas.init(tmp_path / "lake")
    ds.append([{"x": 1, "a": [1]}])  # staged: not copied
    told: list[tuple[int, int]] = []
    copied = cas.copy(ds, tmp_path / where, report=lambda done, total: told.append((done, total)))
    assert told[-1] == (5, 5)
    assert [version.id for version in copied.history] == [version.id for version in ds.history]
    assert [version.message for version in copied.history] == [version.message for version in ds.history]
    assert copied.version.author == "me"
    assert copied.metadata.to_dict() == {"live": True, "part": 2}
    assert copied["x"].metadata.to_dict() == {"big": "x" * 5000}
    assert copied.description == "three parts"
    assert copied.id != ds.id
    assert copied.tags.names() == ["v1"]
    assert copied.tags["v1"].message == "first part"
    for mine, theirs in zip(copied.history, ds.history, strict=True):
        assert content(mine.open()) == content(theirs.open())
    assert len(copied) == 150
    copied.append([{"x": 2, "a": []}])
    copied.commit()
    assert copied["x"][150] == 2
    assert len(cas.open(tmp_path / "ds")) == 150


def test_a_copy_of_a_revision(ds: cas.Dataset, tmp_path: Path) -> None:
    copied = cas.copy(f"{tmp_path}/ds@v1", tmp_path / "old")
    assert copied.version == ds.tags["v1"].version
    assert len(copied.history) == 3
    assert copied.metadata.to_dict() == {"part": 0}
    assert copied.tags.names() == []
    assert not copied.has_changes
    again = cas.copy(ds.tags["v1"].open(), tmp_path / "again")
    assert again.version.id == copied.version.id


def test_a_copy_within_a_store_takes_only_names(tmp_path: Path) -> None:
    cas.init(tmp_path / "lake")
    ds = cas.create(tmp_path / "lake/a", schema={"x": "int64"})
    ds.append({"x": np.random.default_rng(1).integers(0, 2**62, 1_000_000)})
    ds.commit()
    before = (tmp_path / "lake/data.mdb").stat().st_size
    copied = cas.copy(tmp_path / "lake/a", tmp_path / "lake/b")
    assert (tmp_path / "lake/data.mdb").stat().st_size - before < 100_000
    assert copied.version == ds.version
    copied.metadata["only"] = "b"
    assert "only" not in ds.metadata


def test_a_copy_brings_what_the_other_store_lacks(tmp_path: Path) -> None:
    one = cas.create(tmp_path / "one", schema={"x": "int64"})
    numbers = np.random.default_rng(1).integers(0, 2**62, 500_000)
    one.append({"x": numbers})
    one.commit()
    cas.init(tmp_path / "lake")
    cas.copy(one, tmp_path / "lake/first").close()
    before = (tmp_path / "lake/data.mdb").stat().st_size
    one["x"][250_000] = 1
    one.commit()
    cas.copy(one, tmp_path / "lake/second").close()
    assert (tmp_path / "lake/data.mdb").stat().st_size - before < 400_000
    assert cas.open(tmp_path / "lake/second")["x"][249_999:250_002].tolist() == [numbers[249_999], 1, numbers[250_001]]


def test_a_damaged_source_leaves_no_copy(ds: cas.Dataset, tmp_path: Path) -> None:
    data = bytearray((tmp_path / "ds/data.mdb").read_bytes())
    at = data.index(png(103)[-60:])
    data[at + 5] ^= 1
    (tmp_path / "damaged").mkdir()
    for name in ("cas-store", "data.mdb"):
        (tmp_path / "damaged" / name).write_bytes(
            bytes(data) if name == "data.mdb" else (tmp_path / "ds" / name).read_bytes()
        )
    with pytest.raises(CorruptedError):
        cas.copy(tmp_path / "damaged", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert not cas.exists(tmp_path / "copy")


def test_copies_take_no_place_that_is_taken(ds: cas.Dataset, tmp_path: Path) -> None:
    cas.init(tmp_path / "lake")
    cas.create(tmp_path / "lake/there").close()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_text("mine")
    for place, error in (
        ("ds", DatasetExistsError),
        ("lake/there", DatasetExistsError),
        ("folder", StoreExistsError),
        ("lake", DatasetExistsError),
    ):
        for make in (cas.copy, cas.like):
            with pytest.raises(error):
                make(ds, tmp_path / place)
    assert (tmp_path / "folder/file").read_text() == "mine"
    assert len(cas.open(tmp_path / "ds")) == 150
    with pytest.raises(NotFoundError):
        cas.copy(tmp_path / "nothing", tmp_path / "new")
    with pytest.raises(NotFoundError):
        cas.copy(f"{tmp_path}/ds@nope", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_store_that_another_process_has_put_its_dataset_in_stays(tmp_path: Path) -> None:
    """Both found nothing, and one of them made the store: it must not take the other one's dataset away again."""

    def make() -> None:
        with place_for_dataset(tmp_path / "ds") as (repository, name):
            with cas.create(tmp_path / "ds", {"x": "int64"}) as other:
                other.append({"x": [1]})
                other.commit()
            create_dataset(repository, name, "me")

    with pytest.raises(DatasetExistsError):
        make()
    assert cas.open_read_only(tmp_path / "ds")["x"][:].tolist() == [1]


@pytest.mark.parametrize("what", ["nope", "ds@nope"])
def test_a_store_is_not_left_open_by_what_cannot_be_opened(tmp_path: Path, what: str) -> None:
    cas.init(tmp_path / "lake")
    cas.create(tmp_path / "lake/ds").close()
    for opening in (cas.open, cas.open_read_only):
        with pytest.raises(NotFoundError):
            opening(tmp_path / "lake" / what)
    assert RawStore(tmp_path / "lake").rows("datasets")  # which is refused while this process has it open


def test_like_has_the_columns_and_no_rows(ds: cas.Dataset, tmp_path: Path) -> None:
    for number, source in enumerate((ds, ds.version.open(), tmp_path / "ds", f"{tmp_path}/ds@v1")):
        new = cas.like(source, tmp_path / f"like{number}")
        assert new.schema == ds.schema
        assert len(new) == 0
        assert new["x"].metadata.to_dict() == {"big": "x" * 5000}
        assert new.metadata.to_dict() == {}
        assert [version.message for version in new.history] == ["Dataset created", "Columns added"]


def test_deleting_a_store_of_one(ds: cas.Dataset, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="revision"):
        cas.delete(f"{tmp_path}/ds@v1")
    cas.delete(tmp_path / "ds")
    assert not (tmp_path / "ds").exists()
    assert not cas.exists(tmp_path / "ds")
    with pytest.raises(NotFoundError, match="deleted"):
        ds.metadata["lost"] = 1
    ds.append([{"x": 1, "a": []}])
    with pytest.raises(NotFoundError, match="deleted"):
        ds.commit()
    ds.rollback()
    cas.create(tmp_path / "ds").close()


def test_deleting_keeps_files_that_are_not_its_own(ds: cas.Dataset, tmp_path: Path) -> None:
    (tmp_path / "ds/notes.txt").write_text("mine")
    cas.delete(tmp_path / "ds")
    assert [path.name for path in (tmp_path / "ds").iterdir()] == ["notes.txt"]


def test_deleting_from_a_store_of_many(tmp_path: Path) -> None:
    cas.init(tmp_path / "lake")
    kept, gone = (cas.create(tmp_path / "lake" / name, schema={"x": int}) for name in ("kept", "gone"))
    for ds in (kept, gone):
        ds.append({"x": [1, 2]})
        ds.commit()
        ds.tag("v1")
    with pytest.raises(InvalidInputError, match="2 datasets"):
        cas.delete(tmp_path / "lake")
    cas.delete(tmp_path / "lake/gone")
    assert not cas.exists(tmp_path / "lake/gone")
    for write in (
        lambda: gone.metadata.update(a=1),
        lambda: gone["x"].metadata.update(a=1),
        lambda: setattr(gone, "description", "x"),
    ):
        with pytest.raises(NotFoundError):
            write()
    gone.append({"x": [3]})
    with pytest.raises(BranchNotFoundError):
        gone.commit()
    gone.rollback()
    assert kept["x"][:].tolist() == [1, 2]
    assert kept.tags.names() == ["v1"]
    again = cas.create(tmp_path / "lake/gone", schema={"y": int})
    assert again.metadata.to_dict() == {}
    assert again.tags.names() == []
    for name in ("kept", "gone"):
        cas.delete(tmp_path / "lake" / name)
    cas.delete(tmp_path / "lake")
    assert not (tmp_path / "lake").exists()


def test_deleting_what_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "folder/deep").mkdir(parents=True)
    (tmp_path / "folder/file").write_text("mine")
    (tmp_path / "half").mkdir()
    (tmp_path / "half/data.mdb").write_bytes(b"not mine")
    cas.init(tmp_path / "lake")
    for place in ("folder", "folder/deep", "folder/file", "nothing", "half", ""):
        with pytest.raises(StoreNotFoundError):
            cas.delete(tmp_path / place)
    with pytest.raises(DatasetNotFoundError):
        cas.delete(tmp_path / "lake/nothing")
    for odd in (None, 3, b"x"):
        with pytest.raises(InvalidInputError):
            cas.delete(odd)  # type: ignore[arg-type]
    assert (tmp_path / "folder/file").read_text() == "mine"
    assert (tmp_path / "half/data.mdb").exists()


def test_names_and_descriptions(ds: cas.Dataset, tmp_path: Path) -> None:
    assert ds.name == "ds"
    assert len(ds.id) == 32
    assert cas.open_read_only(tmp_path / "ds").id == ds.id
    ds.name = "Three parts"
    ds.description = "first line\nsecond"
    other = cas.open_read_only(tmp_path / "ds")
    assert (other.name, other.description) == ("Three parts", "first line\nsecond")
    for name in ("", None, "a\nb", " x"):
        with pytest.raises(InvalidInputError):
            ds.name = name  # type: ignore[assignment]
    for text in (None, 3, "\ud800"):
        with pytest.raises(InvalidInputError):
            ds.description = text  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        other.name = "x"  # type: ignore[misc]
    cas.init(tmp_path / "lake")
    assert cas.create(tmp_path / "lake/animals/cats").name == "cats"


def test_files_by_url_and_versions_by_tag(ds: cas.Dataset, tmp_path: Path) -> None:
    assert len(cas.open(f"file://{tmp_path}/ds")) == 150
    assert cas.open_read_only(f"file://{tmp_path}/ds@v1").version == ds.tags["v1"].version
    assert ds.branch("b", version=ds.tags["v1"]).version == ds.tags["v1"].version
    assert ds.tag("v2", version=ds.branches["b"]).version == ds.tags["v1"].version
    with pytest.raises(DatasetExistsError, match=str(tmp_path / "ds")):
        cas.create(tmp_path / "ds")
    with pytest.raises(NotFoundError, match=r"branch or tag \(b, main, v1, v2\)"):
        cas.open_read_only(tmp_path / "ds", "v9")


def test_summary(ds: cas.Dataset, tmp_path: Path) -> None:
    shown = ds.summary()
    assert repr(shown) == str(shown)
    lines = shown.splitlines()
    assert lines[0].split() == ["dataset", str(tmp_path / "ds")]
    assert lines[1].split() == ["branch", "main"]
    assert lines[3].split() == ["rows", "150"]
    assert [line.split()[:2] for line in lines[-3:]] == [["x", "int64"], ["image", "image?"], ["a", "uint8[?]"]]
    assert "1.2 KiB" in lines[-3]
    ds.delete(0)
    assert "uncommitted changes" in ds.summary()
    assert "(read-only)" in ds.version.open().summary()


@pytest.mark.parametrize("rows", [20, 20_000])
def test_a_handle_may_leave_compression(tmp_path: Path, rows: int) -> None:
    """What is written is larger, and has the same hashes."""
    versions = []
    for name, compress in (("packed", True), ("plain", False)):
        with cas.create(tmp_path / name, {"x": "int64"}, compress=compress) as ds:
            ds.append({"x": np.arange(rows)})
            ds.commit()
            versions.append(ds.version.tree)
        with cas.open(tmp_path / name, compress=not compress) as ds:
            assert np.array_equal(ds["x"][:], np.arange(rows))
    assert versions[0] == versions[1]
    if rows > 20:
        packed, plain = (512 * (tmp_path / name / "data.mdb").stat().st_blocks for name in ("packed", "plain"))
        assert plain > packed + 4 * rows


def test_compress_is_true_or_false(tmp_path: Path) -> None:
    for make in (cas.create, cas.open):
        with pytest.raises(cas.errors.InvalidTypeError, match="compress='zstd' is not valid; expected True or False"):
            make(tmp_path / "ds", compress="zstd")  # type: ignore[operator]
    assert not (tmp_path / "ds").exists()


def test_compress_goes_where_the_dataset_goes(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", {"x": "int64"}, compress=False) as ds:
        assert pickle.loads(pickle.dumps(ds))._repository.compress is False
