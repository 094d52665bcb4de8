"""What `connector doctor` shows: verdicts on the appliance, left-overs, and the role."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import click
from rich.table import Table
from rich.text import Text

from connector.appliance.cleanup.repair import LeftoverFinding
from connector.appliance.doctor.rules import DoctorFinding
from connector.cli.display import print_table, wide_console
from connector.cli.tables import plain
from connector.errors import Conflict
from connector.vcenter import role as needed
from connector.vcenter.facts import VCenterFacts

SHOWN = 3  # objects named of many with the same finding


@dataclass(frozen=True, slots=True)
class LeftoverRow:
    """A left-over, what became of it, and whether it is still wrong."""

    finding: LeftoverFinding
    outcome: str
    bad: bool


def verdicts(found: Sequence[DoctorFinding], passed: Sequence[tuple[str, str, str]], as_json: bool) -> bool:
    """Show what passed and, last, what did not; whether one blocks. Programs get what did not pass."""
    if as_json:
        for one in found:
            click.echo(json.dumps(asdict(one) | {"severity": one.severity.value, "bad": one.bad}))
        return any(one.bad for one in found)
    broken = {one.title for one in found}
    if passed := [one for one in passed if one[1] not in broken]:
        table = Table("check", "", "passed", "on", box=None)
        for check, title, names in _together(passed):
            table.add_row(Text(check), Text("ok", style="green"), Text(title), Text(plain(names)))
        print_table(table)
    if found:
        click.echo("")
        table = Table("check", "", "on", "finding", "what to do", box=None)
        for one, names in _alike(found):
            cells = (one.check, "blocks" if one.bad else "warning", names, one.what, one.remedy)
            table.add_row(*(Text(plain(cell)) for cell in cells))
        print_table(table)
    blocks = sum(one.bad for one in found)
    said = f"{len(found)} findings, {blocks} of them block a migration" if found else "nothing wrong"
    wide_console().print(f"appliance: {said}", highlight=False)
    return any(one.bad for one in found)


def left(rows: Sequence[LeftoverRow], as_json: bool, repair: bool) -> None:
    """Show what was left, and what became of it."""
    if as_json:
        for row in rows:
            found = row.finding
            line = {"check": found.check, "on": found.on, "what": found.what}
            click.echo(json.dumps(line | {"outcome": row.outcome, "bad": row.bad}))
        return
    console = wide_console()
    if not rows:
        console.print("nothing of ours was left in vCenter")
        return
    table = Table("check", "machine", "finding", "mended" if repair else "what would be done", box=None)
    for row in rows:
        cells = (row.finding.check, row.finding.on, row.finding.what, row.outcome)
        table.add_row(*(Text(plain(cell)) for cell in cells))
    print_table(table, console)


def role(seen: VCenterFacts, user: str, as_json: bool) -> int:
    """Show what is missing where, and the commands that grant it; the exit code."""
    lacking = [one for one in seen.grants if one.missing]
    commands = needed.commands(needed.OWN_USER if seen.administers else user)
    if as_json:
        missing = [
            {"on": one.on, "moref": one.moref, "name": one.name, "missing": one.missing} for one in lacking
        ]
        click.echo(json.dumps({"missing": missing, "commands": commands}))
    else:
        for one in lacking:
            click.echo(f"{one.on} {plain(one.name)} ({one.moref}): {', '.join(one.missing)}")
        click.echo("nothing is missing; the role is made by" if not lacking else "\nthe role is made by")
        for command in commands:
            click.echo(f"  {command}")
        if seen.administers:
            click.echo(
                f"{plain(user)} administers this vCenter: give the role to a user of its own, such as {needed.OWN_USER};"
            )
            click.echo("it replaces whatever its user may there")
    essential = any(needed.needed(name) for one in lacking for name in one.missing)
    return Conflict.exit_code if essential else 0


def _together(passed: Sequence[tuple[str, str, str]]) -> Iterable[tuple[str, str, str]]:
    """One line for all objects of the same rule."""
    groups: dict[tuple[str, str], list[str]] = {}
    for check, title, on in passed:
        groups.setdefault((check, title), []).append(on)
    for (check, title), names in sorted(groups.items(), key=lambda one: int(one[0][0][1:])):
        yield check, title, _some(list(dict.fromkeys(names)))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _alike(found: Sequence[DoctorFinding]) -> Iterable[tuple[DoctorFinding, str]]:
    """One line for all objects with the same finding."""
    groups: dict[tuple[str, str, str], list[DoctorFinding]] = {}
    for one in found:
        groups.setdefault((one.check, one.title, one.what), []).append(one)
    for same in groups.values():
        yield same[0], _some([one.on for one in same])
