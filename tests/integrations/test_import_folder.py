"""A folder of images to versions: the difference only, in path order, whatever the history."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import time
from pathlib import Path

import pytest
from pictures import png, write_tree

import cas
from cas.errors import InvalidInputError
from cas.integrations.folder import importing, reading, scan
from cas.integrations.folder.checkout import checkout
from cas.integrations.folder.importing import ImportResult, import_folder
from cas.integrations.folder.scan import FoundFile, Skipped, scan_folder

FILES = {
    "a-b.png": png(1),
    "a/1.png": png(2),
    "a/2.png": png(3),
    "a/deep/er/3.png": png(2),
    "b/1.png": png(4),
    "top.png": png(5),
}


def make_old(folder: Path) -> None:
    """Dates all files back, so that their fingerprints are trusted at once."""
    past = time.time() - 1000
    for path in folder.rglob("*"):
        os.utime(path, (past, past))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tree(tmp_path / "pictures", FILES)
    return tmp_path / "pictures"


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trusts files that were written just now, which a test cannot date back entirely."""
    monkeypatch.setattr(importing, "_RACY_NANOSECONDS", -(10**18))


def run(folder: Path, url: Path, **options: object) -> ImportResult:
    with cas.open(url) if cas.exists(url) else cas.create(url) as dataset:
        return import_folder(folder, dataset, **options)  # type: ignore[arg-type]


def rows(url: Path | str) -> list[tuple[str, bytes, str | None]]:
    with cas.open_read_only(url) as ds:
        return [(ds.path[row], ds.image.bytes(row), ds.label[row]) for row in range(len(ds))]


def tree_of(url: Path) -> str:
    with cas.open_read_only(url) as ds:
        return ds.version.tree


def test_rows_are_in_bytewise_path_order_with_labels(folder: Path, tmp_path: Path) -> None:
    result = run(folder, tmp_path / "ds")
    assert result.added == 6
    assert result.skipped == []
    expected = sorted(FILES, key=str.encode)
    assert expected[0] == "a-b.png"  # before a/1.png: "-" sorts before "/"
    assert rows(tmp_path / "ds") == [(p, FILES[p], p.split("/")[0] if "/" in p else None) for p in expected]


def test_second_import_commits_the_difference(folder: Path, tmp_path: Path) -> None:
    url = tmp_path / "ds"
    first = run(folder, url)
    (folder / "a/1.png").write_bytes(png(10))
    (folder / "a/2.png").unlink()
    (folder / "b/1.png").rename(folder / "c.png")
    write_tree(folder, {"0/new.png": png(11)})
    second = run(folder, url, message="spring")
    assert second.counts() == {"added": 2, "changed": 1, "removed": 2, "unchanged": 3}
    with cas.open_read_only(url) as ds:
        assert ds.version.message == "spring"
        assert ds.version.details == {"import": second.counts()}
        assert ds.version.parents == (first.version,)
    fresh = run(folder, tmp_path / "fresh")
    assert fresh.unchanged == 0
    assert tree_of(url) == tree_of(tmp_path / "fresh")
    assert rows(f"{url}@{first.version}") == [
        (p, FILES[p], p.split("/")[0] if "/" in p else None) for p in sorted(FILES, key=str.encode)
    ]


def test_unchanged_folder_makes_no_version(folder: Path, tmp_path: Path) -> None:
    first = run(folder, tmp_path / "ds")
    again = run(folder, tmp_path / "ds")
    assert (again.version, again.made_version) == (first.version, False)
    assert again.counts() == {"added": 0, "changed": 0, "removed": 0, "unchanged": 6}


@pytest.mark.usefixtures("trusting")
def test_files_that_look_unchanged_are_not_read_again(folder: Path, tmp_path: Path) -> None:
    first = run(folder, tmp_path / "ds")
    assert first.read_bytes == sum(map(len, FILES.values()))
    (folder / "a/1.png").write_bytes(png(12))
    second = run(folder, tmp_path / "ds")
    assert second.read_bytes == len(png(12))
    assert run(folder, tmp_path / "ds").read_bytes == 0
    assert run(folder, tmp_path / "ds", rehash=True).read_bytes > second.read_bytes


def test_new_files_are_read_again_because_times_could_hide_a_change(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "ds")
    assert run(folder, tmp_path / "ds").read_bytes == sum(map(len, FILES.values()))


@pytest.mark.usefixtures("trusting")
def test_touched_files_are_read_but_change_nothing(folder: Path, tmp_path: Path) -> None:
    first = run(folder, tmp_path / "ds")
    os.utime(folder / "a/1.png", (1, 1))
    again = run(folder, tmp_path / "ds")
    assert again.read_bytes == len(FILES["a/1.png"])
    assert (again.version, again.changed) == (first.version, 0)
    assert run(folder, tmp_path / "ds").read_bytes == 0  # and the new times are remembered


def test_the_same_folder_is_the_same_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"{n % 7}/{n % 3}/{n:04}.png": png(n % 150) for n in range(400)}
    write_tree(tmp_path / "one", files)
    run(tmp_path / "one", tmp_path / "ds1", jobs=1)
    expected = tree_of(tmp_path / "ds1")

    write_tree(tmp_path / "elsewhere/two", dict(sorted(files.items(), key=lambda item: hash(item[1]))))
    run(tmp_path / "elsewhere/two", tmp_path / "ds2", jobs=7)
    assert tree_of(tmp_path / "ds2") == expected

    half = dict(random.Random(0).sample(sorted(files.items()), 200))
    write_tree(tmp_path / "three", {**half, "1/gone.png": png(999), "1/1/0001.png": png(777)})
    run(tmp_path / "three", tmp_path / "ds3")
    (tmp_path / "three/1/gone.png").unlink()
    write_tree(tmp_path / "three", files)
    run(tmp_path / "three", tmp_path / "ds3")
    assert tree_of(tmp_path / "ds3") == expected

    real = os.scandir

    class Shuffled:
        """Lists a directory in a random order."""

        def __init__(self, path: bytes) -> None:
            with real(path) as entries:
                self._entries = list(entries)
            random.Random(1).shuffle(self._entries)

        def __enter__(self) -> list[os.DirEntry[bytes]]:
            return self._entries

        def __exit__(self, *args: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Shuffled)
    monkeypatch.setattr(scan, "_NAMES_IN_MEMORY", 11)  # and sorted in several runs on disk
    run(tmp_path / "one", tmp_path / "ds4")
    assert tree_of(tmp_path / "ds4") == expected


def test_small_batches_give_the_same_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"{n % 5}/{n:04}.png": png(n) for n in range(300)}
    write_tree(tmp_path / "in", files)
    run(tmp_path / "in", tmp_path / "large")
    monkeypatch.setattr(importing, "_STAGE_BYTES", 2000)
    monkeypatch.setattr(importing, "_FLUSH_BYTES", 5000)
    monkeypatch.setattr(reading, "BATCH_FILES", 3)
    run(tmp_path / "in", tmp_path / "small")
    assert tree_of(tmp_path / "small") == tree_of(tmp_path / "large")
    for n in range(0, 300, 7):
        (tmp_path / f"in/{n % 5}/{n:04}.png").write_bytes(png(1000 + n))
    for n in range(3, 300, 11):
        (tmp_path / f"in/{n % 5}/{n:04}.png").unlink()
    write_tree(tmp_path / "in", {f"{n % 5}/x{n:04}.png": png(5000 + n) for n in range(40)})
    run(tmp_path / "in", tmp_path / "small")
    run(tmp_path / "in", tmp_path / "fresh")
    assert tree_of(tmp_path / "small") == tree_of(tmp_path / "fresh")


def test_what_cannot_be_imported_is_reported_by_name_and_reason(folder: Path, tmp_path: Path) -> None:
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes(png(7)[:-10])
    (folder / "page.png").write_bytes(b"<html>404</html>")
    (folder / "link.png").symlink_to("top.png")
    (folder / "folder-link").symlink_to("a")
    os.mkfifo(folder / "pipe.png")
    with open(os.fsencode(folder) + b"/\xff\xfe.png", "wb") as file:
        file.write(png(8))
    cas.create(folder / "store").close()
    result = run(folder, tmp_path / "ds")
    assert {item.path: item.reason for item in result.skipped} == {
        "empty.png": "it is no image: the file is empty",
        "cut.png": "it is no image: the png image is cut off before its IEND chunk",
        "page.png": "it is no image: it does not begin like an image of a known format",
        "link.png": "it is a symbolic link, which is not followed",
        "folder-link": "it is a symbolic link, which is not followed",
        "pipe.png": "it is not a regular file",
        "\\xff\\xfe.png": "the name of the file is not UTF-8; rename it",
        "store/": "the directory is a cas store",
    }
    assert result.added == len(FILES)


def test_a_file_that_fails_to_be_read_is_left_out(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def failing(path: object, *args: object, **options: object) -> int:
        if str(path).endswith("top.png"):
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(reading.os, "open", failing)
    result = run(folder, tmp_path / "ds")
    assert result.skipped == [Skipped("top.png", "the file cannot be read: Permission denied")]
    assert result.added == len(FILES) - 1


def test_rows_of_what_cannot_be_looked_at_are_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(folder, tmp_path / "ds")
    real_scandir, real_open = os.scandir, os.open

    def no_directory(path: bytes) -> object:
        if os.fsencode(path).endswith(b"/a/"):
            raise PermissionError(13, "Permission denied")
        return real_scandir(path)

    def no_file(path: object, *args: object, **options: object) -> int:
        if str(path).endswith("top.png"):
            raise OSError(5, "Input/output error")
        return real_open(path, *args, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(os, "scandir", no_directory)
    monkeypatch.setattr(reading.os, "open", no_file)
    (folder / "b/1.png").unlink()
    result = run(folder, tmp_path / "ds", rehash=True)
    assert result.counts() == {"added": 0, "changed": 0, "removed": 1, "unchanged": 5}
    assert [(item.path, item.reason) for item in result.skipped] == [
        ("a/", "the directory cannot be read: Permission denied; its 3 rows are kept as they were"),
        ("top.png", "the file cannot be read: Input/output error; its row is kept as it was"),
    ]
    monkeypatch.undo()
    assert run(folder, tmp_path / "ds").unchanged == 5


def test_what_a_checkout_keeps_in_the_folder_is_no_image_and_not_mentioned(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "ds")
    with cas.open_read_only(tmp_path / "ds") as ds:
        checkout(ds, tmp_path / "out")
    assert (tmp_path / "out/.cas-checkout").exists()
    result = run(tmp_path / "out", tmp_path / "ds")
    assert (result.skipped, result.made_version, result.unchanged) == ([], False, 6)


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_file_that_changes_is_not_stored(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    real = reading._read_exactly if when == "while" else os.open

    def changing(*args: object, **options: object) -> object:
        if when == "before" and str(args[0]).endswith("top.png"):
            (folder / "top.png").write_bytes(png(66))
        result = real(*args, **options)  # type: ignore[operator]
        if when == "while" and result == FILES["top.png"]:
            (folder / "top.png").write_bytes(png(66))
        return result

    target = (reading, "_read_exactly") if when == "while" else (reading.os, "open")
    monkeypatch.setattr(*target, changing)
    result = run(folder, tmp_path / "ds")
    assert [item.path for item in result.skipped] == ["top.png"]
    assert "changed" in result.skipped[0].reason
    assert "top.png" not in [path for path, _, _ in rows(tmp_path / "ds")]


def test_a_folder_that_is_none_and_a_dataset_that_does_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="is not a folder"):
        run(folder / "top.png", tmp_path / "ds")
    with (
        cas.create(tmp_path / "other", schema={"x": int}) as ds,
        pytest.raises(InvalidInputError, match="column 'path'"),
    ):
        import_folder(folder, ds)
    with cas.create(tmp_path / "unsorted", schema=importing.COLUMNS) as ds:
        ds.append({"path": ["b.png", "a.png"], "image": [png(1), png(2)], "label": [None, None]})
        ds.commit()
        with pytest.raises(InvalidInputError, match="not after the one before"):
            import_folder(folder, ds)
        ds.rollback()
        ds.append({"path": ["c.png"], "image": [png(1)], "label": [None]})
        with pytest.raises(InvalidInputError, match="uncommitted"):
            import_folder(folder, ds)


def test_large_files_are_stored_in_pieces_without_being_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGE_BYTES", 100_000)
    large = png(1, 1200)
    assert len(large) > 4 * 262_080
    write_tree(tmp_path / "in", {"a.png": png(2), "large.png": large, "same.png": large, "z.png": png(3)})
    run(tmp_path / "in", tmp_path / "ds")
    assert [content for _, content, _ in rows(tmp_path / "ds")] == [png(2), large, large, png(3)]
    assert run(tmp_path / "in", tmp_path / "ds", rehash=True).changed == 0


def _import_and_die(folder: Path, url: Path, after: int) -> None:
    importing._STAGE_BYTES = 4000  # type: ignore[misc]
    importing._FLUSH_BYTES = 8000  # type: ignore[misc]

    def report(done: int, total: int, size: int, size_total: int) -> None:
        if done == after:
            os.kill(os.getpid(), signal.SIGKILL)

    import_folder(folder, cas.create(url), report=report)


@pytest.mark.usefixtures("trusting")
def test_a_killed_import_goes_on_where_it_was(tmp_path: Path) -> None:
    files = {f"{n % 3}/{n:04}.png": png(n) for n in range(300)}
    write_tree(tmp_path / "in", files)
    run(tmp_path / "in", tmp_path / "whole")
    process = multiprocessing.get_context("fork").Process(
        target=_import_and_die, args=(tmp_path / "in", tmp_path / "ds", 250)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(rows(tmp_path / "ds")) == 0  # nothing half done is visible
    result = run(tmp_path / "in", tmp_path / "ds")
    assert result.counts() == {"added": 300, "changed": 0, "removed": 0, "unchanged": 0}
    assert result.read_bytes < 0.5 * sum(map(len, files.values()))
    assert tree_of(tmp_path / "ds") == tree_of(tmp_path / "whole")
    with cas.open(tmp_path / "ds") as ds:
        assert ds.sessions() == {}


def _peak_memory(folder: Path, url: Path, pipe: multiprocessing.connection.Connection) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    import_folder(folder, cas.create(url))
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def test_memory_stays_bounded(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(40):
        body = png(number, 64)
        noise = os.urandom(16_000_000)
        (tmp_path / f"in/{number}.png").write_bytes(body[:-12] + noise + body[-12:])
    (tmp_path / "in/large.png").write_bytes(body[:-12] + noise * 12 + body[-12:])
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_peak_memory, args=(tmp_path / "in", tmp_path / "ds", theirs))
    process.start()
    theirs.close()  # so that a child which died is noticed
    grown_kib = mine.recv()
    process.join()
    assert grown_kib < 300 * 1024


def test_scan_yields_identities_in_order(folder: Path) -> None:
    found = [item for item in scan_folder(folder) if isinstance(item, FoundFile)]
    assert [file.path for file in found] == sorted(FILES, key=str.encode)
    assert [file.size_bytes for file in found] == [len(FILES[file.path]) for file in found]
