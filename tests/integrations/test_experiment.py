"""Runs of experiments: what is noted, what is stored, and that each is one version whatever happens beside it."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import other_process
import pytest

import cas
from cas.errors import (
    CorruptedError,
    InvalidInputError,
    InvalidTypeError,
    NotFoundError,
    UncommittedChangesError,
    UnsupportedError,
)
from cas.hashing import hash_chunk
from cas.integrations.experiment import content, staging
from cas.integrations.experiment.content import ContentKey, tensor_parts
from cas.integrations.experiment.git import read_code
from cas.integrations.experiment.record import COLUMNS, record_of
from cas.integrations.lock import locking
from cas.repo.fsck import Fsck


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A store with the dataset ``train``."""
    cas.init(tmp_path / "lake")
    with cas.create(tmp_path / "lake/train", {"x": "int64"}) as ds:
        ds.append({"x": [1, 2, 3]})
        ds.commit("three")
        ds.tag("v1")
    return tmp_path / "lake"


def only(url: Path) -> cas.RecordedRun:
    (run,) = cas.runs(url)
    return run


def stored_bytes(store: Path) -> int:
    with cas.open_read_only(store / "trials") as ds:
        found = Fsck(ds._repository).check()
    assert found.findings == ()
    return found.stored_bytes


# What is noted


def test_a_run_is_one_version_and_tells_all(lake: Path) -> None:
    url = lake / "trials"
    before = dt.datetime.now(dt.UTC)
    with cas.experiment(url, params={"lr": 0.1, "net": {"layers": [3, 4]}}, seeds={"numpy": 7}, message="try") as run:
        train = run.input("train", lake / "train@v1")
        assert train["x"][:].tolist() == [1, 2, 3]
        run.log(step=0, loss=2.0)
        run.log(step=1, loss=1.5)
        run.metrics["accuracy"] = np.float32(0.5)
        run.params["batch"] = 32
        run.output("notes", {"a": [1, None]})
    with cas.open_read_only(url) as ds:
        version = ds.version
        assert (version.id, version.message, len(ds.history)) == (run.version, "try", 3)
        assert dict(ds.schema) == COLUMNS
        assert list(ds["run"][:]) == [run.id] * 2
    found = only(url)
    record = found.record
    assert found.version == version
    assert (record.id, record.status, record.error, record.logged) == (run.id, "finished", None, 2)
    assert before <= record.started <= record.ended <= dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
    assert found.params == {"lr": 0.1, "net": {"layers": [3, 4]}, "batch": 32}
    assert found.metrics == {"loss": 1.5, "accuracy": 0.5}
    assert type(found.metrics["accuracy"]) is np.float32
    assert record.seeds == {"numpy": 7}
    with cas.open_read_only(lake / "train@v1") as ds:
        assert vars_of(found.inputs["train"]) == ("train", ds.version.id, ds.version.tree, "v1")
    assert found.read_log() == [{"step": 0, "loss": 2.0}, {"step": 1, "loss": 1.5}]
    assert json.loads(found.read_output("notes")) == {"a": [1, None]}
    assert record_of(version.details, "") == record


def vars_of(found: Any) -> tuple[str, str, str, str | None]:
    return found.url, found.version, found.tree, found.revision


def test_nothing_but_the_record_is_read_for_a_list(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with cas.experiment(lake / "trials", params={"a": 1}) as run:
        run.output("x", b"1" * 5000)
    found = only(lake / "trials")

    def refuse(*args: object) -> None:
        raise AssertionError("a tree or chunk was read")

    repository = found.version._repository
    monkeypatch.setattr(type(repository.gate), "read_chunks", refuse)
    monkeypatch.setattr("cas.repo.repository.load_tree", refuse)
    assert only(lake / "trials").params == {"a": 1}


def test_values_keep_their_types_and_what_is_read_is_a_copy(tmp_path: Path) -> None:
    params = {"i": 2**70, "b": b"x", "t": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "n": None, "a": np.arange(3), "e": {}}
    with cas.experiment(tmp_path / "trials", params=params) as run:
        run.params["e"]["lost"] = 1
        params["n"] = 5
        del run.params["i"]
    found = only(tmp_path / "trials").params
    assert found.pop("a").tolist() == [0, 1, 2]
    assert found == {"b": b"x", "t": params["t"], "n": None, "e": {}}


@pytest.mark.parametrize("params", [{"f": print}, {1: 2}, [1], "ab", {"big": b"x" * (1 << 20)}, {"s": "\ud800"}])
def test_params_that_cannot_be_kept_are_refused_before_the_run(tmp_path: Path, params: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"param|dict key"):
        cas.experiment(tmp_path / "trials", params=params)
    assert not (tmp_path / "trials").exists()


def test_a_metric_that_cannot_be_kept_is_refused_where_it_is_set(tmp_path: Path) -> None:
    with cas.experiment(tmp_path / "trials") as run:
        with pytest.raises(InvalidTypeError, match="'f' in the metrics"):
            run.metrics["f"] = print
        with pytest.raises(InvalidTypeError, match="'a' cannot be logged"):
            run.log(a=[1, 2])
        with pytest.raises(InvalidInputError, match="at least one value"):
            run.log()
        run.log({"odd name": np.int8(3), "loss": np.float32(0.5), "done": True}, note=None)
    assert only(tmp_path / "trials").read_log() == [{"odd name": 3, "loss": 0.5, "done": True, "note": None}]


def test_numbers_of_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    with cas.experiment(tmp_path / "trials") as run:
        run.log(loss=torch.tensor(0.5, requires_grad=True))
        run.metrics["accuracy"] = torch.tensor(0.25)
        with pytest.raises(InvalidTypeError, match="is no number"):
            run.metrics["weights"] = torch.ones(2)
    assert only(tmp_path / "trials").metrics == {"loss": 0.5, "accuracy": 0.25}


def test_what_is_set_is_before_what_was_logged(tmp_path: Path) -> None:
    with cas.experiment(tmp_path / "trials") as run:
        run.metrics["loss"] = 0.1
        run.log(loss=5.0, step=9)
    assert only(tmp_path / "trials").metrics == {"loss": 0.1}


def test_the_environment_holds_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "swordfish-4711")
    monkeypatch.setattr(sys, "argv", ["train.py", "--password=swordfish-4711"])
    with cas.experiment(tmp_path / "trials", code=False):
        pass
    record = only(tmp_path / "trials").record
    assert record.code is None
    assert set(record.environment) == {"python", "implementation", "platform", "machine", "cpu_count", "packages"}
    assert record.environment["packages"]["numpy"] == np.__version__
    assert record.environment["python"] == sys.version.split()[0]
    assert "swordfish" not in repr(record)


# Inputs


def test_every_way_to_name_an_input(lake: Path) -> None:
    url = lake / "train"
    with cas.open(url) as ds, cas.open_read_only(url) as old, cas.experiment(lake / "trials") as run:
        assert run.input("path", url).version == ds.version
        assert run.input("text", f"{url}@v1").version == ds.version
        assert run.input("open", ds).version == ds.version
        assert run.input("read only", old)["x"][:].tolist() == [1, 2, 3]
        assert run.input("version", ds.history[0]).version == ds.history[0]
        ds["x"][0] = 5
        with pytest.raises(UncommittedChangesError, match="'staged' has uncommitted changes"):
            run.input("staged", ds)
        ds.commit()
        assert run.input("moved", ds)["x"][0] == 5
        assert run.input("path", f"{url}@v1")["x"][0] == 1  # the same version again
        with pytest.raises(InvalidInputError, match="give the other one a name of its own"):
            run.input("path", url)
        with pytest.raises(NotFoundError):
            run.input("none", lake / "nope")
        with pytest.raises(InvalidInputError, match="cannot name"):
            run.input("a/b", url)
        with pytest.raises(InvalidInputError, match="no lock file"):
            run.input("train")
    found = only(lake / "trials").inputs
    assert {name: each.revision for name, each in found.items()} == {
        "path": "main",
        "text": "v1",
        "open": "main",
        "read only": None,
        "version": None,
        "moved": "main",
    }


def test_an_input_and_what_it_was_given_by_are_closed_on_their_own(lake: Path) -> None:
    with cas.experiment(lake / "trials") as run:
        ds = cas.open(lake / "train")
        with run.input("a", ds) as first:
            assert len(first) == 3
        second = run.input("b", ds.version)
        assert len(ds) == 3
        assert ds["x"][0] == 1
        ds.close()
        assert second["x"][:].tolist() == [1, 2, 3]


def test_text_that_no_version_can_keep_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"message is .*no Unicode"):
        cas.experiment(tmp_path / "trials", message="\ud800")
    with cas.experiment(tmp_path / "trials", code=False) as run:
        with pytest.raises(InvalidInputError, match=r"name of an output is .*no Unicode"):
            run.output("\ud800", b"")


def test_an_input_stays_at_its_version(lake: Path) -> None:
    with cas.experiment(lake / "trials") as run:
        train = run.input("train", lake / "train")
        with cas.open(lake / "train") as ds:
            ds.append({"x": [4]})
            ds.commit()
        assert len(train) == 3
    assert only(lake / "trials").inputs["train"].version == train.version.id


def test_all_of_a_lock_file_is_input(lake: Path, tmp_path: Path) -> None:
    lock = tmp_path / "cas.lock"
    locking.add(lock, "train", lake / "train@v1")
    locking.add(lock, "first", lake / "train@v1~1")
    with cas.experiment(lake / "trials", lock=lock) as run:
        assert len(run.input("train")) == 3
        with pytest.raises(NotFoundError, match="pins no dataset 'nope'"):
            run.input("nope")
    found = only(lake / "trials").inputs
    assert {name: (each.revision, each.version) for name, each in found.items()} == {
        "train": ("v1", cas.open_locked(lock, "train").version.id),
        "first": (None, cas.open_locked(lock, "first").version.id),
    }


def test_a_lock_file_that_does_not_hold_stops_the_run_before_it_begins(lake: Path, tmp_path: Path) -> None:
    lock = tmp_path / "cas.lock"
    entry = locking.add(lock, "train", lake / "train")
    lock.write_text(lock.read_text().replace(entry.tree, "00" * 32))
    began = False
    with pytest.raises(CorruptedError):
        with cas.experiment(lake / "trials", lock=lock):
            began = True
    assert not began
    assert cas.runs(lake / "trials") == []


# Outputs


def test_files_arrays_values_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"\x00weights\xff")
    array = np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3))
    with cas.experiment(tmp_path / "trials") as run:
        run.output("model", tmp_path / "a.pt")
        run.output("again.pt", str(tmp_path / "a.pt"))
        run.output("sub/array", array)
        run.output("value", {"größe": [1, 2.5, None, True]})
        run.output("empty", {})
        run.output("raw.bin", bytearray(b"xyz"))
        run.output("nothing", b"")
        (tmp_path / "a.pt").write_bytes(b"later")
        array[:] = 0
    found = only(tmp_path / "trials")
    assert {name: file.path for name, file in found.outputs.items()} == {
        "model": "model.pt",
        "again.pt": "again.pt",
        "sub/array": "sub/array.npy",
        "value": "value.json",
        "empty": "empty.json",
        "raw.bin": "raw.bin",
        "nothing": "nothing",
    }
    assert found.read_output("model") == found.read_output("again.pt") == b"\x00weights\xff"
    read = np.load(io.BytesIO(found.read_output("sub/array")))
    assert (read.dtype.str, read.tolist()) == (">f4", [[0, 1, 2], [3, 4, 5]])
    assert json.loads(found.read_output("value")) == {"größe": [1, 2.5, None, True]}
    assert (found.read_output("raw.bin"), found.read_output("nothing")) == (b"xyz", b"")
    assert found.outputs["raw.bin"].key == hash_chunk(b"xyz").hex()
    with pytest.raises(InvalidInputError, match=r"no output 'x'; it has: .*'model'"):
        found.read_output("x")


TENSORS = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "b": np.zeros(0, np.float64),
    "scalar": np.array(3, np.int8),
    "mask": np.array([True, False]),
    "half": np.arange(3).astype(np.float16),
    "a": np.arange(4, dtype=">i4"),
}


def test_a_dict_of_arrays_is_the_file_that_safetensors_writes(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    with cas.experiment(tmp_path / "trials") as run:
        run.output("model", TENSORS)
    found = only(tmp_path / "trials")
    assert found.outputs["model"].path == "model.safetensors"
    data = found.read_output("model")
    native = {
        name: np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))) for name, array in TENSORS.items()
    }
    assert data == safetensors.save({name: array.reshape(TENSORS[name].shape) for name, array in native.items()})
    for name, array in safetensors.load(data).items():
        assert (array.dtype, array.shape, array.tolist()) == (
            native[name].dtype,
            TENSORS[name].shape,
            TENSORS[name].tolist(),
        )


def test_tensors_of_torch_bit_for_bit(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    tensors = {
        "bf16": torch.randn(3, 5).bfloat16().T,
        "f8": torch.randn(7).to(torch.float8_e4m3fn),
        "grad": torch.nn.Parameter(torch.randn(2)),
        "zero": torch.tensor(4, dtype=torch.int64),
        "bool": torch.tensor([True, False]),
        "empty": torch.empty(0, 3),
    }
    with cas.experiment(tmp_path / "trials") as run:
        run.output("model", tensors)
        run.output("one", torch.arange(3))
        with pytest.raises(InvalidTypeError, match="give it in a dict"):
            run.output("b", tensors["bf16"])
        with pytest.raises(InvalidTypeError, match="expected a dense one"):
            run.output("s", {"s": torch.eye(2).to_sparse()})
        with pytest.raises(InvalidTypeError, match="complex128"):
            run.output("c", {"c": torch.zeros(2, dtype=torch.complex128)})
    found = only(tmp_path / "trials")
    plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    assert found.read_output("model") == safetensors.save(plain)
    assert np.load(io.BytesIO(found.read_output("one"))).tolist() == [0, 1, 2]
    assert sorted(found.outputs) == ["model", "one"]  # what was refused left nothing


def test_dtypes_of_ml_dtypes() -> None:
    array = np.array([1.5, -2, 0], ml_dtypes.bfloat16)
    header, data = tensor_parts({"x": array})
    assert b'"BF16"' in header
    assert data == array.tobytes()
    with pytest.raises(InvalidTypeError, match="no exact npy file"):
        content.content_of(array)


@pytest.mark.parametrize("name", ["", "../x", "/x", "a//b", ".cas-x", "a/../b", "a\0", None, 5, "x" * 300])
def test_names_that_are_no_paths_below(tmp_path: Path, name: Any) -> None:
    with cas.experiment(tmp_path / "trials") as run:
        with pytest.raises(InvalidInputError):
            run.output(name, b"x")
    assert only(tmp_path / "trials").outputs == {}


@pytest.mark.parametrize(
    "value", [{1, 2}, {"a": {1}}, object(), {"x": float("nan")}, {1: 2}, np.array([object()]), print]
)
def test_what_no_file_can_hold(tmp_path: Path, value: Any) -> None:
    with cas.experiment(tmp_path / "trials") as run:
        with pytest.raises(InvalidInputError):
            run.output("x", value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with cas.experiment(tmp_path / "trials") as run:
        for path in ("missing", "pipe", "."):
            with pytest.raises(InvalidInputError, match=r"cannot be read|no regular file"):
                run.output("x", tmp_path / path)
    assert only(tmp_path / "trials").outputs == {}


def test_a_later_output_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    with cas.experiment(tmp_path / "trials") as run:
        run.output("before", b"stays")
        run.output("best", b"first")
        run.output("other", b"stays too")
        run.output("best", b"second")
        run.output("best", {"third": 3})  # under another path
        with pytest.raises(InvalidInputError, match=r"would both be 'best\.json'"):
            run.output("best.json", {})
        with pytest.raises(InvalidInputError):
            run.output("other", tmp_path / "missing")  # what fails leaves what was there
    found = only(tmp_path / "trials")
    assert {name: found.read_output(name) for name in found.outputs} == {
        "before": b"stays",
        "other": b"stays too",
        "best": b'{\n  "third": 3\n}\n',
    }
    with found.version.open() as ds:
        assert sorted(ds["path"]) == ["metrics.jsonl", "outputs/before", "outputs/best.json", "outputs/other"]


def test_large_files_in_parts_are_stored_once(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(2 * content.PART_BYTES + 12345)
    (tmp_path / "big").write_bytes(data)
    cas.init(tmp_path / "lake")
    for number in range(2):
        with cas.experiment(tmp_path / "lake/trials", params={"number": number}) as run:
            run.output(f"model-{number}", tmp_path / "big")
    newest, oldest = cas.runs(tmp_path / "lake/trials")
    assert newest.read_output("model-1") == oldest.read_output("model-0") == data
    assert len(data) < stored_bytes(tmp_path / "lake") < len(data) + 100_000
    with cas.create(tmp_path / "lake/whole", {"file": cas.types.Bytes(dedup="row")}) as ds:
        ds.append({"file": [data]})  # the chunks of a file are the same in one row
        ds.commit()
    assert stored_bytes(tmp_path / "lake") < len(data) + 200_000


def test_tensors_that_stayed_are_stored_once(tmp_path: Path) -> None:
    cas.init(tmp_path / "lake")
    rng = np.random.default_rng(0)
    tensors = {f"layer.{number}": rng.random(100_000) for number in range(8)}
    for number in range(3):
        tensors["layer.0"] = rng.random(100_000)
        with cas.experiment(tmp_path / "lake/trials", params={"number": number}) as run:
            run.output("model", tensors)
    assert stored_bytes(tmp_path / "lake") < 10.2 * 800_000  # eight layers, and two more of the one that changed


@pytest.mark.parametrize(
    "lengths", [[], [0], [1], [262_080], [262_081], [100, 262_000, 7], [1 << 20, 3], [262_080, 262_080]]
)
def test_the_key_of_a_content_does_not_depend_on_its_parts(lengths: list[int]) -> None:
    data = np.random.default_rng(1).bytes(sum(lengths))
    key, at = ContentKey(), 0
    for length in lengths:
        key.feed(data[at : at + length])
        at += length
    assert key.digest().hex() == content.key_of(data)
    assert key.size_bytes == len(data)


# How it ends


def ended_by(url: Path, error: BaseException, **options: Any) -> cas.Run:
    """A run that gave something out and then raised."""
    run = cas.experiment(url, **options)

    def work() -> None:
        with run:
            run.log(loss=3)
            run.output("half", b"done")
            raise error

    with pytest.raises(type(error)):
        work()
    return run


def test_a_failed_run_is_recorded_and_the_error_goes_on(tmp_path: Path) -> None:
    run = ended_by(tmp_path / "trials", ZeroDivisionError(), params={"a": 1})
    found = only(tmp_path / "trials")
    assert (found.status, found.record.error, found.metrics) == ("failed", "ZeroDivisionError", {"loss": 3})
    assert found.read_output("half") == b"done"
    assert found.version.id == run.version
    assert "failed: ZeroDivisionError" in found.version.message


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), "failed"),
        (SystemExit(3), "failed"),
        (SystemExit(0), "finished"),
        (SystemExit(), "finished"),
    ],
)
def test_other_ends(tmp_path: Path, error: BaseException, status: str) -> None:
    ended_by(tmp_path / "trials", error)
    assert only(tmp_path / "trials").status == status


def test_an_error_of_a_library_is_named_in_full(tmp_path: Path) -> None:
    ended_by(tmp_path / "trials", json.JSONDecodeError("", "", 0))
    assert only(tmp_path / "trials").record.error == "json.decoder.JSONDecodeError"


def test_a_failed_run_leaves_nothing_where_that_is_wanted(tmp_path: Path) -> None:
    run = ended_by(tmp_path / "trials", RuntimeError(), record_failed=False)
    assert cas.runs(tmp_path / "trials") == []
    with pytest.raises(InvalidInputError, match="no version"):
        _ = run.version
    with cas.open(tmp_path / "trials") as ds:
        assert (len(ds), ds.sessions()) == (0, {})


def test_a_run_is_used_in_its_block_alone(tmp_path: Path) -> None:
    run = cas.experiment(tmp_path / "trials")
    assert not (tmp_path / "trials").exists()
    with pytest.raises(InvalidInputError, match="is not under way"):
        run.log(a=1)
    with run:
        with pytest.raises(InvalidInputError, match="has begun already"):
            run.__enter__()
        with pytest.raises(InvalidInputError, match="made when the block ends"):
            _ = run.version
    for late in (lambda: run.log(a=1), lambda: run.output("a", b""), lambda: run.input("a", tmp_path), run.__enter__):
        with pytest.raises(InvalidInputError, match=r"has ended|has begun"):
            late()
    assert len(cas.runs(tmp_path / "trials")) == 1


def test_what_is_no_experiment_is_refused_and_left_alone(lake: Path) -> None:
    before = cas.open_read_only(lake / "train").version
    with pytest.raises(InvalidInputError, match="is no experiment"), cas.experiment(lake / "train"):
        pass
    assert cas.open_read_only(lake / "train").version == before
    with pytest.raises(NotFoundError), cas.experiment(lake / "train@nope"):
        pass
    with pytest.raises(InvalidTypeError, match="message"):
        cas.experiment(lake / "trials", message=5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="code="):
        cas.experiment(lake / "trials", code=lake / "nowhere")


def test_runs_of_a_branch_and_merged_ones(lake: Path) -> None:
    url = lake / "trials"
    with cas.experiment(url, params={"n": 0}):
        pass
    cas.open(url).branch("other")
    with cas.experiment(f"{url}@other", params={"n": 1}):
        pass
    with cas.experiment(url, params={"n": 2}):
        pass
    assert [run.params["n"] for run in cas.runs(url)] == [2, 0]
    with cas.open(url) as ds:
        ds.merge("other")
    assert [run.params["n"] for run in cas.runs(url)] == [2, 1, 0]


# Killed, many at once


SCRIPT = """
import numpy as np
run = cas.experiment(url, params={"killed": True}).__enter__()
run.log(loss=1)
for number in range(6):
    run.output(f"model-{number}", np.random.default_rng(number).random(1 << 20))
print("under way", flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_killed_run_leaves_no_version_and_nothing_to_recover(lake: Path) -> None:
    url = lake / "trials"
    with cas.experiment(url, params={"killed": False}):
        pass
    killed = other_process.run(SCRIPT, url)
    assert (killed.returncode, killed.stdout) == (-9, "under way\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with cas.open(url) as ds:
            assert (len(ds), ds.sessions()) == (1, {})
            assert Fsck(ds._repository).check().errors == 0
        with cas.experiment(url, params={"killed": None}):
            pass
    assert [run.params["killed"] for run in cas.runs(url)] == [None, False]


MANY = """
for number in range(4):
    with cas.experiment(url, params={"who": sys.argv[2], "number": number}, code=False) as run:
        run.log(loss=number)
        run.output("model", {"w": [sys.argv[2], number]})
"""


@pytest.mark.parametrize("place", ["lake/trials", "alone"])
def test_processes_that_begin_and_end_at_once_all_land(lake: Path, place: str) -> None:
    url = lake.parent / place
    code = other_process.PRELUDE + MANY
    environment = os.environ | {"PYTHONPATH": str(Path(cas.__file__).parent.parent)}
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(url), str(who)], env=environment, stderr=subprocess.PIPE)
        for who in range(4)
    ]
    ends = [(process.communicate(timeout=120)[1], process.returncode) for process in running]
    assert [code for _, code in ends] == [0] * 4, ends
    found = cas.runs(url)
    expected = {(str(who), number) for who in range(4) for number in range(4)}
    assert {(run.params["who"], run.params["number"]) for run in found} == expected
    assert len(found) == len(expected)
    for run in found:
        assert json.loads(run.read_output("model")) == {"w": [run.params["who"], run.params["number"]]}
        assert run.read_log() == [{"loss": run.params["number"]}]


def test_nested_runs_and_runs_in_threads(lake: Path) -> None:
    url = lake / "trials"

    def work(number: int) -> None:
        with cas.experiment(url, params={"number": number}, code=False) as run:
            for step in range(3):
                run.log(step=step)
                run.output(f"{step}", {"number": number})

    with cas.experiment(url, params={"number": -1}) as outer:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        with cas.experiment(url, params={"number": -2}) as inner:
            inner.output("inner", b"inner")
        for thread in threads:
            thread.join()
        outer.output("outer", b"outer")
    found = {run.params["number"]: run for run in cas.runs(url)}
    assert sorted(found) == [-2, -1, 0, 1, 2, 3]
    assert (found[-1].read_output("outer"), found[-2].read_output("inner")) == (b"outer", b"inner")
    for number in range(4):
        assert [json.loads(found[number].read_output(name)) for name in "012"] == [{"number": number}] * 3
        assert len(found[number].read_log()) == 3


def test_threads_share_a_run(tmp_path: Path) -> None:
    with cas.experiment(tmp_path / "trials") as run:

        def work(number: int) -> None:
            for step in range(20):
                run.log(who=number, step=step)
            run.output(f"out-{number}", b"%d" % number * 10_000)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = only(tmp_path / "trials")
    assert len(found.read_log()) == 80
    assert [found.read_output(f"out-{number}") for number in range(4)] == [b"%d" % n * 10_000 for n in range(4)]


def test_a_forked_child_records_nothing(tmp_path: Path) -> None:
    script = """
    with cas.experiment(url) as run:
        child = os.fork()
        if child == 0:
            run.metrics["who"] = "child"
        else:
            assert os.waitpid(child, 0)[1] == 0
            run.metrics["who"] = "parent"
    os._exit(0)
    """
    assert other_process.run(script, tmp_path / "trials").returncode == 0
    assert only(tmp_path / "trials").metrics == {"who": "parent"}


def test_an_experiment_whose_maker_died_is_made_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "_GRACE_SECONDS", 0.05)
    cas.create(tmp_path / "trials").close()  # without columns
    with cas.experiment(tmp_path / "trials", params={"a": 1}):
        pass
    assert only(tmp_path / "trials").params == {"a": 1}


def test_several_may_make_it_whole_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "_GRACE_SECONDS", 0.05)
    cas.create(tmp_path / "trials").close()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with cas.experiment(tmp_path / "trials", code=False):
                pass
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(cas.runs(tmp_path / "trials")) == 4


# Code


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository of one commit on the branch ``work``."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    folder = tmp_path / "code"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "work")
    git(folder, "config", "user.email", "a@example.org")
    git(folder, "config", "user.name", "a")
    (folder / "train.py").write_text("print(1)\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def git(folder: Path, *args: str) -> str:
    return subprocess.run(["git", "-C", folder, *args], check=True, capture_output=True, text=True).stdout


def code_of(run_url: Path, folder: Any) -> Any:
    with cas.experiment(run_url, code=folder):
        pass
    return cas.runs(run_url)[0].record.code


def test_a_clean_repository(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = git(repo, "rev-parse", "HEAD").strip()
    clean = {"commit": commit, "branch": "work", "dirty": False, "diff": None, "untracked": 0}
    assert code_of(tmp_path / "trials", repo) == clean
    assert code_of(tmp_path / "trials", repo / "train.py") == clean
    monkeypatch.chdir(repo)
    assert code_of(tmp_path / "trials", True) == clean
    (repo / "new.py").write_text("")
    (repo / "sub").mkdir()
    assert code_of(tmp_path / "trials", repo / "sub") == clean | {"untracked": 1}
    git(repo, "checkout", "-q", "--detach")
    assert code_of(tmp_path / "trials", repo) == clean | {"untracked": 1, "branch": None}


def test_a_dirty_repository(repo: Path) -> None:
    seen = set()
    for text in ("print(2)\n", "print(3)\n"):
        (repo / "train.py").write_text(text)
        found = read_code(repo)
        assert found is not None
        assert found["dirty"]
        assert found["diff"] == hash_chunk(git(repo, "diff", "--binary", "HEAD").encode()).hex()
        seen.add(found["diff"])
    assert len(seen) == 2
    git(repo, "add", ".")  # staged is changed too
    assert (read_code(repo) or {})["diff"] in seen
    (repo / "train.py").unlink()
    assert (read_code(repo) or {})["dirty"]


def test_the_whole_repository_counts(repo: Path) -> None:
    (repo / "sub").mkdir()
    (repo / "train.py").write_text("changed\n")
    assert read_code(repo / "sub") == read_code(repo)


def test_a_diff_runs_nothing_that_the_repository_configures(repo: Path, tmp_path: Path) -> None:
    git(repo, "config", "diff.external", f"touch {tmp_path}/ran")
    (repo / "train.py").write_text("changed\n")
    assert (read_code(repo) or {})["dirty"]
    assert not (tmp_path / "ran").exists()


def test_what_git_cannot_tell_is_not_said_to_be_clean(repo: Path) -> None:
    (repo / ".git/index").write_bytes(b"damaged")
    assert read_code(repo) == {
        "commit": git(repo, "rev-parse", "HEAD").strip(),
        "branch": "work",
        "dirty": None,
        "diff": None,
        "untracked": None,
    }


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "first")
    (tmp_path / "a").write_text("")
    found = read_code(tmp_path)
    assert found == {"commit": None, "branch": "first", "dirty": False, "diff": None, "untracked": 1}


def test_no_repository_and_no_git(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert code_of(tmp_path / "trials", tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_of(tmp_path / "trials", repo) is None


# Read again


@pytest.mark.parametrize(
    "change",
    [{"status": "done"}, {"params": []}, {"inputs": {"a": {"url": 1}}}, {"started": 5}, {"more": 1}, {"log": None}],
)
def test_a_record_that_is_none_is_told_as_damage(tmp_path: Path, change: dict[str, Any]) -> None:
    with cas.experiment(tmp_path / "trials"):
        pass
    details = only(tmp_path / "trials").version.details
    with pytest.raises(CorruptedError, match="the run of version x"):
        record_of({"experiment": details["experiment"] | change}, "version x")
    with pytest.raises(UnsupportedError, match="format 2"):
        record_of({"experiment": details["experiment"] | {"format": 2}}, "version x")
    assert record_of({"experiment": 5}, "version x") is None
    assert record_of({}, "version x") is None
