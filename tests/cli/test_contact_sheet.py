"""``cas diff --contact-sheet``: which images are drawn, and that the file is whole."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import png
from PIL import Image
from terminal import facts, ok, refused, run

import cas
from cas.cli import image_sheet
from cas.errors import InvalidInputError, UnsupportedError
from cas.integrations.contact_sheet import Section


@pytest.fixture
def url(tmp_path: Path) -> Path:
    """Rows 0 to 4, of which 0 goes, 1 and 2 change, and 4 and 5 come."""
    with cas.create(tmp_path / "ds", {"path": "text", "x": "int64", "image": cas.types.Nullable("image")}) as ds:
        ds.append({"path": list("abcd"), "x": range(4), "image": [png(seed) for seed in range(4)]})
        ds.commit()
        ds["image"][1] = png(8)
        ds["image"][2] = None
        ds.delete([0])
        ds.append({"path": list("ef"), "x": [4, 5], "image": [png(4)[:60] + png(4)[-12:], None]})
        ds.commit()
    return tmp_path / "ds"


@pytest.fixture
def sections(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[Any], int]]:
    """What is given to be drawn: headings, cards, and how many are left out."""
    found: list[tuple[str, list[Any], int]] = []

    def draw(title: str, subtitle: str, sections: list[Section]) -> bytes:
        found.append((f"{title}; {subtitle}", [], 0))
        found.extend((section.heading, list(section.cards), section.hidden) for section in sections)
        return b"picture"

    monkeypatch.setattr(image_sheet, "draw_sheet", draw)
    return found


def test_a_sheet(url: Path, tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    words = f"wrote {target}: 2 changed, 2 inserted and 1 deleted images"
    plain = ok("diff", url)
    assert ok("diff", url, "--contact-sheet", target) == f"{plain}{words}\n"
    with Image.open(target) as image:
        assert image.format == "PNG"
        assert image.size > (700, 700)
    before = target.read_bytes()
    result = run("diff", url, "--contact-sheet", target, "--json")
    assert result.stdout == run("diff", url, "--json").stdout
    assert result.stderr == f"{words}\n"
    assert target.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ds", "sheet.png"]


def test_what_is_drawn(url: Path, tmp_path: Path, sections: list[tuple[str, list[Any], int]]) -> None:
    ok("diff", url, "--contact-sheet", tmp_path / "sheet.png", "--stat")
    assert (tmp_path / "sheet.png").read_bytes() == b"picture"
    log = facts("log", url)
    title, changed, inserted, deleted = sections
    assert title[0] == f"ds; column image, from {log[1]['id'][:12]} to {log[0]['id'][:12]}"
    size = f"png 8x8, {len(png(1))} B"
    assert [(card.name, card.pictures, card.details) for card in changed[1]] == [
        ("b", (png(1), png(8)), (size, size)),
        ("c", (png(2), None), (size, "none")),
    ]
    assert changed[0] == "2 images changed: old left, new right"
    assert [(card.name, card.details) for card in inserted[1]] == [("e", ("png 8x8, 72 B",)), ("f", ("none",))]
    assert (deleted[0], [(card.name, card.pictures) for card in deleted[1]]) == ("1 image deleted", [("a", (png(0),))])


def test_columns_renamed_new_and_raw(tmp_path: Path, sections: list[tuple[str, list[Any], int]]) -> None:
    with cas.create(tmp_path / "ds", {"raw": cas.types.Image("uint8", None)}) as ds:
        ds.append({"raw": [np.zeros((2, 3), np.uint8)] * 2})
        ds.commit()
        ds.rename_column("raw", "pixels")
        ds["pixels"][0] = np.ones((2, 3), np.uint8)
        ds.add_column("late", cas.types.Nullable("image"))
        ds.delete([1])
        ds.append({"pixels": [np.ones((4, 4), np.uint8)], "late": [png(1)]})
        ds.commit()
    ok("diff", tmp_path / "ds", "--contact-sheet", tmp_path / "sheet.png")
    _, changed, inserted, deleted = sections
    (card,) = changed[1]
    assert (card.name, card.details) == ("row 0", ("raw uint8[2, 3], 6 B", "raw uint8[2, 3], 6 B"))
    assert [picture.max() for picture in card.pictures] == [0, 1]
    assert [section[0] for section in (inserted, deleted)] == ["1 image inserted", "1 image deleted"]
    sections.clear()
    ok("diff", tmp_path / "ds", "--contact-sheet", tmp_path / "sheet.png", "--column", "late")
    assert [section[0] for section in sections[1:]] == ["1 image inserted"]


def test_more_than_fit(tmp_path: Path, sections: list[tuple[str, list[Any], int]]) -> None:
    with cas.create(tmp_path / "ds", {"image": "image"}) as ds:
        ds.append({"image": [png(0)] * 300})
        ds.commit()
        ds["image"][:] = [png(1)] * 300
        ds.delete(slice(0, 5))
        ds.append({"image": [png(2)] * 150})
        ds.commit()
    text = ok("diff", tmp_path / "ds", "--contact-sheet", tmp_path / "sheet.png", "--stat")
    assert text.endswith(": 295 changed, 150 inserted and 5 deleted images (250 of them not drawn)\n")
    assert [(len(cards), hidden) for _, cards, hidden in sections[1:]] == [(98, 197), (97, 53), (5, 0)]


def test_no_differences(url: Path, tmp_path: Path, sections: list[tuple[str, list[Any], int]]) -> None:
    ok("diff", url, "@main", "--contact-sheet", tmp_path / "sheet.png")
    assert [section[0][-16:] for section in sections] == [": no differences"]


def test_a_failure_leaves_the_old_file(url: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "sheet.png"
    target.write_text("old")

    def fail(old: str, new: str) -> None:
        raise OSError("no")

    monkeypatch.setattr(os, "replace", fail)
    assert isinstance(run("diff", url, "--contact-sheet", target).exception, OSError)
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ds", "sheet.png"]


def test_what_cannot_be_drawn(url: Path, tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    assert "has no images to draw" in refused(
        InvalidInputError, "diff", url, "--contact-sheet", target, "--column", "x"
    )
    with cas.create(tmp_path / "numbers", {"x": "int64"}) as ds:
        ds.append({"x": [1]})
        ds.commit()
    assert "no column of images" in refused(InvalidInputError, "diff", tmp_path / "numbers", "--contact-sheet", target)
    assert not target.exists()


def test_without_pillow(url: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cas.cli.image_sheet", "cas.integrations.contact_sheet"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "needs Pillow" in refused(UnsupportedError, "diff", url, "--contact-sheet", tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()
    assert "png 8x8" in ok("diff", url)


def test_a_sheet_of_real_pictures(tmp_path: Path) -> None:
    """Through an import: every format, names in other scripts, a picture that cannot be decoded."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in sorted((Path(__file__).parents[2] / "fixtures/images").rglob("*.*")):
        if path.name != "broken.png":
            (folder / path.name).write_bytes(path.read_bytes())
    ok("import", "-q", folder, tmp_path / "ds")
    for path in folder.iterdir():
        if path.suffix == ".png":
            with Image.open(path) as image:
                turned = image.convert("RGBA").rotate(10)
            buffer = io.BytesIO()
            turned.save(buffer, "PNG")
            path.write_bytes(buffer.getvalue())
    (folder / "картина 絵.png").write_bytes(png(1)[:60] + png(1)[-12:])
    ok("import", "-q", folder, tmp_path / "ds")
    assert "1 inserted" in ok("diff", tmp_path / "ds", "--stat", "--contact-sheet", tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.width > 1000
