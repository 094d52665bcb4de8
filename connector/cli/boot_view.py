"""Options of a start, and its report: for `connector machine` and `connector job drill`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from connector.cli import drill_view, machine_image
from connector.cli.conversion import show_plan
from connector.cloud.console import BootOutcome
from connector.conversion import boot_check as checks
from connector.conversion.conversion import GuestImage
from connector.conversion.drill import drill as drill_image
from connector.conversion.virtual_machine import MIB, Hardware, hardware_for
from connector.errors import BadInput, BootFailed

TIMEOUT = click.option(
    "--timeout",
    type=click.IntRange(10),
    default=600,
    show_default=True,
    help="Seconds until it counts as silent.",
)
MARKER = click.option(
    "--marker", metavar="REGEX", help="Wait for this line of the serial console instead of a login prompt."
)
REPORT = click.option(
    "--report",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep the console log, a screenshot and the result here. They may show secrets of the guest.",
)


def tell_drill(
    guest: GuestImage,
    hardware: Hardware,
    marker: re.Pattern[str] | None,
    timeout: float,
    report: Path | None,
    as_json: bool,
) -> None:
    """Do a drill and tell the result. Raises BootFailed when the machine does not come up."""

    def start(converted: Hardware) -> checks.BootReport:
        return checks.boot_check(converted, keep=report, marker=marker, patience=timeout, say=say)

    result = drill_image(guest, hardware, start, say=say)
    if as_json:
        click.echo(json.dumps(result.to_json()))
    else:
        if result.conversion is not None:
            show_plan(result.conversion)
            click.echo(f"converted in {result.seconds:.0f} s")
        for line in lines_of(result.boot):
            click.echo(line)
    require_boot(result.boot, Path(guest.name), hardware, report)


def hardware_of(described: machine_image.MachineImage, memory: int | None, cpus: int) -> Hardware:
    """The machine to start for an image. `memory`: MiB."""
    return hardware_for(described.machine, described.disks, memory and memory * MIB, cpus)


def require_boot(result: checks.BootReport, image: Path, hardware: Hardware, report: Path | None) -> None:
    """Raise BootFailed for a machine that did not come up."""
    if not result.boots:
        raise BootFailed(
            f"does not boot: {result.outcome}{f' ({result.reason})' if result.reason else ''}",
            on=str(image),
            remedy=_remedy(result, hardware, report),
        )


def say(line: str) -> None:
    """How a long start goes on; on standard error, so that it does not mix with the result."""
    click.echo(line, err=True)


def pattern_of(marker: str | None) -> re.Pattern[str] | None:
    """The value of --marker. Raises BadInput."""
    try:
        return None if marker is None else re.compile(marker)
    except re.error as error:
        raise BadInput(
            f"is no regular expression ({error})", on="--marker", remedy="see Python's module re"
        ) from None


def lines_of(result: checks.BootReport) -> list[str]:
    """The report for people."""
    return drill_view.boot_lines(result.to_json())


def _remedy(result: checks.BootReport, hardware: Hardware, report: Path | None) -> str:
    if result.outcome is BootOutcome.NOT_BOOTABLE:
        other = "bios" if hardware.firmware == "efi" else "efi"
        return f"if the source starts with the other firmware, say --firmware {other}; else name the system disk first"
    if result.outcome is BootOutcome.SILENT:
        return "give it more time with --timeout; look at the screenshot of --report: a guest may have no serial console"
    return f"see {report}" if report else "say --report DIR to keep its console and its screen"
