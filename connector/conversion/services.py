"""Proposes what a container of a guest runs, by the services that systemd starts in the guest. Pure: it reads files only.

A guest with exactly one service that is not the system's own gets that service's command. Otherwise a person has to choose.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from connector.offline.window import Files, Missing, UnreadableStructure

_UNITS: Final = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_TARGETS: Final = ("multi-user.target.wants", "graphical.target.wants", "default.target.wants")
_MOST: Final = 200  # services
#: Services of the system, which a container does not run: whole names, so that cloud-gateway is not taken for cloud-init.
_SYSTEM: Final = re.compile(
    r"(?:systemd-[\w-]+|getty|serial-getty|console-getty|container-getty|cron|crond|anacron|atd|ssh|sshd|rsyslog|syslog|syslog-ng"
    r"|dbus|dbus-broker|dbus-org\.[\w.]+|networking|network|NetworkManager(?:-dispatcher|-wait-online)?|networkd-dispatcher"
    r"|netplan-[\w-]+|ifup|wpa_supplicant|ModemManager|ntp|ntpd|ntpsec|chrony|chronyd|apparmor|auditd|firewalld|ufw|nftables"
    r"|iptables|open-vm-tools|vmtoolsd|vgauth|vgauthd|vmware-[\w-]+|cloud-(?:init|init-local|init-network|init-main|init-hotplugd"
    r"|config|final)|unattended-upgrades|snapd(?:\.[\w.-]+)?|apport|irqbalance|kdump|kdump-tools|lvm2-[\w-]+|mdadm|mdmonitor"
    r"|smartd|smartmontools|tuned|udisks2|polkit|polkitd|remote-fs|e2scrub_\w+|console-setup|keyboard-setup|grub-[\w-]+|rsync"
    r"|sssd|postfix|exim4|blk-availability|dm-event|multipathd|multipath-tools|iscsi|iscsid|open-iscsi|nfs-[\w-]+|rpcbind"
    r"|accounts-daemon|plymouth[\w-]*|selinux-[\w-]+|udev|pollinate|lxd-[\w-]+|secureboot-db|ubuntu-[\w-]+|haveged|rngd|man-db)"
    r"(?:@[\w.-]*)?\.service"
)
#: Kinds of services whose command does not stay in the foreground: a container would end at once.
_NOT_IN_FOREGROUND: Final = ("forking", "oneshot")
#: The ports of well-known services, by the beginning of their names.
_PORTS: Final = (
    ("nginx", ("80/tcp", "443/tcp")),
    ("apache2", ("80/tcp", "443/tcp")),
    ("httpd", ("80/tcp", "443/tcp")),
    ("postgresql", ("5432/tcp",)),
    ("mysql", ("3306/tcp",)),
    ("mariadb", ("3306/tcp",)),
    ("redis", ("6379/tcp",)),
    ("memcached", ("11211/tcp",)),
    ("mongod", ("27017/tcp",)),
    ("rabbitmq", ("5672/tcp",)),
    ("tomcat", ("8080/tcp",)),
    ("named", ("53/tcp", "53/udp")),
)


@dataclass(frozen=True, slots=True)
class Service:
    """A service that the guest starts. `command` is empty when it leaves the foreground, or only systemd understands it."""

    name: str
    command: tuple[str, ...]

    @property
    def ports(self) -> Sequence[str]:
        """The ports that a service of this name usually has."""
        return next((ports for prefix, ports in _PORTS if self.name.startswith(prefix)), ())


def services(files: Files) -> list[Service]:
    """The enabled services that are not the system's own, by name."""
    names = sorted({name for target in _TARGETS for name in _names(files, f"{_UNITS[0]}/{target}")})
    own = [name for name in names if name.endswith(".service") and not _SYSTEM.fullmatch(name)]
    return [Service(name.removesuffix(".service"), _command(files, name)) for name in own[:_MOST]]


def _command(files: Files, unit: str) -> tuple[str, ...]:
    for text in _texts(files, unit):
        kinds = re.findall(r"^Type=\s*(\w+)", text, re.MULTILINE)
        if kinds and kinds[-1] in _NOT_IN_FOREGROUND:
            return ()
        lines = re.findall(r"^ExecStart=[-@:+!]*(.*)$", text, re.MULTILINE)
        if len(lines) == 1 and not lines[0].endswith("\\") and "$" not in lines[0] and "%" not in lines[0]:
            try:
                return tuple(shlex.split(lines[0]))
            except ValueError:
                return ()
    return ()


def _texts(files: Files, unit: str) -> Iterator[str]:
    """The unit's own file, the administrator's before the distribution's."""
    for folder in _UNITS:
        try:
            yield files.read(f"{folder}/{unit}", 1 << 16).decode("utf-8", "replace")
            return
        except (Missing, UnreadableStructure):
            continue


def _names(files: Files, directory: str) -> list[str]:
    try:
        return files.names(directory)
    except (Missing, UnreadableStructure):
        return []
