"""The argument IMAGE of `connector machine`: the directory of an image, or its disk files, the one to start from first."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click

from connector.cloud import machine_files
from connector.cloud.machine_files import ImageDisk, MachineDescription
from connector.conversion.virtual_machine import BootDisk, other_files
from connector.errors import BadInput
from connector.specification.image_formats import DRIVERS
from connector.transfer.image import format_of, open_image

IMAGE: Final = click.argument(
    "image", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE..."
)
FIRMWARE: Final = click.option(
    "--firmware",
    type=click.Choice(("bios", "efi")),
    help="Default: as machine.json beside the image says, else bios.",
)


@dataclass(frozen=True, slots=True)
class MachineImage:
    """The disks of an image, and the machine that they belong in. `name`: what the user typed."""

    name: str
    disks: tuple[BootDisk, ...]
    machine: MachineDescription


def read(image: Sequence[Path], firmware: str | None = None) -> MachineImage:
    """The image that is meant. Raises BadInput."""
    read_one = _of_directory(image[0]) if len(image) == 1 and image[0].is_dir() else _of_files(image)
    machine = read_one.machine
    return replace(read_one, machine=replace(machine, firmware=firmware or machine.firmware))


def _of_directory(directory: Path) -> MachineImage:
    machine = machine_files.read(directory)
    if machine is None:
        raise BadInput(
            f"has no {machine_files.NAME}",
            on=str(directory),
            remedy="name the image's disk files, the one to start from first",
        )
    disks = tuple(_whole(BootDisk(directory / disk.file, disk.format)) for disk in machine.disks)
    return MachineImage(str(directory), disks, machine)


def _of_files(paths: Sequence[Path]) -> MachineImage:
    disks = tuple(_whole(BootDisk(path, format_of(path))) for path in paths)
    described = tuple(ImageDisk(disk.path.name, disk.format, _capacity(disk.path)) for disk in disks)
    return MachineImage(str(paths[0]), disks, MachineDescription(paths[0].stem, described))


def _capacity(path: Path) -> int:
    with closing(open_image(path)) as image:
        return image.capacity


def _whole(disk: BootDisk) -> BootDisk:
    """Raises BadInput for an image that reads other files: whoever made it would choose which files of this computer."""
    if disk.format not in DRIVERS:
        raise BadInput(
            f"format {disk.format!r} is not known", on=str(disk.path), remedy=f"use {', '.join(DRIVERS)}"
        )
    format_of(disk.path)  # it can be read
    if others := other_files(disk):
        raise BadInput(
            f"is not whole: it reads {others[0]}",
            on=str(disk.path),
            remedy="make a whole image of it with qemu-img convert, if you trust it",
        )
    return disk
