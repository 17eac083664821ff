"""Systems that feed a DataLoader, each as its own documentation has it: written once, then read shuffled."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from loader_data import ARRAY, ARRAY_SHAPE, JPEG, Samples
from torch.utils.data import DataLoader, default_collate

BATCH = 64
_SHARDS = 8
_BUFFER = 1_000

Batches = Iterable[dict[str, Any]]


def collate_lists(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A batch of rows that differ in shape."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def collate_of(samples: Samples) -> Callable[[list[Any]], Any]:
    """How rows become a batch."""
    return default_collate if samples.even else collate_lists


def workers_of(workers: int) -> dict[str, Any]:
    """Workers that stay, so that starting them is no part of what is measured."""
    return {"num_workers": workers, "persistent_workers": workers > 0}


class Loading:
    """One system."""

    module = ""

    def write(self, place: Path, samples: Samples) -> None:
        """Writes all samples."""
        raise NotImplementedError

    def batches(self, place: Path, samples: Samples, workers: int) -> Batches:
        """Gives a loader, which can be gone through several times."""
        raise NotImplementedError


class Cas(Loading):
    """Rows at random."""

    module = "cas"

    def write(self, place: Path, samples: Samples) -> None:
        import cas

        type_ = cas.types.Array("uint8", ARRAY_SHAPE) if samples.kind == ARRAY else cas.types.Image()
        with cas.create(place, schema={"n": "int64", "x": type_}) as ds:
            ds.append({"n": np.arange(len(samples)), "x": samples.values})
            ds.commit()

    def batches(self, place: Path, samples: Samples, workers: int) -> Batches:
        import cas

        data = cas.open_read_only(place).pytorch()
        loader: Batches = data.loader(BATCH, **workers_of(workers))
        return loader


class CasIterable(Cas):
    """Rows in windows."""

    def batches(self, place: Path, samples: Samples, workers: int) -> Batches:
        import cas

        rows = cas.open_read_only(place).pytorch().iterable(shuffle=True, batch_size=BATCH)
        loader: Batches = DataLoader(rows, batch_size=None, **workers_of(workers))
        return loader


class DeepLake(Loading):
    """Rows at random, one by one: https://docs.deeplake.ai."""

    module = "deeplake"

    def write(self, place: Path, samples: Samples) -> None:
        import deeplake

        ds = deeplake.create(str(place))
        ds.add_column("n", "int64")
        image = deeplake.types.Image(sample_compression="jpeg" if samples.kind == JPEG else "png")
        ds.add_column("x", deeplake.types.Array("uint8", shape=list(ARRAY_SHAPE)) if samples.kind == ARRAY else image)
        for start in range(0, len(samples), 256):
            values = samples.values[start : start + 256]
            ds.append({"n": np.arange(start, start + len(values)), "x": values})
        ds.commit()

    def batches(self, place: Path, samples: Samples, workers: int) -> Batches:
        import deeplake

        data = deeplake.open_read_only(str(place)).pytorch()
        loader: Batches = DataLoader(data, BATCH, shuffle=True, collate_fn=collate_of(samples), **workers_of(workers))
        return loader


class HuggingFace(Loading):
    """Rows at random, of an Arrow file that is mapped: https://huggingface.co/docs/datasets."""

    module = "datasets"

    def write(self, place: Path, samples: Samples) -> None:
        import datasets
        from datasets.arrow_writer import ArrowWriter

        kind = datasets.Array3D(ARRAY_SHAPE, "uint8") if samples.kind == ARRAY else datasets.Image()
        features = datasets.Features({"n": datasets.Value("int64"), "x": kind})
        place.mkdir(parents=True)
        with ArrowWriter(features=features, path=str(place / "data.arrow")) as writer:
            for number, value in enumerate(samples.values):
                stored = value if samples.kind == ARRAY else {"bytes": value, "path": None}
                writer.write(features.encode_example({"n": number, "x": stored}))
            writer.finalize()

    def open(self, place: Path) -> Any:
        """The dataset, which gives tensors."""
        import datasets

        return datasets.Dataset.from_file(str(place / "data.arrow")).with_format("torch")

    def batches(self, place: Path, samples: Samples, workers: int) -> Batches:
        loader: Batches = DataLoader(
            self.open(place), BATCH, shuffle=True, collate_fn=collate_of(samples), **workers_of(workers)
        )
        return loader


class HuggingFaceIterable(HuggingFace):
    """Rows through a buffer."""

    def batches(self, place: Path, samples: Samples, workers: int) -> Batches:
        rows = self.open(place).to_iterable_dataset(num_shards=_SHARDS).shuffle(seed=0, buffer_size=_BUFFER)
        loader: Batches = DataLoader(rows, BATCH, collate_fn=collate_of(samples), **workers_of(workers))
        return loader


class WebDataset(Loading):
    """Tars, read in order through a buffer: https://github.com/webdataset/webdataset."""

    module = "webdataset"

    def write(self, place: Path, samples: Samples) -> None:
        place.mkdir(parents=True)
        for shard in range(_SHARDS):
            with tarfile.open(place / f"{shard:03}.tar", "w") as tar:
                for number in range(shard, len(samples), _SHARDS):
                    suffix = {ARRAY: "npy", JPEG: "jpg"}.get(samples.kind, "png")
                    self._add(tar, f"{number:08}.n.cls", str(number).encode())
                    self._add(tar, f"{number:08}.x.{suffix}", self._file(samples.values[number]))

    @staticmethod
    def _file(value: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        buffer = io.BytesIO()
        np.save(buffer, value)
        return buffer.getvalue()

    @staticmethod
    def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))

    def batches(self, place: Path, samples: Samples, workers: int) -> Batches:
        import webdataset as wds

        shards = sorted(str(path) for path in place.glob("*.tar"))
        suffix = {ARRAY: "x.npy", JPEG: "x.jpg"}.get(samples.kind, "x.png")
        rows = wds.WebDataset(shards, shardshuffle=_SHARDS, workersplitter=wds.split_by_worker).shuffle(_BUFFER)
        rows = rows.decode(samples.mode.lower() + "8").rename(n="n.cls", x=suffix, keep=False)
        rows = rows.batched(BATCH, collation_fn=collate_of(samples))
        loader: Batches = DataLoader(rows, batch_size=None, **workers_of(workers))
        return loader


SYSTEMS: dict[str, type[Loading]] = {
    "cas": Cas,
    "cas iterable": CasIterable,
    "deeplake": DeepLake,
    "datasets": HuggingFace,
    "datasets iterable": HuggingFaceIterable,
    "webdataset": WebDataset,
}
OURS = ("cas", "cas iterable")
