"""``ds.duplicates`` and ``ds.near_duplicates``: what groups hold, what stays, and what a second time costs."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_variants import cropped, drawn_scene, jpeg, png, scaled
from PIL import Image

import cas
from cas.errors import ColumnNotFoundError, CorruptedError, InvalidInputError, UncommittedChangesError
from cas.integrations.near import groups, looks, search
from cas.integrations.near.groups import NearDuplicates
from cas.types import Nullable

SCENES = [drawn_scene(seed) for seed in range(6)]
LARGE = [png(scene) for scene in SCENES]
SMALL = [jpeg(scaled(scene, 0.5)) for scene in SCENES]
BROKEN = LARGE[0][:600] + LARGE[0][-12:]


def make(url: Path, images: list[Any], type_: Any = "image") -> cas.Dataset:
    ds = cas.create(url, {"image": type_})
    ds.append({"image": images})
    ds.commit()
    return ds


def listed(found: NearDuplicates) -> list[list[int]]:
    return [group.rows.tolist() for group in found]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is looked at."""
    seen: list[object] = []

    def look_at(picture: Any) -> looks.Look:
        seen.append(picture)
        return looks.look_at(picture)

    monkeypatch.setattr(search, "look_at", look_at)
    return seen


# Groups


def test_groups_have_the_best_first(tmp_path: Path) -> None:
    images = [SMALL[0], SMALL[1], LARGE[0], LARGE[2], LARGE[0], jpeg(SCENES[1]), SMALL[0]]
    with make(tmp_path / "ds", images) as ds:
        found = ds.near_duplicates("image")
        by_first = {int(group.rows[0]): group for group in found}
        assert {first: sorted(group.rows.tolist()) for first, group in by_first.items()} == {2: [0, 2, 4, 6], 5: [1, 5]}
        group = by_first[2]
        assert group.rows[:2].tolist() == [2, 4]
        assert group.identical.tolist() == [True, True, False, False]
        assert group.distances[:2].tolist() == [0, 0]
        assert group.members.widths.tolist() == [320, 320, 160, 160]
        assert group.members.heights.tolist() == [240, 240, 120, 120]
        assert group.members.sizes.tolist() == [len(images[row]) for row in group.rows]
        assert group.wasted_bytes == len(LARGE[0]) + 2 * len(SMALL[0])
        assert found.wasted_bytes == sum(each.wasted_bytes for each in found)
        assert [each.wasted_bytes for each in found] == sorted((each.wasted_bytes for each in found), reverse=True)
        assert sorted(found.repeats().tolist()) == [0, 1, 4, 6]
        stays = dict(zip(found.repeats().tolist(), found.firsts().tolist(), strict=True))
        assert stays == {0: 2, 1: 5, 4: 2, 6: 2}
        assert (found.images, found.looked_at, found.unreadable) == (5, 5, ())
        assert repr(found) == "<NearDuplicates of 'image' within 8 bits: 2 groups, 4 repeated rows, 0 unreadable>"
        facts = group.to_dict()
        assert facts["rows"] == group.rows.tolist()
        assert facts["identical"] == [True, True, False, False]
        ds.delete(found.repeats())
        ds.commit()
        assert ds["image"].bytes(0) == LARGE[0]
        assert len(ds.near_duplicates("image")) == 0


def test_of_equal_size_the_larger_file_stays_then_the_first(tmp_path: Path) -> None:
    rough, fine = jpeg(SCENES[0], 40), jpeg(SCENES[0], 90)
    with make(tmp_path / "ds", [rough, fine, rough, fine]) as ds:
        assert listed(ds.near_duplicates("image")) == [[1, 3, 0, 2]]


def test_the_threshold_and_colours(tmp_path: Path) -> None:
    crop = jpeg(cropped(SCENES[0], 0.05, np.random.default_rng(1)))
    red, green, blue = Image.new("RGB", (90, 90), (200, 0, 0)), *SCENES[0].split()[1:]
    tinted = png(Image.merge("RGB", (Image.new("L", SCENES[0].size, 255), green, blue)))
    with make(tmp_path / "ds", [LARGE[0], crop, tinted, png(red)]) as ds:
        bits = int(ds.near_duplicates("image", 20, colour=255)[0].distances.max())
        assert bits > 2
        assert ds.near_duplicates("image", 64, colour=255)[0].rows.tolist()[0] == 0
        assert len(ds.near_duplicates("image", 0)) == 0
        by_colour = [
            0 if not len(found) else len(found[0].rows)
            for found in (ds.near_duplicates("image", 20, colour=colour) for colour in (0, 32, 255))
        ]
        assert by_colour == sorted(by_colour)
        assert by_colour[0] < by_colour[2]


def test_flat_images_go_by_their_colour(tmp_path: Path) -> None:
    colours = [(250, 250, 250), (0, 0, 0), (251, 250, 249), (250, 240, 250), (0, 2, 0), (250, 250, 250)]
    images = [png(Image.new("RGB", (40 + row, 40), colour)) for row, colour in enumerate(colours)]
    with make(tmp_path / "ds", images) as ds:
        assert sorted(map(sorted, listed(ds.near_duplicates("image", 64)))) == [[0, 2, 5], [1, 4]]


def test_broken_images_are_listed_and_left_out(tmp_path: Path) -> None:
    with make(tmp_path / "ds", [LARGE[0], BROKEN, SMALL[0], BROKEN]) as ds:
        found = ds.near_duplicates("image")
        assert listed(found) == [[0, 2]]
        assert [row for row, _ in found.unreadable] == [1, 3]
        assert all("truncated" in reason for _, reason in found.unreadable)
        assert (found.images, found.looked_at) == (2, 2)
        again = ds.near_duplicates("image")
        assert again.unreadable == found.unreadable
        assert again.looked_at == 0


def test_missing_values_are_no_images(tmp_path: Path) -> None:
    with make(tmp_path / "ds", [None, SMALL[0], None, LARGE[0]], Nullable(cas.types.Image())) as ds:
        assert listed(ds.near_duplicates("image")) == [[3, 1]]


def test_raw_images_are_compared_too(tmp_path: Path) -> None:
    pixels = [np.asarray(SCENES[0]), np.asarray(scaled(SCENES[0], 0.5)), np.asarray(SCENES[1])]
    flat = [np.zeros((4, 9, 3), np.uint8), np.zeros((9, 4, 3), np.uint8)]
    with make(tmp_path / "ds", [*pixels, *flat, pixels[0]], cas.types.Image("uint8", None)) as ds:
        found = ds.near_duplicates("image")
        assert sorted(listed(found)) == [[0, 5, 1], [3, 4]]
        assert found.images == 5
        black = next(group for group in found if group.rows[0] == 3)
        assert black.identical.tolist() == [True, False]
        assert ds.near_duplicates("image").looked_at == 0


def test_nothing_in_nothing(tmp_path: Path) -> None:
    with make(tmp_path / "ds", []) as ds:
        found = ds.near_duplicates("image")
        assert (len(found), found.wasted_bytes, found.repeats().tolist()) == (0, 0, [])
    with make(tmp_path / "other", [BROKEN]) as ds:
        assert len(ds.near_duplicates("image")) == 0


# What it costs again


def test_the_next_version_costs_its_new_images(tmp_path: Path, decoded: list[object]) -> None:
    with make(tmp_path / "ds", LARGE + SMALL + LARGE) as ds:
        assert ds.near_duplicates("image").looked_at == 12
        assert len(decoded) == 12
        ds.append({"image": [jpeg(SCENES[0], 50), LARGE[1]]})
        ds.delete([0])
        ds.commit()
        found = ds.near_duplicates("image", 4)
        assert (found.looked_at, found.images) == (1, 13)
        assert len(decoded) == 13
    with cas.open_read_only(tmp_path / "ds") as old:
        assert old.history[-2].open().near_duplicates("image").looked_at == 0
    assert len(decoded) == 13


def test_datasets_of_a_store_share_what_is_known(tmp_path: Path, decoded: list[object]) -> None:
    cas.init(tmp_path / "lake")
    with make(tmp_path / "lake/a", LARGE) as a, make(tmp_path / "lake/b", [*LARGE, SMALL[0]]) as b:
        a.near_duplicates("image")
        assert b.near_duplicates("image").looked_at == 1
        assert len(decoded) == 7


def test_without_writing_nothing_is_kept_and_all_is_found(tmp_path: Path, decoded: list[object]) -> None:
    with make(tmp_path / "ds", LARGE + SMALL) as ds:
        expected = len(ds.near_duplicates("image"))
        ds.append({"image": [png(drawn_scene(50))]})
        ds.commit()
    with cas.open_read_only(tmp_path / "ds") as ds:
        for _ in range(2):
            found = ds.near_duplicates("image")
            assert (len(found), found.looked_at) == (expected, 1)
    assert len(decoded) == 14


def test_what_was_looked_at_before_an_error_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_BATCH_IMAGES", 2)
    seen: list[object] = []

    def look_at(picture: Any) -> looks.Look:
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(picture)
        return looks.look_at(picture)

    with make(tmp_path / "ds", LARGE) as ds:
        monkeypatch.setattr(search, "look_at", look_at)
        with pytest.raises(KeyboardInterrupt):
            ds.near_duplicates("image")
        monkeypatch.setattr(search, "look_at", looks.look_at)
        assert ds.near_duplicates("image").looked_at == 2


def test_it_is_kept_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_BATCH_BYTES", 1)
    monkeypatch.setattr(search, "_KEEP_IMAGES", 4)
    reports: list[tuple[int, int]] = []
    with make(tmp_path / "ds", LARGE) as ds:
        found = search.find_near_duplicates(ds.version.open(), "image", report=lambda *numbers: reports.append(numbers))
        assert found.looked_at == 6
        assert reports == [(done, 6) for done in range(1, 7)]
        assert ds.near_duplicates("image").looked_at == 0


def test_damage_is_told_with_its_row(tmp_path: Path) -> None:
    with make(tmp_path / "ds", LARGE) as ds:
        (entries,) = list(ds._state.columns["image"].streams["data"].reader.chunks())
        blob = entries.hashes[3].tobytes()
        ds._repository.store.write(lambda txn: txn.remove_blobs([blob]))
    with cas.open(tmp_path / "ds") as ds:
        with pytest.raises(CorruptedError) as error:
            ds.near_duplicates("image")
        assert error.value.column == "image"
        assert (3, 4) in error.value.rows


# What is refused


def test_bad_arguments(tmp_path: Path) -> None:
    with cas.create(tmp_path / "ds", {"image": "image", "name": "text", "file": cas.types.Bytes(dedup="row")}) as ds:
        with pytest.raises(ColumnNotFoundError, match="no column 'nope'"):
            ds.near_duplicates("nope")
        with pytest.raises(InvalidInputError, match="no images to compare"):
            ds.near_duplicates("file")
        with pytest.raises(InvalidInputError, match="column 'name' of type text has no images"):
            ds.near_duplicates("name")
        for bad in (-1, 65, 1.5, True, None, "8"):
            with pytest.raises(InvalidInputError, match="expected an int from 0 to 64"):
                ds.near_duplicates("image", bad)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="expected an int from 0 to 255"):
            ds.near_duplicates("image", colour=256)
        assert len(ds.near_duplicates("image", np.int64(4))) == 0


def test_staged_rows_have_no_numbers_yet(tmp_path: Path) -> None:
    with make(tmp_path / "ds", [LARGE[0], LARGE[1], LARGE[0]]) as ds:
        ds.delete([0])
        for search_ in (ds.duplicates, ds.near_duplicates):
            with pytest.raises(UncommittedChangesError, match="commit or roll back first"):
                search_("image")
        ds.rollback()
        assert ds.duplicates("image").repeats().tolist() == [2]


def test_the_defaults_are_the_same_everywhere() -> None:
    parameters = inspect.signature(cas.Dataset.near_duplicates).parameters
    assert parameters["threshold"].default == groups.THRESHOLD
    assert parameters["colour"].default == groups.COLOUR


# Exact ones


def test_exact_duplicates_decode_and_read_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with make(tmp_path / "ds", [LARGE[0], SMALL[0], LARGE[0], BROKEN, BROKEN, LARGE[0]]) as ds:
        monkeypatch.setattr("cas.store.gate.Gate.read_chunks", None)
        found = ds.duplicates("image")
        assert [group.rows.tolist() for group in found] == [[0, 2, 5], [3, 4]]
        assert found.wasted_bytes == 2 * len(LARGE[0]) + len(BROKEN)
        assert found.repeats().tolist() == [2, 5, 4]
        assert found[0].wasted_bytes == 2 * len(LARGE[0])
        assert repr(found) == "<Duplicates: 2 groups, 3 repeated rows>"
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert len(ds.duplicates("image")) == 2
