"""Files that take their name when they are complete: others' are as they were if anything fails."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from cas.cli.whole_file import replacing
from cas.integrations.whole_file import whole_file


def test_a_file_is_there_at_the_end_of_the_block(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a") as file:
        file.write(b"new")
        file.flush()
        assert not (tmp_path / "a").exists()
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"new"


def test_what_is_replaced_gives_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(0o640)
    with whole_file(tmp_path / "a") as file:
        file.write(b"new")
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o640
        assert (tmp_path / "a").read_bytes() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def refuse() -> None:
    raise KeyboardInterrupt


def write(target: Path, check: Callable[[], None] | None, then: Callable[[], None]) -> None:
    with whole_file(target, check) as file:
        file.write(b"new")
        then()


@pytest.mark.parametrize(("check", "then"), [(None, refuse), (refuse, lambda: None)])
def test_a_block_that_raises_leaves_nothing(
    check: Callable[[], None] | None, then: Callable[[], None], tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a", check, then)
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_link_stays_and_leads_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "link").symlink_to("below/file")
    for content in (b"1", b"2"):
        with replacing(str(tmp_path / "link")) as file:
            file.write(content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "below/file").read_bytes() == content
    assert os.listdir(tmp_path / "below") == ["file"]


def test_devices_are_written_to_as_they_are() -> None:
    with replacing(os.devnull) as file:
        file.write(b"gone")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
