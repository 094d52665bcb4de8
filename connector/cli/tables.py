"""Records as people read them: one line each in a list, one field each when a single one is shown.

What a server or a vCenter named is text, never markup, and never a control character for the terminal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from connector.cli.display import print_table, wide_console
from connector.clients.smc import Json
from connector.names import visible

#: A column: its title, and how a record's cell is made.
Column = tuple[str, Callable[[Json], object]]


def plain(value: object) -> str:
    """One printable line, names that look alike told apart; a dash for what is not there."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return visible(str(value)) or "-"


def listed(records: Iterable[Json], columns: Sequence[Column], as_json: bool, nothing: str) -> None:
    """A table, or one JSON object per line as the API gave it. `nothing`: what to say when there is none."""
    if as_json:
        for record in records:
            click.echo(json.dumps(record))
        return
    found = list(records)
    if not found:
        click.echo(nothing, err=True)
        return
    print_table(_table(found, columns))


def shown(record: Json, fields: Sequence[Column]) -> None:
    """One record, a line per field; fields without a value are left out."""
    grid = Table(box=None, show_header=False, pad_edge=False)
    for title, cell in fields:
        text = plain(cell(record))
        if text != "-":
            grid.add_row(Text(title, style="bold"), Text(text))
    wide_console().print(grid)


def section(title: str, records: Sequence[Json], columns: Sequence[Column]) -> None:
    """A titled table below a record; nothing when it would be empty."""
    if records:
        click.echo(f"\n{title}")
        print_table(_table(records, columns))


def document(record: Mapping[str, Any]) -> None:
    """One JSON document."""
    click.echo(json.dumps(record, indent=2))


def told(name: str, what: str, fields: Json, as_json: bool) -> None:
    """What was done to one thing: a sentence, or one JSON object on one line."""
    click.echo(json.dumps(fields) if as_json else f"{plain(name)}: {what}")


def named(name: str, key: str) -> Callable[[Json], str]:
    """A cell with the name of what another record is meant by; its id where the control plane tells no name."""
    return lambda row: str(row.get(name) or row.get(key) or "")


def both(name: str, key: str) -> Callable[[Json], str]:
    """The same with the id beside the name."""
    return lambda row: " ".join(filter(None, (str(row.get(name) or ""), str(row.get(key) or ""))))


def gib(size: object) -> str:
    """Whole GiB as the API counts disks."""
    return f"{size} GiB"


def tags(record: Json) -> str:
    """`k=v, k=v`."""
    found = ((record.get("Tags") or {}).get("Tag")) or []
    return ", ".join(f"{tag.get('Key')}={tag.get('Value') or ''}" for tag in found)


def _table(records: Sequence[Json], columns: Sequence[Column]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, _ in columns:
        table.add_column(title)
    for record in records:
        table.add_row(*(Text(plain(cell(record))) for _, cell in columns))
    return table
