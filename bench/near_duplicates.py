"""What finding near duplicates costs: a look at an image, the search among hashes, and looks that were kept.

``python bench/near_duplicates.py [--folder DIR] [--hashes N ...]``. Images come from a folder, by default from Debian's
``lomiri-wallpapers-16.04``; each is looked at as it is, and as JPEGs of fewer pixels, beside ``imagehash.phash`` where
that is installed. Hashes, by default 10,000 to 1,000,000, are random ones with copies that differ in up to three bits;
in ``crowded`` ones a third differ in up to three bits from one of ten. Each search is a process of its own, of whose
memory the peak is told. Times of looks and searches are those of the processor, of which they take one.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from corpus import CorpusError, fetch, files_below
from gc_memory import status_bytes
from PIL import Image

import cas
from cas.hashing import Hashes
from cas.integrations.near.hamming import Codes
from cas.integrations.near.kept import KeptLooks
from cas.integrations.near.leaders import find_leaders
from cas.integrations.near.looks import WORDS, Looks, look_at, pack_looks

PACKAGE = "lomiri-wallpapers-16.04"
SIDES = (320, 640, 1280)
THRESHOLDS = (4, 8, 10)
SECONDS = 2.0


def imagehash_of(data: bytes) -> object:
    """Hashes an image with the library."""
    import imagehash

    with Image.open(io.BytesIO(data)) as image:
        return imagehash.phash(image)


def mean_ms(function: Callable[[bytes], object], images: Sequence[bytes]) -> float:
    """Returns how long the processor takes for a function of an image on average."""
    done, begun = 0, time.process_time()
    while time.process_time() - begun < SECONDS:
        function(images[done % len(images)])
        done += 1
    return (time.process_time() - begun) / done * 1e3


def at_most(data: bytes, side: int) -> bytes:
    """Returns an image as a JPEG that is so many pixels wide or high."""
    with Image.open(io.BytesIO(data)) as image:
        small = image.convert("RGB")
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def print_looks(images: Sequence[bytes]) -> None:
    """Prints what a look at an image takes, by size."""
    print("| images | KiB each | ms a look | ms `imagehash.phash` |\n|---|---|---|---|")
    for side in (*SIDES, None):
        some = list(images) if side is None else [at_most(data, side) for data in images]
        try:
            theirs = f"{mean_ms(imagehash_of, some):.1f}"
        except ImportError:
            theirs = "not installed"
        ours = mean_ms(lambda data: pack_looks([look_at(data)]), some)
        size = sum(map(len, some)) / len(some) / 1024
        print(f"| {'as they are' if side is None else f'{side} pixels'} | {size:,.0f} | {ours:.1f} | {theirs} |")


def make_codes(count: int, *, crowded: bool) -> Codes:
    """Returns random codes, of which half differ in up to three bits from another, or a third from one of ten."""
    rng = np.random.default_rng(count)
    codes = rng.integers(0, 1 << 64, count, np.uint64)
    copies = rng.permutation(count)[: count // 3 if crowded else count // 2]
    codes[copies] = codes[rng.integers(0, 10 if crowded else count, len(copies))]
    for _ in range(3):
        codes[copies] ^= np.uint64(1) << rng.integers(0, 64, len(copies), np.uint64)
    return codes


def search(count: int, threshold: int, *, crowded: bool) -> dict[str, float]:
    """Groups codes and returns seconds of the processor, groups and memory."""
    codes = make_codes(count, crowded=crowded)
    begun = time.process_time()
    led = find_leaders(codes, threshold, lambda first, second: np.ones(len(first), np.bool_))
    seconds = time.process_time() - begun
    leaders = len(np.unique(led.leaders))
    return {"seconds": seconds, "leaders": leaders, "mib": status_bytes("VmHWM") / (1 << 20)}


def print_searches(counts: Sequence[int]) -> None:
    """Prints what the search takes, by the number of hashes and the threshold."""
    print("\n| hashes | threshold | s random | s crowded | MiB at the peak |\n|---|---|---|---|---|")
    for count in counts:
        for threshold in THRESHOLDS:
            runs = []
            for kind in ("random", "crowded"):
                command = [sys.executable, __file__, "--search", f"{count},{threshold},{kind}"]
                runs.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
            seconds = " | ".join(f"{run['seconds']:.2f}" for run in runs)
            print(f"| {count:,} | {threshold} | {seconds} | {max(run['mib'] for run in runs):,.0f} |", flush=True)


def print_kept(counts: Sequence[int], folder: Path) -> None:
    """Prints what it takes to keep looks in a store, to add 1,000 more, and to find them again."""
    print("\n| looks kept | s to keep | s to keep 1,000 more | s to open and find all |\n|---|---|---|---|")
    for count in counts:
        rng = np.random.default_rng(count)
        keys: Hashes = rng.integers(0, 256, (count, 32), np.uint8)
        looks = Looks(rng.integers(0, 1 << 63, (count, WORDS), np.uint64))
        more: Hashes = rng.integers(0, 256, (1000, 32), np.uint8)
        with cas.create(folder / str(count)) as ds:
            kept = KeptLooks(ds._repository, count)
            times = [time.perf_counter()]
            kept.keep(keys, looks)
            times.append(time.perf_counter())
            kept.keep(more, Looks(looks.words[:1000]))
            times.append(time.perf_counter())
            known, found = KeptLooks(ds._repository, count).find(keys)
            times.append(time.perf_counter())
            assert known.all()
            assert (found.words == looks.words).all()
        print(f"| {count:,} | {' | '.join(f'{seconds:.2f}' for seconds in np.diff(times))} |", flush=True)


def main() -> None:
    """Prints three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, help="a folder of images")
    parser.add_argument("--hashes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--search", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.search:
        count, threshold, kind = given.search.split(",")
        print(json.dumps(search(int(count), int(threshold), crowded=kind == "crowded")))
        return
    with tempfile.TemporaryDirectory(prefix="near-") as scratch:
        try:
            folder = given.folder or Path(scratch) / "images"
            if given.folder is None:
                fetch(PACKAGE, folder)
            print_looks([path.read_bytes() for path in files_below(folder)])
        except CorpusError as error:
            print(f"no images: {error}", file=sys.stderr)
        print_searches(given.hashes)
        print_kept(given.hashes, Path(scratch))


if __name__ == "__main__":
    main()
