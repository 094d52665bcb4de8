"""What a conversion changes and how far a start came, as lines for people. Both are taken as the reports have them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from connector import amounts
from connector.cli import tables
from connector.clients.smc import Json
from connector.names import visible
from connector.specification import drill_words

_MOST_LINES: Final = 5  # for changes of one place for the same reason
COLUMNS: Final[tuple[tables.Column, ...]] = (
    ("asked", lambda row: row.get("AskedTime")),
    ("image", lambda row: row.get("ImageName")),
    ("what", lambda row: "plan" if row.get("PlanOnly") else "drill"),
    ("network", lambda row: row.get("Network")),
    ("result", drill_words.result),
)


def plan_lines(conversion: Mapping[str, Any]) -> list[str]:
    """The plan of a conversion."""
    lines = list(_change_lines(conversion.get("changes") or ()))
    lines += [
        f"{row.get('path')}: removed, {amounts.size(int(row.get('bytes') or 0))}"
        for row in conversion.get("removed") or ()
    ]
    lines = lines or ["nothing has to change"]
    lines += [f"note: {note}" for note in conversion.get("notes") or ()]
    return [visible(str(conversion.get("system"))), *(f"  {visible(line)}" for line in lines)]


def _change_lines(changes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One line for each file, and one for many changes of a place for the same reason; the JSON has each of them."""
    for (place, what, why), rows in groupby(changes, key=_place):
        paths = [row.get("path") for row in rows]
        if len(paths) > _MOST_LINES:
            yield f"{place}: {len(paths)} {what}: {why}"
        else:
            yield from (f"{path}: {why}" for path in paths)


def _place(change: Mapping[str, Any]) -> tuple[str, str, str]:
    """Where a change is, what changes there, and why."""
    why = str(change.get("why"))
    if hive := change.get("hive"):
        return str(hive), "values of the registry", why
    return str(change.get("path")).rpartition("/")[0], "files", why


def boot_lines(boot: Mapping[str, Any]) -> list[str]:
    """How far a start came."""
    verb = "boots" if boot["boots"] else "does not boot"
    lines = [f"{verb}: {boot['outcome']} after {boot['seconds']:.0f} s ({_how(boot)})"]
    lines += [f"  {name:8} {boot[name]}" for name in ("host", "kernel", "address") if boot.get(name)]
    lines += [f"  failed   {unit}" for unit in boot.get("failed_units") or ()]
    lines += [f"  kept     {boot[name]}" for name in ("console", "screen") if boot.get(name)]
    return [visible_line(line) for line in lines]


def _how(boot: Mapping[str, Any]) -> str:
    return f"{boot['accelerator']}, secure boot" if boot.get("secure_boot") else str(boot["accelerator"])


def visible_line(line: str) -> str:
    """A line without what controls a terminal; its blanks stay."""
    return line if line.isprintable() else visible(line)


def report(row: Json) -> Json:
    """The report of a drill of the API; empty if there is none."""
    parsed = json.loads(row.get("Report") or "{}")
    return parsed if isinstance(parsed, dict) else {}
