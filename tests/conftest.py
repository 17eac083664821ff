"""Makes the helpers beside the tests and fixtures importable, and gives properties the time a busy machine needs."""

import sys
from pathlib import Path

import hypothesis
import pytest

here = Path(__file__).parent
sys.path[:0] = [str(here), str(here.parent / "fixtures")]
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Programs and properties that judge versions can be run for longer by hand."""
    parser.addoption("--examples", type=int, help="how many random programs the version machine draws")
