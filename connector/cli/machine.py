"""`connector machine` starts images in QEMU: `check` reports how far one comes, `run` gives you its console.

Both start a copy that is thrown away; the image is only read. The machine's network ends in QEMU.
The commands that convert are in `cli.conversion`.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from connector import environment
from connector.cli import machine_image
from connector.cli.conversion import NETWORK, NEW_MACS, container, convert, guest_image, plan, show_plan
from connector.cli.options import JSON
from connector.conversion import boot_check as checks
from connector.conversion.console import BootOutcome
from connector.conversion.conversion import GuestImage
from connector.conversion.drill import drill as drill_image
from connector.conversion.virtual_machine import (
    MIB,
    Hardware,
    RunDirectory,
    accelerator,
    command,
    copies,
    require_tools,
)
from connector.errors import BadInput, BootFailed

_MOST_MEMORY: Final = 4096 * MIB  # of a check, unless more is asked for
_LEAST_MEMORY: Final = 512 * MIB

_MEMORY = click.option(
    "--memory", type=click.IntRange(128), metavar="MIB", help="Default: as the source had, at most 4096."
)
_CPUS = click.option("--cpus", type=click.IntRange(1, 64), default=1, show_default=True, help="Processors.")
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


@click.group()
def machine() -> None:
    """Start images in QEMU, and convert them so that they start. The image itself is only read."""


machine.add_command(plan)
machine.add_command(convert)
machine.add_command(container)


@machine.command()
@machine_image.IMAGE
@machine_image.FIRMWARE
@_MEMORY
@_CPUS
@TIMEOUT
@MARKER
@REPORT
@JSON
def check(
    image: tuple[Path, ...],
    firmware: str | None,
    memory: int | None,
    cpus: int,
    timeout: int,
    marker: str | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Start a copy of IMAGE and report how far it comes: a login prompt, a panic, a missing root.

    IMAGE is the directory of an image, or its disk files, the one to start from first. The image is only read, and the
    machine has no way out of its network. Without a serial console in the guest, a machine that asks for an address counts as
    started.

    \b
    connector machine check images/web-01
    connector machine check disk.qcow2 --firmware efi --report boot-of-web-01

    \b
    Exit codes: 0 it boots; 13 it does not; 2 a file or a tool is missing.
    """
    hardware = _hardware(image, firmware, memory, cpus)
    pattern = pattern_of(marker)
    result = checks.boot_check(hardware, keep=report, marker=pattern, patience=timeout, say=_say)
    if as_json:
        click.echo(json.dumps(result.to_json()))
    else:
        for line in _lines(result):
            click.echo(line)
    _require_boot(result, image[0], hardware, report)


@machine.command()
@machine_image.IMAGE
@machine_image.FIRMWARE
@NETWORK
@NEW_MACS
@_MEMORY
@_CPUS
@TIMEOUT
@MARKER
@REPORT
@JSON
def drill(
    image: tuple[Path, ...],
    firmware: str | None,
    network: str,
    new_macs: bool,
    memory: int | None,
    cpus: int,
    timeout: int,
    marker: str | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Convert a copy of IMAGE, start it, and throw it away: would the machine come up at the other end?

    The image is only read. The copy takes little room, because it holds only what differs. A guest that cannot be
    converted, such as Windows, is started as it is.

    \b
    connector machine drill images/web-01
    connector machine drill images/web-01 --network keep --report drill-of-web-01

    \b
    Exit codes: 0 it boots; 13 it does not; 9 no space for the copy; 2 a file or a tool is missing.
    """
    hardware = _hardware(image, firmware, memory, cpus)
    guest = guest_image(machine_image.read(image, firmware), network, new_macs)
    tell_drill(guest, hardware, pattern_of(marker), timeout, report, as_json)


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
        return checks.boot_check(converted, keep=report, marker=marker, patience=timeout, say=_say)

    result = drill_image(guest, hardware, start, say=_say)
    if as_json:
        click.echo(json.dumps(result.to_json()))
    else:
        if result.conversion is not None:
            show_plan(result.conversion)
            click.echo(f"converted in {result.seconds:.0f} s")
        for line in _lines(result.boot):
            click.echo(line)
    _require_boot(result.boot, Path(guest.name), hardware, report)


def hardware_of(described: machine_image.MachineImage, memory: int | None, cpus: int) -> Hardware:
    """The machine to start for an image. `memory`: MiB."""
    macs = tuple(card.mac for card in described.machine.cards) or Hardware(described.disks).macs
    size = memory * MIB if memory else min(max(described.machine.memory, _LEAST_MEMORY), _MOST_MEMORY)
    return Hardware(described.disks, described.machine.firmware, size, cpus, macs)


def _require_boot(result: checks.BootReport, image: Path, hardware: Hardware, report: Path | None) -> None:
    if not result.boots:
        raise BootFailed(
            f"does not boot: {result.outcome}{f' ({result.reason})' if result.reason else ''}",
            on=str(image),
            remedy=_remedy(result, hardware, report),
        )


@machine.command()
@machine_image.IMAGE
@machine_image.FIRMWARE
@_MEMORY
@_CPUS
def run(image: tuple[Path, ...], firmware: str | None, memory: int | None, cpus: int) -> None:
    """Start a copy of IMAGE with its serial console on this terminal. Ctrl-A X ends it; what it wrote is thrown away.

    The machine's network ends in QEMU, as in a check.

    \b
    connector machine run images/web-01
    """
    hardware = _hardware(image, firmware, memory, cpus)
    require_tools(hardware.firmware)
    with checks.scratch_directory() as directory:
        files = RunDirectory(directory)
        order = command(hardware, files, copies(hardware, files), accelerator())
        place = order.index("-serial")
        order[place : place + 2] = ["-serial", "mon:stdio"]
        click.echo("Ctrl-A X ends it. Nothing is written to the image.", err=True)
        subprocess.run(order, check=False, env=environment.without_secrets())


def _hardware(image: Sequence[Path], firmware: str | None, memory: int | None, cpus: int) -> Hardware:
    require_tools(firmware or "bios")
    return hardware_of(machine_image.read(image, firmware), memory, cpus)


def _say(line: str) -> None:
    """How a long start goes on; on standard error, so that it does not mix with the result."""
    click.echo(line, err=True)


def pattern_of(marker: str | None) -> re.Pattern[str] | None:
    try:
        return None if marker is None else re.compile(marker)
    except re.error as error:
        raise BadInput(
            f"is no regular expression ({error})", on="--marker", remedy="see Python's module re"
        ) from None


def _lines(result: checks.BootReport) -> list[str]:
    lines = [
        f"{'boots' if result.boots else 'does not boot'}: {result.outcome} after {result.seconds:.0f} s ({result.accelerator})"
    ]
    facts = (("host", result.host), ("kernel", result.kernel), ("address", result.address))
    lines += [f"  {name:8} {value}" for name, value in facts if value]
    lines += [f"  failed   {unit}" for unit in result.failed]
    lines += [f"  kept     {path}" for path in (result.console, result.screen) if path is not None]
    return lines


def _remedy(result: checks.BootReport, hardware: Hardware, report: Path | None) -> str:
    if result.outcome is BootOutcome.NOT_BOOTABLE:
        other = "bios" if hardware.firmware == "efi" else "efi"
        return f"if the source starts with the other firmware, say --firmware {other}; else name the system disk first"
    if result.outcome is BootOutcome.SILENT:
        return "give it more time with --timeout; look at the screenshot of --report: a guest may have no serial console"
    return f"see {report}" if report else "say --report DIR to keep its console and its screen"
