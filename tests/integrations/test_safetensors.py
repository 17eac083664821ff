"""Files of safetensors: in and out bit for bit, against the library itself, and hostile ones."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import cas
from cas.cli.main import cli
from cas.errors import CasError, ExistsError, InvalidInputError, StoreError
from cas.integrations.safetensors import header, importing
from cas.integrations.safetensors.exporting import export_safetensors
from cas.integrations.safetensors.header import make_header, parse_header
from cas.integrations.safetensors.importing import import_safetensors

FIXTURES = Path(__file__).parents[2] / "fixtures/checkpoints"
TINY = FIXTURES / "tiny.safetensors"
INDEX = FIXTURES / "sharded.safetensors.index.json"
LIBRARY_DTYPES = {name: bits for name, (_, bits) in header._DTYPES.items()}


def file_of(tensors: dict[str, Any], data: bytes = b"", text: bytes | None = None) -> bytes:
    body = json.dumps(tensors).encode() if text is None else text
    return struct.pack("<Q", len(body)) + body + data


def entry(dtype: str, shape: list[Any], start: int, stop: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def round_trip(data: bytes, folder: Path) -> bytes:
    (folder / "in.safetensors").write_bytes(data)
    import_safetensors(folder / "in.safetensors", folder / "model")
    result = export_safetensors(folder / "model", folder / "out.safetensors")
    assert result.verbatim
    return (folder / "out.safetensors").read_bytes()


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Valid ones as any writer may make them: names in any order, tensors in another, spaces, metadata."""
    names = draw(st.lists(st.text(max_size=4).filter(lambda name: name != "__metadata__"), max_size=6, unique=True))
    fields: dict[str, Any] = {}
    if draw(st.booleans()):
        fields["__metadata__"] = draw(st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2))
    end = 0
    for name in names:
        dtype = draw(st.sampled_from(list(LIBRARY_DTYPES)))
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        shape = [*shape, draw(st.sampled_from([4, 8, 8000]))]
        size = int(np.prod(shape)) * LIBRARY_DTYPES[dtype] // 8
        fields[name] = entry(dtype, shape, end, end + size)
        end += size
    items = draw(st.permutations(list(fields.items())))
    ascii_, indent = draw(st.booleans()), draw(st.sampled_from([None, 1]))
    text = json.dumps(dict(items), ensure_ascii=ascii_, indent=indent).encode() + b" " * draw(st.integers(0, 9))
    data = np.random.default_rng(draw(st.integers(0, 3))).integers(0, 256, end, np.uint8).tobytes()
    return file_of({}, data, text)


@given(files())
def test_any_valid_file_comes_back_bit_for_bit(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert round_trip(data, Path(folder)) == data


@given(files())
def test_the_library_takes_what_is_taken_here(data: bytes) -> None:
    library = pytest.importorskip("safetensors", reason="safetensors is not installed")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.safetensors"
        path.write_bytes(data)
        with library.safe_open(path, "numpy") as opened:
            length = struct.unpack("<Q", data[:8])[0]
            found = parse_header(data[8 : 8 + length], "file")
            assert sorted(opened.keys()) == sorted(tensor.name for tensor in found.tensors)
            assert (opened.metadata() or {}) == found.metadata


HOSTILE = {
    "nothing": b"",
    "seven bytes": bytes(7),
    "a header longer than the file": struct.pack("<Q", 100) + b"{}",
    "a header of 2**63 bytes": struct.pack("<Q", 2**63) + b"{}",
    "no JSON": file_of({}, text=b"{"),
    "JSON of another kind": file_of({}, text=b"[]"),
    "no UTF-8": file_of({}, text=b'{"\xff":1}'),
    "deep JSON": file_of({}, text=b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a name twice": file_of({}, b"1234", b'{"a":%b,"a":%b}' % (2 * (json.dumps(entry("F32", [1], 0, 4)).encode(),))),
    "a field twice": file_of({}, b"1234", b'{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}'),
    "no dtype": file_of({"a": {"shape": [1], "data_offsets": [0, 4]}}, b"1234"),
    "an unknown dtype": file_of({"a": entry("F99", [1], 0, 4)}, b"1234"),
    "a float for a size": file_of({"a": entry("F32", [1.0], 0, 4)}, b"1234"),
    "a bool for a size": file_of({"a": entry("U8", [True], 0, 1)}, b"1"),
    "a negative size": file_of({"a": entry("F32", [-1, -1], 0, 4)}, b"1234"),
    "NaN for a size": file_of({}, b"1234", b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}'),
    "three offsets": file_of({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2, 4]}}, b"1234"),
    "offsets in the other order": file_of({"a": entry("F32", [1], 4, 0)}, b"1234"),
    "another size": file_of({"a": entry("F32", [2], 0, 4)}, b"1234"),
    "a size beyond 64 bits": file_of({"a": entry("F32", [2**62, 8], 0, 4)}, b"1234"),
    "half a byte": file_of({"a": entry("F4", [3], 0, 2)}, b"12"),
    "a hole in front": file_of({"a": entry("F32", [1], 1, 5)}, b"12345"),
    "a hole between": file_of({"a": entry("U8", [1], 0, 1), "b": entry("U8", [1], 2, 3)}, b"123"),
    "an overlap": file_of({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 0, 4)}, b"1234"),
    "bytes behind": file_of({"a": entry("F32", [1], 0, 4)}, b"12345"),
    "bytes missing": file_of({"a": entry("F32", [1], 0, 4)}, b"123"),
    "metadata that is no text": file_of({"__metadata__": {"a": 1}}),
    "metadata that is a tensor": file_of({"__metadata__": entry("F32", [1], 0, 4)}, b"1234"),
    "a surrogate": file_of({}, b"1", b'{"\\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "in.safetensors").write_bytes(data)
    with pytest.raises(InvalidInputError, match=r"in\.safetensors is no valid file of safetensors"):
        import_safetensors(tmp_path / "in.safetensors", tmp_path / "model")
    assert not (tmp_path / "model").exists()


@given(files(), st.data())
def test_a_changed_header_never_crashes(data: bytes, draw: st.DataObject) -> None:
    length = struct.unpack("<Q", data[:8])[0]
    text = bytearray(data[8 : 8 + length])
    for _ in range(draw.draw(st.integers(1, 3))):
        text[draw.draw(st.integers(0, len(text) - 1))] = draw.draw(st.integers(0, 255))
    try:
        found = parse_header(bytes(text), "file")
    except InvalidInputError:
        return
    assert found.data_bytes >= 0


def test_tensors_of_the_library_load(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    library = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    expected = library.load_file(TINY)
    import_safetensors(TINY, tmp_path / "model")
    found = cas.load_tensors(tmp_path / "model", framework="torch")
    assert sorted(found) == sorted(expected)
    for name, tensor in expected.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))
    arrays = cas.load_tensors(tmp_path / "model")
    assert arrays["layer.bias"].dtype.name == "bfloat16"
    assert int(arrays["step"]) == 1200


def test_a_new_header_is_that_of_the_library(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    library = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    names = ("float64", "int64", "float32", "int32", "bfloat16", "float16", "int16", "bool", "uint8", "int8")
    state = {f'{name}-ü\n"{n}': torch.ones(n, dtype=getattr(torch, name)) for name in names for n in (3, 0)}
    state |= {
        f"b.{name}": torch.ones(2, dtype=getattr(torch, name)) for name in ("float8_e4m3fn", "complex64", "uint64")
    }
    cas.save_tensors(tmp_path / "model", state)
    result = export_safetensors(tmp_path / "model", tmp_path / "out.safetensors")
    assert not result.verbatim
    library.save_file(state, tmp_path / "expected.safetensors", {"format": "pt"})
    assert (tmp_path / "out.safetensors").read_bytes() == (tmp_path / "expected.safetensors").read_bytes()
    numpy = pytest.importorskip("safetensors.numpy")
    arrays = {"b": np.arange(6.0).reshape(2, 3), "a": np.ones(3, np.float32)}
    cas.save_tensors(tmp_path / "arrays", arrays)
    export_safetensors(tmp_path / "arrays", tmp_path / "arrays.safetensors")
    assert (tmp_path / "arrays.safetensors").read_bytes() == numpy.save(arrays)


def test_versions_of_a_file_share_what_did_not_change(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weights = {f"w{n}": random.standard_normal((500, 800)).astype(np.float32) for n in range(5)}

    def write(path: Path) -> bytes:
        made = make_header([(name, "F32", array.shape, array.nbytes) for name, array in weights.items()], {})
        data = made.head + b"".join(weights[tensor.name].tobytes() for tensor in made.tensors)
        path.write_bytes(data)
        return data

    path, url = tmp_path / "model.safetensors", tmp_path / "model"
    files = [write(path)]
    first = import_safetensors(path, url)
    assert (first.made_version, first.tensors) == (True, 5)
    assert import_safetensors(path, url) == importing.ImportResult(first.version, False, 5, first.read_bytes)
    weights["w2"] = weights["w2"] + 1
    files.append(write(path))
    with cas.open_read_only(url) as ds:
        before = ds._repository.store.stored_bytes()
        second = import_safetensors(path, url, "trained")
        assert ds._repository.store.stored_bytes() - before < weights["w2"].nbytes
    with cas.open(url) as ds:
        diff = ds.diff(first.version, second.version)
        assert [change.row for change in diff.updated["float32"]] == [3]
        assert list(diff.updated) == ["float32"]
    for version, data in zip((first.version, second.version), files, strict=True):
        export_safetensors(f"{url}@{version}", path, overwrite=True)
        assert path.read_bytes() == data


def test_batches_of_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in parts, the last first; rows that come, go and stay are in their places all the same."""
    monkeypatch.setattr("cas.integrations.tensors.saving._BATCH_BYTES", 40_000)
    monkeypatch.setattr("cas.integrations.safetensors.exporting._BATCH_BYTES", 40_000)
    random = np.random.default_rng(0)
    path, url = tmp_path / "in.safetensors", tmp_path / "model"
    for names in ("abcdefgh", "abxdezgy", "hgfedcba", "b", "cab"):
        sizes = [(name, "U8", [random.choice([100, 5000, 30_000])], 0) for name in names]
        made = make_header(
            [(name, dtype, [int(n) for n in shape], int(shape[0])) for name, dtype, shape, _ in sizes], {}
        )
        data = made.head + random.integers(0, 256, made.data_bytes, np.uint8).tobytes()
        path.write_bytes(data)
        import_safetensors(path, url)
        assert cas.tensor_names(url) == [tensor.name for tensor in made.tensors]
        export_safetensors(url, tmp_path / "out.safetensors", overwrite=True)
        assert (tmp_path / "out.safetensors").read_bytes() == data


def test_an_edited_checkpoint_gets_a_new_header(tmp_path: Path) -> None:
    url = tmp_path / "model"
    import_safetensors(TINY, url)
    with cas.open(url) as ds:
        row = ds["name"][:].index("layer.weight")
        ds["float32"][row] = np.zeros(48 * 40, np.float32)
        ds.commit()
        assert export_safetensors(url, tmp_path / "same.safetensors").verbatim
        ds.delete(ds["name"][:].index("unused"))
        ds.commit()
    result = export_safetensors(url, tmp_path / "out.safetensors")
    assert (result.verbatim, result.tensors) == (False, 4)
    library = pytest.importorskip("safetensors", reason="safetensors is not installed")
    with library.safe_open(tmp_path / "out.safetensors", "numpy") as opened:
        assert opened.metadata() == {"format": "pt", "note": "größer als nichts"}
        assert opened.get_tensor("layer.weight").max() == 0


def test_shards(tmp_path: Path) -> None:
    url = tmp_path / "model"
    result = import_safetensors(INDEX, url)
    assert result.tensors == 5
    out = export_safetensors(url, tmp_path / "out" / INDEX.name)
    assert [file.name for file in out.files] == [INDEX.name, *sorted(path.name for path in FIXTURES.glob("sharded-*"))]
    for file in out.files:
        assert file.read_bytes() == (FIXTURES / file.name).read_bytes()
    assert sorted(cas.load_tensors(url)) == sorted(cas.tensor_names(url))
    whole = export_safetensors(url, tmp_path / "whole.safetensors")
    assert (whole.verbatim, whole.tensors) == (False, 5)
    import_safetensors(TINY, tmp_path / "single")
    with pytest.raises(InvalidInputError, match="was not imported from an index"):
        export_safetensors(tmp_path / "single", tmp_path / "x.safetensors.index.json")
    with cas.open(url) as ds:
        ds.delete(ds["name"][:].index("step"))
        ds.commit()
    with pytest.raises(InvalidInputError, match="are not those that were imported"):
        export_safetensors(url, tmp_path / "again" / INDEX.name)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    "places",
    [None, {"a": "../x.safetensors"}, {"a": "/x.safetensors"}, {"a": "x.bin"}, {"a": 1}, {"a": "missing.safetensors"}],
    ids=str,
)
def test_hostile_indexes_are_refused(places: object, tmp_path: Path) -> None:
    index = tmp_path / "in.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(InvalidInputError):
        import_safetensors(index, tmp_path / "model")
    index.write_text("{")
    with pytest.raises(InvalidInputError, match="is no index"):
        import_safetensors(index, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_one_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / f"{name}.safetensors").write_bytes(file_of({"a": entry("U8", [1], 0, 1)}, b"1"))
    index = tmp_path / "in.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "x.safetensors", "b": "y.safetensors"}}))
    with pytest.raises(InvalidInputError, match="two tensors, or files, that are called 'a'"):
        import_safetensors(index, tmp_path / "model")


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.safetensors"
    path.write_bytes(TINY.read_bytes())
    stage = importing.save_entries

    def touched(*args: Any, **options: Any) -> str:
        with path.open("ab") as file:
            file.write(b"x")
        return stage(*args, **options)

    monkeypatch.setattr(importing, "save_entries", touched)
    with pytest.raises(InvalidInputError, match="was changed while it was read"):
        import_safetensors(path, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_what_is_in_the_way_stays(tmp_path: Path) -> None:
    url, path = tmp_path / "model", tmp_path / "out.safetensors"
    import_safetensors(TINY, url)
    path.write_bytes(b"mine")
    with pytest.raises(ExistsError, match="is there already"):
        export_safetensors(url, path)
    assert path.read_bytes() == b"mine"
    export_safetensors(url, path, overwrite=True)
    assert path.read_bytes() == TINY.read_bytes()
    assert sorted(tmp_path.iterdir()) == [url, path]


def test_rows_that_files_do_not_hold(tmp_path: Path) -> None:
    for name, value, message in [
        ("epoch", 3, "'epoch' is no tensor"),
        ("wide", np.ones(2, np.complex128), "'wide' is of dtype complex128"),
    ]:
        cas.save_tensors(tmp_path / name, {name: value})
        with pytest.raises(InvalidInputError, match=message):
            export_safetensors(tmp_path / name, tmp_path / "out.safetensors")
    with pytest.raises(InvalidInputError, match="does not end with"):
        export_safetensors(tmp_path / "epoch", tmp_path / "out.bin")
    assert not (tmp_path / "out.safetensors").exists()


def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    url = tmp_path / "model"
    weights = np.random.default_rng(0).standard_normal(90_000).astype(np.float32)
    cas.save_tensors(url, {"a": weights})
    with cas.open(url) as ds:
        hash_ = next(iter(ds._frozen().columns["float32"].streams["data"].reader.chunks())).hashes[0].tobytes()
        ds._repository.store.write(lambda txn: txn.remove_blobs([hash_]))
    with pytest.raises(CasError, match="tensor 'a'"):
        export_safetensors(url, tmp_path / "out.safetensors")
    with pytest.raises(StoreError, match="cannot be written"):
        export_safetensors(url, "/proc/none/out.safetensors")
    assert list(tmp_path.iterdir()) == [url]


def test_the_command(tmp_path: Path) -> None:
    def run(*args: object, code: int = 0) -> str:
        done = CliRunner().invoke(cli, [str(arg) for arg in args], catch_exceptions=True)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            assert isinstance(done.exception, CasError), done.exception
            assert code
            return str(done.exception)
        assert done.exit_code == code, done.output
        return done.output

    url, out = tmp_path / "model", tmp_path / "out.safetensors"
    assert "Made the dataset" in run("import", TINY, url, "-m", "first")
    assert "Nothing changed since version" in run("import", TINY, url)
    assert "5 tensors" in run("export", url, out)
    assert out.read_bytes() == TINY.read_bytes()
    assert "is there already" in run("export", url, out, code=4)
    facts = json.loads(run("export", url, out, "--force", "--json"))
    assert facts == {"files": [str(out)], "tensors": 5, "written_bytes": TINY.stat().st_size, "verbatim": True}
    facts = json.loads(run("import", TINY, url, "--json"))
    assert (facts["made_version"], facts["tensors"]) == (False, 5)
    (tmp_path / "x.bin").write_bytes(b"")
    assert "name of no known format" in run("import", tmp_path / "x.bin", url, code=2)
    with cas.open(url) as ds:
        assert ds.history[-1].message == "first"
