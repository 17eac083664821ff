"""Rows as tensors: every type, batches, transforms, images, and what is refused."""

from __future__ import annotations

import datetime as dt
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import other_process
import pytest

import cas
from cas import types
from cas.errors import (
    ColumnNotFoundError,
    CorruptedError,
    InvalidInputError,
    InvalidTypeError,
    RowNotFoundError,
    UncommittedChangesError,
)

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")

from torch.utils.data import DataLoader, Dataset, default_collate  # noqa: E402
from torch_cases import check_batch, encoded, make, number_of, pixels_of_row  # noqa: E402

FLOATS = ["bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"]
NUMBERS = [name for name in types.NUMPY_DTYPES if name != "bool"]


def opened(tmp_path: Path, type_: Any, values: Any, **options: Any) -> Any:
    """A dataset for PyTorch of one column."""
    with cas.create(tmp_path / "ds", schema={"v": type_}) as ds:
        ds.append({"v": values})
        ds.commit()
        return ds.pytorch(**options)


def read(data: Any) -> list[Any]:
    """All rows, and the same by number; nothing may warn, as PyTorch does of arrays that cannot be written to."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = [row["v"] for row in data.__getitems__(range(len(data)))]
        single = [data[row]["v"] for row in range(len(data))]
    assert len(rows) == len(data)
    for one, other in zip(rows, single, strict=True):
        assert type(one) is type(other)
        if isinstance(one, torch.Tensor):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            assert one.reshape(-1).view(torch.uint8).equal(other.reshape(-1).view(torch.uint8))
    return rows


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_keep_their_dtype(name: str, tmp_path: Path) -> None:
    values = np.array([0, 1, 100], name)
    rows = read(opened(tmp_path, name, values))
    assert [row.shape for row in rows] == [()] * 3
    batch = default_collate(rows)
    assert batch.dtype == getattr(torch, name)
    assert np.array_equal(batch.numpy(), values)


def test_booleans(tmp_path: Path) -> None:
    assert torch.stack(read(opened(tmp_path, "bool", [True, False]))).tolist() == [True, False]


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("kind", ["scalar", "array", "embedding", "varying", "nullable"])
def test_floats_of_machine_learning_keep_every_bit(name: str, kind: str, tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    bits = np.arange(0, 250, dtype=np.uint8).repeat(types.ML_DTYPES[name])
    flat = bits.view(getattr(ml_dtypes, name))[:240]
    type_, values = {
        "scalar": (name, flat),
        "array": (types.Array(name, (4, 2)), flat.reshape(-1, 4, 2)),
        "embedding": (types.Embedding(8, name), flat.reshape(-1, 8)),
        "varying": (types.Array(name, (None,)), [flat[:7], flat[7:]]),
        "nullable": (types.Nullable(types.Array(name, (8,))), list(flat.reshape(-1, 8))),
    }[kind]
    rows = read(opened(tmp_path, type_, values))
    assert {row.dtype for row in rows} == {getattr(torch, name)}
    assert [row.shape for row in rows] == [np.shape(value) for value in values]
    found = b"".join(row.reshape(-1).view(torch.uint8).numpy().tobytes() for row in rows)
    assert found == flat.tobytes()


def test_arrays_are_of_their_own_memory_and_writable(tmp_path: Path) -> None:
    data = opened(tmp_path, types.Array("float32", (2, 3)), np.arange(60, dtype=np.float32).reshape(10, 2, 3))
    first = data[[0, 1]]["v"]
    first.fill_(-1)
    data[0]["v"].fill_(-2)
    assert data[[0, 1]]["v"].reshape(-1).tolist() == list(range(12))


def test_classes_are_int64_and_times_counts(tmp_path: Path) -> None:
    labels = opened(tmp_path / "labels", types.ClassLabel(["cat", "dog"]), ["dog", "cat"])
    assert torch.equal(labels[[0, 1]]["v"], torch.tensor([1, 0]))
    noon = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
    for unit, factor in (("s", 1), ("ms", 1000), ("ns", 10**9)):
        times = opened(tmp_path / unit, types.DateTime(unit), [noon])
        assert torch.equal(times[[0]]["v"], torch.tensor([int(noon.timestamp()) * factor]))


def test_text_bytes_and_dicts_stay(tmp_path: Path) -> None:
    for number, (type_, values) in enumerate((("text", ["ü", ""]), ("bytes", [b"\0", b""]), ("dict", [{"a": 1}, {}]))):
        data = opened(tmp_path / str(number), type_, values)
        assert read(data) == values
        assert data[:]["v"] == values


def test_missing_values_are_none(tmp_path: Path) -> None:
    noon = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
    for number, (type_, value, expected) in enumerate(
        (
            ("int16", 7, torch.tensor(7, dtype=torch.int16)),
            (types.Array("uint8", (2,)), np.array([1, 2], np.uint8), torch.tensor([1, 2], dtype=torch.uint8)),
            (types.Array("uint8", (None,)), np.array([1], np.uint8), torch.tensor([1], dtype=torch.uint8)),
            (types.ClassLabel(["a", "b"]), "b", torch.tensor(1)),
            (types.DateTime("s"), noon, torch.tensor(int(noon.timestamp()))),
            (types.Sequence("int64"), [4, 5], torch.tensor([4, 5])),
            ("image", encoded(pixels_of_row(3)), torch.tensor(pixels_of_row(3)).permute(2, 0, 1)),
        )
    ):
        rows = read(opened(tmp_path / str(number), types.Nullable(type_), [None, value, None]))
        assert rows[0] is rows[2] is None
        assert rows[1].dtype == expected.dtype
        assert torch.equal(rows[1], expected)
    assert read(opened(tmp_path / "text", types.Nullable("text"), ["a", None])) == ["a", None]


def test_shapes_that_vary(tmp_path: Path) -> None:
    boxes = [np.ones((2, 4), np.float32), np.zeros((0, 4), np.float32)]
    data = opened(tmp_path / "boxes", types.BoundingBox(), boxes)
    assert [row.shape for row in read(data)] == [(2, 4), (0, 4)]
    assert [row.shape for row in data[:]["v"]] == [(2, 4), (0, 4)]
    nested = opened(tmp_path / "nested", types.Sequence(types.Sequence("int32")), [[[1], []], []])
    assert [[inner.tolist() for inner in row] for row in read(nested)] == [[[1], []], []]
    texts = opened(tmp_path / "texts", types.Sequence("text"), [["a", "b"], []])
    assert read(texts) == [["a", "b"], []]


def test_images_have_channels_first_and_masks_their_plane(tmp_path: Path) -> None:
    grey, colours = np.arange(30, dtype=np.uint8).reshape(6, 5), pixels_of_row(5)
    rows = read(opened(tmp_path / "a", "image", [encoded(grey), encoded(colours), encoded(colours, mode="P")]))
    assert [row.shape for row in rows] == [(1, 6, 5), (3, 6, 5), (3, 6, 5)]
    assert np.array_equal(rows[0][0].numpy(), grey)
    assert np.array_equal(rows[1].permute(1, 2, 0).numpy(), colours)
    raw = opened(tmp_path / "b", types.Image("uint16", None), [grey.astype(np.uint16), np.zeros((2, 3, 4), np.uint16)])
    assert [(row.dtype, row.shape) for row in read(raw)] == [(torch.uint16, (1, 6, 5)), (torch.uint16, (4, 2, 3))]
    masks = opened(tmp_path / "c", types.SegmentMask("int32"), [grey.astype(np.int32), np.zeros((2, 3, 4), np.int32)])
    assert [row.shape for row in read(masks)] == [(6, 5), (4, 2, 3)]
    binary = opened(tmp_path / "d", types.BinaryMask(), [grey > 3])
    assert read(binary)[0].dtype == torch.bool


def test_images_as_arrays_with_channels_last(tmp_path: Path) -> None:
    grey, colours = np.zeros((6, 5), np.uint8), pixels_of_row(5)
    files = [encoded(grey), encoded(colours), encoded(colours, "JPEG")]
    data = opened(tmp_path, "image", files, layout="HWC")
    rows = read(data)
    assert [(type(row), row.shape) for row in rows] == [(np.ndarray, (6, 5)), *[(np.ndarray, (6, 5, 3))] * 2]
    assert all(row.flags.writeable for row in rows)
    assert np.array_equal(rows[1], colours)
    assert data[1:3]["v"].shape == (2, 6, 5, 3)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 4)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_images_of_one_mode_make_a_batch(mode: str, channels: int, kind: str, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    modes = ["1", "L", "LA", "P", "RGB", "RGBA"] if kind == "PNG" else ["L", "RGB", "CMYK"]
    files = [encoded(pixels_of_row(40), kind, mode=given) for given in modes]
    data = opened(tmp_path, "image", files, decode=mode)
    (batch,) = DataLoader(data, batch_size=len(files))
    assert batch["v"].shape == (len(files), channels, 6, 5)
    for file, found in zip(files, batch["v"], strict=True):
        (tmp_path / "file").write_bytes(file)
        with image.open(tmp_path / "file") as opened_image:
            expected = np.asarray(opened_image.convert(mode)).reshape(6, 5, channels)
        assert np.array_equal(found.permute(1, 2, 0).numpy(), expected)


def test_deep_pixels_are_not_cut(tmp_path: Path) -> None:
    data = opened(tmp_path, "image", [np.full((2, 2), 40_000, np.uint16)], decode="RGB")
    with pytest.raises(InvalidInputError, match=r"column 'v', row 0: .*more than 8 bits, which RGB would cut"):
        data[0]


def test_files_without_decoding(tmp_path: Path) -> None:
    files = [encoded(pixels_of_row(row)) for row in range(3)]
    assert read(opened(tmp_path / "a", "image", files, decode=False)) == files
    nullable = opened(tmp_path / "b", types.Nullable("image"), [files[0], None], decode=False)
    assert read(nullable) == [files[0], None]
    nested = opened(tmp_path / "c", types.Sequence("image"), [files, []], decode=False)
    assert read(nested) == [files, []]
    decoded = opened(tmp_path / "d", types.Sequence("image"), [files, []])
    assert [[image.shape for image in row] for row in read(decoded)] == [[(3, 6, 5)] * 3, []]


def test_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    broken = encoded(pixels_of_row(0))
    broken = broken[:30] + b"\0\0\0\0" + broken[34:]
    with cas.create(tmp_path / "ds", schema={"v": "image"}) as ds:
        ds.append({"v": [encoded(pixels_of_row(row)) for row in range(40)] + [broken]})
        ds.commit()
        data = ds.pytorch()
        for numbers in ([3, 40, 5], range(40, 41), range(41)):
            with pytest.raises(InvalidInputError, match="column 'v', row 40: the image cannot be decoded") as caught:
                data.__getitems__(numbers)
            assert (caught.value.column, caught.value.row) == ("v", 40)
        with pytest.raises(InvalidInputError, match="column 'v', row 40"):
            ds["v"][1:]
        assert len(data.__getitems__([0, 1])) == 2


def test_batches_rows_and_numbers(tmp_path: Path) -> None:
    data = make(tmp_path / "ds").pytorch()
    assert isinstance(data, Dataset)
    assert len(data) == 300
    assert data.columns == ("n", "x", "image", "name")
    for index in ([5, 3, 3], np.array([5, 3, 3]), torch.tensor([5, 3, 3])):
        assert check_batch(data[index]) == [5, 3, 3]
    assert check_batch(data[10:14]) == [10, 11, 12, 13]
    assert check_batch(default_collate(data.__getitems__([7, 2, 299]))) == [7, 2, 299]
    assert int(data[-1]["n"]) == int(data[torch.tensor(299)]["n"]) == 299
    assert data.__getitems__([]) == []
    for index in (300, [0, 300], -301):
        with pytest.raises(RowNotFoundError):
            data[index]
    subset = torch.utils.data.Subset(data, [4, 9])
    assert check_batch(next(iter(DataLoader(subset, batch_size=2)))) == [4, 9]


def test_one_read_a_column_and_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cas.store.gate import Gate

    ds = make(tmp_path / "ds")
    data = ds.pytorch(["image", "name"])
    reads: list[int] = []
    for name in ("read_chunks", "read_chunk"):
        original = getattr(Gate, name)

        def counted(self: Gate, *args: Any, original: Any = original) -> Any:
            reads.append(len(args[0]))
            return original(self, *args)

        monkeypatch.setattr(Gate, name, counted)
    data.__getitems__(list(range(0, 300, 10)))
    assert len([count for count in reads if count == 30]) == 1
    assert len(reads) <= 4  # the images; the one chunk of names, first asked for and then read


def test_columns_and_transform(tmp_path: Path) -> None:
    ds = make(tmp_path / "ds")
    assert list(ds.pytorch(["name", "n"])[0]) == ["name", "n"]
    data = ds.pytorch(["n"], transform=number_of)
    assert data[7] == 14
    assert data.__getitems__([1, 2]) == [2, 4]
    (batch,) = DataLoader(data, batch_size=300)
    assert batch.tolist() == list(range(0, 600, 2))
    assert ds.pytorch(transform=lambda batch: batch["n"].sum())[[1, 2]] == 3


def test_what_is_refused(tmp_path: Path) -> None:
    ds = make(tmp_path / "ds", 3)
    with pytest.raises(ColumnNotFoundError, match="no column 'label'"):
        ds.pytorch(["n", "label"])
    for columns in ("n", number_of, 3):
        with pytest.raises(InvalidTypeError, match="expected a list of column names"):
            ds.pytorch(columns)  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="a function is given as transform="):
        ds.pytorch(number_of)  # type: ignore[arg-type]
    for names in ([], ["n", "n"]):
        with pytest.raises(InvalidInputError, match="at least one name, and none twice"):
            ds.pytorch(names)
    with pytest.raises(InvalidInputError, match="decode='BGR' is not valid; expected True, False or one of"):
        ds.pytorch(decode="BGR")
    with pytest.raises(InvalidInputError, match="layout='WHC' is not valid"):
        ds.pytorch(layout="WHC")
    with pytest.raises(InvalidTypeError, match="transform=3 is not valid"):
        ds.pytorch(transform=3)  # type: ignore[arg-type]


def test_staged_changes_are_refused(tmp_path: Path) -> None:
    ds = make(tmp_path / "ds", 3)
    ds["n"][0] = 5
    with pytest.raises(UncommittedChangesError, match=r"commit first, .*ds.version.open\(\).pytorch\(\)"):
        ds.pytorch()
    assert int(ds.version.open().pytorch()[0]["n"]) == 0
    ds.commit()
    assert int(ds.pytorch()[0]["n"]) == 5


def test_it_stays_open_and_at_its_version(tmp_path: Path) -> None:
    with make(tmp_path / "ds", 3) as ds:
        data, version = ds.pytorch(), ds.version.id
        ds["n"][0] = 5
        ds.commit()
        ds.undo()
    assert data.version == version
    assert int(data[0]["n"]) == 0
    again = pickle.loads(pickle.dumps(data))
    assert (again.version, again.columns) == (version, data.columns)
    assert check_batch(again[:]) == [0, 1, 2]
    assert repr(version[:12])[1:-1] in repr(again)
    with cas.open_read_only(tmp_path / "ds", version) as old:
        assert check_batch(old.pytorch()[:]) == [0, 1, 2]


def test_damage_is_told_with_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make(tmp_path / "ds").pytorch()

    def refuse(*args: object) -> None:
        raise CorruptedError("a row of text is not UTF-8")

    monkeypatch.setattr("cas.integrations.torch.reading.decode_values", refuse)
    with pytest.raises(CorruptedError, match="column 'n', rows 4 to 5, version") as caught:
        data.__getitems__([4, 5])
    assert caught.value.rows == [(4, 6)]


def test_without_pytorch(tmp_path: Path) -> None:
    make(tmp_path / "ds", 3).close()
    script = """
    sys.modules["torch"] = None
    try:
        cas.open(url).pytorch()
    except UnsupportedError as error:
        print(error)
    """
    found = other_process.output(script, tmp_path / "ds")
    assert found == "datasets for PyTorch need torch; install it with: pip install 'tensor-cas[torch]'"


def test_end_of_a_program_is_silent(tmp_path: Path) -> None:
    """PyTorch keeps modules alive to the very end, when those of the standard library are gone."""
    make(tmp_path / "ds", 3).close()
    script = """
    import torch.utils.data
    ds = cas.open_read_only(url)
    data = ds.pytorch()
    print(len(list(torch.utils.data.DataLoader(data))))
    """
    done = other_process.run(script, tmp_path / "ds")
    assert (done.stdout, done.stderr, done.returncode) == ("3\n", "", 0)
