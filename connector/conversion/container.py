"""Makes a container image of a Linux guest: the files of its file systems as one layer, without what only a machine has.

The guest's image is only read. The layout gets its name when it is whole.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connector import environment, files
from connector.conversion import oci_layout, result_directory
from connector.conversion.boot_check import scratch_directory
from connector.conversion.conversion import GuestImage, mounted
from connector.conversion.guest_disks import LARGEST_COPY, GuestDisks, GuestSystem
from connector.conversion.oci_layout import ContainerConfig
from connector.conversion.services import Service, services
from connector.errors import BadInput, Ineligible, TargetFailed
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
    with result_directory.new(target), scratch_directory(target.parent.resolve(), _PREFIX) as home:
        archive = home / "root.tar"
        with mounted(image, image.disks, home, writable=False, wants_all=True) as (guest, system):
            _require_linux(system, image.name)
            candidates = services(guest)
            _require_room(home, sum(guest.used(point) for point in system.mounts), image.name)
            guest.archive("/", archive, [*_LEFT_OUT, *_swap_files(guest)])
        config, notes = _config(candidates, _ARCHITECTURES[system.architecture], str(system), command)
        draft = home / "layout"
        digest = oci_layout.write(draft, archive, config, reference)
        files.move(draft, target)
    names = tuple(service.name for service in candidates)
    return ContainerReport(digest, tuple(config.command), tuple(config.ports), names, notes)


def _require_linux(system: GuestSystem, name: str) -> None:
    if system.kind != "linux":
        raise Ineligible(f"{system} is no Linux", on=name, remedy="migrate it to an image of disks")
    if system.architecture not in _ARCHITECTURES:
        raise Ineligible(
            f"a container of its architecture {system.architecture} cannot be made",
            on=name,
            remedy="make it on a machine of that architecture",
        )


def _require_room(home: Path, used: int, name: str) -> None:
    """Room for the archive, and at most as much again for the compressed layer."""
    if used > LARGEST_COPY:
        raise Ineligible(
            f"it has {used >> 30} GiB of files, and a container image may have {LARGEST_COPY >> 30} GiB",
            on=name,
            remedy="move its data to a volume, and leave them out of the guest",
        )
    result_directory.require_space(home, 2 * used)


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
    candidates: Sequence[Service], architecture: str, system: str, command: Sequence[str]
) -> tuple[ContainerConfig, tuple[str, ...]]:
    names = ", ".join(service.name for service in candidates) or "none"
    only = candidates[0] if len(candidates) == 1 and candidates[0].command else None
    chosen = tuple(command) or (only.command if only else ("/bin/sh",))
    ports = tuple(port for service in candidates for port in service.ports)
    labels = {"connector.system": system, "connector.services": names}
    notes = () if command or only else (f"no command was proposed; services of the guest: {names}",)
    return ContainerConfig(architecture, chosen, ports=ports, labels=labels), notes
