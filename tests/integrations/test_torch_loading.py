"""Loaders of PyTorch over a dataset: workers, pinned versions, orders, and going on in the middle of an epoch."""

from __future__ import annotations

import itertools
import json
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import other_process
import pytest

import cas
from cas.errors import InvalidInputError, InvalidTypeError

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")

from torch.utils.data import DataLoader  # noqa: E402
from torch_cases import FEW, QUIET, ROWS, WORKERS, check_batch, make, number_of  # noqa: E402

pytestmark = [pytest.mark.filterwarnings(text) for text in QUIET]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("torch") / "ds"
    make(path).close()
    return path


@pytest.fixture
def data(url: Path) -> Any:
    with cas.open_read_only(url) as ds:
        return ds.pytorch()


def options_of(workers: int, context: str | None) -> dict[str, Any]:
    """Options of a loader with workers."""
    return {"num_workers": workers, "multiprocessing_context": context, "persistent_workers": context == "spawn"}


def numbers(batches: Any) -> list[int]:
    return [number for batch in batches for number in check_batch(batch)]


class TestWorkers:
    """Spawned workers stay for several epochs where they can, for each imports PyTorch anew."""

    @pytest.mark.parametrize(("workers", "context"), WORKERS)
    def test_every_row_once_and_shuffled_alike(self, data: Any, workers: int, context: str | None) -> None:
        options = options_of(workers, context)
        assert numbers(DataLoader(data, batch_size=32, **options)) == list(range(ROWS))
        loader = data.loader(32, seed=7, **options)
        first, second = numbers(loader), numbers(loader)
        assert sorted(first) == sorted(second) == list(range(ROWS))
        assert first == numbers(data.loader(50, seed=7))
        assert first != second != list(range(ROWS))

    @pytest.mark.parametrize(
        ("workers", "context", "batch_size"), [*((*worker, 16) for worker in WORKERS), *((*few, None) for few in FEW)]
    )
    def test_iterable_gives_every_row_once(
        self, data: Any, workers: int, context: str | None, batch_size: int | None
    ) -> None:
        rows = data.iterable(shuffle=True, seed=3, batch_size=batch_size, buffer_rows=100)
        loader = DataLoader(rows, None if batch_size else 16, **options_of(workers, context))
        first, again = numbers(loader), numbers(loader)
        assert first == again
        assert sorted(first) == list(range(ROWS))
        rows.set_epoch(1)
        second = numbers(loader)
        assert sorted(second) == list(range(ROWS))
        assert second != first

    @pytest.mark.parametrize(("workers", "context"), FEW)
    def test_transform(self, url: Path, workers: int, context: str | None) -> None:
        data = cas.open(url).pytorch(["n"], number_of)
        loader = DataLoader(data, batch_size=100, **options_of(workers, context))
        assert torch.cat(list(loader)).tolist() == list(range(0, 2 * ROWS, 2))

    @pytest.mark.parametrize(("workers", "context"), FEW)
    def test_goes_on_in_the_middle_of_an_epoch(self, data: Any, workers: int, context: str | None) -> None:
        whole = data.loader(16, seed=1)
        expected = [numbers(whole), numbers(whole)]
        loader = data.loader(16, seed=1, **options_of(workers, context))
        loader.set_epoch(1)
        taken = numbers(itertools.islice(loader, 5))
        state = json.loads(json.dumps(loader.state_dict()))
        assert (state["epoch"], state["place"]) == (1, 80)
        resumed = data.loader(16, seed=1, **options_of(workers, context))
        resumed.load_state_dict(state)
        assert resumed.state_dict() == state
        assert taken + numbers(resumed) == expected[1]
        assert (resumed.state_dict()["epoch"], resumed.state_dict()["place"]) == (2, 0)


def test_workers_that_stay_see_the_next_epoch(data: Any) -> None:
    rows = data.iterable(shuffle=True, batch_size=16, buffer_rows=100)
    loader = DataLoader(rows, None, num_workers=1, persistent_workers=True, multiprocessing_context="fork")
    first = numbers(loader)
    rows.set_epoch(1)
    second = numbers(loader)
    rows.set_epoch(0)
    assert numbers(loader) == first != second


COMMITS = """
ds = cas.open(url)
print("ready", flush=True)
for number in range(int(sys.argv[2])):
    ds["n"][:] = [number] * len(ds)
    ds["image"][:] = ds["image"][0:1] * len(ds)
    ds.delete(0)
    ds.commit(f"change {number}")
print(len(ds), flush=True)
"""


@pytest.mark.parametrize(("workers", "context"), FEW)
def test_training_does_not_drift_while_another_process_commits(
    tmp_path: Path, workers: int, context: str | None
) -> None:
    with make(tmp_path / "ds", 100) as ds:
        data = ds.pytorch()
    loader = data.loader(10, seed=5, num_workers=workers, multiprocessing_context=context)
    command = [sys.executable, "-c", other_process.PRELUDE + textwrap.dedent(COMMITS), str(tmp_path / "ds"), "20"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        epochs = 0
        while writer.poll() is None or epochs < 2:
            assert sorted(numbers(loader)) == list(range(100))
            epochs += 1
        assert writer.stdout.readline() == "80\n"
    assert writer.returncode == 0
    assert len(cas.open_read_only(tmp_path / "ds")) == 80
    assert sorted(numbers(loader)) == list(range(100))
    assert check_batch(pickle.loads(pickle.dumps(data))[:3]) == [0, 1, 2]


def test_orders_are_pinned(data: Any) -> None:
    """What a seed means does not change with NumPy, PyTorch or this package."""
    sampler = data.sampler(seed=7)
    assert list(sampler)[:8] == [158, 130, 255, 156, 52, 224, 252, 15]
    assert list(sampler)[:4] == [88, 120, 241, 257]
    rows = data.iterable(shuffle=True, seed=7, batch_size=4, buffer_rows=64)
    assert next(iter(rows))["n"].tolist() == [122, 174, 29, 30]


class TestSampler:
    def test_states(self, data: Any) -> None:
        sampler = data.sampler(seed=2)
        whole = [list(sampler) for _ in range(2)]
        assert sorted(whole[0]) == sorted(whole[1]) == list(range(ROWS))
        assert whole[0] != whole[1]
        for place in (0, 1, 150, ROWS):
            other = data.sampler(seed=2)
            state = {**sampler.state_dict(), "epoch": 0, "place": place}
            other.load_state_dict(state)
            assert other.state_dict() == state
            assert list(other) == whole[0][place:]
            assert list(other) == whole[1]

    def test_a_loader_without_workers_is_at_its_sampler(self, data: Any) -> None:
        sampler = data.sampler(seed=2)
        loader = DataLoader(data, batch_size=8, sampler=sampler)
        batches = iter(loader)
        taken = numbers(itertools.islice(batches, 3))
        state = sampler.state_dict()
        rest = numbers(batches)
        assert sampler.state_dict()["epoch"] == 1
        sampler.load_state_dict(state)
        assert numbers(loader) == rest
        assert sorted(taken + rest) == list(range(ROWS))

    def test_epochs_are_chosen(self, data: Any) -> None:
        sampler = data.sampler(seed=2)
        epochs = [list(sampler) for _ in range(3)]
        sampler.set_epoch(1)
        assert list(sampler) == epochs[1]
        assert list(sampler) == epochs[2]

    def test_in_order(self, data: Any) -> None:
        sampler = data.sampler(shuffle=False)
        assert list(sampler) == list(sampler) == list(range(ROWS))

    @pytest.mark.parametrize("world_size", [1, 3, 7, 400])
    def test_ranks_share_an_epoch(self, data: Any, world_size: int) -> None:
        ranks = [data.sampler(seed=4, rank=rank, world_size=world_size) for rank in range(world_size)]
        shares = [list(sampler) for sampler in ranks]
        size = -(-ROWS // world_size)
        assert {len(share) for share in shares} == {len(sampler) for sampler in ranks} == {size}
        assert {number for share in shares for number in share} == set(range(ROWS))
        whole = list(data.sampler(seed=4))
        assert [shares[place % world_size][place // world_size] for place in range(ROWS)] == whole
        dropping = [
            data.sampler(seed=4, rank=rank, world_size=world_size, drop_last=True) for rank in range(world_size)
        ]
        kept = [number for sampler in dropping for number in sampler]
        assert len(set(kept)) == len(kept) == ROWS // world_size * world_size

    def test_states_of_something_else_are_refused(self, data: Any, tmp_path: Path) -> None:
        state = data.sampler(seed=2).state_dict()
        for options in ({"seed": 3}, {"shuffle": False, "seed": 2}, {"seed": 2, "rank": 0, "world_size": 2}):
            with pytest.raises(InvalidInputError, match="the state was saved with"):
                data.sampler(**options).load_state_dict(state)
        with pytest.raises(InvalidInputError, match="the state was saved with version="):
            make(tmp_path / "other", 10).pytorch().sampler(seed=2).load_state_dict(state)
        for broken in (3, {}, {"epoch": 1}):
            with pytest.raises(InvalidTypeError, match="no state of a sampler"):
                data.sampler(seed=2).load_state_dict(broken)
        for changes in ({"place": ROWS + 1}, {"epoch": -1}):
            with pytest.raises(InvalidInputError, match="expected an int from"):
                data.sampler(seed=2).load_state_dict({**state, **changes})

    def test_what_is_refused(self, data: Any) -> None:
        for options in ({"rank": 1}, {"rank": 2, "world_size": 2}, {"seed": -1}):
            with pytest.raises(InvalidInputError):
                data.sampler(**options)
        for options in ({"shuffle": 1}, {"seed": 1.5}, {"drop_last": None}):
            with pytest.raises(InvalidTypeError):
                data.sampler(**options)
        with pytest.raises(InvalidInputError, match="sampler= cannot be given"):
            data.loader(4, sampler=data.sampler())
        with pytest.raises(InvalidInputError, match="batch_size=0"):
            data.loader(0)


def test_ranks_of_torch_distributed(data: Any, tmp_path: Path) -> None:
    if not torch.distributed.is_available():
        pytest.skip("this PyTorch has no torch.distributed")
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        assert data.sampler().state_dict()["world_size"] == 1
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("workers", [0, 2])
def test_stateful_loader_of_torchdata(data: Any, workers: int) -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader

    def make_loader() -> Any:
        return stateful(data, batch_size=16, sampler=data.sampler(seed=6), num_workers=workers)

    whole = make_loader()
    expected = [numbers(whole), numbers(whole)]
    loader = make_loader()
    numbers(loader)
    taken = numbers(itertools.islice(loader, 4))
    state = loader.state_dict()
    resumed = make_loader()
    resumed.load_state_dict(state)
    assert taken + numbers(resumed) == expected[1]


class TestLoader:
    def test_batches_are_whole_or_put_together(self, url: Path, data: Any) -> None:
        assert check_batch(next(iter(data.loader(16, shuffle=False)))) == list(range(16))
        with cas.open_read_only(url) as ds:
            doubled = ds.pytorch(["n"], number_of)
        assert next(iter(doubled.loader(3, shuffle=False))).tolist() == [0, 2, 4]
        rows = next(iter(data.loader(3, shuffle=False, collate_fn=list)))
        assert [int(row["n"]) for row in rows] == [0, 1, 2]
        sampler = torch.utils.data.BatchSampler(data.sampler(shuffle=False), 7, drop_last=False)
        assert numbers(DataLoader(data, batch_size=None, sampler=sampler)) == list(range(ROWS))

    def test_rows_that_differ_in_shape_and_missing_ones_are_lists(self, tmp_path: Path) -> None:
        with cas.create(
            tmp_path / "ds", schema={"x": cas.types.Array("int8", (None,)), "y": cas.types.Nullable("int8")}
        ) as ds:
            ds.append({"x": [np.ones(size, np.int8) for size in (2, 2, 3, 4)], "y": [1, None, 3, 4]})
            ds.commit()
            first, second = ds.pytorch().loader(2, shuffle=False)
        assert first["x"].shape == (2, 2)
        assert [row.shape for row in second["x"]] == [(3,), (4,)]
        assert first["y"] == [torch.tensor(1), None]
        assert second["y"].tolist() == [3, 4]

    @pytest.mark.parametrize(("workers", "context"), FEW)
    def test_shapes_that_differ_come_from_workers(self, tmp_path: Path, workers: int, context: str | None) -> None:
        sizes = [(3, 2), (0, 5), (1, 1), (4, 7)]
        deep = np.full((2, 2), 40_000, np.uint16)
        rows = [np.arange(height * width, dtype=np.int16).reshape(height, width) for height, width in sizes]
        with cas.create(
            tmp_path / "ds", schema={"x": cas.types.Array("int16", (None, None)), "y": "image", "z": "image"}
        ) as ds:
            images = [np.full((size + 1, 3, 3), size, np.uint8) for size in range(4)]
            ds.append({"x": rows, "y": images, "z": [deep, *images[:3]]})
            ds.commit()
            data = ds.pytorch()
        (batch,) = data.loader(4, shuffle=False, **options_of(workers, context))
        if workers != 4:
            (again,) = DataLoader(data.iterable(batch_size=4), None, **options_of(workers, context))
            assert all(map(torch.equal, again["x"] + again["y"] + again["z"], batch["x"] + batch["y"] + batch["z"]))
        assert [image.dtype for image in batch["z"]] == [torch.uint16, *[torch.uint8] * 3]
        assert int(batch["z"][0].to(torch.int64).max()) == 40_000
        assert type(batch["x"]) is list
        for row, expected in zip(batch["x"], rows, strict=True):
            assert (row.dtype, row.shape) == (torch.int16, expected.shape)
            assert np.array_equal(row.numpy(), expected)
        assert [(image.shape, int(image.max())) for image in batch["y"]] == [((3, n + 1, 3), n) for n in range(4)]

    def test_last_batch_is_left_out(self, data: Any) -> None:
        loader = data.loader(64, drop_last=True)
        assert [len(batch["n"]) for batch in loader] == [64] * (ROWS // 64)
        assert len(loader) == ROWS // 64
        assert (loader.state_dict()["epoch"], loader.state_dict()["place"]) == (1, 0)


class TestIterable:
    def test_in_order_and_in_whole_batches(self, data: Any) -> None:
        rows = data.iterable(batch_size=7, buffer_rows=20)
        batches = list(rows)
        assert numbers(batches) == list(range(ROWS))
        assert {len(batch["n"]) for batch in batches[:-1]} == {7}
        assert [int(row["n"]) for row in data.iterable()] == list(range(ROWS))

    @pytest.mark.parametrize("world_size", [1, 3, 7, 400])
    @pytest.mark.parametrize("shuffle", [True, False])
    def test_ranks_share_an_epoch(self, data: Any, world_size: int, shuffle: bool) -> None:
        shares = []
        for rank in range(world_size):
            rows = data.iterable(shuffle, batch_size=50, buffer_rows=64, rank=rank, world_size=world_size)
            shares.append(numbers(rows))
        assert sorted(itertools.chain(*shares)) == list(range(ROWS))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1

    def test_shuffles_far_and_near(self, data: Any) -> None:
        order = np.array(numbers(data.iterable(shuffle=True, seed=1, batch_size=50, buffer_rows=64)))
        steps = np.abs(np.diff(order))
        assert (steps == 1).mean() < 0.1
        assert steps.mean() > ROWS / 8
        assert np.abs(order - np.arange(ROWS)).mean() > ROWS / 8

    def test_transform_gets_rows_or_batches(self, url: Path) -> None:
        with cas.open_read_only(url) as ds:
            rows = ds.pytorch(["n"], transform=lambda row: row["n"].shape)
        assert set(rows.iterable()) == {()}
        assert list(rows.iterable(batch_size=200)) == [(200,), (100,)]

    def test_of_nothing(self, tmp_path: Path) -> None:
        with cas.create(tmp_path / "ds", schema={"n": "int64"}) as ds:
            data = ds.pytorch()
        assert list(data.iterable(shuffle=True)) == list(DataLoader(data)) == list(data.loader(4)) == []

    def test_what_is_refused(self, data: Any) -> None:
        for options in ({"buffer_rows": 0}, {"batch_size": 0}, {"rank": 1}, {"seed": -1}):
            with pytest.raises(InvalidInputError):
                data.iterable(**options)
        with pytest.raises(InvalidTypeError, match="shuffle=100"):
            data.iterable(100)


def anonymous_bytes() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is told by Linux's /proc")
def test_memory_does_not_grow(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (400, 100, 100), np.uint8)  # 4 MB
    with cas.create(tmp_path / "ds", schema={"x": cas.types.Array("uint8", (100, 100)), "image": "image"}) as ds:
        ds.append({"x": rows, "image": list(rows)})
        ds.commit()
        data = ds.pytorch()

    def epoch() -> None:
        for loader in (data.loader(32), DataLoader(data.iterable(True, batch_size=32, buffer_rows=100), None)):
            assert sum(len(batch["x"]) for batch in loader) == 400

    for _ in range(4):
        epoch()
    before = anonymous_bytes()
    for _ in range(12):
        epoch()
    assert anonymous_bytes() - before < 4 << 20
