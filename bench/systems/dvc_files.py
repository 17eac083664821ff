"""DVC, with a ``.npy`` file a tensor: the command, found on the path, for its package does not go with all others."""

from __future__ import annotations

import os
import shutil
import subprocess

import numpy as np

from systems.contract import Array, System, Tensors

if shutil.which("dvc") is None:
    raise ImportError("there is no command dvc")

QUIET = {**os.environ, "DVC_NO_ANALYTICS": "1", "CI": "1"}


class DvcFiles(System):
    """A folder that is written anew and added for each checkpoint; the folder counts as stored, too. Syncs nothing."""

    def _dvc(self, *arguments: str) -> None:
        subprocess.run(["dvc", *arguments, "-q"], cwd=self.place, check=True, stdout=subprocess.DEVNULL, env=QUIET)

    def save(self, name: str, tensors: Tensors) -> None:
        """Keeps the pointer that DVC makes, under the checkpoint's name."""
        if not self.place.exists():
            self.place.mkdir(parents=True)
            self._dvc("init", "--no-scm")
        folder = self.place / "checkpoint"
        folder.mkdir(exist_ok=True)
        for key, tensor in tensors.items():
            np.save(folder / f"{key}.npy", tensor)
        self._dvc("add", "checkpoint")
        shutil.copy(self.place / "checkpoint.dvc", self.place / f"{name}.pointer")

    def load(self, name: str) -> dict[str, Array]:
        shutil.copy(self.place / f"{name}.pointer", self.place / "checkpoint.dvc")
        self._dvc("checkout", "--force")
        return {path.stem: np.load(path) for path in (self.place / "checkpoint").glob("*.npy")}
