"""From text to a version.

A revision is a branch, a tag or a unique prefix of a version id, with any number of steps after it, as in git: ``~n``
for ``n`` first parents back, ``^n`` for the ``n``-th parent. Directly after a branch or tag, also of a deleted one,
``@{n}`` is where it was ``n`` moves ago, and ``@{time}`` where it was at a time.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from cas.errors import AmbiguousRevisionError, VersionNotFoundError, shown
from cas.hashing import HEX_DIGITS
from cas.history.graph import ancestor_at, ancestors_among, find_entry, get_entry, is_first_parent_ancestor
from cas.history.refs import BRANCH, TAG, ReflogRecord
from cas.repo.reflog import moves_of
from cas.repo.repository import find_ref, scan_refs
from cas.store.contract import REFLOG, VERSIONS, View

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MIN_PREFIX_DIGITS: Final = 4
_MOST_CANDIDATES: Final = 10
MAX_CHARACTERS: Final = 1024
_STEP: Final = re.compile(r"(?P<base>.+)(?P<kind>[~^])(?P<count>\d{0,12})\Z", re.DOTALL)
_PAST: Final = re.compile(r"(?P<name>.+)@\{(?P<when>[^{}]{1,64})\}\Z", re.DOTALL)
_PREFIX: Final = re.compile(rf"[0-9a-f]{{{MIN_PREFIX_DIGITS},{HEX_DIGITS}}}")


def resolve(view: View, dataset: bytes, revision: str) -> bytes:
    """Returns the version that a revision names.

    Raises :class:`~cas.errors.VersionNotFoundError`, or ``AmbiguousRevisionError`` for a prefix of several.
    """
    if not isinstance(revision, str) or len(revision) > MAX_CHARACTERS:
        raise VersionNotFoundError(
            f"revision {shown(revision, 40)} names no version: expected a Version, or text of up to {MAX_CHARACTERS} "
            f"characters"
        )
    ref = find_ref(view, dataset, revision) if revision else None
    if ref is not None:
        return ref.version
    step = _STEP.match(revision)
    if step is not None:
        count = int(step["count"] or 1)
        move = _step_back if step["kind"] == "~" else _parent
        return move(view, resolve(view, dataset, step["base"]), count, revision)
    past = _PAST.match(revision)
    if past is not None:
        return _in_the_past(view, dataset, past["name"], past["when"])
    if _PREFIX.fullmatch(revision):
        return find_prefix(view, revision, dataset)
    known = [name for kind in (BRANCH, TAG) for name, _ in islice(scan_refs(view, dataset, kind), _MOST_CANDIDATES)]
    raise VersionNotFoundError(
        f"revision {revision!r} names no version: expected a branch or tag ({', '.join(known)}), or "
        f"{MIN_PREFIX_DIGITS} and more digits of a version id, each with ~N for N versions before, ^N for the Nth "
        f"parent; or the branch or tag with @{{N}} for N moves ago or @{{2026-11-01}} for a time",
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


def _parent(view: View, version: bytes, number: int, revision: str) -> bytes:
    parents = (version, *get_entry(view, version).parents)
    if number >= len(parents):
        raise VersionNotFoundError(
            f"revision {revision!r} asks for parent {number} of a version that has {len(parents) - 1}", name=revision
        )
    return parents[number]


def _in_the_past(view: View, dataset: bytes, name: str, when: str) -> bytes:
    """Where a branch or tag was so many moves ago, or at a time."""
    revision = f"{name}@{{{when}}}"
    moves = moves_of(view, dataset, name)
    if when.isdecimal():
        found = next(islice(moves, int(when), None), None)
    else:
        time = _microseconds(when, revision)
        found = next((move for move in moves if move.timestamp <= time), None)
    if found is None or found.record.new is None:
        what = "was not there then" if found is None else "had been deleted then"
        raise VersionNotFoundError(f"revision {revision!r} names no version: {name!r} {what}", name=revision)
    return found.record.new


def _microseconds(when: str, revision: str) -> int:
    try:
        time = dt.datetime.fromisoformat(when)
    except ValueError:
        raise VersionNotFoundError(
            f"revision {revision!r} names no version: expected a number of moves, or a time such as 2026-11-01 or "
            f"2026-11-01T12:30+01:00 (without a zone: UTC)",
            name=revision,
        ) from None
    aware = time if time.tzinfo is not None else time.replace(tzinfo=dt.UTC)
    return (aware - _EPOCH) // dt.timedelta(microseconds=1)


def find_prefix(view: View, prefix: str, dataset: bytes | None = None) -> bytes:
    """Returns the version whose id begins with these hexadecimal digits, of a dataset or of any.

    A version is of a dataset when one of its branches or tags leads there, through any parents, or one that the reflog
    names. Cost: logarithmic for each branch and tag where one leads to it along first parents; otherwise the reflog is
    read, and at last, once, the versions of the dataset down to the lowest generation of what has that prefix.
    """
    there = list(_with_prefix(view, prefix))
    candidates = there if dataset is None else _of_dataset(view, dataset, there)
    if not candidates:
        where = "of this dataset " if there else ""
        raise VersionNotFoundError(f"no version {where}has an id that begins with {prefix}", name=prefix)
    if len(candidates) > 1:
        names = [key.hex() for key in candidates[:_MOST_CANDIDATES]]
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


def _of_dataset(view: View, dataset: bytes, versions: list[bytes]) -> list[bytes]:
    """Those that are of a dataset; see :func:`find_prefix`."""
    heads = {ref.version for kind in (BRANCH, TAG) for _, ref in scan_refs(view, dataset, kind)}
    # One that leads nowhere is damage, but none of the versions that others lead to.
    heads = {head for head in heads if find_entry(view, head) is not None}
    unknown = {
        version for version in versions if not any(is_first_parent_ancestor(view, version, head) for head in heads)
    }
    if unknown:
        news = (ReflogRecord.decode(data).new for _, data in view.scan(REFLOG, dataset))
        heads.update(new for new in news if new is not None and find_entry(view, new) is not None)
        unknown -= heads
    if unknown:
        unknown -= ancestors_among(view, unknown, heads)
    return [version for version in versions if version not in unknown]
