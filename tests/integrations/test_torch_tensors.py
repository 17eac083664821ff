"""Checkpoints of PyTorch: modules and optimizers come back, and every dtype bit for bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cas
from cas.errors import InvalidTypeError, UnsupportedError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex128, torch.complex64),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    *(getattr(torch, name) for name in ("float8_e8m0fnu", "float4_e2m1fn_x2") if hasattr(torch, name)),
]


def bits(tensor: Any) -> bytes:
    plain = tensor.detach().resolve_conj().resolve_neg()
    flat = (plain.view(torch.uint8) if tensor.dtype.itemsize == 1 else plain).contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""


def assert_same(found: Any, expected: Any) -> None:
    assert isinstance(found, torch.Tensor)
    assert (found.dtype, found.shape, bits(found)) == (expected.dtype, expected.shape, bits(expected))


@pytest.fixture
def url(tmp_path: Path) -> Path:
    return tmp_path / "model"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(url: Path, dtype: Any) -> None:
    raw = torch.from_numpy(np.random.default_rng(1).integers(0, 256, 16 * 6000, np.uint8))
    flat = raw[: dtype.itemsize * 6000].clone().view(dtype)
    state = {
        "large": flat.reshape(60, 100),
        "small": flat[:5],
        "single": flat[0],
        "empty": flat[:0].reshape(0, 3),
        "turned": flat.reshape(60, 100).t(),
        "stepped": flat[::7],
    }
    cas.save_tensors(url, state)
    found = cas.load_tensors(url)
    assert list(found) == list(state)
    for name, tensor in state.items():
        assert_same(found[name], tensor)
    found["large"].view(torch.uint8).zero_()  # it may be written to
    cas.save_tensors(url, state)
    with cas.open(url) as ds:
        assert len(ds.history) == 2


def test_bools_conjugates_and_shared_memory(url: Path) -> None:
    numbers = torch.randn(3000, dtype=torch.complex64)
    state = {
        "mask": torch.tensor([True, False, True]),
        "conjugate": numbers.conj(),
        "imaginary": numbers.conj().imag,
        "whole": numbers,
        "part": numbers[10:2000],
        "same": numbers,
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    cas.save_tensors(url, state)
    found = cas.load_tensors(url)
    for name, tensor in state.items():
        assert_same(found[name], tensor)


def test_a_module_and_its_optimizer_go_on_where_they_were(url: Path) -> None:
    def make() -> tuple[Any, Any]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(40, 80), torch.nn.BatchNorm1d(80), torch.nn.Linear(80, 2))
        return model, torch.optim.AdamW(model.parameters(), lr=0.01)

    def step(model: Any, optimizer: Any) -> None:
        optimizer.zero_grad()
        model(torch.arange(400.0).reshape(10, 40).sin()).square().sum().backward()
        optimizer.step()

    model, optimizer = make()
    step(model, optimizer)
    cas.save_tensors(url, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1}, "epoch 1")
    step(model, optimizer)
    other, other_optimizer = make()
    state = cas.load_tensors(url)
    assert state["epoch"] == 1
    other.load_state_dict(state["model"])
    other_optimizer.load_state_dict(state["optimizer"])
    step(other, other_optimizer)
    for one, two in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert_same(two, one)


def test_frameworks(url: Path) -> None:
    state = {"torch": torch.ones(3, dtype=torch.bfloat16), "numpy": np.ones(3, np.float32)}
    cas.save_tensors(url, state)
    found = cas.load_tensors(url)
    assert (type(found["torch"]), type(found["numpy"])) == (torch.Tensor, np.ndarray)
    found = cas.load_tensors(url, framework="torch")
    assert_same(found["numpy"], torch.ones(3))
    found = cas.load_tensors(url, framework="numpy")
    assert (found["torch"].dtype.name, found["torch"].tolist()) == ("bfloat16", [1, 1, 1])


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
def test_a_dtype_that_the_other_framework_does_not_have(url: Path) -> None:
    import ml_dtypes

    cas.save_tensors(url, {"a": torch.ones(3).to(torch.complex32), "b": np.ones(2, ml_dtypes.float8_e3m4)})
    assert_same(cas.load_tensors(url, ["a"])["a"], torch.ones(3).to(torch.complex32))
    with pytest.raises(UnsupportedError, match=r"'a' is of dtype torch.complex32, which NumPy does not have"):
        cas.load_tensors(url, framework="numpy")
    with pytest.raises(UnsupportedError, match=r"'b' is of dtype float8_e3m4, which PyTorch does not have"):
        cas.load_tensors(url, framework="torch")


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("kind", ["sparse", "meta", "quantised"])
def test_tensors_that_have_no_plain_memory_are_refused(url: Path, kind: str) -> None:
    tensor = {
        "sparse": lambda: torch.eye(3).to_sparse(),
        "meta": lambda: torch.empty(3, device="meta"),
        "quantised": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8),
    }[kind]()
    with pytest.raises(InvalidTypeError, match=r"tensor 'layer\.a' is"):
        cas.save_tensors(url, {"layer": {"a": tensor}})
    assert not url.exists()


def test_tensors_and_arrays_of_equal_values_share_their_chunks(tmp_path: Path) -> None:
    cas.init(tmp_path / "lake")
    array = np.random.default_rng(0).standard_normal((700, 800)).astype(np.float32)
    cas.save_tensors(tmp_path / "lake/arrays", {"a": array})
    with cas.open_read_only(tmp_path / "lake/arrays") as ds:
        before = ds._repository.store.stored_bytes()
        cas.save_tensors(tmp_path / "lake/tensors", {"a": torch.from_numpy(array)})
        assert ds._repository.store.stored_bytes() - before < 100_000


def test_nothing_of_torch_is_imported_for_arrays(url: Path) -> None:
    code = (
        f"import sys, cas, numpy as np; cas.save_tensors({str(url)!r}, {{'a': np.ones(3)}}); "
        f"cas.load_tensors({str(url)!r}); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_without_torch(url: Path) -> None:
    """What was saved with it is told of, and loads as arrays."""
    cas.save_tensors(url, {"a": torch.ones(3)})
    code = (
        f"import sys; sys.modules['torch'] = None\nimport cas\n"
        f"print(cas.load_tensors({str(url)!r}, framework='numpy')['a'].tolist())\n"
        f"try: cas.load_tensors({str(url)!r})\nexcept cas.errors.UnsupportedError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == "[1.0, 1.0, 1.0]", done.stderr
    assert "pip install 'tensor-cas[torch]'" in done.stdout
