"""What notebooks show: small tables with thumbnails, of few rows, that never fail and run nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import dom, screenshot
from html_words import Words
from image_variants import drawn_scene, jpeg, png

import cas
from cas.integrations import notebook
from cas.types import Array, ClassLabel, Image, Nullable, Text

BROKEN = b"\x89PNG\r\n\x1a\n IEND\xaeB`\x82"
HOSTILE = "<script>document.title='run'</script>\u202e"


@pytest.fixture
def ds(tmp_path: Path) -> cas.Dataset:
    ds = cas.create(
        tmp_path / "photos",
        {"path": "text", "image": Nullable(Image()), "label": ClassLabel(["cat", "dog"]), "x": Array("float32", (2,))},
    )
    ds.append(
        {
            "path": [HOSTILE, *(f"{row}.png" for row in range(8))],
            "image": [
                png(drawn_scene(0)),
                b"\x89PNG\r\n\x1a\n IEND\xaeB`\x82",
                None,
                *(png(drawn_scene(row)) for row in range(6)),
            ],
            "label": [0, 1] * 4 + [0],
            "x": np.zeros((9, 2), np.float32),
        }
    )
    ds.commit("first <b>one</b>")
    return ds


def shown(value: Any) -> str:
    found = value._repr_html_()
    assert isinstance(found, str)
    read = Words(found)
    assert "script" not in read.tags
    return found


def words(value: Any) -> str:
    found = " ".join(" ".join(Words(shown(value)).words).split())
    return found[found.rindex("}") + 1 :].strip()


def test_a_dataset(ds: cas.Dataset) -> None:
    html = shown(ds)
    text = words(ds)
    assert text.startswith(
        f"photos branch main, version {ds.version.id[:12]}, 9 rows, 4 columns row path text image image?"
    )
    assert "label class_label[cat, dog]" in text or "label class_label" in text
    assert "0 <script>document.title='run'</script>\\u202e png 320x240, " in text
    assert "cat [0.0, 0.0]" in text
    assert text.count("[0.0, 0.0]") == 5
    assert html.count("<img ") == 3  # of five rows one is missing and one is broken
    assert "cannot be decoded" in text
    assert len(html) < 60_000
    ds["label"][0] = "dog"
    assert "and uncommitted changes" in words(ds)
    assert "dog [0.0, 0.0]" in words(ds)
    ds.rollback()


def test_a_version(ds: cas.Dataset) -> None:
    with cas.open_read_only(f"{ds._repository.path}@main") as opened:
        assert f"version {ds.version.id[:12]} (read-only), 9 rows" in words(opened)


def test_a_history(ds: cas.Dataset) -> None:
    for number in range(12):
        ds.append(ds[:1])
        ds.commit(f"number {number}", author="Zoë <z>")
    text = words(ds.history)
    assert text.startswith("versions: 15, the last first version time author rows message 14 ")
    assert f"14 {ds.version.id[:12]} {ds.version.timestamp:%Y-%m-%d %H:%M:%S} Zoë <z> 21 number 11" in text
    assert text.endswith("and 5 before")
    assert text.count("number ") == 10


def test_a_diff(ds: cas.Dataset) -> None:
    ds["image"][0] = jpeg(drawn_scene(5))
    ds["label"][:] = "dog"
    ds.delete([8])
    ds.insert(0, [dict(ds[3])])
    ds.commit()
    diff = ds.diff("main~1")
    text = words(diff)
    assert text.startswith(f"{diff.a.id[:12]} to {diff.b.id[:12]} 1 rows inserted: 0 1 rows deleted: 8")
    assert "changed values of 'label': 4" in text or "changed values of 'label': 5" in text
    assert "row old new 1 cat dog" in text
    assert "inserted rows: 1 row path text" in text
    assert "deleted rows: 1 row path text" in text
    assert shown(diff).count("<img ") == 4
    assert "no differences" in words(ds.diff("main", "main"))


def test_tags_and_branches(ds: cas.Dataset) -> None:
    ds.tag("v1", HOSTILE)
    assert "tags: 1 name about version time author rows message v1 <script>" in words(ds.tags)
    assert "branches: 1 name version time author rows message main " in words(ds.branches)
    for number in range(25):
        ds.tag(f"t{number}")
    assert words(ds.tags).endswith("and 6 more")
    with cas.open_read_only(ds._repository.path) as opened:
        assert "tags: 26" in words(opened.tags)


def test_columns_and_rows_are_bounded(tmp_path: Path) -> None:
    with cas.create(tmp_path / "wide", {f"c{number}": "text" for number in range(40)}) as ds:
        ds.append({f"c{number}": ["x" * 10_000] * 50 for number in range(40)})
        ds.commit()
        html = shown(ds)
        assert "and 28 more" in words(ds)
        assert html.count("<tr>") == 6
        assert len(html) < 20_000


def test_large_rows_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "_MOST_ROW_BYTES", 1000)
    with cas.create(tmp_path / "large", {"x": Array("uint8", (5000,)), "n": "int64"}) as ds:
        ds.append({"x": np.zeros((3, 5000), np.uint8), "n": [7, 8, 9]})
        ds.commit()
        assert words(ds).endswith("0 4.9 KiB 7 1 4.9 KiB 8 2 4.9 KiB 9")


def test_nothing_is_shown_as_nothing(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds") as ds:
        assert "0 rows, 0 columns" in words(ds)
        ds.add_column("note", Text())
        assert "0 rows, 1 columns row note text" in words(ds)
        ds.commit()


def test_without_pillow_there_are_no_thumbnails(ds: cas.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "cas.integrations.pictures", raising=False)
    assert "<img " not in shown(ds)
    assert "png 320x240, " in words(ds)


def test_what_fails_is_shown_as_text(ds: cas.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    history, diff = ds.history, ds.diff("main~1")
    (entries,) = list(ds._state.columns["path"].streams["data"].reader.chunks())
    ds._repository.store.write(lambda txn: txn.remove_blobs([entries.hashes[0].tobytes()]))
    with cas.open(ds._repository.path) as damaged:
        assert damaged._repr_html_() is None
        assert repr(damaged).startswith("<Dataset ")
    monkeypatch.setattr(notebook, "_version", None)
    monkeypatch.setattr(cas.Diff, "summary", None)
    assert history._repr_html_() is None
    assert diff._repr_html_() is None
    ds.close()
    assert ds._repr_html_() is None


def test_a_browser_draws_them(ds: cas.Dataset, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    parts = [shown(ds), shown(ds.history), shown(ds.diff("main~1")), shown(ds.branches)]
    page.write_text(f"<meta charset='utf-8'><title>notebook</title><body>{'<hr>'.join(parts)}")
    assert "<title>notebook</title>" in dom(page)
    shot = np.asarray(screenshot(page)).astype(int)
    # Besides black and white there are the colours of the thumbnails.
    coloured = (shot.max(axis=2) - shot.min(axis=2) > 60).sum()
    assert coloured > 3000
