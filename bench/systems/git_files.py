"""Git, with a ``.npy`` file a tensor, committed. Its objects are synced as it is told to."""

from __future__ import annotations

import subprocess

import numpy as np

from systems.contract import Array, System, Tensors

SETTINGS = ("-c", "core.fsync=all", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0")


class GitFiles(System):
    """A folder that is written anew and committed for each checkpoint; the folder counts as stored, too."""

    durable = True

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", *SETTINGS, *arguments], cwd=self.place, check=True, stdout=subprocess.DEVNULL)

    def save(self, name: str, tensors: Tensors) -> None:
        if not self.place.exists():
            self.place.mkdir(parents=True)
            self._git("init", "-q")
        folder = self.place / "checkpoint"
        folder.mkdir(exist_ok=True)
        for key, tensor in tensors.items():
            np.save(folder / f"{key}.npy", tensor)
        self._git("add", "-A")
        self._git("commit", "-q", "-m", name)
        self._git("tag", name)

    def load(self, name: str) -> dict[str, Array]:
        self._git("checkout", "-q", name)
        return {path.stem: np.load(path) for path in (self.place / "checkpoint").glob("*.npy")}
