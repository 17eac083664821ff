"""What moves the branch of a dataset other than a commit: merges, reverts, undo."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from cas.codec import cbor
from cas.dataset.history import Version
from cas.dataset.refs import RefView
from cas.errors import BranchNotFoundError, ConflictError, InvalidTypeError, UncommittedChangesError, shown
from cas.history.conflicts import OnConflict, check_on_conflict
from cas.repo.landing import Branch, Signature, merge_branch, revert_branch
from cas.repo.undo import undo as undo_move

if TYPE_CHECKING:
    from cas.dataset.dataset import Dataset

Named = str | Version | RefView


def default_author() -> str:
    """Returns the name of the account that runs the process."""
    return _account_name(os.getuid())


@cache
def _account_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def merge(dataset: Dataset, revision: Named, message: str | None, on_conflict: OnConflict) -> str:
    """Merges a version into the branch that a dataset is open on, where that is by now."""
    decided = check_on_conflict(on_conflict)
    signature = _signature(message, f"Merge {_name(revision)} into {dataset.branch_name}")

    def move() -> bytes:
        theirs = dataset._version_named(revision)._hash
        while True:
            head = dataset._read_head()
            _check_same_branch(dataset, head.id)
            branch = Branch(dataset._dataset, dataset.branch_name, head.id, head.version)
            try:
                return merge_branch(dataset._repository, branch, theirs, signature, decided)
            except ConflictError as moved:
                if moved.found is None:
                    raise

    return _move(dataset, f"merge {_name(revision)}", move)


def revert_to(dataset: Dataset, version: Named, message: str | None) -> str:
    """Makes a version with the content of another one, on the branch that a dataset is open on."""
    signature = _signature(message, f"Revert to {_name(version)}")

    def move() -> bytes:
        target = dataset._version_named(version)._hash
        branch = Branch(dataset._dataset, dataset.branch_name, dataset._branch_id, dataset._draft.base)
        return revert_branch(dataset._repository, branch, target, signature)

    return _move(dataset, f"revert to {_name(version)}", move)


def undo(dataset: Dataset) -> str:
    """Takes the branch that a dataset is open on back to where it was before its last move."""

    def move() -> bytes:
        version, _ = undo_move(
            dataset._repository, dataset._dataset, dataset.branch_name, dataset._branch_id, dataset._draft.base
        )
        return version

    return _move(dataset, "undo", move)


def _move(dataset: Dataset, what: str, move: Callable[[], bytes]) -> str:
    """Moves the branch, and the handle with it; nothing may be staged."""
    with dataset._editing() as draft:
        if draft.changed:
            raise UncommittedChangesError(f"there are uncommitted changes; commit or roll back, then {what}")
        head = move()
        dataset._holder.draft = dataset._draft_from(head)
        return head.hex()


def _check_same_branch(dataset: Dataset, id_: bytes) -> None:
    if id_ != dataset._branch_id:
        raise BranchNotFoundError(
            f"branch {dataset.branch_name!r} was deleted, and another one has its name; open it",
            name=dataset.branch_name,
        )


def check_signature(message: object, author: object = None) -> None:
    """Refuses a message, or an author, that is no Unicode text; None is taken."""
    for what, text in (("message", message), ("author", author)):
        if text is None:
            continue
        if not isinstance(text, str):
            raise InvalidTypeError(f"{what} {shown(text, 80)} is not valid: expected text")
        cbor.checked_text(text)


def _signature(message: str | None, default: str) -> Signature:
    text = default if message is None else message
    check_signature(text)
    return Signature(text, default_author())


def _name(version: Named) -> str:
    """How a version was named, for messages."""
    if isinstance(version, RefView):
        return version.name
    return version.id[:12] if isinstance(version, Version) else str(version)
