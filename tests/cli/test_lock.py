"""``cas lock``: what each subcommand prints, its exit codes, and what it writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from pictures import png, read_tree
from raw_store import RawStore
from terminal import facts, ok, process, refused, run, usage_error

import cas
from cas.cli.lock import command
from cas.errors import CorruptedError, ExistsError, NotFoundError
from cas.hashing import hash_chunk
from cas.integrations.folder.checkout import CheckoutConflictError
from cas.integrations.folder.importing import COLUMNS
from cas.integrations.lock.file import read_lock
from cas.integrations.lock.toml import LockFileError

FILES = {"a/1.png": png(1), "b.png": png(2)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a store with images, a table and a run."""
    monkeypatch.chdir(tmp_path)
    cas.init("lake")
    with cas.create("lake/photos", COLUMNS) as ds:
        ds.append({"path": list(FILES), "image": list(FILES.values()), "label": ["a", None]})
        ds.commit("images")
        ds.tag("v1")
    with cas.create("lake/table", {"x": "int64"}) as ds:
        ds.append({"x": [1, 2, 3]})
        ds.commit("table")
    with cas.experiment("lake/trials", params={"lr": 0.1}) as trial:
        trial.output("model", b"weights")
    return tmp_path


def short(url: str) -> str:
    with cas.open_read_only(url) as ds:
        return ds.version.id[:12]


@pytest.fixture
def locked(folder: Path) -> Path:
    ok("lock", "add", "photos", "lake/photos@v1")
    ok("lock", "add", "table", "lake/table")
    ok("lock", "add", "trial", "lake/trials")
    return folder


def test_add_and_list(folder: Path) -> None:
    assert (
        ok("lock", "add", "photos", "lake/photos@v1")
        == f"cas.lock pins photos at {short('lake/photos')} of lake/photos\n"
    )
    added = facts("lock", "add", "table", "lake/table")
    assert added == {"name": "table", "url": "lake/table", "revision": "main"} | {
        name: getattr(read_lock("cas.lock").entry("table"), name) for name in ("version", "tree")
    }
    lines = ok("lock", "list").splitlines()
    assert lines[0].split() == ["name", "url", "version", "tree", "revision"]
    assert lines[1].split()[:3] == ["photos", "lake/photos", short("lake/photos")]
    assert [entry["name"] for entry in facts("lock", "list")] == ["photos", "table"]
    assert facts("lock", "list")[1] == added


def test_another_file(folder: Path) -> None:
    (folder / "pins").mkdir()
    ok("lock", "add", "table", "lake/table", "-f", "pins/of.lock")
    assert read_lock("pins/of.lock").entry("table").url == "../lake/table"
    assert ok("lock", "verify", "--file", "pins/of.lock").startswith("table: ")
    assert not (folder / "cas.lock").exists()


def test_add_is_refused(locked: Path) -> None:
    before = (locked / "cas.lock").read_bytes()
    assert "pins something else" in refused(ExistsError, "lock", "add", "table", "lake/photos")
    assert "no dataset 'nope'" in refused(NotFoundError, "lock", "add", "other", "lake/nope")
    assert (locked / "cas.lock").read_bytes() == before
    ok("lock", "add", "table", "lake/photos", "--force")
    assert read_lock("cas.lock").entry("table").url == "lake/photos"


def test_verify(locked: Path) -> None:
    lines = ok("lock", "verify").splitlines()
    assert lines == [
        f"{name}: {short(f'lake/{url}')} is as pinned"
        for name, url in (("photos", "photos"), ("table", "table"), ("trial", "trials"))
    ]
    assert ok("lock", "verify", "table", "--full") == f"table: {short('lake/table')} is as pinned, with every blob\n"
    found = facts("lock", "verify", "--full")
    assert found["full"]
    assert [(entry["name"], entry["sound"], entry["faults"]) for entry in found["entries"]] == [
        ("photos", True, []),
        ("table", True, []),
        ("trial", True, []),
    ]


def test_verify_finds_damage(locked: Path) -> None:
    RawStore(locked / "lake").flip(hash_chunk(FILES["b.png"]))
    assert run("lock", "verify").exit_code == 0
    done = run("lock", "verify", "--full")
    assert done.exit_code == 5
    assert "photos: damaged: blob " in done.stdout
    assert "(column 'image' rows 1)" in done.stdout
    assert f"table: {short('lake/table')} is as pinned, with every blob" in done.stdout


def test_exit_codes(locked: Path) -> None:
    lock = locked / "cas.lock"
    good = lock.read_text()
    lock.write_text(good.replace('"lake/table"', '"lake/elsewhere"'))
    done = process("lock", "verify")
    assert done.returncode == 3
    assert b"table: not as pinned: 'table' in " in done.stdout
    tree = read_lock(lock).entry("photos").tree
    lock.write_text(lock.read_text().replace(tree, "00" * 32))
    done = process("lock", "verify")
    assert done.returncode == 5  # damage is told, whatever else there is
    assert done.stdout.count(b"not as pinned") == 2
    lock.write_text("format = 1\nx\n")
    done = process("lock", "verify")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"cas.lock, line 2: " in done.stderr
    lock.write_text("format = 9\n")
    assert process("lock", "list").returncode == 7
    lock.unlink()
    assert process("lock", "verify").returncode == 3
    assert process("lock").returncode == 2


def test_checkout_of_all(locked: Path) -> None:
    out = ok("lock", "checkout", "--into", "data").splitlines()
    assert [line.split()[0] for line in out] == ["data/photos", "data/table", "data/trial"]
    assert read_tree(locked / "data/photos") == FILES
    with cas.open_read_only("data/table") as ds:
        assert (ds.version.id[:12], ds["x"][:].tolist()) == (short("lake/table"), [1, 2, 3])
    assert (locked / "data/trial/outputs/model").read_bytes() == b"weights"
    again = facts("lock", "checkout", "-C", "data")
    assert [(each["name"], each["written"], each["unchanged"]) for each in again] == [
        ("photos", 0, 2),
        ("table", 0, 1),
        ("trial", 0, 5),
    ]


def test_checkout_of_one(locked: Path) -> None:
    assert ok("lock", "checkout", "photos").startswith(f"photos is at {short('lake/photos')}: 2 written")
    assert read_tree(locked / "photos") == FILES
    ok("lock", "checkout", "photos", "some/where")
    assert read_tree(locked / "some/where") == FILES
    assert "do not go together" in usage_error("lock", "checkout", "photos", "x", "--into", "y")


def test_checkout_touches_nothing_of_others(locked: Path) -> None:
    (locked / "photos").mkdir()
    (locked / "photos/b.png").write_bytes(b"mine")
    refused(CheckoutConflictError, "lock", "checkout", "photos")
    assert read_tree(locked / "photos") == {"b.png": b"mine"}
    ok("lock", "checkout", "photos", "--force")
    assert read_tree(locked / "photos") == FILES
    assert "is in the store" in str(run("lock", "checkout", "photos", "lake").exception)
    assert "is in the store" in str(run("lock", "checkout", "table", "lake/new").exception)
    (locked / "table").mkdir()
    (locked / "table/mine.txt").write_text("mine")
    refused(CheckoutConflictError, "lock", "checkout", "table", "--force")
    assert read_tree(locked / "table") == {"mine.txt": b"mine"}


def test_a_copied_dataset_is_never_replaced(locked: Path) -> None:
    ok("lock", "checkout", "table")
    with cas.open("table") as ds:
        ds["x"][0] = 7
        mine = ds.commit("mine")
    assert "another version" in refused(CheckoutConflictError, "lock", "checkout", "table", "--force")
    assert cas.open_read_only("table").version.id == mine


def test_checkout_goes_on_where_one_is_missing(locked: Path) -> None:
    lock = locked / "cas.lock"
    lock.write_text(lock.read_text().replace('"lake/table"', '"lake/elsewhere"'))
    done = run("lock", "checkout", "--into", "data")
    assert done.exit_code == 1
    assert "left out table: 'table' in " in done.stderr
    assert read_tree(locked / "data/photos") == FILES
    refused(NotFoundError, "lock", "checkout", "table")


def test_checkout_does_not_follow_links(locked: Path) -> None:
    (locked / "data").mkdir()
    (locked / "outside").mkdir()
    (locked / "data/photos").symlink_to(locked / "outside")
    done = run("lock", "checkout", "--into", "data")
    assert done.exit_code == 1
    assert "left out photos: a file or link is in the way" in done.stderr
    assert list((locked / "outside").iterdir()) == []


def test_checkout_of_another_tree_writes_nothing(locked: Path) -> None:
    lock = locked / "cas.lock"
    lock.write_text(lock.read_text().replace(read_lock(lock).entry("photos").tree, "00" * 32))
    refused(CorruptedError, "lock", "checkout", "photos", "out")
    assert not (locked / "out").exists()


def test_update(locked: Path) -> None:
    old = short("lake/table")
    with cas.open("lake/table") as ds:
        ds.append({"x": [4]})
        ds.commit()
    assert ok("lock", "update").splitlines() == [
        f"photos is at {short('lake/photos')}, where v1 still is",
        f"table moved from {old} to {short('lake/table')} (main)",
        f"trial is at {short('lake/trials')}, where main still is",
    ]
    (moved,) = facts("lock", "update", "table")
    assert moved["old"] == moved["version"]
    ok("lock", "add", "fixed", f"lake/table@{old}")
    assert "stays at" in ok("lock", "update", "fixed")
    refused(NotFoundError, "lock", "update", "nope")


def test_remove(locked: Path) -> None:
    assert ok("lock", "remove", "table").startswith("cas.lock pins table no more, which was at ")
    assert [entry["name"] for entry in facts("lock", "remove", "photos")] == ["photos"]
    assert [entry["name"] for entry in facts("lock", "list")] == ["trial"]
    refused(NotFoundError, "lock", "remove", "table")


@pytest.mark.parametrize("name", command.commands)
def test_the_example_of_each_subcommand_runs(folder: Path, name: str) -> None:
    with cas.create("lake/train", {"x": "int64"}) as ds:
        ds.tag("v1.0")
    if name != "add":
        ok("lock", "add", "train", "lake/train")
    epilog = command.commands[name].epilog
    assert epilog is not None
    example = epilog.removeprefix("Example: cas ")
    assert example.startswith(f"lock {name}")
    ok(*example.split())


def test_hostile_text_of_a_lock_file_is_shown_as_escapes(folder: Path) -> None:
    version, tree = "3f" * 32, "9c" * 32
    (folder / "cas.lock").write_text(
        f'format = 1\n[datasets.a]\nurl = "\\u001b[2J"\nversion = "{version}"\ntree = "{tree}"\nrevision = "\\u0007"\n'
    )
    assert "\x1b" not in ok("lock", "list") + run("lock", "verify").output
    (folder / "cas.lock").write_text('format = 1\n[datasets."\\u001b"]\n')
    assert "\x1b" not in refused(LockFileError, "lock", "list")
