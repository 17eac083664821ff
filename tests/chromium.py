"""Pages looked at in headless Chromium: what becomes of their HTML, and how they look."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from PIL import Image

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--mute-audio"),
)
_SECONDS = 120


def _run(page: Path, *flags: str) -> bytes:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("the page is looked at in Chromium, which is not installed")
    with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        command = [chromium, *_FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False, cwd=profile)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        shot = Path(profile, "shot.png")
        return shot.read_bytes() if shot.exists() else done.stdout


def dom(page: Path, width: int = 1000) -> str:
    """Returns what a page has become once its scripts have run, as HTML."""
    return _run(page, f"--window-size={width},1000", "--dump-dom").decode()


def screenshot(page: Path, width: int = 1000, height: int = 1400, *, dark: bool = False) -> Image.Image:
    """Returns how a page looks, in light or dark."""
    scheme = ("--blink-settings=preferredColorScheme=0",) if dark else ("--blink-settings=preferredColorScheme=1",)
    data = _run(page, *scheme, f"--window-size={width},{height}", "--screenshot=shot.png")
    return Image.open(io.BytesIO(data)).convert("RGB")
