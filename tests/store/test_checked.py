"""What is remembered of chunks: which were checked."""

from __future__ import annotations

import numpy as np
import pytest

from cas.hashing import Hashes, hash_chunk
from cas.store import checked, slots
from cas.store.checked import Checked


def hashes(*numbers: int) -> Hashes:
    joined = b"".join(hash_chunk(b"%d" % number) for number in numbers)
    return np.frombuffer(joined, np.uint8).reshape(-1, 32)


def test_what_was_added_is_not_lacked() -> None:
    found = Checked()
    assert found.lacks(hashes(*range(100))).all()
    found.add(hashes(3, 5))
    assert np.flatnonzero(found.lacks(hashes(*range(100)))).tolist() == [n for n in range(100) if n not in (3, 5)]
    assert [found.lacks_one(hashes(number).tobytes()) for number in (3, 4, 5)] == [False, True, False]


def test_one_by_one_is_the_same() -> None:
    found, singly = Checked(), Checked()
    some, others = hashes(*range(200)), hashes(*range(200, 300))  # more than there is room for at first
    found.add(some)
    for one in some:
        singly.add_one(one.tobytes())
    for mine in (found, singly):
        assert mine.lacks(some).sum() <= 20  # which share a slot with a later one
        assert mine.lacks(others).all()
        assert [mine.lacks_one(one.tobytes()) for one in some] == mine.lacks(some).tolist()


def test_a_hash_of_zeros_is_lacked_at_first() -> None:
    assert Checked().lacks(np.zeros((1, 32), np.uint8)).all()
    assert Checked().lacks_one(bytes(32))
    assert Checked().lacks_one(b"\xff" * 32)
    found = Checked()
    found.add_one(b"\xff" * 32)
    assert not found.lacks_one(b"\xff" * 32)


def test_a_newer_mark_takes_the_place_of_an_older(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked, "_MOST_SLOTS", 4)
    monkeypatch.setattr(slots, "_FIRST_SLOTS", 4)
    found = Checked()
    many = hashes(*range(100))
    for one in many:
        found.add(one[None])
        assert not found.lacks(one[None]).any()
    assert (~found.lacks(many)).sum() <= 4
