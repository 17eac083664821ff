"""Small valid PNG images for tests, made without an image library."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from cas.hashing import hash_chunk


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(seed: int, size: int = 8) -> bytes:
    """Returns a grey PNG of ``size`` x ``size`` random pixels; different seeds give different bytes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size + 1), dtype=np.uint8)
    pixels[:, 0] = 0
    header = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    body = zlib.compress(pixels.tobytes(), 1)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def png_facts(data: bytes) -> dict[str, Any]:
    """What commands tell of such an image in JSON."""
    width, height = struct.unpack_from(">II", data, 16)
    digest = hash_chunk(data).hex()
    return {"format": "png", "size_bytes": len(data), "width": width, "height": height, "hash": digest}


def write_tree(folder: Path, files: dict[str, bytes]) -> None:
    """Writes files by their path below a folder."""
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def read_tree(folder: Path) -> dict[str, bytes]:
    """Returns the files below a folder by path, without the records of a checkout."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".cas-checkout"
    }
