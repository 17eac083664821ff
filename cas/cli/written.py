"""What commands tell of files that they have written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cas.cli.opened import SHORT_DIGITS
from cas.cli.output import printable
from cas.dataset.summary import format_bytes
from cas.integrations.checkout import PinnedCheckout
from cas.integrations.folder.checkout import CheckoutResult


def result_facts(result: CheckoutResult) -> dict[str, Any]:
    """Returns what is told of a checkout in JSON."""
    skipped = [{"path": item.path, "reason": item.reason} for item in result.skipped]
    facts = {name: getattr(result, name) for name in ("written", "unchanged", "removed", "written_bytes")}
    return {**facts, "skipped": skipped}


def told_result(result: CheckoutResult) -> str:
    """Returns the counts of a checkout in words."""
    return (
        f"{result.written:,} written ({format_bytes(result.written_bytes)}), {result.unchanged:,} unchanged, "
        f"{result.removed:,} removed, {len(result.skipped):,} left out"
    )


def tell_skipped(result: CheckoutResult, below: str = "") -> None:
    """Lists what was left out, on standard error."""
    for item in result.skipped:
        click.echo(f"left out {printable(below + item.path)}: {printable(item.reason)}", err=True)


def pinned_facts(pinned: PinnedCheckout) -> dict[str, Any]:
    """Returns what is told in JSON of a pinned dataset that was, or was not, written."""
    facts = {"name": pinned.name, "version": pinned.version, "folder": pinned.folder, "reason": pinned.reason}
    return facts | ({} if pinned.result is None else result_facts(pinned.result))


def tell_pinned(pinned: PinnedCheckout, folder: Path) -> None:
    """Tells what became of a pinned dataset; on standard error, where it was left out."""
    if pinned.result is None:
        click.echo(f"left out {printable(pinned.folder)}: {printable(pinned.reason or '')}", err=True)
        return
    tell_skipped(pinned.result, f"{pinned.folder}/")
    place = printable(str(folder / pinned.folder))
    click.echo(f"{place} is at {pinned.version[:SHORT_DIGITS]}: {told_result(pinned.result)}")


def is_incomplete(pinned: PinnedCheckout) -> bool:
    """Whether something of a pinned dataset was left out."""
    return pinned.result is None or bool(pinned.result.skipped)
