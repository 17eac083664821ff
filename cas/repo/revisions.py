"""From text to a version: branches, tags, unique hash prefixes and ``~n``."""

from __future__ import annotations

import re
from typing import Final

from cas.errors import AmbiguousRevisionError, VersionNotFoundError
from cas.hashing import HEX_DIGITS
from cas.history.graph import ancestor_at, find_entry, get_entry
from cas.repo.repository import find_ref
from cas.store.contract import VERSIONS, View

MIN_PREFIX_DIGITS: Final = 4
_SUFFIX: Final = re.compile(r"(?P<base>.+?)~(?P<back>\d*)\Z", re.DOTALL)
_PREFIX: Final = re.compile(rf"[0-9a-f]{{{MIN_PREFIX_DIGITS},{HEX_DIGITS}}}")


def resolve(view: View, dataset: bytes, revision: str) -> bytes:
    """Returns the version that a revision names.

    Raises :class:`~cas.errors.VersionNotFoundError`, or ``AmbiguousRevisionError`` for a prefix of several.
    """
    if not isinstance(revision, str):
        raise VersionNotFoundError(f"revision {revision!r} is not text", name=revision)
    ref = find_ref(view, dataset, revision) if revision else None
    if ref is not None:
        return ref.version
    suffix = _SUFFIX.match(revision)
    if suffix is not None:
        return _step_back(view, resolve(view, dataset, suffix["base"]), int(suffix["back"] or 1), revision)
    if _PREFIX.fullmatch(revision):
        return find_prefix(view, revision)
    raise VersionNotFoundError(
        f"revision {revision!r} names no version: expected a branch, a tag, or {MIN_PREFIX_DIGITS} and more "
        f"digits of a version id, each with ~N for N versions before",
        name=revision,
    )


def _step_back(view: View, version: bytes, back: int, revision: str) -> bytes:
    depth = get_entry(view, version).depth - back
    if depth < 0:
        raise VersionNotFoundError(
            f"revision {revision!r} goes back further than the first version, which is {back + depth} before",
            name=revision,
        )
    return ancestor_at(view, version, depth)


def find_prefix(view: View, prefix: str) -> bytes:
    """Returns the version whose id begins with these hexadecimal digits."""
    whole, odd = divmod(len(prefix), 2)
    start = bytes.fromhex(prefix[: 2 * whole])
    if len(start) * 2 == HEX_DIGITS:
        if find_entry(view, start) is None:
            raise VersionNotFoundError(f"there is no version {prefix}", name=prefix)
        return start
    candidates = []
    for key, _ in view.scan(VERSIONS, start):
        if not odd or key.hex().startswith(prefix):
            candidates.append(key)
            if len(candidates) == 10:
                break
    if not candidates:
        raise VersionNotFoundError(f"no version id begins with {prefix}", name=prefix)
    if len(candidates) > 1:
        names = [key.hex() for key in candidates]
        raise AmbiguousRevisionError(
            f"{prefix} begins several version ids: {', '.join(name[:12] for name in names)}; give more digits",
            name=prefix,
            candidates=names,
        )
    return candidates[0]
