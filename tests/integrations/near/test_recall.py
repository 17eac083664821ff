"""How many copies are found, and how much else: of drawn scenes, and of photographs from Debian."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from image_variants import VARIANTS, drawn_scene, jpeg, tiles
from PIL import Image

import cas

PACKAGE = "lomiri-wallpapers-16.04"


@dataclass(frozen=True)
class Score:
    """Of rows that would be removed, how many go with an image that shows the same; of copies, how many are found."""

    precision: float
    recall: float
    by_variant: dict[str, float]
    images_lost: int


def score(url: Path, images: Sequence[Image.Image], threshold: int) -> Score:
    """Puts images with all their variants in a dataset, and compares what is found with what is known."""
    rng = np.random.default_rng(7)
    rows = [(number, "itself", jpeg(image, 92)) for number, image in enumerate(images)]
    rows += [(number, name, make(image, rng)) for name, make in VARIANTS.items() for number, image in enumerate(images)]
    with cas.create(url, {"image": "image"}) as ds:
        ds.append({"image": [data for _, _, data in rows]})
        ds.commit()
        found = ds.near_duplicates("image", threshold)
    shows = np.array([number for number, _, _ in rows])
    right = shows[found.repeats()] == shows[found.firsts()]
    hits = Counter(rows[row][1] for row in found.repeats()[right].tolist())
    left = np.delete(shows, found.repeats())
    return Score(
        float(right.mean()),
        int(right.sum()) / (len(rows) - len(images)),
        {name: hits[name] / len(images) for name in VARIANTS},
        len(images) - len(np.unique(left)),
    )


# Of the copies as PNG many stay, since they have as many pixels as the image itself and more bytes.
LEAST = {
    "half": 0.98,
    "tenth": 0.9,
    "quality 20": 0.95,
    "quality 60": 0.98,
    "cropped by 2 %": 0.9,
    "cropped by 5 %": 0.5,
    "marked": 0.7,
    "brighter": 0.9,
    "less contrast": 0.95,
}


def check(found: Score) -> None:
    assert found.precision >= 0.98, found
    assert found.recall >= 0.9, found
    assert found.images_lost == 0, found
    for name, least in LEAST.items():
        assert found.by_variant[name] >= least, (name, found)


def test_drawn_scenes(tmp_path: Path) -> None:
    check(score(tmp_path / "ds", [drawn_scene(seed) for seed in range(60)], 8))


def test_a_smaller_threshold_finds_less_and_errs_less(tmp_path: Path) -> None:
    images = [drawn_scene(seed) for seed in range(30)]
    scores = [score(tmp_path / str(threshold), images, threshold) for threshold in (0, 4, 8, 24)]
    recalls = [each.recall for each in scores]
    assert recalls[:3] == sorted(recalls[:3])
    assert recalls[0] < 0.75 < 0.92 < recalls[2]
    assert scores[0].precision == 1.0
    assert scores[3].precision < 0.96


def test_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifteen photographs in six parts each, of which some show little but sky."""
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "bench")
    corpus = pytest.importorskip("corpus")
    try:
        corpus.fetch(PACKAGE, tmp_path / "photographs")
    except corpus.CorpusError as error:
        pytest.skip(f"photographs come from Debian's package {PACKAGE}: {error}")
    images: list[Image.Image] = []
    for path in corpus.files_below(tmp_path / "photographs"):
        with Image.open(path) as image:
            whole = image.convert("RGB")
        whole.thumbnail((900, 900))
        images += tiles(whole)
    assert len(images) == 90
    check(score(tmp_path / "ds", images, 8))
