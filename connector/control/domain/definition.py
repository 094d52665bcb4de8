"""A job's definition has the public API's names. Here it becomes what a provider and an appliance are asked for. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from connector.cloud.provider import Placement, TargetDisk
from connector.control.domain.entities import Source, SourceDisk
from connector.model import Replication

_GIB: Final = 1 << 30

#: The field of a placement that each parameter sets.
PARAMETERS: Final = {
    "InstanceType": "instance_type",
    "NetMode": "net_mode",
    "VpcId": "vpc",
    "VSwitchId": "vswitch",
    "InstanceRamRole": "ram_role",
    "LaunchTemplateId": "launch_template",
    "LaunchTemplateVersion": "launch_template_version",
}


def placement(definition: Mapping[str, Any], region: str, source: Source) -> Placement:
    """Where the intermediate instance of a job of `source` shall run, and as which instance type."""
    fields = {
        field: definition[name] for name, field in PARAMETERS.items() if definition.get(name) is not None
    }
    return Placement(
        region=region, architecture=architecture(str(source.facts.get("guest_id", ""))), **fields
    )


def parameter(field: str) -> str:
    """The name of the parameter that sets this field of a placement."""
    if field == "region":  # a column of the job, not of its definition
        return "RegionId"
    return next((name for name, placed in PARAMETERS.items() if placed == field), "Request")


def disks(definition: Mapping[str, Any], source_disks: Sequence[SourceDisk]) -> tuple[TargetDisk, ...]:
    """The disks of the instance: one for each disk of the source, at least as large."""
    sizes = _sizes(definition)
    return tuple(
        TargetDisk(disk.key, disk.label, disk.capacity, max(disk.capacity, sizes[n]) if n in sizes else 0)
        for n, disk in enumerate(source_disks)
    )


def _sizes(definition: Mapping[str, Any]) -> dict[int, int]:
    """The bytes that the definition asks for, by the disk's position. If it has both forms, the newer form counts."""
    layout = definition.get("Disks") or {}
    sizes = {0: definition.get("SystemDiskSize")}
    sizes |= {disk["Index"]: disk.get("Size") for disk in definition.get("DataDisk", [])}
    newer = {0: layout.get("System", {}).get("Size")}
    newer |= {int(disk["DiskId"]): disk.get("Size") for disk in layout.get("Data", [])}
    sizes |= {position: size for position, size in newer.items() if size}
    return {position: size * _GIB for position, size in sizes.items() if size}


def architecture(guest_id: str) -> str:
    """The processor's architecture, from vCenter's guest identifier."""
    name = guest_id.lower()
    if "arm" in name:
        return "arm64"
    return "x86_64" if "64" in name or not name else "i386"


PARAMETER = "ReplicationParameters"
CUTOVER = "CutoverBandwidthLimit"


def replication_of(definition: Mapping[str, Any], *, final: bool) -> Replication:
    """How a pass of the job shall use the link. What the job leaves open follows the appliance's configuration.

    `final`: the source is shut down and every second counts, so the limit for cutovers applies.
    """
    parameters = json.loads(definition.get(PARAMETER) or "{}")
    limit = definition.get(CUTOVER, 0) if final else parameters.get("bandwidth_limit", 0)
    return Replication(
        bandwidth_limit=int(limit),
        compress_level=parameters.get("compress_level"),
        checksum=bool(parameters.get("checksum", 0)),
    )


READER = "Reader"


def reader(definition: Mapping[str, Any]) -> str:
    """The reader that the job's passes shall use; `auto` leaves it to the appliance."""
    return str(definition.get(READER) or "auto")


def shown(definition: Mapping[str, Any], *, final: bool) -> dict[str, Any]:
    """The same, as JSON for appliances."""
    return asdict(replication_of(definition, final=final))
