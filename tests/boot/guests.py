"""Builds guests: files by mmdebstrap, file systems by mkfs and mtools, GRUB by hand. No loop device is needed."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy import bootable
from deploy.bootable import ESP_ID, MIB

ROOT_ID: Final = "11111111-2222-3333-4444-555555555555"
PACKAGES: Final = (
    *("linux-image-amd64", "systemd-sysv", "udev", "initramfs-tools", "kmod"),
    *("grub-pc-bin", "grub-efi-amd64-bin", "ifupdown", "iproute2", "isc-dhcp-client"),
    *("lvm2", "xfsprogs", "btrfs-progs", "netplan.io", "network-manager"),
    *("shim-signed", "grub-efi-amd64-signed"),
)
VOLUME: Final = "/dev/mapper/guest-root"  # the root of a guest with LVM
STATIC: Final = "10.0.2.50"
#: Settings of a card with a fixed address, or without one, for each program: path and text.
_NETWORKS: Final = {
    "ifupdown": (
        "etc/network/interfaces",
        "auto lo\niface lo inet loopback\n\nauto {card}\niface {card} inet {method}\n",
    ),
    "netplan": (
        "etc/netplan/01-net.yaml",
        "network:\n  version: 2\n  renderer: networkd\n  ethernets:\n    {card}:\n{yaml}",
    ),
    "NetworkManager": (
        "etc/NetworkManager/system-connections/wired.nmconnection",
        "[connection]\nid=wired\ntype=ethernet\ninterface-name={card}\n\n[ipv4]\n{keyfile}\n[ipv6]\nmethod=disabled\n",
    ),
    "networkd": ("etc/systemd/network/20-wired.network", "[Match]\nName={card}\n\n[Network]\n{unit}"),
}
_FIXED: Final = {
    "method": f"static\n address {STATIC}/24\n gateway 10.0.2.2",
    "yaml": f"      addresses: [{STATIC}/24]\n      routes: [{{to: default, via: 10.0.2.2}}]\n",
    "keyfile": f"method=manual\naddress1={STATIC}/24,10.0.2.2\n",
    "unit": f"Address={STATIC}/24\nGateway=10.0.2.2\n",
}
_BY_DHCP: Final = {
    "method": "dhcp",
    "yaml": "      dhcp4: true\n",
    "keyfile": "method=auto\n",
    "unit": "DHCP=yes\n",
}
_SERVICES: Final = {
    "netplan": "systemd-networkd",
    "networkd": "systemd-networkd",
    "NetworkManager": "NetworkManager",
}
_SIZE: Final = 2048 * MIB
_ROOM: Final = _SIZE - bootable.OVERHEAD  # bytes of the root file system
_MARKER: Final = """[Unit]
Description=Say that the guest is up
After=multi-user.target network-online.target
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/guest-up
[Install]
WantedBy=multi-user.target
"""
_SAY: Final = """#!/bin/bash
for second in $(seq 60); do
    address=$(ip -4 -o addr show scope global | awk '{print $2 "=" $4; exit}')
    [ -n "$address" ] && break
    sleep 1
done
timeout 5 bash -c "exec 3<>/dev/tcp/10.0.2.2/$(cat /etc/knock)" 2>/dev/null
line="GUEST-UP kernel=$(uname -r) root=$(findmnt -no SOURCE /) failed=$(systemctl --failed --no-legend | wc -l) $address"
# The login prompt hangs the terminal up when it appears, and what was being written is lost. So it is said again.
for again in $(seq 10); do
    printf '\\n%s\\n' "$line" > /dev/ttyS0
    printf 'SECURE-BOOT %s\\n' $(od -An -t u1 -j4 -N1 /sys/firmware/efi/efivars/SecureBoot-* 2>/dev/null) > /dev/ttyS0
    sleep 3
done
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
    file_system: str = "ext4"  # of the root: ext4, xfs, btrfs, or lvm: ext4 on a logical volume
    card: str = "eth0"  # eth0: the kernel names the cards
    network: str = "ifupdown"  # or another of _NETWORKS
    is_static: bool = False
    is_removable: bool = True  # EFI: the boot loader is where a new firmware looks for it
    is_signed: bool = False  # EFI: shim and GRUB as Debian signed them


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
    bootable.partition(disk, _SIZE)
    system = disk.with_suffix(".root")
    _FILE_SYSTEMS[guest.file_system](root, system)
    if guest.file_system == "lvm":
        _volume(disk)
    bootable.place(disk, system, bootable.ROOT + (_FIRST_EXTENT if guest.file_system == "lvm" else 0))
    _boot_loader(root, guest, disk)
    return disk


def _ext4(root: Path, system: Path) -> None:
    bootable.ext4(root, system, _ROOM, ROOT_ID)


def _xfs(root: Path, system: Path) -> None:
    """Without the features that Debian's GRUB cannot read."""
    tree = system.with_suffix(".tree")
    tree.write_text(f"/\n0 0\nd--755 0 0\n{''.join(_tree(root))}$\n")
    with open(system, "wb") as file:
        file.truncate(_ROOM)
    _run(
        "mkfs.xfs",
        "-q",
        "-m",
        f"uuid={ROOT_ID},bigtime=0,inobtcount=0",
        "-i",
        "nrext64=0",
        "-p",
        str(tree),
        str(system),
    )


def _tree(directory: Path) -> Iterator[str]:
    """The entries of a directory as mkfs.xfs reads them."""
    for path in sorted(directory.iterdir()):
        state = path.lstat()
        mode = stat.S_IMODE(state.st_mode)
        kind = "l" if path.is_symlink() else "d" if path.is_dir() else "-" if path.is_file() else ""
        if not kind or " " in path.name:
            continue
        special = f"{'u' if mode & stat.S_ISUID else '-'}{'g' if mode & stat.S_ISGID else '-'}"
        head = f"{path.name} {kind}{special}{mode & 0o777:03o} {state.st_uid} {state.st_gid}"
        if kind == "d":
            yield f"{head}\n{''.join(_tree(path))}$\n"
        else:
            yield f"{head} {path.readlink() if kind == 'l' else path}\n"


def _btrfs(root: Path, system: Path) -> None:
    with open(system, "wb") as file:
        file.truncate(_ROOM)
    _run("mkfs.btrfs", "-q", "--uuid", ROOT_ID, "--rootdir", str(root), str(system))


_FILE_SYSTEMS: Final = {"ext4": _ext4, "lvm": _ext4, "xfs": _xfs, "btrfs": _btrfs}
_FIRST_EXTENT: Final = 2048  # sectors from the start of a physical volume, as pvcreate places it


def _volume(disk: Path) -> None:
    """A volume group on the last partition, with one linear volume from its first extent."""
    script = "run\npvcreate /dev/sda3\nvgcreate guest /dev/sda3\nlvcreate-free root guest 100\n"
    more = {"LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}
    _run(
        "env",
        *(f"{name}={value}" for name, value in more.items()),
        "guestfish",
        "--format=raw",
        "-a",
        str(disk),
        input=script.encode(),
    )


def _configure(root: Path, guest: Guest) -> None:
    kernel = _kernel(root)
    consoles = "console=tty0 console=ttyS0,115200" if guest.console else "console=tty0"
    terminal = (
        "serial --unit=0 --speed=115200\nterminal_input serial console\nterminal_output serial console\n"
    )
    (root / "boot/grub").mkdir(exist_ok=True)
    names = " net.ifnames=0" if guest.card == "eth0" else ""
    (root / "boot/grub/grub.cfg").write_text(
        f"set timeout=0\n{terminal if guest.console else ''}"
        f"menuentry Debian {{\n search --no-floppy --fs-uuid --set=root {ROOT_ID}\n"
        f" linux /boot/vmlinuz-{kernel} root={guest.root} ro{names} {consoles}\n"
        f" initrd /boot/initrd.img-{kernel}\n}}\n"
    )
    esp = f"UUID={ESP_ID[:4]}-{ESP_ID[4:]} /boot/efi vfat umask=0077 0 1\n" if guest.firmware == "efi" else ""
    (root / "boot/efi").mkdir(exist_ok=True)
    (root / "etc/fstab").write_text(
        f"{guest.root} / {'ext4' if guest.file_system == 'lvm' else guest.file_system} defaults 0 1\n{esp}{guest.fstab}"
    )
    (root / "etc/hostname").write_text("guest\n")
    _network(root, guest)
    (root / "etc/systemd/system/guest-up.service").write_text(_MARKER)
    (root / "etc/knock").write_text(str(guest.knock))
    script = root / "usr/local/sbin/guest-up"
    script.write_text(_SAY)
    script.chmod(0o755)
    wanted = root / "etc/systemd/system/multi-user.target.wants/guest-up.service"
    wanted.unlink(missing_ok=True)
    if guest.console:
        wanted.symlink_to("/etc/systemd/system/guest-up.service")


def _network(root: Path, guest: Guest) -> None:
    for path, _ in _NETWORKS.values():
        (root / path).unlink(missing_ok=True)
    (root / "etc/network/interfaces").write_text("auto lo\niface lo inet loopback\n")
    path, text = _NETWORKS[guest.network]
    words = _FIXED if guest.is_static else _BY_DHCP
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text.format(card=guest.card, **words))
    (root / path).chmod(0o600 if guest.network == "NetworkManager" else 0o644)  # as each program wants it
    for service in sorted(
        {*_SERVICES.values(), "NetworkManager-wait-online", "systemd-networkd-wait-online"}
    ):
        is_used = service.startswith(_SERVICES.get(guest.network, "-"))
        # Disabled too: a socket of a service that is only masked would fail to listen.
        for word in ("unmask", "enable") if is_used else ("unmask", "disable", "mask"):
            _run("chroot", str(root), "systemctl", "--quiet", word, service)


def _initramfs(root: Path, modules: Sequence[str] | None) -> None:
    (root / "etc/initramfs-tools/conf.d/modules").write_text(
        "MODULES=most\n" if modules is None else "MODULES=list\n"
    )
    (root / "etc/initramfs-tools/modules").write_text(
        "\n".join((*(modules or ()), "ext4", "xfs", "btrfs", "dm_mod", "sd_mod", ""))
    )
    state = "\n".join(map(str, modules)) if modules is not None else "most"
    if (root / "etc/initramfs-of").exists() and (root / "etc/initramfs-of").read_text() == state:
        return
    _run("chroot", str(root), "update-initramfs", "-u", "-k", "all", stdout=subprocess.DEVNULL)
    (root / "etc/initramfs-of").write_text(state)


def _boot_loader(root: Path, guest: Guest, disk: Path) -> None:
    modules = (
        "part_gpt",
        "ext2",
        "xfs",
        "btrfs",
        "lvm",
        "search",
        "search_fs_uuid",
        "normal",
        "serial",
        "configfile",
        "linux",
    )
    if guest.is_signed:
        folder = "BOOT" if guest.is_removable else "debian"
        shim = root / "usr/lib/shim/shimx64.efi.signed"
        grub = root / "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
        first = "BOOTX64.EFI" if guest.is_removable else "shimx64.efi"
        bootable.efi(disk, {f"{folder}/{first}": shim, f"{folder}/grubx64.efi": grub}, "debian", ROOT_ID)
    elif guest.firmware == "bios":
        prefix = f"({'lvm/guest-root' if guest.file_system == 'lvm' else 'hd0,gpt3'})/boot/grub"
        core = bootable.grub_image(root, "i386-pc", prefix, ("biosdisk", *modules))
        bootable.bios(disk, (root / "usr/lib/grub/i386-pc/boot.img").read_bytes(), core)
    else:
        folder = _efi_folder(guest.is_removable)
        more = ("fat", "terminal", *modules)
        loader = "BOOTX64.EFI" if guest.is_removable else "grubx64.EFI"
        starter = disk.with_suffix(".loader")
        starter.write_bytes(bootable.grub_image(root, "x86_64-efi", f"/EFI/{folder}", more))
        bootable.efi(disk, {f"{folder}/{loader}": starter}, folder, ROOT_ID)
        starter.unlink()


def _efi_folder(is_removable: bool) -> str:
    return "BOOT" if is_removable else "debian"


def _kernel(root: Path) -> str:
    return max((root / "boot").glob("vmlinuz-*")).name.removeprefix("vmlinuz-")


def _run(*words: str, **more: object) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SSL_")}
    subprocess.run(words, check=True, env=environment, **more)  # type: ignore[call-overload]
