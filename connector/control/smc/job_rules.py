"""Rules between the parameters of a job, and between them and the source's disks. A contradiction is refused. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from connector.control.domain.definition import PARAMETER
from connector.control.domain.entities import Source
from connector.control.smc import shapes
from connector.control.smc.catalogue import Denied, invalid, missing
from connector.control.smc.parameters import Values
from connector.specification.fields import JOB_FIELDS

AGENTLESS: Final = 3
_GIB: Final = 1 << 30

_JOB_TYPES: Final = {
    0: "server migration needs a client inside the server",
    1: "operating system migration is for ECS instances of the account",
    2: "cross-zone migration is for ECS instances",
}
_NET_MODES: Final = (0, 2)
_CONTAINER: Final = ("ContainerNamespace", "ContainerRepository", "ContainerTag")

#: Parameters that have their own column; the others are kept in the definition.
_COLUMNS: Final = frozenset(field.name for field in JOB_FIELDS if field.column) | {"JobId"}


def check_new(values: Values, source: Source) -> None:
    """Raise `Denied` if no job of this source can have these values."""
    job_type = values.get("JobType", AGENTLESS)
    if job_type != AGENTLESS:
        raise invalid("JobType", f"3 is offered, agentless migration; {_JOB_TYPES[job_type]}")
    run_once = values.get("RunOnce", True)
    check_rhythm(values, run_once=run_once)
    check(values, source, run_once=run_once)


def check_rhythm(values: Values, *, run_once: bool) -> None:
    """Raise `Denied` if an incremental job lacks its rhythm or number of images, or if a job that runs once has them."""
    on_demand = values.get("OnDemand", False)
    if run_once and on_demand:
        raise invalid("OnDemand", "false for a job that runs once; it is for incremental jobs")
    if run_once or on_demand:
        return
    for name in ("Frequency", "MaxNumberOfImageToKeep"):
        if values.get(name) is None:
            raise missing(name)


def check(values: Values, source: Source, *, run_once: bool) -> None:
    """Raise `Denied` for a contradiction in `values`, which may be only a part of a definition."""
    _check_target(values, run_once=run_once)
    if values.get("NetMode", 0) not in _NET_MODES:
        raise invalid("NetMode", "0 (internet) or 2 (VPC)")
    if values.get("NetMode") == 2 and not values.get("VSwitchId"):
        raise missing("VSwitchId")
    _check_disks(values, source)
    _check_layout(values.get("Disks", {}), source)


def kept(values: Values) -> dict[str, Any]:
    """The part of the request that becomes the job's definition, in the API's names."""
    definition = {name: value for name, value in values.items() if name not in _COLUMNS}
    if PARAMETER in definition:
        definition[PARAMETER] = json.dumps(definition[PARAMETER], separators=(",", ":"))
    return definition


def _check_target(values: Values, *, run_once: bool) -> None:
    target = values.get("TargetType")
    if target == "ContainerImage":
        raise invalid("TargetType", "a container image needs files, and agentless migration copies blocks")
    for name in _CONTAINER:
        if values.get(name):
            raise invalid(name, "only for container images, which agentless migration cannot make")
    if target == "TargetInstance":
        if not run_once:
            raise invalid("TargetType", "an incremental agentless job makes an Image")
        if not values.get("InstanceId"):
            raise missing("InstanceId")
    elif values.get("InstanceId"):
        raise invalid("InstanceId", "only with TargetType TargetInstance")


def _check_disks(values: Values, source: Source) -> None:
    disks = source.disks
    if "SystemDiskSize" in values and disks:
        _check_size("SystemDiskSize", values["SystemDiskSize"], disks[0].capacity, "the system disk")
    size = values.get("SystemDiskSize", shapes.gib(disks[0].capacity) if disks else 0)
    _check_parts("SystemDiskPart", values.get("SystemDiskPart", []), size)
    for disk in values.get("DataDisk", []):
        if disk["Index"] >= len(disks):
            raise Denied(
                "ReplicationJobDataDiskIndex.Invalid",
                f"The source has {max(0, len(disks) - 1)} data disks; none has the index {disk['Index']}.",
            )
        capacity = disks[disk["Index"]].capacity
        disk_name = f"data disk {disk['Index']}"
        _check_size("DataDisk.Size", disk.get("Size", shapes.gib(capacity)), capacity, disk_name)
        _check_parts("DataDisk.Part", disk.get("Part", []), disk.get("Size", shapes.gib(capacity)))


def _check_layout(layout: dict[str, Any], source: Source) -> None:
    """Check `Disks.System` and `Disks.Data`, the newer form of the disk parameters."""
    for name, disk, index in _layout(layout):
        if index is None or index >= len(source.disks):
            raise Denied(
                "ReplicationJobDataDiskIndex.Invalid", f"{name}.DiskId is no data disk of the source."
            )
        capacity = source.disks[index].capacity
        if disk.get("LVM"):
            raise invalid(f"{name}.LVM", "blocks are copied as they are; volumes are not rebuilt")
        disk_name = f"data disk {index}" if index else "the system disk"
        _check_size(f"{name}.Size", disk.get("Size", shapes.gib(capacity)), capacity, disk_name)
        _check_parts(f"{name}.Part", disk.get("Part", []), disk.get("Size", shapes.gib(capacity)))


def _layout(layout: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], int | None]]:
    if "System" in layout:
        yield "Disks.System", layout["System"], 0
    for disk in layout.get("Data", []):
        text = disk.get("DiskId", "")
        yield "Disks.Data", disk, int(text) if text.isdecimal() and 0 < int(text) < 1000 else None


def _check_size(name: str, size: int, capacity: int, disk_name: str) -> None:
    if size * _GIB < capacity:
        raise invalid(name, f"at least {shapes.gib(capacity)} GiB, the size of {disk_name} at the source")


def _check_parts(name: str, parts: list[dict[str, Any]], size: int) -> None:
    label = "Device" if not name.startswith("Disks") else "Path"
    for part in parts:
        if (label in part) != ("SizeBytes" in part):
            raise invalid(name, f"{label} and SizeBytes come together")
        if part.get("Block") is False:
            raise invalid(f"{name}.Block", "true: agentless migration replicates blocks")
    if sum(part.get("SizeBytes", 0) for part in parts) > size * _GIB:
        raise invalid(name, "the parts are larger than their disk")
