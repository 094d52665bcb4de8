"""`connector machine` starts images in QEMU: `check` reports how far one comes, `run` gives you its console.

Both start a copy that is thrown away; the image is only read. The machine's network ends in QEMU.
The commands that convert are in `cli.conversion`.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import click

from connector import environment
from connector.cli import boot_view, machine_image
from connector.cli.conversion import (
    FIRST_BOOT,
    NETWORK,
    NEW_MACS,
    VIRTIO_WIN,
    container,
    convert,
    guest_image,
    plan,
)
from connector.cli.options import JSON
from connector.conversion import boot_check as checks
from connector.conversion.virtual_machine import (
    Hardware,
    RunDirectory,
    accelerator,
    command,
    copies,
    require_tools,
)

_MEMORY = click.option(
    "--memory", type=click.IntRange(128), metavar="MIB", help="Default: as the source had, at most 4096."
)
_CPUS = click.option("--cpus", type=click.IntRange(1, 64), default=1, show_default=True, help="Processors.")


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
@boot_view.TIMEOUT
@boot_view.MARKER
@boot_view.REPORT
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
    pattern = boot_view.pattern_of(marker)
    result = checks.boot_check(hardware, keep=report, marker=pattern, patience=timeout, say=boot_view.say)
    if as_json:
        click.echo(json.dumps(result.to_json()))
    else:
        for line in boot_view.lines_of(result):
            click.echo(line)
    boot_view.require_boot(result, image[0], hardware, report)


@machine.command()
@machine_image.IMAGE
@machine_image.FIRMWARE
@NETWORK
@NEW_MACS
@VIRTIO_WIN
@FIRST_BOOT
@_MEMORY
@_CPUS
@boot_view.TIMEOUT
@boot_view.MARKER
@boot_view.REPORT
@JSON
def drill(
    image: tuple[Path, ...],
    firmware: str | None,
    network: str,
    new_macs: bool,
    virtio_win: Path | None,
    first_boot: Path | None,
    memory: int | None,
    cpus: int,
    timeout: int,
    marker: str | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Convert a copy of IMAGE, start it, and throw it away: would the machine come up at the other end?

    The image is only read. The copy takes little room, because it holds only what differs. A guest that cannot be
    converted is started as it is; the report says why.

    \b
    connector machine drill images/web-01
    connector machine drill images/web-01 --network keep --report drill-of-web-01

    \b
    Exit codes: 0 it boots; 13 it does not; 9 no space for the copy; 2 a file or a tool is missing.
    """
    hardware = _hardware(image, firmware, memory, cpus)
    guest = guest_image(
        machine_image.read(image, firmware), network, new_macs, virtio_win=virtio_win, first_boot=first_boot
    )
    boot_view.tell_drill(guest, hardware, boot_view.pattern_of(marker), timeout, report, as_json)


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
    require_tools(hardware.firmware, secure_boot=hardware.secure_boot)
    with checks.scratch_directory() as directory:
        files = RunDirectory(directory)
        order = command(hardware, files, copies(hardware, files), accelerator())
        place = order.index("-serial")
        order[place : place + 2] = ["-serial", "mon:stdio"]
        click.echo("Ctrl-A X ends it. Nothing is written to the image.", err=True)
        subprocess.run(order, check=False, env=environment.without_secrets())


def _hardware(image: Sequence[Path], firmware: str | None, memory: int | None, cpus: int) -> Hardware:
    require_tools(firmware or "bios")
    return boot_view.hardware_of(machine_image.read(image, firmware), memory, cpus)
