"""Makes the helpers beside the tests importable, and gives properties the time that a busy machine needs."""

import sys
from pathlib import Path

import hypothesis

sys.path.insert(0, str(Path(__file__).parent))
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")
