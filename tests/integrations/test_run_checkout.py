"""A run brought back: data, model and parameters in one folder, nobody else's files, and never outside of it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from pictures import png, read_tree, write_tree
from raw_store import RawStore
from terminal import facts, ok, refused, run

import cas
from cas.errors import CorruptedError, InvalidInputError
from cas.hashing import hash_chunk
from cas.integrations.checkout import Options, RunCheckout, checkout_run
from cas.integrations.experiment.record import COLUMNS as RUN_COLUMNS
from cas.integrations.folder.checkout import CheckoutConflictError
from cas.integrations.folder.importing import COLUMNS
from cas.integrations.lock import locking
from cas.integrations.lock.file import read_lock

FILES = {"a/1.png": png(1), "b.png": png(2)}
BIG = np.random.default_rng(0).bytes(700_000)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with the store ``lake``: images, a table, and a run that used both."""
    folder = tmp_path / "home"
    cas.init(folder / "lake")
    with cas.create(folder / "lake/photos", COLUMNS) as ds:
        ds.append({"path": list(FILES), "image": list(FILES.values()), "label": ["a", None]})
        ds.commit("images")
    with cas.create(folder / "lake/table", {"x": "int64"}) as ds:
        ds.append({"x": [1, 2, 3]})
        ds.commit("table")
    (folder / "model.pt").write_bytes(BIG)
    with cas.experiment(folder / "lake/trials", params={"lr": 0.1, "when": np.int16(3)}, code=False) as trial:
        trial.input("photos", folder / "lake/photos").close()
        trial.input("table", folder / "lake/table").close()
        trial.log(step=0, loss=2.0)
        trial.output("model", folder / "model.pt")
        trial.output("deep/er/value", [1, 2])
    return folder


def out(url: Path, folder: Path, *, force: bool = False) -> RunCheckout:
    with cas.open_read_only(url) as ds:
        return checkout_run(ds, folder, Options(force=force))


def reasons(done: RunCheckout) -> dict[str, str | None]:
    return {pinned.name: pinned.reason for pinned in done.inputs}


def own_files(folder: Path) -> dict[str, bytes]:
    """What is in a checkout, without its inputs."""
    return {path: data for path, data in read_tree(folder).items() if not path.startswith("inputs/")}


def test_data_model_and_parameters_come_back_together(home: Path) -> None:
    target = home / "out"
    done = out(home / "lake/trials", target)
    assert (done.files.written, done.files.skipped, reasons(done)) == (6, [], {"photos": None, "table": None})
    files = own_files(target)
    assert sorted(files) == [
        *("cas.lock", "metrics.jsonl", "outputs/deep/er/value.json", "outputs/model.pt", "params.json", "run.json"),
    ]
    assert files["outputs/model.pt"] == BIG
    assert json.loads(files["outputs/deep/er/value.json"]) == [1, 2]
    assert json.loads(files["params.json"]) == {"lr": 0.1, "when": 3}
    assert files["metrics.jsonl"] == b'{"step": 0, "loss": 2.0}\n'
    noted = json.loads(files["run.json"])
    assert (noted["status"], noted["metrics"], noted["version"]) == (
        "finished",
        {"loss": 2.0},
        cas.open_read_only(home / "lake/trials").version.id,
    )
    assert read_tree(target / "inputs/photos") == FILES
    assert cas.open_read_only(target / "inputs/table")["x"][:].tolist() == [1, 2, 3]


def test_the_lock_file_pins_the_inputs(home: Path) -> None:
    out(home / "lake/trials", home / "out")
    lock = read_lock(home / "out/cas.lock")
    assert {name: entry.url for name, entry in lock.entries.items()} == {
        "photos": "../lake/photos",
        "table": "inputs/table",
    }
    assert all(found.sound for found in locking.verify(lock, full=True))
    assert cas.open_locked(home / "out/cas.lock", "photos").version == cas.open_read_only(home / "lake/photos").version


def test_a_later_checkout_writes_what_differs(home: Path) -> None:
    target, url = home / "out", home / "lake/trials"
    out(url, target)
    first = cas.open_read_only(url).version.id
    inodes = {path: (target / path).stat().st_ino for path in own_files(target)}
    with cas.experiment(url, params={"lr": 0.2}, code=False) as trial:
        trial.input("photos", home / "lake/photos")
        trial.output("model", home / "model.pt")
    done = out(url, target)
    assert (done.files.written, done.files.unchanged, done.files.removed) == (4, 1, 1)
    assert (target / "outputs/model.pt").stat().st_ino == inodes["outputs/model.pt"]
    assert not (target / "outputs/deep").exists()
    back = out(f"{url}@{first}", target)  # type: ignore[arg-type]
    assert (back.files.written, back.files.unchanged, back.files.removed) == (5, 1, 0)
    again = out(f"{url}@{first}", target)  # type: ignore[arg-type]
    assert (again.files.written, again.files.unchanged) == (0, 6)
    assert [(each.result and each.result.written) for each in again.inputs] == [0, 0]


def test_files_of_others_stay(home: Path) -> None:
    target = home / "out"
    mine = {"params.json": b"mine", "notes.txt": b"keep", "inputs/photos/b.png": b"mine too"}
    write_tree(target, mine)
    with pytest.raises(CheckoutConflictError, match=r"'params\.json'.*Nothing was written"):
        out(home / "lake/trials", target)
    assert read_tree(target) == mine
    (target / "params.json").unlink()
    done = out(home / "lake/trials", target)
    reason = reasons(done)["photos"]
    assert reason is not None
    assert "'b.png'" in reason
    assert (target / "inputs/photos/b.png").read_bytes() == b"mine too"
    (target / "outputs/model.pt").write_bytes(b"edited")
    with pytest.raises(CheckoutConflictError, match=r"model\.pt"):
        out(home / "lake/trials", target)
    assert reasons(out(home / "lake/trials", target, force=True)) == {"photos": None, "table": None}
    assert (target / "outputs/model.pt").read_bytes() == BIG
    assert read_tree(target / "inputs/photos") == FILES
    assert (target / "notes.txt").read_bytes() == b"keep"


def test_inputs_that_are_not_there_are_told_and_pinned_nevertheless(home: Path, tmp_path: Path) -> None:
    cas.copy(home / "lake/photos", tmp_path / "gone").close()
    with cas.experiment(home / "lake/trials", code=False) as trial:
        trial.input("gone", tmp_path / "gone")
        trial.input("table", home / "lake/table")
        trial.output("model", b"weights")
    pinned = cas.open_read_only(tmp_path / "gone").version.id
    shutil.rmtree(tmp_path / "gone")
    done = out(home / "lake/trials", home / "out")
    assert set(reasons(done)) == {"gone", "table"}
    assert "there is no store at" in str(reasons(done)["gone"])
    assert "if the dataset was moved" in str(reasons(done)["gone"])
    assert (home / "out/outputs/model").read_bytes() == b"weights"
    assert not (home / "out/inputs/gone").exists()
    assert read_lock(home / "out/cas.lock").entry("gone").version == pinned


def test_a_folder_that_is_taken_is_not_pinned_as_the_copy(home: Path) -> None:
    write_tree(home / "out", {"inputs/table/mine.txt": b"mine"})
    done = out(home / "lake/trials", home / "out")
    assert "is taken" in str(reasons(done)["table"])
    assert read_tree(home / "out/inputs/table") == {"mine.txt": b"mine"}
    assert read_lock(home / "out/cas.lock").entry("table").url == "../lake/table"


def test_experiment_and_inputs_move_together(home: Path, tmp_path: Path) -> None:
    with cas.create(home / "beside", {"x": "int64"}) as ds:
        ds.append({"x": [7]})
        ds.commit()
    with cas.experiment(home / "lake/trials", code=False) as trial:
        trial.input("photos", home / "lake/photos")
        trial.input("beside", home / "beside")
    home.rename(tmp_path / "moved")
    done = out(tmp_path / "moved/lake/trials", tmp_path / "out")
    assert reasons(done) == {"beside": None, "photos": None}
    assert read_tree(tmp_path / "out/inputs/photos") == FILES


def test_an_input_of_another_tree_or_damaged_is_left_out(home: Path) -> None:
    with cas.open_read_only(home / "lake/photos") as ds:
        tree = ds.version.tree
    RawStore(home / "lake").flip(bytes.fromhex(tree))
    done = out(home / "lake/trials", home / "out")
    assert tree in str(reasons(done)["photos"])
    assert reasons(done)["table"] is None


def test_damaged_outputs_are_never_written(home: Path) -> None:
    RawStore(home / "lake").flip(hash_chunk(BIG[:262_080]))
    with pytest.raises(CorruptedError):
        out(home / "lake/trials", home / "out")
    assert not (home / "out/outputs/model.pt").exists()


@pytest.mark.parametrize("link", ["inputs", "inputs/photos", "outputs", "outputs/deep"])
def test_links_are_not_followed(home: Path, tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    place = home / "out" / link
    place.parent.mkdir(parents=True)
    place.symlink_to(outside)
    if link.startswith("outputs"):
        with pytest.raises(CheckoutConflictError):
            out(home / "lake/trials", home / "out")
    else:
        assert "is in the way" in str(reasons(out(home / "lake/trials", home / "out"))["photos"])
    assert os.listdir(outside) == []


def hostile(url: Path, path: str, inputs: dict[str, object]) -> None:
    """Commits what a stranger's version may hold: a run whose paths and names lead out of the folder."""
    with cas.open(url) as ds:
        details = ds.version.details["experiment"]
        empty = {"path": "metrics.jsonl", "size_bytes": 0, "key": hash_chunk(b"").hex()}
        outputs = {"x": {"path": path, "size_bytes": 1, "key": hash_chunk(b"x").hex()}}
        paths = [f"outputs/{path}", "metrics.jsonl"]
        ds.append({"run": ["r"] * 2, "path": paths, "part": [0, 0], "content": [b"x", b""]})
        ds.commit(details={"experiment": details | {"id": "r", "outputs": outputs, "inputs": inputs, "log": empty}})


@pytest.mark.parametrize("path", ["../../evil", "/evil", "a/../../evil", ".cas-checkout", "a\0b", ""])
def test_paths_of_a_stranger_lead_nowhere(home: Path, path: str) -> None:
    name = "../evil"
    pinned = {"url": "photos", "version": "3f" * 32, "tree": "9c" * 32, "revision": None}
    hostile(home / "lake/trials", path, {name: pinned, "ok": pinned})
    done = out(home / "lake/trials", home / "out")
    assert [skipped.path for skipped in done.files.skipped] == [f"outputs/{path}"]
    assert all(reason is not None for reason in reasons(done).values())
    assert list(read_lock(home / "out/cas.lock").entries) == ["ok"]
    assert sorted(own_files(home / "out")) == ["cas.lock", "metrics.jsonl", "params.json", "run.json"]
    assert not list(home.parent.rglob("evil"))


def test_a_run_as_the_input_of_another_one(home: Path) -> None:
    with cas.experiment(home / "lake/finetuning", code=False) as trial:
        trial.input("pretrained", home / "lake/trials")
    done = out(home / "lake/finetuning", home / "out")
    assert reasons(done) == {"pretrained": None}
    files = read_tree(home / "out/inputs/pretrained")
    assert files["outputs/model.pt"] == BIG
    assert not (home / "out/inputs/pretrained/inputs").exists()
    below = read_lock(home / "out/inputs/pretrained/cas.lock")
    assert all(found.sound for found in locking.verify(below))


def test_runs_that_landed_on_a_moved_branch_have_their_own_files(home: Path) -> None:
    url = home / "lake/trials"
    with cas.experiment(url, code=False) as late:
        late.output("mine", b"late")
        for number in range(3):
            with cas.experiment(url, code=False) as early:
                early.output("mine", b"early %d" % number)
        late.output("more", b"late too")
    for back, files in enumerate([{"mine": b"late", "more": b"late too"}, {"mine": b"early 2"}, {"mine": b"early 1"}]):
        with cas.open_read_only(url, f"main~{back}") as ds:
            checkout_run(ds, home / f"out-{back}", Options())
        assert read_tree(home / f"out-{back}/outputs") == files


def test_what_is_no_run_is_refused(home: Path) -> None:
    with cas.open_read_only(home / "lake/trials@main~1") as ds:
        assert dict(ds.schema) == RUN_COLUMNS
        with pytest.raises(InvalidInputError, match="is no run"):
            checkout_run(ds, home / "out", Options())
    assert "is no run" in refused(InvalidInputError, "checkout", home / "lake/trials@main~1", home / "out")
    assert not (home / "out").exists()
    with cas.open_read_only(home / "lake/trials") as ds:
        with pytest.raises(InvalidInputError, match="is in the store"):
            checkout_run(ds, home / "lake", Options())


# The command


def test_the_command(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    lines = ok("checkout", "lake/trials", "out").splitlines()
    with cas.open_read_only("lake/trials") as ds:
        assert lines[0].startswith(f"out is at {ds.version.id[:12]}: 6 written (")
    assert [line.split()[0] for line in lines[1:]] == ["out/inputs/table", "out/inputs/photos"]
    told = facts("checkout", "lake/trials", "out")
    assert (told["written"], told["unchanged"]) == (0, 6)
    assert [(each["folder"], each["unchanged"], each["reason"]) for each in told["inputs"]] == [
        ("inputs/table", 1, None),
        ("inputs/photos", 2, None),
    ]
    (home / "out/params.json").write_text("mine")
    assert "params.json" in refused(CheckoutConflictError, "checkout", "lake/trials", "out")
    ok("checkout", "--force", "lake/trials", "out")


def test_the_command_tells_of_missing_inputs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    cas.delete("lake/photos")
    done = run("checkout", "lake/trials", "out")
    assert done.exit_code == 1
    assert "left out inputs/photos: input 'photos': the store" in done.stderr
    assert "out/inputs/table is at" in done.stdout
