"""The root directory of the appliance's image: Debian, the package, and what makes of it one machine with one purpose.

Nobody can log in until the first boot has set a password, no service listens, and the firewall drops what nobody asked for.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from deploy.bootable import ESP_ID, run

#: Debian's packages: what starts the computer, what the package needs, what a person needs on its console.
PACKAGES: Final = (
    *(
        "linux-image-amd64",
        "systemd-sysv",
        "systemd-resolved",
        "systemd-timesyncd",
        "udev",
        "dbus",
        "initramfs-tools",
        "kmod",
    ),
    *("grub-pc-bin", "grub-efi-amd64-bin", "shim-signed", "grub-efi-amd64-signed", "e2fsprogs", "zstd"),
    *("python3", "python3.11", "libstdc++6", "libgcc-s1", "ca-certificates", "nftables", "open-vm-tools"),
    *("iproute2", "iputils-ping", "less", "nano", "passwd", "login"),
)
ROOT_ID: Final = "0c0ffee0-0000-4000-8000-000000000001"
_PARTS: Final = Path(__file__).parent
_CONSOLES: Final = ("tty1", "ttyS0")
_SERVICES: Final = ("systemd-networkd", "systemd-resolved", "systemd-timesyncd", "nftables")
_NETWORK: Final = "[Match]\nType=ether\n\n[Network]\nDHCP=yes\n"  # until the first boot
#: Not shipped: what differs in each build or each machine, and what only a build needs.
_REMOVED: Final = (
    *(
        "etc/machine-id",
        "var/lib/dbus/machine-id",
        "var/lib/systemd/random-seed",
        "etc/resolv.conf",
        "connector.deb",
    ),
    *(
        "etc/hostname",
        "var/cache/apt",
        "var/lib/apt/lists",
        "var/log/apt",
        "var/log/dpkg.log",
        "var/log/bootstrap.log",
    ),
)


def debian(root: Path) -> None:
    """Unpack Debian 12 into the new directory `root`."""
    run(
        "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", "bookworm", str(root)
    )


def configure(root: Path, package: Path, version: str) -> None:
    """Install the package, and make the directory the root of an appliance."""
    shutil.copy(package, root / "connector.deb")
    _inside(root, "dpkg", "--install", "/connector.deb")
    _inside(root, "passwd", "--quiet", "--lock", "root")
    _files(root, version)
    for service in (*_SERVICES, *(f"connector-first-boot@{console}" for console in _CONSOLES)):
        _inside(root, "systemctl", "--quiet", "enable", service)
    _grub(root)
    _remove(root)


def _inside(root: Path, *command: str) -> None:
    """Run a command in the directory, with its own /proc. Mounts and processes end with it."""
    script = 'mount -t proc proc "$0/proc"; exec chroot "$0" "$@"'
    run("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, str(root), *command)


def _files(root: Path, version: str) -> None:
    esp = f"UUID={ESP_ID[:4]}-{ESP_ID[4:]} /boot/efi vfat umask=0077 0 1"
    texts = {
        "etc/fstab": f"UUID={ROOT_ID} / ext4 defaults 0 1\n{esp}\n",
        "etc/systemd/network/10-connector.network": _NETWORK,
        "etc/systemd/resolved.conf.d/connector.conf": "[Resolve]\nLLMNR=no\nMulticastDNS=no\n",
        "etc/issue": (_PARTS / "issue").read_text(),
        "etc/nftables.conf": (_PARTS / "nftables.conf").read_text(),
        "etc/connector-image": f"{version}\n",
        "etc/systemd/system/connector-first-boot@.service": (
            _PARTS / "connector-first-boot@.service"
        ).read_text(),
    }
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "boot/efi").mkdir(exist_ok=True)


def _grub(root: Path) -> None:
    """One entry: no menu, both consoles. Kernels that Debian updates are found by their links."""
    (root / "boot/grub").mkdir(exist_ok=True)
    (root / "boot/grub/grub.cfg").write_text(
        "set timeout=0\nserial --unit=0 --speed=115200\n"
        f"menuentry 'Migration appliance' {{\n search --no-floppy --fs-uuid --set=root {ROOT_ID}\n"
        f" linux /vmlinuz root=UUID={ROOT_ID} ro quiet console=ttyS0,115200 console=tty0\n initrd /initrd.img\n}}\n"
    )


def _remove(root: Path) -> None:
    for name in _REMOVED:
        path = root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (root / "etc/machine-id").touch()  # empty: made at the first start
    (root / "etc/hostname").write_text("connector\n")
    (root / "etc/resolv.conf").symlink_to("/run/systemd/resolve/stub-resolv.conf")
