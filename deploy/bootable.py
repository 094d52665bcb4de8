"""A disk that starts with BIOS and with EFI: partitions, a root file system, GRUB. No loop device and no mount is needed.

The layout is fixed: 1 MiB for GRUB, an EFI system partition of 32 MiB, then the root.
"""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click

MIB: Final = 1 << 20
SECTOR: Final = 512
BIOS_BOOT, ESP, ROOT = 2048, 4096, 69632  # first sectors of the three partitions
#: Bytes of the disk that are not the root's: what is before it, and the table's copy at the end.
OVERHEAD: Final = 40 * MIB
ESP_ID: Final = "1234ABCD"
_TABLE: Final = f"""label: gpt
start={BIOS_BOOT},size=2048,type=21686148-6449-6E6F-744E-656564454649
start={ESP},size=65536,type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start={ROOT},type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
"""


def partition(disk: Path, size: int) -> None:
    """Make a sparse disk of `size` bytes with the three partitions."""
    with open(disk, "wb") as file:
        file.truncate(size)
    run("sfdisk", "-q", str(disk), stdin=_TABLE)


def ext4(root: Path, system: Path, size: int, identifier: str) -> None:
    """A file system of `size` bytes with everything in the directory `root`, in a file of its own."""
    run("mkfs.ext4", "-q", "-U", identifier, "-d", str(root), str(system), f"{size // 1024}k")


def place(disk: Path, part: Path, sector: int) -> None:
    """Move the contents of a file to a place in the disk; what is zero stays a hole."""
    seek = f"seek={sector * SECTOR // MIB}"
    run("dd", f"if={part}", f"of={disk}", "bs=1M", seek, "conv=notrunc,sparse", "status=none")
    part.unlink()


def grub_image(root: Path, kind: str, prefix: str, modules: Sequence[str]) -> bytes:
    """GRUB for a kind of firmware, made by the tools in `root`, where nothing of it stays."""
    made = root / "grub.img"
    run("chroot", str(root), "grub-mkimage", "-O", kind, "-p", prefix, "-o", f"/{made.name}", *modules)
    try:
        return made.read_bytes()
    finally:
        made.unlink()


def bios(disk: Path, boot: bytes, core: bytes) -> None:
    """What grub-bios-setup does: boot.img knows the core's first sector, the core's first sector knows the rest."""
    first, rest = bytearray(boot), bytearray(core)
    struct.pack_into("<Q", first, 0x5C, BIOS_BOOT)
    struct.pack_into("<QH", rest, 0x1F4, BIOS_BOOT + 1, (len(core) + SECTOR - 1) // SECTOR - 1)
    with open(disk, "r+b") as file:
        file.write(first[:440])
        file.seek(BIOS_BOOT * SECTOR)
        file.write(rest)


def efi(disk: Path, loaders: Mapping[str, Path], home: str, root_id: str) -> None:
    """An EFI system partition with these files below EFI, and GRUB's first configuration in the folder `home`.

    It finds the root file system `root_id`, and reads the configuration there.
    """
    esp, configuration = disk.with_suffix(".esp"), disk.with_suffix(".cfg")
    esp.write_bytes(b"")
    os.truncate(esp, 32 * MIB)
    configuration.write_text(
        f"search --no-floppy --fs-uuid --set=root {root_id}\nset prefix=($root)/boot/grub\n"
        "configfile ($root)/boot/grub/grub.cfg\n"
    )
    run("mkfs.vfat", "-F", "16", "-i", ESP_ID, str(esp))
    folders = sorted({home, *(name.partition("/")[0] for name in loaders)})
    run("mmd", "-i", str(esp), "::EFI", *(f"::EFI/{folder}" for folder in folders))
    for name, loader in loaders.items():
        run("mcopy", "-i", str(esp), str(loader), f"::EFI/{name}")
    run("mcopy", "-i", str(esp), str(configuration), f"::EFI/{home}/grub.cfg")
    configuration.unlink()
    place(disk, esp, ESP)


def run(*words: str, stdin: str = "") -> None:
    """Run a tool; its messages are shown when it fails. Variables about certificates stay here: chroots have their own."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("SSL_")}
    done = subprocess.run(words, check=False, env=variables, input=stdin, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")
