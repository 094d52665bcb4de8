"""vCenter's guest identifier and firmware become an image's platform and boot mode. Pure."""

from __future__ import annotations

from typing import Final

#: Beginnings of vCenter's guest identifiers, longest first, with the cloud's platforms.
PLATFORMS: Final = (
    ("windows2022srvnext", "Windows Server 2022"),
    ("windows2022", "Windows Server 2022"),
    ("windows2019srvnext", "Windows Server 2022"),
    ("windows2019", "Windows Server 2019"),
    ("windows9server", "Windows Server 2016"),
    ("windows8server", "Windows Server 2012"),
    ("windows7server", "Windows Server 2008"),
    ("winlonghorn", "Windows Server 2008"),
    ("winnet", "Windows Server 2003"),
    ("windows", "Windows Server 2019"),
    ("win", "Windows Server 2003"),
    ("almalinux", "AlmaLinux"),
    ("centos", "CentOS"),
    ("coreos", "CoreOS"),
    ("debian", "Debian"),
    ("fedora", "Fedora"),
    ("freebsd", "FreeBSD"),
    ("opensuse", "OpenSUSE"),
    ("rhel", "RedHat"),
    ("rockylinux", "Rocky Linux"),
    ("sles", "SUSE"),
    ("suse", "SUSE"),
    ("ubuntu", "Ubuntu"),
)


def platform(guest_id: str) -> str:
    """The platform of the image. An unknown guest counts as Linux."""
    name = guest_id.lower()
    return next((platform for start, platform in PLATFORMS if name.startswith(start)), "Others Linux")


def boot_mode(firmware: str) -> str:
    return "UEFI" if firmware == "efi" else "BIOS"
