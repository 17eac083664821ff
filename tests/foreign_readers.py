"""What the libraries of others read, without the warnings that they leave behind."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path
from typing import Any

import pytest


def webdataset_samples(pattern: Path | str) -> list[dict[str, Any]]:
    """Returns the samples that WebDataset reads from shards, without the url of the shard."""
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its files to the garbage collector
        samples = [
            {name: value for name, value in sample.items() if name not in ("__url__", "__local_path__")}
            for sample in webdataset.WebDataset(str(pattern), shardshuffle=False)
        ]
        gc.collect()
    return samples


def hub_datasets(cache: Path) -> Any:
    """Returns the library of Hugging Face, told to stay offline and to keep its cache there."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    datasets.config.HF_DATASETS_OFFLINE = True
    datasets.config.HF_HUB_OFFLINE = True
    datasets.disable_progress_bars()
    datasets.config.HF_DATASETS_CACHE = cache
    return datasets
