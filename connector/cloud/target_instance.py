"""A target instance is a machine that exists in the target and belongs to the user: a job may put an image onto its disks.

Its former disks are kept until the user lets them go. Every call is idempotent by its token, so after a crash the caller calls
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from connector.errors import BadInput

FORMER_DISK: Final = "former disk"  # the kind of what a replacement keeps
WINDOWS: Final = "windows"
LINUX: Final = "linux"


@dataclass(frozen=True, slots=True)
class TargetInstance:
    """A machine as it is now. `disks`: bytes of each, the system disk first. `family`: windows, linux, or empty if unknown.

    `architecture`: empty if it is not known.
    """

    id: str
    name: str
    running: bool
    family: str
    disks: tuple[int, ...]
    architecture: str = "x86_64"


@dataclass(frozen=True, slots=True)
class DiskReplacement:
    """An order to put `image`, in the provider's form, onto the disks of `instance`. `token` is the job's and names the former
    disks for ever.

    `run`: the run that made the image; a later run of the same job replaces what the earlier one put there, and the disks from
    before the job stay the former ones. `stop`: a running machine is stopped first. `capacities`: bytes of the image's disks.
    """

    token: str
    job_id: str
    run: str
    instance: str
    image: str
    capacities: tuple[int, ...]
    stop: bool = False


class TargetInstances(Protocol):
    """Machines of the user. Thread-safe. Raises BadInput for a machine that does not fit, TargetFailed (also TargetFull)."""

    @property
    def stops(self) -> bool:
        """Whether it can stop a machine that runs."""
        ...

    def find(self, instance: str) -> TargetInstance | None:
        """The machine with this id; None if there is none within reach of this provider."""
        ...

    def replace_disks(self, replacement: DiskReplacement) -> Sequence[str]:
        """Put the image onto the machine's disks, in their order. The machine is left stopped.

        Answers references of what is kept of its former disks. All disks are replaced, or what is left can be put back.
        """
        ...

    def put_back(self, token: str, instance: str) -> None:
        """Give the machine its former disks again; what the job put there goes. The machine is left stopped.

        Harmless if nothing is kept. Raises TargetFailed while the machine runs, and when somebody else has changed its disks.
        """
        ...

    def release_former(self, token: str, instance: str) -> None:
        """Remove the former disks. Harmless if they are gone."""
        ...


def target_token(job_id: str) -> str:
    """The token by which a provider always knows what it made of and for this job's target instance."""
    return f"target-{job_id}"


def family(guest_id: str) -> str:
    """The family of a guest, from vCenter's identifier; empty if it is neither Windows nor Linux, or not known."""
    name = guest_id.lower()
    if name.startswith("win"):
        return WINDOWS
    unix = (
        "darwin",
        "dos",
        "freebsd",
        "solaris",
        "netware",
        "os2",
        "sco",
        "vmkernel",
        "openserver",
        "unixware",
    )
    return "" if not name or name.startswith(unix) or name in ("otherguest", "otherguest64") else LINUX


def require_fitting(
    target: TargetInstance, capacities: Sequence[int], guest_id: str, architecture: str, *, stop: bool
) -> None:
    """Raise BadInput for a machine that an image with these disks must not go onto. `capacities`: bytes.

    A running machine is refused unless `stop`. R47: Windows goes onto Windows and Linux onto Linux.
    """
    named = f"target instance {target.id}"
    own = family(guest_id)
    if own and target.family and own != target.family:
        raise BadInput(
            f"runs {target.family.capitalize()}, and the source runs {own.capitalize()}",
            on=named,
            remedy=f"choose an instance that runs {own.capitalize()}, or TargetType Image",
        )
    if target.architecture and (architecture == "arm64") != (target.architecture == "arm64"):
        raise BadInput(
            f"has the processor architecture {target.architecture}, and the source {architecture}",
            on=named,
            remedy="choose another instance, or TargetType Image",
        )
    if len(target.disks) < len(capacities):
        raise BadInput(
            f"has {len(target.disks)} disks, and the source {len(capacities)}",
            on=named,
            remedy="attach disks to it, or leave disks of the source out",
        )
    for place, (has, needed) in enumerate(zip(target.disks, capacities, strict=False)):
        if has < needed:
            label = "system disk" if place == 0 else f"data disk {place}"
            raise BadInput(
                f"its {label} has {has} bytes, and the source's {needed}",
                on=named,
                remedy="enlarge the disk, or choose another instance",
            )
    if target.running and not stop:
        raise BadInput(
            "is running",
            on=named,
            remedy="stop it, or let the job stop it (StopTargetInstance)",
        )
