"""Makes a container image of a Linux guest: the files of its file systems as one layer, without what only a machine has.

The guest's image is only read. The layout gets its name when it is whole.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connector import environment, files
from connector.conversion import oci_layout
from connector.conversion.boot_check import scratch_directory
from connector.conversion.conversion import GuestImage, mounted
from connector.conversion.guest_disks import GuestDisks
from connector.conversion.oci_layout import ContainerConfig
from connector.conversion.services import Service, services
from connector.errors import BadInput, Conflict, Ineligible, TargetFailed, TargetFull
from connector.offline.window import Missing

_PREFIX: Final = ".connector-container-"
_ARCHITECTURES: Final = {"x86_64": "amd64", "i386": "386", "aarch64": "arm64"}
#: What a container has from its host, or what only a machine needs. Patterns of tar, relative to the root.
_LEFT_OUT: Final = (
    *("./proc/*", "./sys/*", "./dev/*", "./run/*", "./tmp/*", "./var/tmp/*", "./lost+found"),
    *(
        "./boot/vmlinuz*",
        "./boot/initrd*",
        "./boot/initramfs*",
        "./boot/efi/*",
        "./boot/grub*",
        "./lib/modules/*",
    ),
    *("./usr/lib/modules/*", "./swapfile", "./swap.img"),
)
_INSTALL: Final = "install the Debian package skopeo"


@dataclass(frozen=True, slots=True)
class ContainerReport:
    """`digest` of the manifest. `command`: what a container runs. `candidates`: the services that were found."""

    digest: str
    command: tuple[str, ...]
    ports: tuple[str, ...]
    candidates: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        return {
            "digest": self.digest,
            "command": list(self.command),
            "ports": list(self.ports),
            "services": list(self.candidates),
            "notes": list(self.notes),
        }


def make(image: GuestImage, target: Path, reference: str, command: Sequence[str] = ()) -> ContainerReport:
    """Write an OCI layout into the directory `target`, which must not exist. `command`: instead of the proposed one.

    Raises BadInput without the tools, Ineligible for a guest that is no Linux, Conflict when `target` exists, TargetFull.
    """
    if target.exists():
        raise _exists(target)
    with scratch_directory(target.parent.resolve(), _PREFIX) as home:
        archive = home / "root.tar"
        with mounted(image, image.disks, home, writable=False) as (guest, system):
            if system.architecture not in _ARCHITECTURES:
                raise Ineligible(
                    f"a container of its architecture {system.architecture} cannot be made",
                    on=image.name,
                    remedy="make it on a machine of that architecture",
                )
            chosen = services(guest)
            _require_space(home, guest.used("/"))
            guest.archive("/", archive, [*_LEFT_OUT, *_swap_files(guest)])
        config, notes = _config(chosen, _ARCHITECTURES[system.architecture], str(system), command)
        draft = home / "layout"
        digest = oci_layout.write(draft, archive, config, reference)
        try:
            files.move(draft, target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another command was faster
                raise _exists(target) from error
            raise
        return ContainerReport(
            digest, tuple(config.command), tuple(config.ports), tuple(s.name for s in chosen), notes
        )


def push(layout: Path, reference: str, destination: str, authfile: Path | None, *, tls: bool = True) -> None:
    """Copy the image to a registry with skopeo. `authfile`: as `docker login` writes it. Raises BadInput, TargetFailed."""
    if shutil.which("skopeo") is None:
        raise BadInput("skopeo is not installed", on="push", remedy=_INSTALL)
    words = ["skopeo", "copy", "--quiet", f"--dest-tls-verify={str(tls).lower()}"]
    words += [f"--authfile={authfile}"] if authfile else []
    done = subprocess.run(
        [*words, f"oci:{layout}:{reference}", f"docker://{destination}"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        env=environment.without_secrets(),
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise TargetFailed(
            f"skopeo could not push the image ({lines[-1][:300] if lines else done.returncode})",
            on=destination,
            remedy=f"the image is in {layout}; check the registry and its credentials, then push again",
        )


def _exists(target: Path) -> Conflict:
    return Conflict("is already there", on=str(target), remedy="name another directory, or move it away")


def _require_space(home: Path, used: int) -> None:
    """The archive, and at most as much again for the compressed layer."""
    free = shutil.disk_usage(home).free
    if free < 2 * used:
        raise TargetFull(
            f"{2 * used >> 20} MiB are needed, and {free >> 20} MiB are free",
            on=str(home.parent),
            remedy="make room, then run the same command again",
        )


def _swap_files(guest: GuestDisks) -> list[str]:
    """Files that fstab uses as swap space."""
    try:
        lines = guest.read("/etc/fstab").decode("utf-8", "replace").splitlines()
    except Missing:
        return []
    words = [line.split() for line in lines if not line.lstrip().startswith("#")]
    swaps = [w[0] for w in words if len(w) > 2 and w[2] == "swap" and w[0].startswith("/")]
    return [f".{os.path.normpath(path)}" for path in swaps if not path.startswith("/dev/")]


def _config(
    found: Sequence[Service], architecture: str, system: str, command: Sequence[str]
) -> tuple[ContainerConfig, tuple[str, ...]]:
    names = ", ".join(service.name for service in found) or "none"
    only = found[0] if len(found) == 1 and found[0].command else None
    chosen = tuple(command) or (only.command if only else ("/bin/sh",))
    ports = tuple(port for service in found for port in service.ports)
    labels = {"connector.system": system, "connector.services": names}
    notes = () if command or only else (f"no command was proposed; services of the guest: {names}",)
    return ContainerConfig(architecture, chosen, ports=ports, labels=labels), notes
