"""Brings a real collection of image files from Debian's package registry.

An icon theme is a good benchmark for a deduplicating store: thousands of small images in
nested folders, many of them the same picture under several names. The script downloads a
package with ``apt-get download``, unpacks it with ``dpkg-deb -x`` (nothing gets installed) and
copies its image files into a folder. Symbolic links become real copies of the files they lead
to, as they do when such a collection is zipped up or moved to another file system.

The folder holds images only; a marker beside it, ``.NAME.corpus.json``, tells which package it
came from, so that a second run for the same package leaves it as it is.

Usage: ``python bench/corpus.py DIR [--package oxygen-icon-theme]``
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT_PACKAGE = "oxygen-icon-theme"
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff"})
PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
MAX_LINKS = 40


class CorpusError(Exception):
    """Reports, in one line, why a collection could not be brought."""


@dataclass(frozen=True)
class Summary:
    """Counts what a collection holds and what became of the package's symbolic links.

    ``files`` and ``bytes`` count everything in the folder; ``links_resolved`` counts the files
    among them that stand for a link (their own, or one to a folder above them), and
    ``dangling`` the image links left out because they lead nowhere inside the package.
    """

    files: int
    bytes: int
    links_resolved: int
    dangling: int


@dataclass
class Found:
    """Collects the images of an unpacked package while its folders are walked."""

    plain: dict[Path, Path] = field(default_factory=dict)
    linked: dict[Path, Path] = field(default_factory=dict)
    dangling: int = 0


def is_image(path: Path) -> bool:
    """Tells whether a file's name has an image suffix."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def resolve_inside(root: Path, path: Path) -> Path | None:
    """Follows every link on a path as if ``root`` were the root of the file system.

    Returns None if the path leads nowhere, or through too many links.
    """
    pending = list(reversed(path.relative_to(root).parts))
    current, links = root, 0
    while pending:
        part = pending.pop()
        if part == "..":
            current = current if current == root else current.parent
            continue
        step = current / part
        if not step.is_symlink():
            current = step
            continue
        links += 1
        if links > MAX_LINKS:
            return None
        target = step.readlink()
        current = root if target.is_absolute() else current
        pending.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))
    return current if current.exists() else None


def find_images(root: Path) -> Found:
    """Finds every image file and image link under an unpacked package."""
    found = Found()
    walk(root, root, Path(), (root,), False, found)
    return found


def walk(root: Path, real: Path, shown: Path, above: tuple[Path, ...], linked: bool, found: Found) -> None:
    """Adds the images below the folder ``real``, which the collection shows as ``shown``.

    ``above`` holds the real folders being walked, so that a link back to one of them is left
    alone instead of being followed for ever; ``linked`` tells that a link led here.
    """
    for entry in sorted(real.iterdir()):
        via_link = linked or entry.is_symlink()
        target = resolve_inside(root, entry)
        name = shown / entry.name
        if target is None:
            found.dangling += is_image(entry)
        elif target.is_dir():
            if target not in above:
                walk(root, target, name, (*above, target), via_link, found)
        elif target.is_file() and is_image(entry):
            (found.linked if via_link else found.plain)[name] = target


def theme_folder(images: Iterator[Path]) -> Path:
    """Returns the deepest folder that all images share."""
    return Path(os.path.commonpath([image.parent for image in images]))


def run(command: list[str], directory: Path) -> None:
    """Runs a command in a folder and raises CorpusError with its last complaint if it fails."""
    try:
        subprocess.run(
            command,
            cwd=directory,
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise CorpusError(f"{command[0]} is missing: this needs Debian or a system derived from it") from None
    except subprocess.CalledProcessError as error:
        complaints = str(error.stderr).strip().splitlines() or [f"exit code {error.returncode}"]
        raise CorpusError(f"{command[0]} failed: {complaints[-1]}") from None


def download(package: str, directory: Path) -> Path:
    """Downloads a package's archive into a folder and returns its path."""
    try:
        run(["apt-get", "download", package], directory)
    except CorpusError as error:
        if not shutil.which("apt-get"):
            raise
        raise CorpusError(f"cannot download {package} ({error}); try `apt-get update` first") from None
    archives = list(directory.glob("*.deb"))
    if len(archives) != 1:
        raise CorpusError(f"apt-get brought no archive of {package}")
    return archives[0]


def copy_images(root: Path, directory: Path, package: str) -> Found:
    """Copies an unpacked package's images into a folder and returns what was found."""
    found = find_images(root)
    images = {**found.plain, **found.linked}
    if not images:
        raise CorpusError(f"the package {package} holds no image files")
    theme = theme_folder(iter(images))
    for name, source in images.items():
        target = directory / name.relative_to(theme)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return found


def marker_path(directory: Path) -> Path:
    """Returns the path of the marker that stands beside a collection's folder."""
    return directory.parent / f".{directory.name}.corpus.json"


def read_marker(directory: Path) -> dict[str, Any]:
    """Reads the marker of a collection, or an empty one if there is none to be read."""
    try:
        marker = json.loads(marker_path(directory).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return marker if isinstance(marker, dict) else {}


def files_below(directory: Path) -> list[Path]:
    """Lists the files under a folder in a stable order."""
    return sorted(path for path in directory.rglob("*") if path.is_file())


def summarize(directory: Path) -> Summary:
    """Counts the files now in a collection's folder and adds what its marker tells."""
    sizes = [path.stat().st_size for path in files_below(directory)]
    marker = read_marker(directory)
    return Summary(len(sizes), sum(sizes), marker["links_resolved"], marker["dangling"])


def check_target(package: str, directory: Path) -> bool:
    """Tells whether a folder already holds the collection, and refuses any other content."""
    if directory.exists() and not directory.is_dir():
        raise CorpusError(f"{directory} is not a folder")
    if not directory.exists() or not any(directory.iterdir()):
        return False
    if read_marker(directory).get("package") != package:
        raise CorpusError(f"{directory} is not empty and was not filled from {package}")
    return True


def bring(package: str, directory: Path) -> None:
    """Downloads a package and puts its images into a folder that is absent or empty."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="corpus-") as scratch,
        tempfile.TemporaryDirectory(prefix=".corpus-", dir=directory.parent) as staging,
    ):
        archive = download(package, Path(scratch))
        root = Path(scratch).resolve() / "root"
        run(["dpkg-deb", "-x", str(archive), str(root)], Path(scratch))
        images = Path(staging) / "images"
        images.mkdir()
        found = copy_images(root, images, package)
        marker = {
            "package": package,
            "archive": archive.name,
            "links_resolved": len(found.linked),
            "dangling": found.dangling,
        }
        marker_path(directory).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
        images.replace(directory)


def fetch(package: str, directory: Path) -> Summary:
    """Fills a folder with a package's images, unless it already holds them, and counts them.

    Raises CorpusError if the folder holds anything else or the package cannot be brought.
    """
    if not PACKAGE_NAME.fullmatch(package):
        raise CorpusError(f"{package!r} is not the name of a Debian package")
    directory = directory.resolve()
    if not check_target(package, directory):
        bring(package, directory)
    return summarize(directory)


def distinct_contents(directory: Path) -> dict[str, int]:
    """Maps the SHA-256 digest of each distinct file content under a folder to its size."""
    sizes: dict[str, int] = {}
    for path in files_below(directory):
        content = path.read_bytes()
        sizes[hashlib.sha256(content).hexdigest()] = len(content)
    return sizes


def main() -> int:
    """Brings the collection the command line asks for and prints its figures."""
    parser = argparse.ArgumentParser(description="Bring a collection of images from Debian.")
    parser.add_argument("directory", metavar="DIR", type=Path, help="absent or empty folder")
    parser.add_argument("--package", default=DEFAULT_PACKAGE, help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        summary = fetch(arguments.package, arguments.directory)
        sizes = distinct_contents(arguments.directory)
    except (CorpusError, OSError) as error:
        print(f"corpus: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.package} in {arguments.directory}")
    print(f"files           {summary.files:>9}  bytes {summary.bytes:>12}")
    print(f"distinct files  {len(sizes):>9}  bytes {sum(sizes.values()):>12}")
    print(f"links resolved  {summary.links_resolved:>9}  dangling {summary.dangling:>9}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
