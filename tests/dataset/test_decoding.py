"""Columns of images: decoded in threads, in order, and whatever cannot be decoded is told with its row."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import png

import cas
from cas import types
from cas.codec import images
from cas.dataset import decoding
from cas.errors import InvalidInputError

pytest.importorskip("PIL")

FILES = [png(seed, 60) for seed in range(100)]
BROKEN = FILES[0][:-30] + b"IEND\xaeB`\x82"


def column(tmp_path: Path, type_: Any, values: Any) -> cas.Column:
    ds = cas.create(tmp_path / "ds", schema={"v": type_})
    ds.append({"v": values})
    ds.commit()
    found: cas.Column = ds["v"]
    return found


class Decoders:
    """Who decodes: the names of the threads. With ``several`` the caller, who takes part, waits for another one."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.several = True
        self._helped = threading.Event()

    def decode(self, data: Any, mode: str | None = None) -> Any:
        self.names.add(threading.current_thread().name)
        if threading.current_thread() is not threading.main_thread():
            self._helped.set()
        elif self.several:
            assert self._helped.wait(20)
        return images.decode_image(data, mode)


@pytest.fixture
def decoders(monkeypatch: pytest.MonkeyPatch) -> Decoders:
    found = Decoders()
    monkeypatch.setattr(decoding, "decode_image", found.decode)
    return found


def test_several_in_threads_and_one_here(tmp_path: Path, decoders: Decoders) -> None:
    found = column(tmp_path, "image", FILES)
    decoded = found[:]
    assert any(name.startswith("cas") for name in decoders.names)
    for file, pixels in zip(FILES, decoded, strict=True):
        assert np.array_equal(pixels, images.decode_image(file))
    decoders.names.clear()
    decoders.several = False
    assert np.array_equal(found[7], decoded[7])
    assert decoders.names == {threading.current_thread().name}


def test_wherever_images_stand(tmp_path: Path, decoders: Decoders) -> None:
    values = [[FILES[0], None], [], [FILES[1]] * 60]
    found = column(tmp_path, types.Sequence(types.Nullable("image")), values)[:]
    assert [[None if item is None else item.shape for item in row] for row in found] == [
        [(60, 60), None],
        [],
        [(60, 60)] * 60,
    ]
    assert any(name.startswith("cas") for name in decoders.names)
    decoders.several = False
    nullable = column(tmp_path / "n", types.Nullable("image"), [None, *FILES])
    assert nullable[0] is None
    assert [pixels is None for pixels in nullable[:]] == [True] + [False] * 100


@pytest.mark.parametrize("index", [slice(None), slice(90, 120), slice(None, None, -1), [3, 101, 5], 101])
def test_the_one_that_cannot_be_decoded(tmp_path: Path, index: Any) -> None:
    found = column(tmp_path, "image", [*FILES, FILES[0], BROKEN])
    with pytest.raises(
        InvalidInputError, match=r"column 'v', row 101: the image cannot be decoded: .*Column.bytes"
    ) as e:
        found[index]
    assert (e.value.column, e.value.row) == ("v", 101)
    assert found.bytes(101) == BROKEN
    assert len(found[:101]) == 101
