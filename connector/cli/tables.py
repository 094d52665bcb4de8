"""Records are printed as lines of a table, or as one record with a line for each field.

Names from a server or a vCenter are plain text: never markup, and never control characters for the terminal.
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

#: A column: its title, and the function that makes a record's cell.
Column = tuple[str, Callable[[Json], object]]


def plain(value: object) -> str:
    """One printable line; names that look alike are made distinct. A dash stands for a missing value."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return visible(str(value)) or "-"


def listed(records: Iterable[Json], columns: Sequence[Column], as_json: bool, nothing: str) -> None:
    """Print a table, or one JSON object per line as the API gave it. `nothing`: the text for an empty list."""
    if as_json:
        for record in records:
            click.echo(json.dumps(record))
        return
    rows = list(records)
    if not rows:
        click.echo(nothing, err=True)
        return
    print_table(_table(rows, columns))


def shown(record: Json, fields: Sequence[Column]) -> None:
    """Print one record with a line for each field that has a value."""
    grid = Table(box=None, show_header=False, pad_edge=False)
    for title, cell in fields:
        text = plain(cell(record))
        if text != "-":
            grid.add_row(Text(title, style="bold"), Text(text))
    wide_console().print(grid)


def section(title: str, records: Sequence[Json], columns: Sequence[Column], lead: Sequence[str] = ()) -> None:
    """Print a titled table below a record, unless it is empty. `lead`: see `print_table`."""
    if records:
        click.echo(f"\n{title}")
        print_table(_table(records, columns), lead=lead)


def document(record: Mapping[str, Any]) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(record, indent=2))


def told(name: str, outcome: str, fields: Json, as_json: bool) -> None:
    """Print what was done to one object: a sentence, or one JSON object on one line."""
    click.echo(json.dumps(fields) if as_json else f"{plain(name)}: {outcome}")


def named(name: str, key: str) -> Callable[[Json], str]:
    """A cell with the name of a related record; its id if the control plane gives no name."""
    return lambda row: str(row.get(name) or row.get(key) or "")


def both(name: str, key: str) -> Callable[[Json], str]:
    """The same with the id beside the name."""
    return lambda row: " ".join(filter(None, (str(row.get(name) or ""), str(row.get(key) or ""))))


def gib(size: object) -> str:
    """A size in whole GiB, as the API counts disks."""
    return f"{size} GiB"


def tags(record: Json) -> str:
    """The tags as `k=v, k=v`."""
    pairs = ((record.get("Tags") or {}).get("Tag")) or []
    return ", ".join(f"{tag.get('Key')}={tag.get('Value') or ''}" for tag in pairs)


def _table(records: Sequence[Json], columns: Sequence[Column]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, _ in columns:
        table.add_column(title)
    for record in records:
        table.add_row(*(Text(plain(cell(record))) for _, cell in columns))
    return table
