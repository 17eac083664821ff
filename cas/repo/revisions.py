"""From text to a version: branches, tags, unique hash prefixes and ``~n``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from cas.errors import AmbiguousRevisionError, VersionNotFoundError
from cas.hashing import HEX_DIGITS
from cas.history.graph import ancestor_at, find_entry, get_entry
from cas.history.refs import BRANCH, TAG, ReflogRecord
from cas.repo.repository import find_ref, scan_refs
from cas.store.contract import REFLOG, VERSIONS, View

MIN_PREFIX_DIGITS: Final = 4
_MOST_CANDIDATES: Final = 10
MAX_CHARACTERS: Final = 1024
_SUFFIX: Final = re.compile(r"(?P<base>.+)~(?P<back>\d{0,12})\Z", re.DOTALL)
_PREFIX: Final = re.compile(rf"[0-9a-f]{{{MIN_PREFIX_DIGITS},{HEX_DIGITS}}}")


def resolve(view: View, dataset: bytes, revision: str) -> bytes:
    """Returns the version that a revision names.

    Raises :class:`~cas.errors.VersionNotFoundError`, or ``AmbiguousRevisionError`` for a prefix of several.
    """
    if not isinstance(revision, str) or len(revision) > MAX_CHARACTERS:
        raise VersionNotFoundError(
            f"revision {revision!r:.40} names no version: expected a Version, or text of up to {MAX_CHARACTERS} "
            f"characters"
        )
    ref = find_ref(view, dataset, revision) if revision else None
    if ref is not None:
        return ref.version
    suffix = _SUFFIX.match(revision)
    if suffix is not None:
        return _step_back(view, resolve(view, dataset, suffix["base"]), int(suffix["back"] or 1), revision)
    if _PREFIX.fullmatch(revision):
        return find_prefix(view, revision, dataset)
    known = [name for kind in (BRANCH, TAG) for name, _ in islice(scan_refs(view, dataset, kind), _MOST_CANDIDATES)]
    raise VersionNotFoundError(
        f"revision {revision!r} names no version: expected a branch or tag ({', '.join(known)}), or "
        f"{MIN_PREFIX_DIGITS} and more digits of a version id, each with ~N for N versions before",
        name=revision,
    )


def resolve_version(view: View, dataset: bytes, version: bytes) -> bytes:
    """Returns a version, given by its hash, if it is one of the dataset."""
    return find_prefix(view, version.hex(), dataset)


def _step_back(view: View, version: bytes, back: int, revision: str) -> bytes:
    depth = get_entry(view, version).depth - back
    if depth < 0:
        raise VersionNotFoundError(
            f"revision {revision!r} goes back further than the first version, which is {back + depth} before",
            name=revision,
        )
    return ancestor_at(view, version, depth)


def find_prefix(view: View, prefix: str, dataset: bytes | None = None) -> bytes:
    """Returns the version whose id begins with these hexadecimal digits, of a dataset or of any.

    A version is of a dataset when a branch or tag of it leads there along first parents, or the reflog names it.
    """
    elsewhere = False
    candidates: list[bytes] = []
    for version in _with_prefix(view, prefix):
        if dataset is None or _belongs(view, dataset, version):
            candidates.append(version)
        else:
            elsewhere = True
        if len(candidates) == _MOST_CANDIDATES:
            break
    if not candidates:
        where = "of this dataset " if elsewhere else ""
        raise VersionNotFoundError(f"no version {where}has an id that begins with {prefix}", name=prefix)
    if len(candidates) > 1:
        names = [key.hex() for key in candidates]
        raise AmbiguousRevisionError(
            f"{prefix} begins several version ids: {', '.join(name[:12] for name in names)}; give more digits",
            name=prefix,
            candidates=names,
        )
    return candidates[0]


def _with_prefix(view: View, prefix: str) -> Iterator[bytes]:
    whole, odd = divmod(len(prefix), 2)
    start = bytes.fromhex(prefix[: 2 * whole])
    if len(prefix) == HEX_DIGITS:
        return iter([start] if find_entry(view, start) is not None else [])
    return (key for key, _ in view.scan(VERSIONS, start) if not odd or key.hex().startswith(prefix))


def _belongs(view: View, dataset: bytes, version: bytes) -> bool:
    depth = get_entry(view, version).depth
    seen: set[bytes] = set()
    for kind in (BRANCH, TAG):
        for _, ref in scan_refs(view, dataset, kind):
            if ref.version not in seen:
                seen.add(ref.version)
                if get_entry(view, ref.version).depth >= depth and ancestor_at(view, ref.version, depth) == version:
                    return True
    return any(ReflogRecord.decode(data).new == version for _, data in view.scan(REFLOG, dataset))
