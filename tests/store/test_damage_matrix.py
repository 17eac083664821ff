"""Whatever happens to the bytes of a store: what is read is the truth, or an error of the package."""

from collections import Counter
from pathlib import Path

import damage_matrix
import pytest
from damage_matrix import CRASHED, FOUND, SAME

TRIES = 100
MOST_CRASHES = 2
"""LMDB trusts its pages; what was seen of thousands of tries by hand is in cas/DESIGN.md."""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("damage") / "pristine"
    damage_matrix.make_store(path)
    return path


@pytest.fixture(scope="module")
def truth(pristine: Path) -> dict[str, str]:
    truth = damage_matrix.truth_of(pristine)
    assert len(truth) > 200
    assert not any(value.startswith("!") for value in truth.values())
    return truth


def test_no_damage_gives_wrong_data(pristine: Path, truth: dict[str, str]) -> None:
    outcomes: Counter[str] = Counter()
    for kind, number, (outcome, detail) in damage_matrix.run(pristine, truth, TRIES, 0):
        outcomes[outcome] += 1
        assert outcome in (SAME, FOUND, CRASHED), f"{kind} {number}: {outcome}: {detail}"
    assert outcomes[CRASHED] <= MOST_CRASHES
    assert outcomes[FOUND] > TRIES // 3, "hardly any damage was met, so nothing was tested"


def test_the_judge_sees_wrong_data(truth: dict[str, str]) -> None:
    name = sorted(truth)[-1]
    assert damage_matrix.judge(truth, truth).outcome == SAME
    assert damage_matrix.judge(truth, truth | {name: "0"}) == ("wrong data", f"{name}: 0")
    assert damage_matrix.judge(truth, truth | {"another": "0"}).outcome == "wrong data"
    assert damage_matrix.judge(truth, {**truth, name: "! CorruptedError"}) == (FOUND, "! CorruptedError")
