"""The data, made from a seed, and kept as ``.npy`` so that every process finds the same.

- Images of 64 x 64 x 3: the upper part of a picture is a background of one colour a line, slowly changing, the lower
  part texture. Zstandard at level 1 leaves 0.65 of the bytes, LZ4 0.70, as it does of photographs kept as pixels.
- Where the question is what a change or a commit adds to its own bytes, images are noise, which hides nothing.
- Labels: classes 0 to 99, of which the first are frequent: 5.3 bits a label.
- A checkpoint: normal weights in the shapes of a small transformer, 90 MB of float32 in 146 tensors. A derivative has
  other numbers in three tensors, which are 8 % of the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from systems.contract import Array, Batch

from workloads.case import Case

BATCH_ROWS = 1024
TEXTURE_LINES = 43  # of 64
WIDTH = 384


def kept(case: Case, name: str, make: Callable[[], Array]) -> Array:
    """An array that is made where it is not there."""
    path = case.kept / f"{name}.npy"
    if not path.exists():
        case.kept.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npy")
        np.save(part, make())
        part.rename(path)
    found: Array = np.load(path)
    return found


def make_images(count: int, seed: int) -> Array:
    """Images, see above."""
    random = np.random.default_rng(seed)
    images = np.empty((count, 64, 64, 3), np.uint8)
    colour = random.integers(0, 200, (count, 1, 1, 3))
    images[:] = (colour + np.arange(64)[None, :, None, None] // 2).astype(np.uint8)
    texture = random.integers(0, 200, (count, TEXTURE_LINES, 64, 3), dtype=np.uint8)
    images[:, 64 - TEXTURE_LINES :] += texture // 2
    return images


def images(case: Case, count: int, seed: int = 0) -> Array:
    """So many images."""
    return kept(case, f"images-{count}-{seed}", lambda: make_images(count, seed))


def noise(case: Case, count: int, seed: int) -> Array:
    """So many images of noise."""

    def make() -> Array:
        return np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)

    return kept(case, f"noise-{count}-{seed}", make)


def image_labels(count: int) -> Array:
    """The labels that stand beside images."""
    return np.random.default_rng(1).integers(0, 1000, count)


def labels(case: Case, count: int) -> Array:
    """So many labels."""

    def make() -> Array:
        return (100 * np.random.default_rng(2).random(count) ** 3).astype(np.int64)

    return kept(case, f"labels-{count}", make)


def in_batches(columns: Batch, size: int = BATCH_ROWS) -> Iterator[Batch]:
    """Views of so many rows each."""
    count = len(next(iter(columns.values())))
    for start in range(0, count, size):
        yield {name: values[start : start + size] for name, values in columns.items()}


def tensor_shapes(scale: float) -> dict[str, tuple[int, ...]]:
    """Names and shapes: embeddings, twelve blocks, and a last norm."""
    width = max(16, round(WIDTH * scale**0.5 / 16) * 16)
    shapes: dict[str, tuple[int, ...]] = {"embedding": (3072 * width // WIDTH, width)}
    for block in range(12):
        for part in ("query", "key", "value", "output"):
            shapes[f"{block:02}.{part}.weight"] = (width, width)
            shapes[f"{block:02}.{part}.bias"] = (width,)
        shapes[f"{block:02}.up.weight"], shapes[f"{block:02}.up.bias"] = (4 * width, width), (4 * width,)
        shapes[f"{block:02}.down.weight"] = (width, 4 * width)
        shapes[f"{block:02}.norm.weight"] = (width,)
    return shapes | {"norm.weight": (width,)}


def make_checkpoint(scale: float) -> dict[str, Array]:
    """Weights."""
    random = np.random.default_rng(3)
    return {name: weights(random, shape) for name, shape in tensor_shapes(scale).items()}


def weights(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal numbers as layers are initialised."""
    return random.standard_normal(shape, np.float32) * np.float32(shape[-1] ** -0.5)


def derive(tensors: dict[str, Array], number: int) -> dict[str, Array]:
    """The same with other numbers in three tensors."""
    random = np.random.default_rng(100 + number)
    chosen = (f"{number:02}.up.weight", f"{number:02}.down.weight", f"{number + 3:02}.up.weight")
    return tensors | {name: weights(random, tensors[name].shape) for name in chosen}


def size_bytes(tensors: dict[str, Array]) -> int:
    """The bytes of all."""
    return sum(tensor.nbytes for tensor in tensors.values())
