"""`connector vm` lists the machines of a vCenter and checks whether they can be migrated."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from connector import amounts
from connector.cli import estate
from connector.cli.display import print_table, wide_console
from connector.cli.options import JSON, vcenter_options
from connector.cli.tables import plain
from connector.errors import BadInput
from connector.model import Finding, Machine, Severity
from connector.selectors import Selector, described
from connector.vcenter.selectors import choose

MARK = {
    Severity.BLOCK: "[red]blocks[/]",
    Severity.WARM_BLOCK: "[red]blocks while running[/]",
    Severity.WARN: "[yellow]warning[/]",
    Severity.INFO: "note",
}

TARGETS = ("local", "alibaba")

COLUMNS: Mapping[str, Callable[[Machine], object]] = {
    "name": lambda m: m.name,
    "moref": lambda m: m.moref,
    "power": lambda m: m.power,
    "firmware": lambda m: m.firmware,
    "guest": lambda m: m.guest_name,
    "disks": lambda m: len(m.disks),
    "capacity": lambda m: sum(disk.capacity for disk in m.disks),
    "CBT": lambda m: "on" if m.cbt_enabled else "off",
    "snapshots": lambda m: len(m.snapshots),
    "path": lambda m: m.path,
    "uuid": lambda m: m.instance_uuid,
    "cluster": lambda m: m.traits.cluster,
    "host": lambda m: m.traits.host,
    "datastores": lambda m: " ".join(m.traits.datastores),
    "networks": lambda m: " ".join(m.networks),
    "addresses": lambda m: " ".join(m.addresses),
    "cpus": lambda m: m.cpus,
    "memory": lambda m: m.memory,
    "hardware": lambda m: m.hardware,
    "tools": lambda m: "running" if m.tools_running else "",
    "template": lambda m: "true" if m.template else "false",
    "tags": lambda m: " ".join(m.traits.tags),
    "attributes": lambda m: " ".join(f"{name}={value}" for name, value in m.traits.attributes),
}
USUAL = ("name", "moref", "power", "firmware", "guest", "disks", "capacity", "CBT", "snapshots")
#: The apostrophe is last: reading removes only the one that was put in front.
_GUARDED = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
_BYTES = {"capacity", "memory"}


def _columns(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    names = {name.lower(): name for name in COLUMNS}
    words = [word.strip().lower() for word in value.split(",") if word.strip()]
    unknown = [word for word in words if word not in names]
    if unknown or not words:
        raise BadInput(
            f"there is no column {unknown[0]}" if unknown else "no column is named",
            on="--columns",
            remedy=f"choose from {', '.join(COLUMNS)}",
        )
    return tuple(names[word] for word in words)


@click.group(no_args_is_help=False)
def vm() -> None:
    """Machines in vCenter: list them, check them. Nothing is changed."""


@vm.command("list", epilog=described())
@click.argument("words", nargs=-1, metavar="[SELECTOR]...")
@vcenter_options
@click.option(
    "--columns",
    default=",".join(USUAL),
    callback=_columns,
    metavar="NAME,...",
    help=f"Columns of the table and of --csv: {', '.join(COLUMNS)}.",
)
@click.option(
    "--csv", "as_csv", is_flag=True, help="Comma-separated values; sizes in bytes. `batch import` reads them."
)
@JSON
def list_machines(
    words: tuple[str, ...],
    url: str,
    user: str,
    password_file: Path | None,
    thumbprint: str,
    authority: Path | None,
    columns: tuple[str, ...],
    as_csv: bool,
    as_json: bool,
) -> None:
    """List all machines, or those that are selected.

    \b
    connector vm list --vcenter https://vc.example.com --thumbprint AA:BB:.. --password-file vc.password
    connector vm list 'web-*' power:on folder:/DC0/vm/prod --columns name,host,addresses --csv
    """
    selector = Selector.of(words)
    with estate.session(estate.settings(url, user, password_file, thumbprint, authority)) as vcenter:
        machines, instance = choose(selector, vcenter.machines()), vcenter.about.instance_uuid
    if as_json:
        for machine in machines:
            click.echo(json.dumps(asdict(machine)))
    elif as_csv:
        usual = columns == USUAL
        _write_csv(machines, (*columns, "template") if usual else columns, instance if usual else "")
    else:
        print_table(_machine_table(machines, columns))


@vm.command("check", epilog=described())
@click.argument("words", nargs=-1, metavar="[SELECTOR]...")
@vcenter_options
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    help="The cloud whose limits count. [default: what every target takes]",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a report that needs no other file, to send to the machines' owners.",
)
@click.option(
    "--deep",
    "inside",
    is_flag=True,
    help="Also check inside the disks, through a snapshot of ours. Asks first.",
)
@click.option("--yes", is_flag=True, help="With --deep: do not ask.")
@click.option(
    "--vddk",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="CONNECTOR_VDDK",
    help="With --deep: the unpacked VDDK. Without it, disks are read over NFC.",
)
@click.option(
    "--transports",
    default="nbdssl",
    show_default=True,
    help="With --deep: VDDK transports, tried from left to right.",
)
@JSON
def check_machines(
    words: tuple[str, ...],
    url: str,
    user: str,
    password_file: Path | None,
    thumbprint: str,
    authority: Path | None,
    target: str | None,
    html: Path | None,
    inside: bool,
    yes: bool,
    vddk: Path | None,
    transports: str,
    as_json: bool,
) -> None:
    """Find what blocks or limits the migration of all machines, or of those that are selected.

    The exit code is 5 if something blocks. docs/checks.md lists the checks. With --deep each machine gets a snapshot for
    some seconds, and a few MiB of its disks are read: partitions, encryption, hibernation, fstab, drivers in the initramfs.

    \b
    connector vm check web-01 db-01 --vcenter https://vc.example.com --thumbprint AA:BB:..
    connector vm check cluster:prod power:on --html report.html
    connector vm check 'web-*' --deep
    """
    from connector.cloud import factory
    from connector.vcenter.eligibility import survey

    selector = Selector.of(words)
    access = estate.settings(url, user, password_file, thumbprint, authority)
    with estate.session(access) as vcenter:
        inventory, now = vcenter.inventory(), vcenter.now()
    machines = choose(selector, inventory.machines)
    by_moref = survey(inventory, factory.limits(target), now)
    if inside:
        from connector.cli import deep

        deep.agree(machines, yes)
        blocked = [
            machine.moref
            for machine in machines
            if any(f.severity is Severity.BLOCK for f in by_moref[machine.moref])
        ]
        for moref, more in deep.findings(access, machines, vddk, transports, blocked).items():
            by_moref[moref] += more
    findings = [(machine, finding) for machine in machines for finding in by_moref[machine.moref]]
    if html is not None:
        from connector.cli import estate_report

        estate_report.write(html, machines, by_moref, url)
    if as_json:
        for machine, finding in findings:
            click.echo(json.dumps({"machine": machine.name, "moref": machine.moref} | asdict(finding)))
    else:
        _show_findings([(machine.name, finding) for machine, finding in findings], len(machines))
    if any(finding.severity is Severity.BLOCK for _, finding in findings):
        raise click.exceptions.Exit(5)


def _write_csv(machines: Sequence[Machine], columns: Sequence[str], vcenter: str = "") -> None:
    """Write a row for each machine. `vcenter`: the last column, the vCenter's instance UUID; empty: no such column."""
    last = (vcenter,) if vcenter else ()
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*columns, *(["vcenter"] if vcenter else [])])
    for machine in machines:
        writer.writerow([*(_cell(COLUMNS[column](machine)) for column in columns), *last])


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula, even if a guest's name begins like one."""
    return f"'{value}" if isinstance(value, str) and value[:1] in _GUARDED else value


def _machine_table(machines: Sequence[Machine], columns: Sequence[str]) -> Table:
    table = Table(*columns, box=None)
    for machine in machines:
        values = ((column, COLUMNS[column](machine)) for column in columns)
        table.add_row(*(amounts.size(int(str(v))) if c in _BYTES else Text(plain(v)) for c, v in values))
    return table


def _show_findings(findings: list[tuple[str, Finding]], machines: int) -> None:
    console = wide_console()
    if not findings:
        console.print(f"{amounts.plural(machines, 'machine')} checked, nothing stands in the way")
        return
    table = Table("machine", "check", "severity", "object", "finding", "remedy", box=None)
    for name, finding in findings:
        remedy = f"{finding.remedy} (the tool can do it)" if finding.fixable else finding.remedy
        texts = (finding.subject, finding.message, remedy)
        cells = (Text(plain(cell)) for cell in texts)
        table.add_row(Text(plain(name)), finding.check, MARK[finding.severity], *cells)
    print_table(table, console, lead=("machine", "check", "severity"))
