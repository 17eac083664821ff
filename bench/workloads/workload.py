"""What a workload is: a question, the verbs it needs, what must be reached, and how it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from systems.contract import FILE, Column, Columns

IMAGES: Columns = {"image": Column("uint8", (64, 64, 3)), "label": Column("int64")}
LABELS: Columns = {"label": Column("int64")}
PICTURES: Columns = {"image": Column(FILE)}


@dataclass(frozen=True, slots=True)
class Target:
    """A figure to reach: a number, or so many times that of a system in the same run."""

    value: float
    of: str = ""

    def __str__(self) -> str:
        return f"{self.value:,g}" + (f" x {self.of}" if self.of else "")


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure. More is better for rates, less for everything else; ``limit`` names what it is compared with."""

    name: str
    unit: str
    must: Target | None = None
    aim: Target | None = None
    limit: str = ""

    @property
    def more_is_better(self) -> bool:
        """Whether the figure is a rate."""
        return self.unit.endswith("/s")


@dataclass(frozen=True, slots=True)
class Workload:
    """A question.

    ``run`` measures with a system that has the verbs of ``needs``. With ``prepare``, a process of its own makes what
    ``run`` finds at its place; ``keeps`` says that running changes nothing there, so that it is made only once.
    ``warm`` does the same with a few rows at another place, so that what systems import when it is first used does not
    count. ``repeats`` is how many processes run a round.
    """

    name: str
    needs: tuple[str, ...]
    measures: tuple[Measure, ...]
    run: Callable[..., None]
    columns: Columns
    prepare: Callable[..., None] | None = None
    warm: Callable[..., None] | None = None
    keeps: bool = False
    repeats: int = 1
