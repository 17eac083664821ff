"""Checkpoints: what is saved is loaded, unchanged tensors are stored once, and only what is asked for is read."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import cas
from cas.errors import CorruptedError, InvalidInputError, InvalidTypeError, NotFoundError
from cas.integrations.tensors import saving
from cas.store.gate import Gate

PIECE = 262_080
NUMPY_DTYPES = [dtype for dtype in cas.types.DTYPES if dtype not in cas.types.ML_DTYPES]
ML_DTYPES = [getattr(ml_dtypes, name) for name in cas.types.ML_DTYPES]
OTHER_DTYPES = [ml_dtypes.int4, ml_dtypes.uint4, ml_dtypes.float8_e3m4]


def weights(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def assert_same(found: Any, expected: Any) -> None:
    """Equal in value, kind and order; arrays bit for bit."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, part in expected.items():
            assert_same(found[key], part)
    elif isinstance(expected, (list, tuple)):
        assert type(found) is type(expected)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype.newbyteorder("="), expected.shape)
        assert found.tobytes() == expected.astype(found.dtype).tobytes()
        assert found.flags.writeable
    else:
        assert (type(found), found) == (type(expected), expected)


@pytest.fixture
def url(tmp_path: Path) -> Path:
    return tmp_path / "model"


def stored(url: Path) -> int:
    with cas.open_read_only(url) as ds:
        return ds._repository.store.stored_bytes()


dtypes = st.sampled_from([np.dtype(name) for name in [*NUMPY_DTYPES, ">f4", ">i8", *ML_DTYPES, *OTHER_DTYPES]])


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Of any dtype and shape; some are large, some are no contiguous memory."""
    shape = draw(st.one_of(hnp.array_shapes(min_dims=0, min_side=0), st.just((70_001,)), st.just((1025,))))
    random = np.random.default_rng(draw(st.integers(0, 3)))
    plain = random.integers(-2, 3, shape).astype(draw(dtypes), copy=False)
    return draw(st.sampled_from([plain, plain.T, plain[..., ::-1] if plain.ndim else plain]))


@given(st.lists(st.dictionaries(st.text(max_size=5), arrays(), max_size=5), min_size=1, max_size=3))
def test_round_trip_of_versions(states: list[dict[str, np.ndarray[Any, Any]]]) -> None:
    """Of any dicts, one after the other in one dataset: names that come, go and change places included."""
    with tempfile.TemporaryDirectory() as folder:
        versions = [cas.save_tensors(f"{folder}/model", state) for state in states]
        for version, state in zip(versions, states, strict=True):
            assert_same(cas.load_tensors(f"{folder}/model@{version}"), state)
            some = list(state)[::-2]
            assert_same(cas.load_tensors(f"{folder}/model@{version}", some), {name: state[name] for name in some})


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=3), st.binary()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers(0, 9)), inner, max_size=3),
    ),
    max_leaves=6,
)
nested = st.recursive(
    st.one_of(values, st.builds(lambda seed: weights(3, seed=seed), st.integers(0, 3))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
        st.dictionaries(st.integers(0, 9), inner, max_size=3),
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc", max_size=2), nested, max_size=4))
def test_round_trip_of_nested_dicts(state: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            cas.save_tensors(f"{folder}/model", state)
        except InvalidInputError as error:
            found = str(error)
        else:
            found = ""
            assert_same(cas.load_tensors(f"{folder}/model"), state)
        assert not found or "would be called" in found


def test_a_training_state_of_numpy(url: Path) -> None:
    state = {
        "model": OrderedDict(weight=weights(80, 90), bias=weights(80)),
        "optimizer": {
            "state": {0: {"step": np.array(3.0), "exp_avg": weights(80, 90, seed=1)}, 1: {"step": np.array(3.0)}},
            "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "fused": None, "params": [0, 1]}],
        },
        "epoch": 3,
        "random": {"name": "PCG64", "state": {"state": 2**100, "inc": 3}, 5: b"x"},
    }
    cas.save_tensors(url, state)
    assert_same(cas.load_tensors(url), state)
    assert cas.tensor_names(url) == [
        *("model.weight", "model.bias", "optimizer.state.0.step", "optimizer.state.0.exp_avg"),
        *("optimizer.state.1.step", "optimizer.param_groups", "epoch", "random"),
    ]
    assert cas.load_tensors(url, ["epoch", "model.bias"])["epoch"] == 3


def test_saving_again_makes_versions_of_one_dataset(url: Path) -> None:
    state = {"a": weights(300, 400), "b": weights(7), "c": weights(500, 400, seed=1)}
    first = cas.save_tensors(url, state, "begun", author="me")
    assert cas.save_tensors(url, {name: array.copy() for name, array in state.items()}, "again") == first
    state["b"] = state["b"] + 1
    second = cas.save_tensors(url, state)
    assert second != first
    with cas.open(url) as ds:
        assert [version.message for version in ds.history] == ["Dataset created", "begun", "3 tensors saved"]
        assert ds.history[1].author == "me"
        diff = ds.diff(first, second)
        assert (len(diff.inserted), len(diff.deleted)) == (0, 0)
        assert {column: [change.row for change in changes] for column, changes in diff.updated.items()} == {
            "float32": [1]
        }
        state2 = {"c": state["c"], "new": weights(3), "b": state["b"]}
        cas.save_tensors(url, state2)
        ds.refresh()
        diff = ds.diff(second, "main")
        assert (len(diff.inserted), len(diff.deleted)) == (2, 2)  # c or b goes in front, a goes, new comes
        assert not diff.updated
        ds.branch("other", version=first)
    assert_same(cas.load_tensors(url), state2)
    cas.save_tensors(f"{url}@other", {"a": weights(2)})
    assert cas.tensor_names(f"{url}@other") == ["a"]
    assert cas.tensor_names(url) == ["c", "new", "b"]


def test_what_did_not_change_is_stored_once(tmp_path: Path) -> None:
    """Over versions and datasets; of a tensor that changed in one place, the piece."""
    cas.init(tmp_path / "lake")
    url, other = tmp_path / "lake/model", tmp_path / "lake/other"
    state = {f"layer{number}": weights(600, 1000, seed=number) for number in range(8)}
    size = sum(array.nbytes for array in state.values())
    cas.save_tensors(url, state)
    base = stored(url)
    assert base < 0.87 * size, "weights are compressed"
    cas.save_tensors(other, dict(reversed(state.items())))
    assert stored(url) - base < 100_000
    base = stored(url)
    state["layer3"] = weights(600, 1000, seed=99)
    cas.save_tensors(url, state)
    assert stored(url) - base < 0.9 * state["layer3"].nbytes
    base = stored(url)
    state["layer5"][300, 500] += 1
    cas.save_tensors(url, state)
    assert stored(url) - base < PIECE + 100_000
    assert_same(cas.load_tensors(url), state)


def test_compress_false_gives_the_same_version(tmp_path: Path) -> None:
    state = {"a": weights(500, 400)}
    trees = []
    for compress in (True, False):
        cas.save_tensors(tmp_path / str(compress), state, compress=compress)
        trees.append(cas.open_read_only(tmp_path / str(compress)).version.tree)
    assert trees[0] == trees[1]
    assert stored(tmp_path / "False") > stored(tmp_path / "True")


def test_a_golden_checkpoint(url: Path) -> None:
    """The same everywhere, and for good: its rows and types are part of its hash."""
    state = {
        "weight": np.arange(100_000, dtype=np.float32).reshape(100, 1000),
        "half": np.arange(5, dtype=np.float16),
        "inner": {"scale": np.array(0.5), "mask": np.array([True, False])},
        "step": 7,
    }
    cas.save_tensors(url, state)
    with cas.open_read_only(url) as ds:
        assert ds.version.tree == "a7c48407f67c31a5677e2558f57cb6d5ef7dc0d313b29512247c0b194f58a5d0"
        assert {name: str(type_) for name, type_ in ds.schema.items()} == {
            "name": "text",
            "dtype": "text",
            "shape": "int64[?]",
            "path": "dict?",
            "value": "dict?",
            "bool": "bool[?]?",
            "float16": "float16[?]?",
            "float32": "float32[?]?",
            "float64": "float64[?]?",
        }
        assert ds["dtype"][:] == ["float32", "float16", "float64", "bool", "value"]
        assert ds["float32"][0].shape == (100_000,)


@pytest.fixture
def chunks_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the chunks that are read from stores."""
    read: list[int] = []
    read_chunks = Gate.read_chunks

    def counted(self: Gate, hashes: Any, sizes: Any) -> Any:
        read.extend(sizes.tolist())
        return read_chunks(self, hashes, sizes)

    monkeypatch.setattr(Gate, "read_chunks", counted)
    return read


def test_only_what_is_asked_for_is_read(url: Path, chunks_read: list[int]) -> None:
    state = {f"layer{number}": weights(300, 1000, seed=number) for number in range(20)}
    cas.save_tensors(url, state | {"small": weights(5), "count": 3})
    chunks_read.clear()
    assert_same(cas.load_tensors(url, ["layer7"]), {"layer7": state["layer7"]})
    assert sum(size for size in chunks_read if size >= 4096) == state["layer7"].nbytes
    assert sum(chunks_read) < state["layer7"].nbytes + 10_000
    chunks_read.clear()
    cas.load_tensors(url, ["small", "count"])
    assert sum(chunks_read) < 10_000
    chunks_read.clear()
    cas.tensor_names(url)
    assert sum(chunks_read) < 10_000


def test_names(url: Path) -> None:
    cas.save_tensors(url, {"a": weights(2), "b": weights(3)})
    with pytest.raises(NotFoundError, match=r"no tensor 'c'.*tensor_names lists the 2") as error:
        cas.load_tensors(url, ["a", "c"])
    assert error.value.name == "c"
    with pytest.raises(InvalidTypeError, match="is one name"):
        cas.load_tensors(url, "a")
    with pytest.raises(InvalidInputError, match="framework='jax' is unknown"):
        cas.load_tensors(url, framework="jax")
    assert list(cas.load_tensors(url, iter(["b", "a", "b"]))) == ["b", "a"]


REFUSED = {
    "a list": ([weights(2)], r"expected a dict of tensors"),
    "a key": ({3: weights(2)}, r"key 3 of the dict is int"),
    "an inner key": ({"a": {1.5: weights(2)}}, r"key 1.5 in 'a' is float"),
    "two of one name": ({"a": {"b": weights(2)}, "a.b": weights(2)}, r"two parts would be called 'a.b'"),
    "objects": ({"a": np.array([None])}, r"tensor 'a' is of dtype object"),
    "text": ({"a": {"b": np.array(["x"])}}, r"tensor 'a.b' is of dtype <U1"),
    "times": ({"a": np.array(["2026-01-01"], "M8[D]")}, r"tensor 'a' is of dtype datetime64"),
    "records": ({"a": np.zeros(2, [("x", "f4")])}, r"tensor 'a' is of dtype"),
    "masked": ({"a": np.ma.masked_array([1, 2])}, r"tensor 'a' is a masked array"),
    "a value": ({"a": {"b": {1, 2}}}, r"'a' cannot be saved: \{1, 2\} is set"),
    "a value beside tensors": ({"a": {"b": object(), "c": weights(1)}}, r"'a.b' cannot be saved: .* is object"),
    "a surrogate": ({"\ud800": weights(1)}, r"UTF-8"),
}


@pytest.mark.parametrize(("state", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(url: Path, state: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        cas.save_tensors(url, state)
    assert not url.exists()
    first = cas.save_tensors(url, {"x": weights(2000)})
    with pytest.raises(InvalidInputError, match=message):
        cas.save_tensors(url, state)
    with cas.open(url) as ds:
        assert ds.version.id == first
        assert not ds.has_changes


def test_a_dict_that_holds_itself(url: Path) -> None:
    state: dict[str, Any] = {"a": weights(2)}
    state["b"] = state
    with pytest.raises(InvalidInputError, match="holds itself"):
        cas.save_tensors(url, state)


def test_datasets_of_something_else_are_refused(tmp_path: Path) -> None:
    for name, schema in {"numbers": {"x": "int64"}, "names": {"name": "text"}, "other": {"float32": "float32"}}.items():
        with cas.create(tmp_path / name, schema=schema) as ds:
            ds.append({column: ["a" if column == "name" else 1] for column in schema})
            ds.commit()
            before = ds.version.id
        with pytest.raises(InvalidInputError, match="holds no checkpoint"):
            cas.load_tensors(tmp_path / name)
        if name != "names":
            with pytest.raises(InvalidInputError, match="holds no checkpoint"):
                cas.save_tensors(tmp_path / name, {"a": weights(2)})
        assert cas.open_read_only(tmp_path / name).version.id == before


def test_an_empty_dict(url: Path) -> None:
    cas.save_tensors(url, {"a": weights(2000), "b": 1})
    cas.save_tensors(url, {})
    assert cas.load_tensors(url) == {}
    assert cas.tensor_names(f"{url}@main~1") == ["a", "b"]


def test_a_save_that_fails_leaves_nothing(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cas.Dataset, "commit", fail)
        with pytest.raises(KeyboardInterrupt):
            cas.save_tensors(url, {"a": weights(3000, 1000)})
    assert not url.exists()
    first = cas.save_tensors(url, {"a": weights(2000)})
    with monkeypatch.context() as patched:
        patched.setattr(saving._Encoder, "encode", fail)
        with pytest.raises(KeyboardInterrupt):
            cas.save_tensors(url, {"a": weights(3000, 1000), "b": weights(3)})
    with cas.open(url) as ds:
        assert (ds.version.id, ds.sessions()) == (first, {})


def test_a_version_holds_what_was_saved_where_another_one_came_between(
    url: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensors of two writers are not mixed: the later save is a version of its own, whole."""
    cas.save_tensors(url, {"a": weights(2000), "b": weights(2000, seed=1)})
    mine = {"a": weights(2000, seed=2), "b": weights(2000, seed=1)}
    theirs = {"a": weights(2000), "b": weights(2000, seed=3)}
    commit = cas.Dataset.commit
    between = [lambda: cas.save_tensors(url, theirs)]

    def slow(self: cas.Dataset, *args: Any, **options: Any) -> str:
        if between and self.has_changes:
            between.pop()()
        return commit(self, *args, **options)

    monkeypatch.setattr(cas.Dataset, "commit", slow)
    version = cas.save_tensors(url, mine)
    assert_same(cas.load_tensors(f"{url}@{version}"), mine)
    assert_same(cas.load_tensors(url), mine)


def test_threads(tmp_path: Path) -> None:
    cas.init(tmp_path / "lake")
    states = [{"a": weights(600, 700, seed=n), "b": weights(9, seed=n)} for n in range(6)]

    def work(number: int) -> None:
        cas.save_tensors(tmp_path / f"lake/{number}", states[number])
        for _ in range(3):
            assert_same(cas.load_tensors(tmp_path / f"lake/{number}"), states[number])

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))


def test_damage_names_the_tensor(url: Path) -> None:
    state = {"good": weights(600, 700), "bad": weights(600, 700, seed=1), "small": weights(4)}
    cas.save_tensors(url, state)
    with cas.open(url) as ds:
        reader = ds._frozen().columns["float32"].streams["data"].reader
        entries = reader.tree.entries(*reader.tree.span_of_row(1)[:2])
        damaged = entries.hashes[0].tobytes()
        ds._repository.store.write(lambda txn: txn.remove_blobs([damaged]))
    with pytest.raises(CorruptedError, match="tensor 'bad'") as error:
        cas.load_tensors(url)
    assert (error.value.blob, error.value.rows, error.value.column) == (damaged.hex(), [(1, 2)], "float32")
    assert_same(cas.load_tensors(url, ["good", "small"]), {"good": state["good"], "small": state["small"]})


def test_rows_that_do_not_fit_are_damage(url: Path) -> None:
    cas.save_tensors(url, {"a": weights(4), "b": {"c": weights(2)}, "d": 1})
    with cas.open(url) as ds:
        for column, row, value, message in [
            ("shape", 0, np.array([5]), "'a' has 16 bytes"),
            ("shape", 0, np.array([-2, -2]), "'a' has 16 bytes"),
            ("path", 1, {"in": ["dict"], "keys": [[]]}, "path of 'b.c'"),
            ("path", 1, {"in": ["dict", "dict"], "keys": ["a", "c"]}, "path of 'b.c'"),
            ("value", 2, {"value": {"set": []}}, "where a value is expected"),
            ("value", 2, None, "where a value is expected"),
        ]:
            ds[column][row] = value
            ds.commit()
            with pytest.raises(CorruptedError, match=message):
                cas.load_tensors(url)
            ds.undo()
        ds["name"][1] = "a"
        ds.commit()
        with pytest.raises(InvalidInputError, match="two rows of one name"):
            cas.load_tensors(url)


def test_a_merge_of_branches_takes_tensors_of_both(url: Path) -> None:
    state = {"a": weights(2000), "b": weights(2000, seed=1)}
    cas.save_tensors(url, state)
    with cas.open(url) as ds:
        ds.branch("fixes")
    mine, theirs = state | {"a": weights(2000, seed=5)}, state | {"b": weights(2000, seed=6)}
    cas.save_tensors(url, mine)
    cas.save_tensors(f"{url}@fixes", theirs)
    with cas.open(url) as ds:
        ds.merge("fixes")
    assert_same(cas.load_tensors(url), {"a": mine["a"], "b": theirs["b"]})
