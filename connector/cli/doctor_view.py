"""`connector doctor` shows findings about the appliance, leftovers, and the role."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import click
from rich.table import Table
from rich.text import Text

from connector import amounts
from connector.appliance.cleanup.repair import LeftoverFinding
from connector.appliance.doctor.rules import DoctorFinding
from connector.cli.display import print_table, wide_console
from connector.cli.read_test import ReadTest
from connector.cli.tables import plain
from connector.errors import Conflict
from connector.vcenter import role as needed
from connector.vcenter.facts import VCenterFacts

SHOWN = 3  # how many of the objects with the same finding are named


@dataclass(frozen=True, slots=True)
class LeftoverRow:
    """A leftover, what was done with it, and whether it is still wrong."""

    finding: LeftoverFinding
    outcome: str
    bad: bool


def verdicts(
    findings: Sequence[DoctorFinding], passed: Sequence[tuple[str, str, str]], as_json: bool
) -> bool:
    """Show what passed and then the findings; answer whether one blocks. Programs get only the findings."""
    if as_json:
        for finding in findings:
            click.echo(json.dumps(asdict(finding) | {"severity": finding.severity.value, "bad": finding.bad}))
        return any(finding.bad for finding in findings)
    broken = {finding.title for finding in findings}
    if passed := [finding for finding in passed if finding[1] not in broken]:
        table = Table("check", "", "passed", "on", box=None)
        for check, title, names in _together(passed):
            table.add_row(Text(check), Text("ok", style="green"), Text(title), Text(plain(names)))
        print_table(table, lead=("check", "", "passed"))
    if findings:
        click.echo("")
        table = Table("check", "", "on", "finding", "what to do", box=None)
        for finding, names in _alike(findings):
            cells = (
                finding.check,
                "blocks" if finding.bad else "warning",
                names,
                finding.what,
                finding.remedy,
            )
            table.add_row(*(Text(plain(cell)) for cell in cells))
        print_table(table, lead=("check", "", "finding"))
    blocks = sum(finding.bad for finding in findings)
    verb = "blocks" if blocks == 1 else "block"
    counts = f"{amounts.plural(len(findings), 'finding')}, {blocks} of them {verb} a migration"
    summary = counts if findings else "nothing wrong"
    wide_console().print(f"appliance: {summary}", highlight=False)
    return any(finding.bad for finding in findings)


def left(rows: Sequence[LeftoverRow], as_json: bool, repair: bool) -> None:
    """Show what was left, and what was done with it."""
    if as_json:
        for row in rows:
            finding = row.finding
            line = {"check": finding.check, "on": finding.on, "what": finding.what}
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
    print_table(table, console, lead=("check", "machine"))
    wrong = sum(row.bad for row in rows)
    rest = f"{wrong} of them still wrong" if wrong else "nothing must be done"
    console.print(f"{amounts.plural(len(rows), 'leftover')}, {rest}", highlight=False)


def reads(tests: Sequence[ReadTest], as_json: bool) -> bool:
    """Show what each reader did with a real disk; answer whether none of them could read it."""
    if as_json:
        for test in tests:
            click.echo(json.dumps(test.to_json()))
    else:
        table = Table("reader", "", "disk", "opened in", "read", "rate", box=None)
        for test in tests:
            good = (f"{test.opened:.1f} s", amounts.size(test.read), amounts.rate(test.rate))
            cells = ("", "", "") if test.trouble else good
            state = Text("fails", style="red") if test.trouble else Text("ok", style="green")
            table.add_row(Text(test.reader), state, Text(plain(test.disk)), *map(Text, cells))
        print_table(table, lead=("reader", "", "disk"))
        for test in tests:
            if test.trouble:
                wide_console().print(Text(f"{test.reader}: {plain(test.trouble)}"))
    return all(test.trouble for test in tests)


def role(facts: VCenterFacts, user: str, as_json: bool) -> int:
    """Show which privileges are missing where, and the commands that grant them. Answer the exit code."""
    lacking = [grant for grant in facts.grants if grant.missing]
    commands = needed.commands(needed.OWN_USER if facts.administers else user)
    if as_json:
        missing = [
            {"on": grant.on, "moref": grant.moref, "name": grant.name, "missing": grant.missing}
            for grant in lacking
        ]
        click.echo(json.dumps({"missing": missing, "commands": commands}))
    else:
        for grant in lacking:
            click.echo(f"{grant.on} {plain(grant.name)} ({grant.moref}): {', '.join(grant.missing)}")
        click.echo("nothing is missing; the role is made by" if not lacking else "\nthe role is made by")
        for command in commands:
            click.echo(f"  {command}")
        if facts.administers:
            click.echo(
                f"{plain(user)} administers this vCenter: give the role to a separate user, such as {needed.OWN_USER};"
            )
            click.echo("it replaces all rights that the user has there")
    essential = any(needed.needed(name) for grant in lacking for name in grant.missing)
    return Conflict.exit_code if essential else 0


def _together(passed: Sequence[tuple[str, str, str]]) -> Iterable[tuple[str, str, str]]:
    """One line for all objects of the same rule."""
    groups: dict[tuple[str, str], list[str]] = {}
    for check, title, on in passed:
        groups.setdefault((check, title), []).append(on)
    for (check, title), names in sorted(groups.items(), key=lambda item: int(item[0][0][1:])):
        yield check, title, _some(list(dict.fromkeys(names)))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _alike(findings: Sequence[DoctorFinding]) -> Iterable[tuple[DoctorFinding, str]]:
    """One line for all objects with the same finding."""
    groups: dict[tuple[str, str, str], list[DoctorFinding]] = {}
    for finding in findings:
        groups.setdefault((finding.check, finding.title, finding.what), []).append(finding)
    for same in groups.values():
        yield same[0], _some([finding.on for finding in same])
