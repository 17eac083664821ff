"""``cas show``."""

from __future__ import annotations

import json
from typing import Any

import click

from cas.cli.opened import Opened, format_refs, open_version, version_facts
from cas.cli.output import format_time, json_option, print_json, print_table, printable, to_json
from cas.dataset.summary import format_bytes
from cas.repo.metadata import read_snapshot


@click.command("show", epilog="Example: cas show lake/photos@main~1 --json")
@click.argument("url", metavar="URL[@REV]")
@json_option
def command(url: str, as_json: bool) -> None:
    """Show one version in full: who made it when, its message, schema, sizes, metadata, and what changed.

    Rows inserted and deleted are those against the first parent; rows that were changed in place count as neither.
    """
    with open_version(url) as opened:
        facts = _facts(opened)
        if as_json:
            print_json(facts)
        else:
            _print(opened, facts)


def _facts(opened: Opened) -> dict[str, Any]:
    version, tree, nodes = opened.version, opened.tree, opened.repository.nodes
    row_map = version.row_maps[0] if version.parents else None
    return {
        **version_facts(version, opened.refs()),
        "tree": version.tree,
        "client_timestamp": format_time(version.client_timestamp, "microseconds"),
        "details": to_json(version.details),
        "rows": tree.rows,
        "rows_inserted": tree.rows if row_map is None else row_map.inserted,
        "rows_deleted": 0 if row_map is None else row_map.deleted,
        "columns": [
            {
                "name": column.name,
                "type": str(column.type),
                "size_bytes": column.size_bytes,
                "metadata": to_json(read_snapshot(column.metadata, nodes)),
            }
            for column in tree.columns
        ],
        "metadata": to_json(read_snapshot(tree.metadata, nodes)),
    }


def _print(opened: Opened, facts: dict[str, Any]) -> None:
    version = opened.version
    refs = format_refs(version, opened.refs())
    click.echo(f"version {version.id}" + (printable(f" ({refs})") if refs else ""))
    lines = [
        ("tree", version.tree),
        *(("parent", parent) for parent in version.parents),
        ("author", version.author),
        ("stored", facts["timestamp"]),
        ("made", facts["client_timestamp"]),
        ("rows", f"{facts['rows']:,} (+{facts['rows_inserted']:,} -{facts['rows_deleted']:,})"),
    ]
    for name, value in lines:
        click.echo(printable(f"{name + ':':8} {value}"))
    if version.message:
        click.echo()
    for line in version.message.splitlines():
        click.echo(printable(f"    {line}"))
    _print_columns(facts)
    for name in ("details", "metadata"):
        _print_mapping(name, facts[name])
    for column in facts["columns"]:
        _print_mapping(f"metadata of {column['name']}", column["metadata"])


def _print_columns(facts: dict[str, Any]) -> None:
    if facts["columns"]:
        click.echo()
        rows = [(column["name"], column["type"], format_bytes(column["size_bytes"])) for column in facts["columns"]]
        print_table(("column", "type", "size"), rows, right=("size",))


def _print_mapping(name: str, mapping: dict[str, Any]) -> None:
    if mapping:
        click.echo("\n" + printable(f"{name}:"))
        for key, value in mapping.items():
            click.echo(printable(f"    {key}: {json.dumps(value, ensure_ascii=False)}"))
