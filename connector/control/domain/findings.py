"""Which findings of the pre-flight checks block a job of a source. Pure.

A finding about a disk that can be left out blocks the first start of a job, not its creation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from connector.control.domain.entities import Json, Source, SourceDisk
from connector.errors import Ineligible
from connector.model import PowerState, Severity

#: How a disk is left out of a job.
_LEAVE_OUT: Final = "leave the disk out (on the job's page, in a manifest, or by SetReplicationJobDisks)"


def must_be_eligible(source: Source, left_out: Collection[int]) -> None:
    """Raise Ineligible for the first finding that blocks a job which leaves these disks out."""
    for first in blocking(source, left_out):
        remedy = str(first["remedy"])
        if _is_about(first, source, source.disks[1:]):
            remedy = f"{_LEAVE_OUT}, or {remedy}"
        raise Ineligible(first["message"], on=str(first["subject"]) or source.name, remedy=remedy)


def blocking(source: Source, left_out: Collection[int] = ()) -> list[Json]:
    """The findings that block a job of this source which leaves these disks out. Some apply only while the machine runs."""
    grave = Severity.blocking(running=source.facts.get("power") == PowerState.ON)
    disks = [disk for disk in source.disks if disk.key in left_out]
    return [
        finding
        for finding in source.findings
        if finding["severity"] in grave and not _is_about(finding, source, disks)
    ]


def _is_about(finding: Json, source: Source, disks: Iterable[SourceDisk]) -> bool:
    """Whether the finding is about one of these disks: then its subject is the machine's name in vCenter and the disk's label."""
    return finding["subject"] in {f"{source.machine} {disk.label}" for disk in disks}


def removable(source: Source) -> tuple[int, ...]:
    """Keys of the disks that a job may leave out: all but the system disk."""
    return tuple(disk.key for disk in source.disks[1:])


def forbidding(source: Source) -> list[Json]:
    """The findings that block every job of this source, whatever it leaves out."""
    return blocking(source, removable(source))
