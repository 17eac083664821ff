"""Programs of edits, commits, branches, merges, reverts and undos, drawn at random, against a model.

``python -m pytest tests/dataset/test_version_machine.py --examples 2000`` draws more of them.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from version_programs import Calls, Program, edits, steps, types

EXAMPLES = 32


class VersionMachine(RuleBasedStateMachine):
    """Handles of a dataset on disk and of the model, changed in step."""

    def __init__(self) -> None:
        super().__init__()
        self.program = Program()

    def teardown(self) -> None:
        self.program.twins.close()

    @initialize(
        count=st.sampled_from([4, 5, 6, 3, 0]),
        types=st.lists(types, min_size=1, max_size=3),
        ours=edits,
        theirs=edits,
    )
    def begin(self, count: int, types: list[Any], ours: Calls, theirs: Calls) -> None:
        self.program.begin(count, types, ours, theirs)

    @rule(step=steps)
    def step(self, step: tuple[Any, ...]) -> None:
        self.program.run(step)

    @invariant()
    def agrees(self) -> None:
        self.program.twins.check()


def test_any_program_agrees_with_the_model(request: pytest.FixtureRequest) -> None:
    examples = request.config.getoption("examples") or EXAMPLES
    checks = list(HealthCheck)
    run_state_machine_as_test(
        VersionMachine,
        settings=settings(max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=checks),
    )
