"""`connector vm`: what vCenter shows, and what stands in the way of migrating it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.filesize import decimal
from rich.table import Table

from connector.cli import estate
from connector.cli.display import wide_console
from connector.cli.options import JSON, vcenter_options
from connector.model import Finding, Machine, Severity

MARK = {
    Severity.BLOCK: "[red]blocks[/]",
    Severity.WARM_BLOCK: "[red]blocks while running[/]",
    Severity.WARN: "[yellow]warning[/]",
    Severity.INFO: "note",
}


@click.group(no_args_is_help=False)
def vm() -> None:
    """Machines in vCenter: list them, check them. Nothing is changed."""


@vm.command("list")
@vcenter_options
@JSON
def list_machines(
    url: str, user: str, password_file: Path | None, thumbprint: str, authority: Path | None, as_json: bool
) -> None:
    """List every machine, with its disks.

    \b
    connector vm list --vcenter https://vc.example.com --thumbprint AA:BB:.. --password-file vc.password
    """
    with estate.look(estate.settings(url, user, password_file, thumbprint, authority)) as vcenter:
        machines = vcenter.machines()
    if as_json:
        for machine in machines:
            click.echo(json.dumps(asdict(machine)))
        return
    wide_console().print(_machine_table(machines))


@vm.command("check")
@click.argument("names", nargs=-1, metavar="[VM]...")
@vcenter_options
@JSON
def check_machines(
    names: tuple[str, ...],
    url: str,
    user: str,
    password_file: Path | None,
    thumbprint: str,
    authority: Path | None,
    as_json: bool,
) -> None:
    """Say what stands in the way of migrating the named machines, or all of them.

    VM is a name, an inventory path, a moref or an instance UUID. Exit code 5 when something blocks.

    \b
    connector vm check web-01 db-01 --vcenter https://vc.example.com --thumbprint AA:BB:..
    """
    with estate.look(estate.settings(url, user, password_file, thumbprint, authority)) as vcenter:
        machines = [vcenter.find(name) for name in estate.named(names)] if names else list(vcenter.machines())
        found = {machine.name: vcenter.check(machine) for machine in machines}
    findings = [(name, finding) for name, each in found.items() for finding in each]
    if as_json:
        for name, finding in findings:
            click.echo(json.dumps({"machine": name} | asdict(finding)))
    else:
        _show_findings(findings, len(machines))
    if any(finding.severity is Severity.BLOCK for _, finding in findings):
        raise click.exceptions.Exit(5)


def _machine_table(machines: tuple[Machine, ...]) -> Table:
    table = Table(
        "name", "moref", "power", "firmware", "guest", "disks", "capacity", "CBT", "snapshots", box=None
    )
    for machine in machines:
        table.add_row(
            machine.name,
            machine.moref,
            machine.power,
            machine.firmware,
            machine.guest_name,
            str(len(machine.disks)),
            decimal(sum(disk.capacity for disk in machine.disks)),
            "on" if machine.cbt_enabled else "off",
            str(len(machine.snapshots)),
        )
    return table


def _show_findings(findings: list[tuple[str, Finding]], machines: int) -> None:
    console = wide_console()
    if not findings:
        console.print(f"{machines} machine(s) checked, nothing stands in the way")
        return
    table = Table("machine", "check", "severity", "object", "finding", "remedy", box=None)
    for name, finding in findings:
        table.add_row(
            name, finding.check, MARK[finding.severity], finding.subject, finding.message, finding.remedy
        )
    console.print(table)
