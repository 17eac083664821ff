"""A branch taken back to where it was before its last move."""

from __future__ import annotations

from typing import Final

from cas.errors import BranchNotFoundError, ConflictError, VersionNotFoundError
from cas.history.refs import RefRecord
from cas.repo.branches import begin_metadata, check_metadata_committed, remove_metadata
from cas.repo.commit import move_branch
from cas.repo.reflog import Move, moves_of
from cas.repo.repository import Repository, find_ref
from cas.store.contract import Transaction, View

UNDO: Final = "undo"


def undo(repository: Repository, dataset: bytes, branch: str, branch_id: bytes, expected: bytes) -> tuple[bytes, Move]:
    """Takes a branch back to where it was before its last move; returns that version, and the move that was undone.

    That is a move too, with an entry in the reflog; undone again, the branch goes one step further back. The live
    metadata becomes that of the version, all in one transaction. Cost: the moves since the one that is undone.

    Raises :class:`~cas.errors.BranchNotFoundError` where the branch is not the one of that id,
    :class:`~cas.errors.ConflictError` where it is not at ``expected``, ``UncommittedChangesError`` where the live
    metadata is not that of its version and would be lost, and ``VersionNotFoundError`` where the branch has not moved
    since it was made or renamed, or all its moves are undone.
    """

    def change(txn: Transaction) -> tuple[bytes, Move]:
        ref = _expect(txn, dataset, branch, branch_id, expected)
        old, move = _last_move(txn, dataset, branch)
        check_metadata_committed(txn, repository, dataset, ref.version, branch)
        remove_metadata(txn, repository, dataset, ref.version, branch)
        begin_metadata(txn, repository, dataset, old, branch)
        move_branch(txn, dataset, branch, ref, old, UNDO, describe(move))
        return old, move

    return repository.store.write(change)


def describe(move: Move) -> str:
    """Returns what a move was, in a line: its command, and the first line of its message.

    >>> from cas.history.refs import ReflogRecord
    >>> describe(Move("main", 0, ReflogRecord(None, None, "commit", "labels fixed")))
    'commit "labels fixed"'
    """
    first_line = next(iter(move.record.message.splitlines()), "")
    return f'{move.record.command} "{first_line}"' if first_line else move.record.command


def _expect(view: View, dataset: bytes, branch: str, branch_id: bytes, expected: bytes) -> RefRecord:
    ref = find_ref(view, dataset, branch)
    if ref is None or ref.id != branch_id:
        raise BranchNotFoundError(f"branch {branch!r} was deleted or renamed; open it again", name=branch)
    if ref.version != expected:
        raise ConflictError(
            f"branch {branch!r} was moved by another writer, from {expected.hex()[:12]} to {ref.version.hex()[:12]}, "
            f"whose move this would undo; refresh first",
            expected=expected.hex(),
            found=ref.version.hex(),
        )
    return ref


def _last_move(view: View, dataset: bytes, branch: str) -> tuple[bytes, Move]:
    """The version that the branch came from by the last move that is not undone, and the move."""
    undone = 0
    for move in moves_of(view, dataset, branch):
        old = move.record.old
        if old is None:
            break  # the branch was made, or had another name before
        if move.record.command == UNDO:
            undone += 1
        elif undone:
            undone -= 1
        else:
            return old, move
    raise VersionNotFoundError(
        f"there is nothing to undo: branch {branch!r} is at the version where it was made or renamed", name=branch
    )
