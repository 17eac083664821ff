"""Feeds one decoder with inputs that take paths not yet taken: ``python tests/fuzz/explore.py TARGET [SECONDS]``.

Runs under `atheris <https://pypi.org/project/atheris>`_ (``pip install 'tensor-cas[fuzz]'``), for ever if no seconds
are given; further options go to libFuzzer. What it finds belongs into ``fixtures/fuzz.json``.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

import atheris

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "fixtures")]

with atheris.instrument_imports(include=["cas"]):
    import fuzz_targets

    from cas.hashing import hash_chunk


def main() -> None:
    """Runs one target until it is stopped, or fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=fuzz_targets.TARGETS)
    parser.add_argument("seconds", nargs="?", type=int, default=0)
    options, others = parser.parse_known_args()
    target = fuzz_targets.TARGETS[options.target]
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        seeds = fuzz_targets.seeds_of(Path(folder) / "stores")[options.target]
        for seed in seeds:
            (corpus / hash_chunk(seed).hex()[:16]).write_bytes(seed)

        def mutator(data: bytes, most: int, seed: int) -> bytes:
            return fuzz_targets.mutate(data, seeds, random.Random(seed), as_cbor=target.cbor)[:most]

        limits = [f"-max_total_time={options.seconds}", "-max_len=65536", "-timeout=5", "-rss_limit_mb=1024"]
        arguments = [sys.argv[0], str(corpus), *limits, *others]
        atheris.Setup(arguments, lambda data: fuzz_targets.check(target, data), custom_mutator=mutator)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
