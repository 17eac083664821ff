"""The systems that are compared, one file each; :func:`system_class` imports the one that is asked for."""

from __future__ import annotations

import importlib

from systems.contract import System

SYSTEMS = {
    "cas": "cas_dataset:Cas",
    "deeplake": "deep_lake:DeepLake",
    "lance": "lance_dataset:Lance",
    "icechunk": "ice_chunk:Icechunk",
    "arcticdb": "arctic_db:Arctic",
    "tensorstore": "tensor_store:TensorStore",
    "hf-datasets": "hf_datasets:HuggingFace",
    "h5py": "hdf5:Hdf5",
    "naive-lmdb": "naive_lmdb:NaiveLmdb",
    "git": "git_files:GitFiles",
    "dvc": "dvc_files:DvcFiles",
    "npy": "npy:Npy",
    "memcpy": "limits:Memcpy",
    "blake3": "limits:Blake3",
}


def system_class(name: str) -> type[System]:
    """The class of a system; raises ImportError where its package is not installed."""
    module, _, attribute = SYSTEMS[name].partition(":")
    found: type[System] = getattr(importlib.import_module(f"systems.{module}"), attribute)
    return found
