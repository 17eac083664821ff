"""Graphs of versions, as lists, for Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

Parents = list[list[int]]
"""For each version its parents, all of them before it."""


@st.composite
def graphs(draw: st.DrawFn) -> Parents:
    parents: Parents = []
    for number in range(draw(st.integers(1, 14))):
        parents.append(draw(st.lists(st.integers(0, number - 1), max_size=4, unique=True)) if number else [])
    return parents
