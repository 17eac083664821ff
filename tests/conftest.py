"""Makes the helpers beside the tests importable, and gives properties the time that a busy machine needs."""

import sys
from pathlib import Path

import hypothesis
import pytest

sys.path.insert(0, str(Path(__file__).parent))
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Programs and properties that judge versions can be run for longer by hand."""
    parser.addoption("--examples", type=int, help="how many random programs the version machine draws")
