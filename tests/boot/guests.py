"""Builds guests: files by mmdebstrap, file systems by mkfs and mtools, GRUB by hand. No loop device is needed."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MIB: Final = 1 << 20
ROOT_ID: Final = "11111111-2222-3333-4444-555555555555"
PACKAGES: Final = (
    *("linux-image-amd64", "systemd-sysv", "udev", "initramfs-tools", "kmod"),
    *("grub-pc-bin", "grub-efi-amd64-bin", "ifupdown", "iproute2", "isc-dhcp-client"),
)
_SIZE: Final = 2048 * MIB
_BIOS_BOOT, _ESP, _ROOT = 2048, 4096, 69632  # sectors
_TABLE: Final = f"""label: gpt
start={_BIOS_BOOT},size=2048,type=21686148-6449-6E6F-744E-656564454649
start={_ESP},size=65536,type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start={_ROOT},type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
"""
_MARKER: Final = """[Unit]
Description=Say that the guest is up
After=multi-user.target network-online.target
[Service]
Type=oneshot
StandardOutput=tty
TTYPath=/dev/ttyS0
ExecStart=/usr/local/sbin/guest-up
[Install]
WantedBy=multi-user.target
"""
_SAY: Final = """#!/bin/bash
timeout 5 bash -c "exec 3<>/dev/tcp/10.0.2.2/$(cat /etc/knock)" 2>/dev/null
echo
echo "GUEST-UP kernel=$(uname -r) root=$(findmnt -no SOURCE /) failed=$(systemctl --failed --no-legend | wc -l)"
"""


@dataclass(frozen=True, slots=True)
class Guest:
    """What is special about a guest. `console`: whether it uses the serial port; `modules`: what its initramfs may load."""

    firmware: str = "bios"  # what its boot loader is made for: bios or efi
    root: str = f"UUID={ROOT_ID}"  # as the kernel and fstab name it
    fstab: str = ""  # further lines
    console: bool = True
    knock: int = (
        9  # a port of this computer, at the address that QEMU gives it, that the guest tries to reach
    )
    modules: tuple[str, ...] | None = None  # None: Debian's usual choice, with all drivers


def base(directory: Path) -> Path:
    """An unpacked Debian without anything special. Made once, then reused."""
    root = directory / "root"
    if not (directory / "ready").exists():
        _run(
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={','.join(PACKAGES)}",
            "bookworm",
            str(root),
        )
        _run("chroot", str(root), "passwd", "--quiet", "--delete", "root")
        (directory / "ready").touch()
    return root


def build(root: Path, guest: Guest, disk: Path) -> Path:
    """A raw disk with `guest`. `root` is changed: one build at a time."""
    _configure(root, guest)
    _initramfs(root, guest.modules)
    with open(disk, "wb") as file:
        file.truncate(_SIZE)
    _run("sfdisk", "-q", str(disk), input=_TABLE.encode())
    system = disk.with_suffix(".root")
    _run("mkfs.ext4", "-q", "-U", ROOT_ID, "-d", str(root), str(system), f"{(_SIZE // MIB - 36) * 1024}k")
    _place(disk, system, _ROOT)
    _boot_loader(root, guest, disk)
    return disk


def _configure(root: Path, guest: Guest) -> None:
    kernel = _kernel(root)
    consoles = "console=tty0 console=ttyS0,115200" if guest.console else "console=tty0"
    terminal = (
        "serial --unit=0 --speed=115200\nterminal_input serial console\nterminal_output serial console\n"
    )
    (root / "boot/grub").mkdir(exist_ok=True)
    (root / "boot/grub/grub.cfg").write_text(
        f"set timeout=0\n{terminal if guest.console else ''}"
        f"menuentry Debian {{\n search --no-floppy --fs-uuid --set=root {ROOT_ID}\n"
        f" linux /boot/vmlinuz-{kernel} root={guest.root} ro net.ifnames=0 {consoles}\n initrd /boot/initrd.img-{kernel}\n}}\n"
    )
    (root / "etc/fstab").write_text(f"{guest.root} / ext4 defaults 0 1\n{guest.fstab}")
    (root / "etc/hostname").write_text("guest\n")
    (root / "etc/network/interfaces").write_text(
        "auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n"
    )
    (root / "etc/systemd/system/guest-up.service").write_text(_MARKER)
    (root / "etc/knock").write_text(str(guest.knock))
    script = root / "usr/local/sbin/guest-up"
    script.write_text(_SAY)
    script.chmod(0o755)
    wanted = root / "etc/systemd/system/multi-user.target.wants/guest-up.service"
    wanted.unlink(missing_ok=True)
    if guest.console:
        wanted.symlink_to("/etc/systemd/system/guest-up.service")


def _initramfs(root: Path, modules: Sequence[str] | None) -> None:
    (root / "etc/initramfs-tools/conf.d/modules").write_text(
        "MODULES=most\n" if modules is None else "MODULES=list\n"
    )
    (root / "etc/initramfs-tools/modules").write_text("\n".join((*(modules or ()), "ext4", "sd_mod", "")))
    state = "\n".join(map(str, modules)) if modules is not None else "most"
    if (root / "boot/initramfs-of").exists() and (root / "boot/initramfs-of").read_text() == state:
        return
    _run("chroot", str(root), "update-initramfs", "-u", "-k", "all", stdout=subprocess.DEVNULL)
    (root / "boot/initramfs-of").write_text(state)


def _boot_loader(root: Path, guest: Guest, disk: Path) -> None:
    modules = ("part_gpt", "ext2", "search", "search_fs_uuid", "normal", "serial", "configfile", "linux")
    if guest.firmware == "bios":
        _image(root, "i386-pc", "(hd0,gpt3)/boot/grub", "core.img", ("biosdisk", *modules))
        _bios(
            disk, (root / "usr/lib/grub/i386-pc/boot.img").read_bytes(), (root / "tmp/core.img").read_bytes()
        )
    else:
        _image(root, "x86_64-efi", "/EFI/BOOT", "boot.efi", ("fat", "terminal", *modules))
        _efi(disk, root / "tmp/boot.efi")


def _image(root: Path, kind: str, prefix: str, name: str, modules: Sequence[str]) -> None:
    _run("chroot", str(root), "grub-mkimage", "-O", kind, "-p", prefix, "-o", f"/tmp/{name}", *modules)


def _bios(disk: Path, boot: bytes, core: bytes) -> None:
    """What grub-bios-setup does: boot.img knows the core's first sector, the core's first sector knows the rest."""
    first, rest = bytearray(boot), bytearray(core)
    struct.pack_into("<Q", first, 0x5C, _BIOS_BOOT)
    struct.pack_into("<QH", rest, 0x1F4, _BIOS_BOOT + 1, (len(core) + 511) // 512 - 1)
    with open(disk, "r+b") as file:
        file.write(first[:440])
        file.seek(_BIOS_BOOT * 512)
        file.write(rest)


def _efi(disk: Path, loader: Path) -> None:
    esp, configuration = disk.with_suffix(".esp"), disk.with_suffix(".cfg")
    esp.write_bytes(b"")
    os.truncate(esp, 32 * MIB)
    configuration.write_text(
        f"search --no-floppy --fs-uuid --set=root {ROOT_ID}\nset prefix=($root)/boot/grub\n"
        "configfile ($root)/boot/grub/grub.cfg\n"
    )
    _run("mkfs.vfat", "-F", "16", str(esp), stdout=subprocess.DEVNULL)
    _run("mmd", "-i", str(esp), "::EFI", "::EFI/BOOT")
    _run("mcopy", "-i", str(esp), str(loader), "::EFI/BOOT/BOOTX64.EFI")
    _run("mcopy", "-i", str(esp), str(configuration), "::EFI/BOOT/grub.cfg")
    _place(disk, esp, _ESP)


def _place(disk: Path, part: Path, sector: int) -> None:
    _run(
        "dd",
        f"if={part}",
        f"of={disk}",
        "bs=1M",
        f"seek={sector * 512 // MIB}",
        "conv=notrunc,sparse",
        "status=none",
    )
    part.unlink()


def _kernel(root: Path) -> str:
    return max((root / "boot").glob("vmlinuz-*")).name.removeprefix("vmlinuz-")


def _run(*words: str, **more: object) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SSL_")}
    subprocess.run(words, check=True, env=environment, **more)  # type: ignore[call-overload]
