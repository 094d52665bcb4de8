"""`connector machine plan` and `convert`: what a guest needs to start on virtio hardware, and a copy that has it."""

from __future__ import annotations

import json
import shlex
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from connector.cli import drill_view, machine_image
from connector.cli.machine_image import MachineImage
from connector.cli.options import JSON
from connector.conversion import container as containers
from connector.conversion import conversion, removals
from connector.conversion import first_boot as first_boot_scripts
from connector.conversion.conversion import ConversionPlan, GuestImage
from connector.errors import BadInput
from connector.names import visible

NETWORKS: Final = ("dhcp", "keep", "none")
NETWORK = click.option(
    "--network",
    type=click.Choice(NETWORKS),
    default="dhcp",
    show_default=True,
    help="dhcp: the first card asks DHCP. keep: addresses stay with their cards. none: nothing is changed.",
)
REMOVE = click.option(
    "--remove",
    "lists",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Remove the files that rsync_excludes_linux.txt in this directory names, from the copy only.",
)
VIRTIO_WIN = click.option(
    "--virtio-win",
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="virtio-win's ISO image, or a directory with its files, for a Windows guest. Default: /usr/share/virtio-win.",
)
FIRST_BOOT = click.option(
    "--first-boot",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="SCRIPT",
    help="A script that runs once at the first start: in a Linux as root, or (named .ps1) in a Windows as LocalSystem.",
)
NEW_MACS = click.option(
    "--new-macs",
    is_flag=True,
    help="The target gives its cards other MACs than machine.json has, as clouds do.",
)


@click.command()
@machine_image.IMAGE
@machine_image.FIRMWARE
@NETWORK
@NEW_MACS
@REMOVE
@VIRTIO_WIN
@FIRST_BOOT
@JSON
def plan(
    image: tuple[Path, ...],
    firmware: str | None,
    network: str,
    new_macs: bool,
    lists: Path | None,
    virtio_win: Path | None,
    first_boot: Path | None,
    as_json: bool,
) -> None:
    """Show what a conversion of IMAGE would change, so that its guest starts on virtio hardware. The image is only read.

    The guest's file systems are read inside a virtual machine of libguestfs. No program of the guest runs.

    \b
    connector machine plan images/web-01
    connector machine plan images/mail-01 --virtio-win virtio-win.iso

    \b
    Exit codes: 0 the plan; 5 the guest cannot be converted; 2 a file or a tool is missing.
    """
    described = machine_image.read(image, firmware)
    guest = guest_image(described, network, new_macs, lists, virtio_win, first_boot)
    _show(conversion.planned(guest, Path(tempfile.gettempdir())), as_json)


@click.command()
@machine_image.IMAGE
@machine_image.FIRMWARE
@NETWORK
@NEW_MACS
@REMOVE
@VIRTIO_WIN
@FIRST_BOOT
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A new directory for the converted image.",
)
@JSON
def convert(
    image: tuple[Path, ...],
    firmware: str | None,
    network: str,
    new_macs: bool,
    lists: Path | None,
    virtio_win: Path | None,
    first_boot: Path | None,
    target: Path,
    as_json: bool,
) -> None:
    """Write a converted copy of IMAGE to a new directory. The image is only read.

    The directory has the disks as qcow2, machine.json, and conversion.json with every change. It appears when everything is
    done. A guest that needs no change is not copied.

    \b
    connector machine convert images/web-01 --to converted/web-01

    \b
    Exit codes: 0 converted, or nothing has to change; 5 the guest cannot be converted; 9 no space; 11 DIR exists; 2 a file or a
    tool is missing.
    """
    described = machine_image.read(image, firmware)
    guest = guest_image(described, network, new_macs, lists, virtio_win, first_boot)
    outcome = conversion.convert(guest, described.machine, target)
    _show(outcome, as_json)
    if not as_json:
        nothing = "nothing was written: the image can be used as it is"
        click.echo(nothing if outcome.plan.is_empty else f"written to {target}")


@click.command()
@machine_image.IMAGE
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A new directory for the OCI image layout.",
)
@click.option("--tag", default="latest", show_default=True, help="The image's name in the layout.")
@click.option(
    "--command",
    metavar="WORDS",
    help="What a container runs. Default: the guest's only service, else /bin/sh.",
)
@click.option("--push", metavar="REGISTRY/NAME:TAG", help="Copy the image to this registry, with skopeo.")
@click.option(
    "--authfile",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Credentials of the registry, as docker login writes them.",
)
@JSON
def container(
    image: tuple[Path, ...],
    target: Path,
    tag: str,
    command: str | None,
    push: str | None,
    authfile: Path | None,
    as_json: bool,
) -> None:
    """Make a container image of IMAGE's Linux: its files as one layer, without kernels and pseudo file systems.

    The image is only read. The directory appears when it is whole.

    \b
    connector machine container images/web-01 --to web-01.oci
    connector machine container images/web-01 --to web-01.oci --push REGISTRY/web/web-01:1 --authfile auth.json

    \b
    Exit codes: 0 made; 5 the guest is no Linux that can be read; 9 no space, or the registry refused; 11 DIR exists; 2 a file or
    a tool is missing.
    """
    words = _words(command or "")
    described = machine_image.read(image)
    made_image = containers.make(guest_image(described, "none", False), target, tag, words)
    click.echo(json.dumps(made_image.to_json()) if as_json else visible(f"{target}: {made_image.digest}"))
    if not as_json:
        click.echo(
            f"  runs {visible(shlex.join(made_image.command))}; ports {', '.join(made_image.ports) or 'none'}"
        )
        for note in made_image.notes:
            click.echo(f"  note: {visible(note)}")
    if push:
        containers.push(target, tag, push, authfile)


def _words(command: str) -> list[str]:
    """The words of a command, as a shell sees them."""
    try:
        return shlex.split(command)
    except ValueError as odd:
        raise BadInput(
            f"the command cannot be split into words ({odd})", on="--command", remedy="close each quote"
        ) from None


def guest_image(
    image: MachineImage,
    network: str,
    new_macs: bool,
    lists: Path | None = None,
    virtio_win: Path | None = None,
    first_boot: Path | None = None,
) -> GuestImage:
    """What a conversion has to know of an image. `network`: a word of the option."""
    guest = conversion.guest_image(image.machine, image.disks, network, keeps_macs=not new_macs)
    return replace(
        guest,
        name=image.name,
        removals=removals.read(lists) if lists else (),
        virtio_win=virtio_win,
        first_boot=first_boot_scripts.read(first_boot) if first_boot else b"",
    )


def _show(plan_of_guest: ConversionPlan, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(plan_of_guest.to_json()))
    else:
        show_plan(plan_of_guest)


def show_plan(conversion_plan: ConversionPlan) -> None:
    """The plan as lines for people."""
    for line in drill_view.plan_lines(conversion_plan.to_json()):
        click.echo(line)
