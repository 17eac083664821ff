"""``cas duplicates --near``: words, JSON, the list for deletion, and the page, which a browser looks at."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from chromium import dom, screenshot
from image_variants import cropped, drawn_scene, jpeg, png, scaled
from PIL import Image
from terminal import facts, ok, refused, run, usage_error

import cas
from cas.dataset.summary import format_bytes
from cas.errors import InvalidInputError
from cas.integrations.near import report

SCENES = [drawn_scene(seed) for seed in range(4)]
LARGE = [png(scene) for scene in SCENES]
SMALL = [jpeg(scaled(scene, 0.5)) for scene in SCENES]
BROKEN = LARGE[0][:600] + LARGE[0][-12:]
HOSTILE = "<script>document.title='run'</script>\"' onload=x \u202egnp.jpg"


def make(url: Path, rows: list[tuple[str, bytes]]) -> Path:
    with cas.create(url, {"path": "text", "image": "image"}) as ds:
        ds.append({"path": [path for path, _ in rows], "image": [image for _, image in rows]})
        ds.commit()
    return url


@pytest.fixture
def url(tmp_path: Path) -> Path:
    return make(
        tmp_path / "ds",
        [("a/1.jpg", SMALL[0]), ("a/2.png", LARGE[0]), ("b.png", LARGE[1]), ("c.png", LARGE[0]), ("d.png", LARGE[2])],
    )


def test_words(url: Path) -> None:
    with cas.open_read_only(url) as ds:
        distance = int(ds.near_duplicates("image")[0].distances[2])
    wasted = format_bytes(len(LARGE[0]) + len(SMALL[0]))
    expected = [
        f"{wasted} wasted: 3 rows",
        f"    a/2.png  320x240, {format_bytes(len(LARGE[0]))}, stays",
        f"    c.png  320x240, {format_bytes(len(LARGE[0]))}, identical",
        f"    a/1.jpg  160x120, {format_bytes(len(SMALL[0]))}, distance {distance}",
    ]
    summary = f"1 groups, 2 repeated rows, {wasted} wasted; 4 different images, {{}} of them looked at now"
    assert ok("duplicates", url, "--near").splitlines() == [*expected, summary.format(4)]
    # It was kept, though the command only reads.
    assert ok("duplicates", url, "--near").splitlines() == [*expected, summary.format(0)]
    assert ok("duplicates", url, "--near", "--limit", 0).splitlines() == [
        "and 1 more groups; show them with --limit",
        summary.format(0),
    ]


def test_json(url: Path) -> None:
    found = facts("duplicates", url, "--near", "--threshold", 10)
    group = found.pop("groups")[0]
    assert (group["rows"], group["paths"]) == ([1, 3, 0], ["a/2.png", "c.png", "a/1.jpg"])
    assert (group["widths"], group["heights"]) == ([320, 320, 160], [240, 240, 120])
    assert group["identical"] == [True, True, False]
    assert found == {
        "dataset": str(url),
        "version": found["version"],
        "column": "image",
        "threshold": 10,
        "colour": 32,
        "image_count": 4,
        "group_count": 1,
        "repeated_rows": 2,
        "wasted_bytes": len(LARGE[0]) + len(SMALL[0]),
        "unreadable": [],
    }


def test_the_list_for_deletion(url: Path, tmp_path: Path) -> None:
    assert ok("duplicates", url, "--near", "--delete-list", "-") == "c.png\na/1.jpg\n"
    ok("duplicates", url, "--near", "--delete-list", tmp_path / "list", "-0", "--html", tmp_path / "page.html")
    assert (tmp_path / "list").read_bytes() == b"c.png\0a/1.jpg\0"
    assert (tmp_path / "page.html").exists()
    same = make(tmp_path / "same", [("a", LARGE[0]), ("a", SMALL[0])])
    assert "have the same path 'a'" in refused(InvalidInputError, "duplicates", same, "--near", "--delete-list", "-")


def test_images_that_cannot_be_decoded_are_told_of(tmp_path: Path) -> None:
    url = make(tmp_path / "ds", [("x\x1b.png", BROKEN), ("a", LARGE[0])])
    result = run("duplicates", url, "--near")
    assert result.exit_code == 1
    assert result.stderr == "left out x\\x1b.png: image file is truncated\n"
    result = run("duplicates", url, "--near", "--json")
    assert '"reason": "image file is truncated"' in result.stdout


def test_options_that_do_not_go_together(url: Path) -> None:
    assert "--threshold goes with --near" in usage_error("duplicates", url, "--threshold", 4)
    assert "--html goes with --near" in usage_error("duplicates", url, "--html", "x.html")
    assert "0<=x<=64" in usage_error("duplicates", url, "--near", "--threshold", 65)
    assert "-0 goes with --delete-list" in usage_error("duplicates", url, "--near", "-0")


def test_a_store_that_is_not_to_be_written_is_read(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cas.store.environment.network_file_system", lambda path: "nfs4")
    assert "4 of them looked at now" in ok("duplicates", url, "--near")
    assert "4 of them looked at now" in ok("duplicates", url, "--near")


# The page


class Reader(HTMLParser):
    """Notes what a page is made of, and what it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.alts: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        self.loads += [facts[name] or "" for name in ("src", "href", "action", "data") if name in facts]
        if tag == "img":
            self.alts.append(facts.get("alt") or "")
        self.ids += [facts["id"] or ""] if "id" in facts else []
        assert not [name for name in facts if name.startswith("on")]
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(tmp_path: Path) -> Callable[..., Path]:
    """Makes a page of rows."""

    def make_page(rows: list[tuple[str, bytes]], *options: object) -> Path:
        target = tmp_path / "page.html"
        url = make(tmp_path / "photos", rows)
        assert run("duplicates", url, "--near", "--html", target, *options).exit_code in (0, 1)
        return target

    return make_page


ROWS = [
    ("a/1.jpg", SMALL[0]),
    ("a/2.png", LARGE[0]),
    ("a/copy of 2.png", LARGE[0]),
    ("b.png", LARGE[1]),
    ("a/cropped.jpg", jpeg(cropped(SCENES[0], 0.02, np.random.default_rng(1)))),
    (HOSTILE, SMALL[1]),
    ("broken.png", BROKEN),
]


def test_the_page_stands_alone(page: Callable[..., Path]) -> None:
    text = page(ROWS).read_text()
    read = Reader(text)
    assert all(address.startswith(("data:image/", "data:text/plain", "#")) for address in read.loads)
    assert len(read.ids) == len(set(read.ids))
    assert all(read.alts)
    assert len(text) < 80_000
    assert "http" not in re.sub(r"data:[^\"]*", "", text).replace("http-equiv", "")
    assert "<script>document" not in text


def test_the_page_says_what_stays_and_what_goes(page: Callable[..., Path]) -> None:
    text = page(ROWS).read_text()
    words = " ".join(re.sub(r"<(style|script)>.*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL).split())
    assert "Near duplicates in photos" in words
    assert "2 groups" not in words  # the count stands below what it counts, for readers aloud
    assert "groups 2" in words
    assert "best of the group 320x240, " in words
    assert "keep a/2.png remove a/copy of 2.png" in words
    assert "distance 0 160x120, " in words or "distance 2 160x120, " in words
    assert "Left out" in words
    assert "6 broken.png image file is truncated" in words


def test_the_list_of_the_page_is_that_of_the_command(page: Callable[..., Path], tmp_path: Path) -> None:
    text = page(ROWS).read_text()
    expected = run("duplicates", tmp_path / "photos", "--near", "--delete-list", "-").stdout
    found = re.search(r'href="data:text/plain;charset=utf-8;base64,([^"]*)" download="delete-list.txt"', text)
    assert found
    assert base64.b64decode(found[1]).decode() == expected


def test_a_list_that_would_do_harm_is_not_offered(page: Callable[..., Path]) -> None:
    text = page([("a", LARGE[0]), ("a", SMALL[0])]).read_text()
    assert "There is no list of paths: rows 0 and 1 have the same path" in text
    assert "download=" not in text


def test_rows_without_paths_go_by_number(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", {"photo": "image"}) as ds:
        ds.append({"photo": [LARGE[0], SMALL[0]]})
        ds.commit()
    ok("duplicates", tmp_path / "ds", "--near", "--html", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert ">1\n</textarea>" in text
    assert "numbers of rows" in text
    assert "row 0" in text


def test_paths_that_a_browser_would_change_are_only_downloaded(page: Callable[..., Path]) -> None:
    text = page([("a", LARGE[0]), ("b\rc", SMALL[0])]).read_text()
    assert "download=" in text
    assert "<textarea" not in text


def test_much_is_left_out(page: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_SHOWN_IMAGES", 2)
    monkeypatch.setattr(report, "_SHOWN_ROWS", 1)
    monkeypatch.setattr(report, "_MOST_LIST_BYTES", 10)
    text = page([*ROWS, ("d.png", LARGE[2]), ("d.jpg", SMALL[2])], "--limit", 1).read_text()
    assert "and 1 more images" in text
    assert "and 1 identical ones to remove" in text
    assert "2 more groups are not drawn" in text
    assert "which is too much for a page" in text


def test_nothing_to_show(page: Callable[..., Path]) -> None:
    text = page([("a", LARGE[0])]).read_text()
    assert "No two images look alike" in text
    Reader(text)


def test_a_page_takes_its_name_when_it_is_complete(url: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page.html").write_text("old")

    def fail(*args: object) -> None:
        raise InvalidInputError("no")

    monkeypatch.setattr(report, "make_report", fail)
    assert isinstance(run("duplicates", url, "--near", "--html", tmp_path / "page.html").exception, InvalidInputError)
    assert (tmp_path / "page.html").read_text() == "old"


# In a browser


def test_a_browser_draws_the_page(page: Callable[..., Path]) -> None:
    target = page(ROWS)
    became = dom(target)
    assert "<title>Near duplicates in photos</title>" in became  # what stands in a name was not run
    assert "\\u202egnp.jpg" in became
    light, dark = screenshot(target), screenshot(target, dark=True)
    assert light.getpixel((3, 3)) == (244, 244, 246)
    assert dark.getpixel((3, 3)) == (24, 24, 27)
    for shot in (light, dark):
        # The thumbnail of the first scene is there, in its colours.
        assert shows(shot, SCENES[0])
    assert not shows(light, SCENES[3])


def shows(shot: Image.Image, scene: Image.Image) -> bool:
    """Whether the colours of a picture stand somewhere side by side."""
    small = np.asarray(scene.resize((8, 6), Image.Resampling.BOX)).astype(np.int16)
    page = np.asarray(shot).astype(np.int16)
    # A thumbnail of 160 x 120, of which a point is looked at in each of 8 x 6 parts of 20 x 20.
    averages = (
        page[: page.shape[0] // 4 * 4, : page.shape[1] // 4 * 4].reshape(-1, 4, page.shape[1] // 4, 4, 3).mean((1, 3))
    )
    rows, columns = averages.shape[0] - 30, averages.shape[1] - 40
    differences = sum(
        np.abs(averages[5 * y + 2 : 5 * y + 2 + rows, 5 * x + 2 : 5 * x + 2 + columns] - small[y, x]).mean(2)
        for y in range(6)
        for x in range(8)
    )
    return bool(differences.min() / 48 < 25)


def test_a_page_of_a_narrow_window_is_not_wider(page: Callable[..., Path]) -> None:
    target = page([("a/" + "long" * 60 + ".png", LARGE[0]), *ROWS])
    probe = target.with_name("probe.html")
    # The policy of the page allows its own script alone; a page around it measures.
    text = re.sub(r"<meta http-equiv[^>]*>", "", target.read_text())
    probe.write_text(text.replace("</body>", "<script>document.title = document.body.scrollWidth</script></body>"))
    found = re.search(r"<title>(\d+)</title>", dom(probe, 520))
    assert found
    assert int(found[1]) <= 520


def test_the_button_copies(page: Callable[..., Path]) -> None:
    target = page(ROWS)
    probe = target.with_name("probe.html")
    text = re.sub(r"<meta http-equiv[^>]*>", "", target.read_text())
    press = "<script>document.getElementById('copy').click()</script>"
    probe.write_text(text.replace("</body>", f"{press}</body>"))
    assert re.search(r'id="copied">(Copied\.|Select the list and copy it\.)<', dom(probe))


def test_the_policy_lets_the_script_of_the_page_run_and_no_other(page: Callable[..., Path]) -> None:
    target = page(ROWS)
    other = target.with_name("other.html")
    other.write_text(target.read_text().replace("</body>", "<script>document.title = 'run'</script></body>"))
    assert "<title>run</title>" not in dom(other)
    text = target.read_text()
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = re.search(r"sha256-([^']*)'", html.unescape(text))
    assert script
    assert digest
    assert base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode() == digest[1]
